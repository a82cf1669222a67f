// A text of one's own, and a clamp of this unit on it: only where a model is attached.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { type Answer, useAnswer } from "../../api/ask";
import { useRun } from "../../api/run";
import type { ClampAsked, Example, RunAsked, Trial as Tried, UnitPage } from "../../api/types";
import { labAddress, usualMode } from "../../clamps";
import { draft, drafted, forget } from "../../draft";
import { number } from "../../format";
import { Next } from "../../parts/Next";
import { Slider } from "../../parts/Slider";
import { Awaited, Failed } from "../../parts/States";
import { Strip } from "../../parts/Strip";
import { query, unitAddress } from "../../route";

const LONGEST = 2000;
const MOVED = 3;

function finite(text: string | null): number | null {
  const value = text === null || text === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}

function clampOf(key: string, value: number | null): ClampAsked {
  return { key, mode: usualMode(key), value, at: "" };
}

/** The panel; `id` is the unit's key. */
export function Trial({ id }: { id: string }): JSX.Element {
  const unit = useAnswer<UnitPage>(`/api${unitAddress(id)}`);
  useEffect(() => forget, []);
  const text = query.value.get("try") ?? "";
  const tried = useAnswer<Tried>(text ? `/api${unitAddress(id)}/trial?text=${encodeURIComponent(text)}` : null);
  return (
    <section aria-labelledby="trial" data-testid="trial">
      <h2 id="trial">Try your own text</h2>
      <label>
        <span class="out-of-sight">a text of your own</span>
        <textarea
          data-testid="try"
          rows={2}
          value={drafted.value.get("try") ?? ""}
          maxLength={LONGEST}
          placeholder="write a text"
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => draft({ try: event.currentTarget.value }, "try")}
        />
      </label>
      {text && unit.state === "here" && <Awaited answer={tried}>{(one) => <Acts unit={unit.data} tried={one} />}</Awaited>}
      {text && unit.state === "here" && tried.state !== "failed" && <MiniClamp unit={unit.data} text={text} tried={tried} />}
    </section>
  );
}

function Acts({ unit, tried }: { unit: UnitPage; tried: Tried }): JSX.Element {
  const { maximum, minimum } = unit.statistics;
  const most = Math.max(Math.abs(maximum ?? 0), Math.abs(minimum ?? 0));
  const mark = largest(tried);
  const example: Example = { ...tried, kind: "top", value: tried.acts[mark] ?? 0, mark, before: false, after: false, stimulus: 0, position: mark, reason: "" };
  return <Strip example={example} most={most} under="values" />;
}

/** The place where the unit does most; special tokens only where there is nothing else. */
function largest({ acts, special }: Tried): number {
  const size = (i: number) => (special.includes(i) ? -1 : Math.abs(acts[i] ?? 0));
  return acts.reduce((best: number, _, i) => (size(i) > size(best) ? i : best), 0);
}

function MiniClamp({ unit, text, tried }: { unit: UnitPage; text: string; tried: Answer<Tried> }): JSX.Element {
  const { minimum, maximum, mean } = unit.statistics;
  const shown = finite(drafted.value.get("value"));
  const value = finite(query.value.get("value"));
  const asked: RunAsked | null = value === null ? null : { text, other: "", clamps: [clampOf(unit.key, value)], top: 20, new_tokens: 0, controls: 0, target: null, seed: 0 };
  const ran = useRun(asked);
  const rows = [...(ran.table?.rows ?? [])].sort((a, b) => Math.abs(b.delta ?? 0) - Math.abs(a.delta ?? 0)).slice(0, MOVED);
  const rest = tried.state === "failed" || !tried.data ? 0 : (tried.data.acts[largest(tried.data)] ?? 0);
  const [low, high] = [Math.min(minimum ?? 0, 0), Math.max(maximum ?? 0, 0)];
  const marks: [number, string][] = [[0, "0"]];
  if (maximum) marks.push([maximum, `max ${number(maximum)}`]);
  if (mean !== null) marks.push([mean, `mean ${number(mean)}`]);
  const track = { rest, low, high: high > low ? high : low + 1, natural: minimum !== null && maximum !== null ? ([minimum, maximum] as const) : null, marks, label: "set this unit to" };
  const scaled: typeof track = { rest: 1, low: 0, high: 2, natural: null, marks: [[0, "× 0"], [1, "× 1"], [2, "× 2"]], label: "scale this head by" };
  return (
    <div class="mini" data-testid="mini-clamp">
      <h3>Clamp it on this text</h3>
      <Slider
        value={shown}
        {...(usualMode(unit.key) === "scale" ? scaled : track)}
        onMove={(to) => draft({ value: to === null ? null : String(to) }, "value")}
      />
      {ran.failure && <Failed failure={ran.failure} />}
      {rows.length > 0 && value !== null && (
        <div class={`awaited ${ran.failure ? "old" : ""}`} aria-busy={ran.busy && ran.stale}>
          <Next rows={rows} caption={`the ${rows.length} next tokens whose probability changes most`} testid="moved" />
        </div>
      )}
      {value !== null && !ran.table && !ran.failure && (
        <p class="small soft" aria-busy="true">
          asking …
        </p>
      )}
      <p class="small">
        {value === null && <span class="soft">Neutral: nothing is changed. Move the handle to see what the model would write instead. </span>}
        <a href={labAddress(text, [clampOf(unit.key, value)])} data-testid="open-lab">
          open in the lab
        </a>
      </p>
    </div>
  );
}
