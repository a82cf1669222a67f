// What came out: the next token, the continuation, what random units do instead, and how to have it elsewhere.
import type { JSX } from "preact";
import type { Ran } from "../../api/run";
import type { Finished, LabPage } from "../../api/types";
import { neutral } from "../../clamps";
import { draft } from "../../draft";
import { duration, number, plural } from "../../format";
import { Copy } from "../../parts/Command";
import { Next } from "../../parts/Next";
import { Failed, Nothing } from "../../parts/States";
import { RandomUnits } from "./RandomUnits";
import { Written } from "./Written";
import { asked, MOST_NEW, shown } from "./state";

// The likeliest few say most; the rest are one click away.
const ROWS = 8;

/** The right column. */
export function Result({ lab, ran }: { lab: LabPage; ran: Ran }): JSX.Element {
  const { text } = asked.value;
  if (!text) {
    return (
      <section aria-labelledby="next">
        <h2 id="next">Next token</h2>
        <Nothing>What the model would write next, without and with the clamps.</Nothing>
      </section>
    );
  }
  // Until something is clamped there is one side, and nothing to compare or to take elsewhere.
  const bare = !ran.asked?.clamps.length;
  return (
    <>
      <Table ran={ran} bare={bare} />
      {lab.generates && <Continued ran={ran} bare={bare} most={Math.min(lab.most_new, MOST_NEW)} />}
      {ran.table && !bare && <RandomUnits ran={ran} acting={(ran.asked?.clamps ?? []).some((one) => !neutral(one))} />}
      {ran.finished && !bare && <Export finished={ran.finished} stale={ran.stale} />}
    </>
  );
}

function Table({ ran, bare }: { ran: Ran; bare: boolean }): JSX.Element {
  const { table } = ran;
  const waits = ran.busy && ran.stale;
  return (
    <section aria-labelledby="next" data-testid="result" data-neutral={table?.neutral ?? ""} data-divergence={table?.divergence ?? ""}>
      <div class="row between">
        <h2 id="next">Next token</h2>
        <span class="small soft" role="status" data-testid="queue">
          {waits && (ran.ahead ? `${plural(ran.ahead, "run")} before this one` : "asking …")}
          {!waits && table && duration(table.seconds)}
        </span>
      </div>
      {ran.failure && <Failed failure={ran.failure} />}
      {table ? (
        <div class={`awaited ${ran.failure ? "old" : ""}`} aria-busy={waits}>
          <Next
            rows={table.rows}
            first={ROWS}
            target={ran.asked?.target ?? null}
            alone={bare}
            caption={bare ? "nothing is clamped" : table.neutral ? "every clamp is at neutral: both columns are the same numbers" : "probability without and with the clamps, and the difference in points"}
          />
          {!table.neutral && (
            <p class="small" data-testid="divergence">
              <abbr title="Kullback–Leibler divergence of the next token, unclamped from changed">KL</abbr>(without ‖ with) = <strong class="num">{number(table.divergence)}</strong> nats
            </p>
          )}
        </div>
      ) : (
        !ran.failure && <p class="waiting soft" aria-busy="true">asking …</p>
      )}
    </section>
  );
}

function Continued({ ran, bare, most }: { ran: Ran; bare: boolean; most: number }): JSX.Element {
  const wanted = shown.value.fresh;
  const lengths = [0, 12, 25, 50, 100, wanted].filter((n, i, all) => n <= most && all.indexOf(n) === i).sort((a, b) => a - b);
  return (
    <section aria-labelledby="written">
      <div class="row between">
        <h2 id="written">Continuation</h2>
        <label class="small soft inline">
          <span>new tokens</span>
          <select data-testid="new" value={String(wanted)} onChange={(event) => draft({ new: event.currentTarget.value }, "new")}>
            {lengths.map((n) => (
              <option key={n} value={String(n)}>
                {n}
              </option>
            ))}
          </select>
        </label>
      </div>
      <Written steps={ran.steps} alone={bare} busy={ran.busy && wanted > 0} wanted={ran.asked?.new_tokens ?? 0} />
    </section>
  );
}

function Export({ finished, stale }: { finished: Finished; stale: boolean }): JSX.Element | null {
  const ways = [
    ["python", "in Python", finished.python],
    ["command", "as a command", finished.command],
  ].filter(([, , text]) => text) as [string, string, string][];
  if (!ways.length) return null;
  return (
    <section aria-labelledby="export" class={`export ${stale ? "old" : ""}`} data-testid="export" data-id={finished.id}>
      <h2 id="export">The same elsewhere</h2>
      {ways.map(([name, words, text]) => (
        <div key={name}>
          <p class="small soft">{words}</p>
          <div class="command">
            <pre data-testid={`export-${name}`}>{text}</pre>
            <Copy text={text} label="copy" what={words} />
          </div>
        </div>
      ))}
    </section>
  );
}
