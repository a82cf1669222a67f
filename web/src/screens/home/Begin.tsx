// What to do first: ask a prompt, read an explained answer, look at a few units.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { AtlasPage, GraphRow, LabPage } from "../../api/types";
import { Asked } from "../../parts/Answer";
import { Copy } from "../../parts/Command";
import { Known } from "../../parts/Line";
import { Thumbnail } from "../../parts/Thumbnail";
import { Grade } from "../../parts/Verdict";
import { graphAddress, local, unitAddress } from "../../route";

/** Ask a prompt: on the page where a model is attached, else by the command that attaches it. */
export function AskFirst({ page }: { page: AtlasPage }): JSX.Element | null {
  const lab = useAnswer<LabPage>("/api/lab");
  if (lab.state !== "here") return null;
  const command = `patchclamp atlas serve ${page.name} --model ${page.subject.name}`;
  return (
    <section class="first" data-testid="ask-first">
      <h2>Ask a prompt</h2>
      {lab.data.attached ? (
        <p>
          <a class="act" href="/ask">
            Ask why it answers as it does
          </a>{" "}
          <span class="soft">Write a prompt, choose the next token, and see which units gave it.</span>
        </p>
      ) : (
        <>
          <p class="soft">No model is attached, so this atlas can only be read. With the model it explains prompts too:</p>
          <div class="command">
            <pre>{command}</pre>
            <Copy text={command} label="copy" what="the command" />
          </div>
        </>
      )}
    </section>
  );
}

/** Explained answers, each a link to its circuit. */
export function Explained({ rows }: { rows: GraphRow[] }): JSX.Element | null {
  if (!rows.length) return null;
  return (
    <section>
      <h2>Explained answers</h2>
      <ul class="layers" data-testid="explained">
        {rows.map((row) => (
          <li key={row.id}>
            <a href={graphAddress(row.id)}>
              <Asked row={row} />
            </a>
            {row.grade && (
              <>
                <br />
                <span class="soft small">
                  <Grade of={row.grade} />
                  {row.sentence.slice(row.sentence.indexOf(":"))}
                </span>
              </>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** A few units, each with its measured line, one example, and the reason why it is here. */
export function Units({ page }: { page: AtlasPage }): JSX.Element | null {
  if (!page.begin.length) return null;
  return (
    <section>
      <h2>Units to begin with</h2>
      <ol class="plates" data-testid="begin">
        {page.begin.map(({ row, why }) => (
          <li key={row.key} data-key={row.key} data-why={why}>
            <span class="between row">
              <a class="cover" href={unitAddress(row.key)} title={local(row.key)}>
                <b>{row.name}</b>
              </a>
              <span class="small soft">{why}</span>
            </span>
            {page.modality === "image" && <Thumbnail of={row.key} />}
            <Known row={row} />
          </li>
        ))}
      </ol>
    </section>
  );
}
