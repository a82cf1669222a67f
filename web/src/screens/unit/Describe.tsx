// A button that describes this unit from the atlas's text, and what came of it: only where a model is attached.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import { useJob } from "../../api/job";
import type { DescribeCost, Described, Example, WrongWindow } from "../../api/types";
import { keepDescription } from "../../api/write";
import { count, duration, number, plural } from "../../format";
import { Copy } from "../../parts/Command";
import { Interval } from "../../parts/Interval";
import { KeepIt } from "../../parts/KeepIt";
import { Meter } from "../../parts/Meter";
import { Failed } from "../../parts/States";
import { Strip } from "../../parts/Strip";

/** The panel; `id` is the unit's key. */
export function Describe({ id }: { id: string }): JSX.Element | null {
  const cost = useAnswer<DescribeCost>(`/api/lab/describe?unit=${encodeURIComponent(id)}`);
  const [now, ask, stop] = useJob<Described>("/api/lab/describe", "described");
  useEffect(() => stop, [id]);
  if (cost.state !== "here") return null;
  return (
    <section aria-labelledby="describe" data-testid="describe" aria-live="polite">
      <h2 id="describe" class="out-of-sight">
        Describe it
      </h2>
      <p class="row">
        <button type="button" data-testid="describe-it" disabled={now.busy || !cost.data.possible} onClick={() => ask({ unit: id, seed: 0 })}>
          Describe it
        </button>
        {now.busy && (
          <button type="button" class="quiet" data-testid="stop-describing" onClick={stop}>
            stop
          </button>
        )}
        <span class="small soft" data-testid="describe-cost">
          {cost.data.possible ? (
            <>
              a rule from {count(cost.data.tokens)} tokens, read in {plural(cost.data.passes, "pass", "passes")}, scored on text that it was not made from
              {cost.data.seconds !== null && <>; about {duration(cost.data.seconds)}</>}
            </>
          ) : (
            cost.data.reason
          )}
        </span>
      </p>
      {now.busy && <Meter of={now} what="description" />}
      {now.failure && <Failed failure={now.failure} />}
      {now.result && <Found of={now.result} />}
      {now.result?.text && now.finished && (
        <>
          <KeepIt key={now.result.id} id={now.result.id} command={now.finished.command} send={keepDescription} address={(layer) => `/runs/${encodeURIComponent(layer)}`} />
          <details class="more">
            <summary class="small">the same in Python · {duration(now.result.seconds)}</summary>
            <div class="command">
              <pre data-testid="describe-python">{now.finished.python}</pre>
              <Copy text={now.finished.python} label="copy" what="the Python" />
            </div>
          </details>
        </>
      )}
    </section>
  );
}

function Found({ of }: { of: Described }): JSX.Element {
  if (!of.text) {
    return (
      <p class="nothing" data-testid="not-described">
        No description: {of.reason}
      </p>
    );
  }
  return (
    <figure class="description" data-testid="described" data-text={of.text}>
      <blockquote>{of.text}</blockquote>
      <dl class="scores">
        {of.scores.map((score, i) => (
          <div key={score.unit} data-testid="described-score" data-value={score.value ?? ""}>
            <dt>{score.unit}</dt>
            <dd>
              <Interval estimate={score} chance={score.null_low ?? 0.5} />
            </dd>
            <dd class="soft small">
              {plural(score.n, "window")}
              {of.random[i] && <>; a random description: {number(of.random[i]?.value)}</>}
            </dd>
          </div>
        ))}
      </dl>
      {of.wrong.length > 0 && <Wrong windows={of.wrong} />}
      <figcaption class="small soft">
        {of.author}, just now, who was shown {of.evidence.join("; ")}
      </figcaption>
    </figure>
  );
}

/** The windows that the words get wrong. */
function Wrong({ windows }: { windows: WrongWindow[] }): JSX.Element {
  const most = Math.max(...windows.flatMap((one) => one.acts.map((act) => Math.abs(act ?? 0))), 1e-12);
  return (
    <div class="group counter" data-testid="wrong">
      <h3>Where the words are wrong</h3>
      <ol class="examples">
        {windows.map((one, i) => (
          <li key={i} data-testid="wrong-window">
            <span class="gutter">
              <span class="num">{number(one.acts[one.mark])}</span>
              <span class="place against">{one.reason}</span>
            </span>
            <Strip example={exampleOf(one)} most={most} under="peak" />
          </li>
        ))}
      </ol>
    </div>
  );
}

function exampleOf(one: WrongWindow): Example {
  return { ...one, kind: "counter", value: one.acts[one.mark] ?? 0, special: [], before: false, after: false, stimulus: 0, position: one.mark };
}
