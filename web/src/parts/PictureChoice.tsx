// Which picture is shown to the model: one that the atlas keeps, or a file of one's own.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Answer, fetched, posting, useAnswer } from "../api/ask";
import type { Failure } from "../api/failure";
import type { PictureList, Uploaded } from "../api/types";
import { bytes } from "../format";
import { go, query, withQuery } from "../route";
import { Failed } from "./States";

const LISTED = "/api/pictures?limit=18";
const LARGEST = 4_000_000;
const KINDS = ".png,.jpg,.jpeg,.bmp,.gif,.webp,.tif,.tiff,.ppm,.pgm,.npy";
/** What another picture begins anew. */
const ANEW = { random: null, target: null, contrast: null, text: null };

/** Return the picture that the address names, or else the first one; undefined until that is known. */
export function useChosen(): number | string | undefined {
  const listed = useAnswer<PictureList>(LISTED);
  const asked = query.value.get("picture");
  // An explained answer names its picture.
  const name = query.value.get("text");
  const named = useAnswer<PictureList>(asked === null && name ? `/api/pictures?limit=1&name=${encodeURIComponent(name)}` : null);
  if (asked !== null && /^\d{1,15}$/.test(asked)) return Number(asked);
  if (asked?.startsWith("upload-")) return asked;
  return firstOf(named) ?? (name && named.state === "waiting" && asked === null ? undefined : firstOf(listed));
}

function firstOf(answer: Answer<PictureList>): number | undefined {
  return answer.state === "failed" ? undefined : answer.data?.rows[0]?.picture;
}

/** A strip of the kept pictures, a field for the number of any, and one for a file of one's own. */
export function PictureChoice({ picture }: { picture: number | string | undefined }): JSX.Element {
  const listed = useAnswer<PictureList>(LISTED);
  const list = listed.state === "failed" ? undefined : listed.data;
  return (
    <fieldset class="choose">
      <legend class="out-of-sight">picture</legend>
      <div class="film">
        {list?.rows.map((row) => (
          <a key={row.picture} href={withQuery({ ...ANEW, picture: String(row.picture) })} aria-current={row.picture === picture ? "true" : undefined} title={row.name} aria-label={`${row.name}${row.label === null ? "" : `, which shows ${row.label}`}`} data-picture={row.picture}>
            <img class="thumb" src={`/api/pictures/${row.picture}.png`} alt="" loading="lazy" />
          </a>
        ))}
      </div>
      {listed.state === "failed" && <Failed failure={listed.failure} />}
      <p class="row small">
        <label class="inline">
          <span class="soft">or its number</span>
          <PictureNumber picture={picture} />
        </label>
        <Upload />
      </p>
    </fieldset>
  );
}

function PictureNumber({ picture }: { picture: number | string | undefined }): JSX.Element {
  return (
    <input
      type="number"
      min={0}
      step={1}
      data-testid="picture-number"
      value={typeof picture === "number" ? picture : ""}
      onChange={(event) => {
        go(withQuery({ ...ANEW, picture: event.currentTarget.value.replace(/\D/g, "") || null }));
      }}
    />
  );
}

/** A file, chosen or dropped: it is read by the server as the command line reads one, and kept in memory. */
function Upload(): JSX.Element {
  const [failure, fail] = useState<Failure | null>(null);
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  const give = async (file: File | undefined) => {
    if (!file) return;
    setBusy(true);
    fail(null);
    try {
      if (file.size > LARGEST) throw { status: 413, expected: `a file of at most ${bytes(LARGEST)}`, got: bytes(file.size), remedy: "Make the picture smaller." } satisfies Failure;
      const { id } = await fetched<Uploaded>("/api/lab/pictures", undefined, posting({ name: file.name, data: await inText(file) }));
      go(withQuery({ ...ANEW, picture: id }));
    } catch (wrong) {
      fail(wrong as Failure);
    }
    setBusy(false);
  };
  return (
    <>
      <label
        class={`inline drop ${over ? "over" : ""}`}
        data-testid="drop"
        aria-busy={busy}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          give(event.dataTransfer?.files[0]);
        }}
      >
        <span class="soft">or a file, chosen or dropped here</span>
        <input type="file" accept={KINDS} data-testid="upload" onChange={(event) => give(event.currentTarget.files?.[0])} />
      </label>
      {failure && <Failed failure={failure} />}
    </>
  );
}

/** Return a file in base 64. */
function inText(file: File): Promise<string> {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result).replace(/^[^,]*,/, ""));
    reader.onerror = () => fail({ status: 0, expected: "a file that can be read", got: String(reader.error), remedy: "Choose it again." } satisfies Failure);
    reader.readAsDataURL(file);
  });
}
