// A picture: its likeliest classes, which of them is asked about, and the answer.
import type { JSX } from "preact";
import { usePosted } from "../../api/ask";
import type { ExplainPictureAsked, PictureRun } from "../../api/types";
import { OnPicture } from "../../parts/OnPicture";
import { PictureChoice, useChosen } from "../../parts/PictureChoice";
import { Awaited } from "../../parts/States";
import { go, query, withQuery } from "../../route";
import { Likely } from "./Likely";
import { Press } from "./Press";
import { Result } from "./Result";
import { SETS, TOP } from "./state";
import { useWhy } from "./useWhy";

/** Return a class's number of the address. */
const read = (name: string): number | null => {
  const text = query.value.get(name) ?? "";
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
};

/** Return the question as the server takes it; null where no class is chosen. */
function askedOf(picture: number | string | undefined): ExplainPictureAsked | null {
  const target = read("target");
  return picture === undefined || target === null ? null : { picture, target, contrast: read("contrast"), top: TOP, controls: SETS, seed: 0 };
}

/** Choose a class: the first is the answer, another one what it is compared with; one that is chosen is let go. */
function choose(index: number): void {
  const [target, contrast] = [read("target"), read("contrast")];
  const text = (n: number | null) => (n === null ? null : String(n));
  if (index === target) go(withQuery({ target: text(contrast), contrast: null }), true);
  else if (index === contrast) go(withQuery({ contrast: null }), true);
  else go(withQuery(target === null ? { target: text(index) } : { contrast: text(index) }), true);
}

/** The left column shows the picture and its classes, the right one answers. */
export function PictureAsk({ differentiates }: { differentiates: boolean }): JSX.Element {
  const picture = useChosen();
  const question = askedOf(picture);
  const named = query.value.has("picture");
  const { now, why, stop, stale } = useWhy("/api/lab/explain-picture", question, () => (differentiates && named ? askedOf(picture) : null));
  const run = usePosted<PictureRun>("/api/lab/picture", picture === undefined ? null : JSON.stringify({ picture }));
  return (
    <div class="asking" data-testid="picture-ask">
      <div class="question-side bench">
        <section aria-labelledby="picture">
          <h2 id="picture">Picture</h2>
          <PictureChoice picture={picture} />
          <Awaited answer={run}>
            {(shown) => (
              <div class="shown-picture">
                <figure>
                  <OnPicture src={shown.src} alt={shown.name} size={shown.size} heat={null} />
                  <figcaption class="small">
                    <bdi>{shown.name}</bdi>
                    {shown.label !== null && (
                      <>
                        {" "}
                        <span class="soft">shows</span> <bdi>{shown.label}</bdi>
                      </>
                    )}
                  </figcaption>
                </figure>
                <div>
                  <p class="small soft">Choose the answer, then, if you like, the one that it is compared with.</p>
                  <Classes run={shown} />
                </div>
              </div>
            )}
          </Awaited>
        </section>
        {run.state === "here" && <Press now={now} ready={question !== null && differentiates} onWhy={why} onStop={stop} cost={run.data.cost} chosen={question !== null} />}
      </div>
      <div class="answer-side">
        <Result now={now} stale={stale} />
      </div>
    </div>
  );
}

function Classes({ run }: { run: PictureRun }): JSX.Element {
  const [target, contrast] = [read("target"), read("contrast")];
  return (
    <Likely
      testid="likely-classes"
      choices={run.classes.map(({ index, name, before }) => ({
        value: String(index),
        shown: <bdi class="class">{name}</bdi>,
        said: name,
        probability: before ?? 0,
        role: index === target ? "answer" : index === contrast ? "against" : "",
        onChoose: () => choose(index),
      }))}
    />
  );
}
