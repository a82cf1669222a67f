// One clamp: how the unit is changed, by how much, where; and what it did along the prompt.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { ClampableUnit, ClampAsked, Clamped, Tokens, Trial, UnitPage } from "../../api/types";
import { BARE, neutral, usualMode } from "../../clamps";
import { number } from "../../format";
import { Slider } from "../../parts/Slider";
import { Failed } from "../../parts/States";
import { seen } from "../../parts/Text";
import { local, named, unitAddress } from "../../route";
import { Along } from "./Along";
import { asked, focusNext } from "./state";

const MODES: [ClampAsked["mode"], string][] = [
  ["set", "set to"],
  ["add", "add"],
  ["scale", "scale by"],
  ["ablate", "ablate"],
  ["patch", "take from the other prompt"],
];

interface Props {
  clamp: ClampAsked;
  place: number;
  tokens: Tokens | undefined;
  token: number;
  generates: boolean;
  /** Whether it is one of many, and drawn shorter. */
  many: boolean;
  clamped: Clamped | undefined;
  onChange: (part: Partial<ClampAsked>, by: string) => void;
  onRemove: () => void;
}

/** Draw one clamp. */
export function Clamp({ clamp, place, tokens, token, generates, many, clamped, onChange, onRemove }: Props): JSX.Element {
  // A whole site is all its values at once: the atlas has no page of it.
  const whole = clamp.key.includes("/whole/");
  const unit = useAnswer<UnitPage>(whole ? null : `/api${unitAddress(clamp.key)}`);
  const called = useAnswer<ClampableUnit>(whole ? `/api/lab/unit?key=${encodeURIComponent(clamp.key)}` : null);
  const { text } = asked.value;
  const alone = useAnswer<Trial>(text && unit.state === "here" ? `/api${unitAddress(clamp.key)}/trial?text=${encodeURIComponent(text)}` : null);
  const card = useRef<HTMLLIElement>(null);
  const wanted = focusNext.value === place;
  useEffect(() => {
    if (!wanted || (unit.state === "waiting" && !whole)) return;
    focusNext.value = null;
    const at = (selector: string) => card.current?.querySelector<HTMLElement>(selector);
    (at("input[type=range]") ?? at("select"))?.focus();
  }, [wanted, unit.state]);
  const { place: where, index } = named(clamp.key);
  const name = unit.state === "here" ? unit.data.name : called.state === "here" ? called.data.name : `${where} ${index}`.trim();
  const { other } = asked.value;
  const usual = usualMode(clamp.key);
  const modes = MODES.filter(([mode]) => mode === clamp.mode || ((mode !== "patch" || other) && (usual === "set" || (mode !== "set" && mode !== "add"))));
  const before = clamped?.before ?? (alone.state === "here" ? alone.data.acts : undefined);
  const rest = before?.[first(clamp.at, token, before.length)] ?? 0;
  return (
    <li ref={card} class={`clamp ${neutral(clamp) ? "idle" : ""}`} data-testid="clamp" data-key={clamp.key} data-mode={clamp.mode} data-value={clamp.value ?? ""} data-at={clamp.at}>
      <div class="row between">
        <h3>{whole ? <span title={local(clamp.key)}>{name}</span> : <a href={unitAddress(clamp.key)} title={local(clamp.key)}>{name}</a>}</h3>
        <span class="row tight nowrap">
          <button type="button" class="quiet" disabled={neutral(clamp)} onClick={() => onChange({ value: null, ...(BARE.has(clamp.mode) && { mode: usual }) }, "neutral")} aria-label={`neutral: ${name}`}>
            neutral
          </button>
          <button type="button" class="quiet" onClick={onRemove} aria-label={`remove the clamp of ${name}`}>
            remove
          </button>
        </span>
      </div>
      {called.state === "failed" && whole && <Failed failure={called.failure} />}
      {unit.state === "failed" &&
        (unit.failure.status === 404 ? (
          <p class="small soft" data-testid="unlisted">
            This atlas has no page of it, so its range is not known.
          </p>
        ) : (
          <Failed failure={unit.failure} />
        ))}
      {unit.state === "here" && !many && <Known unit={unit.data} />}
      <div class="asks">
        <label>
          <span>change</span>
          <select data-testid="mode" value={clamp.mode} onChange={(event) => onChange({ mode: event.currentTarget.value as ClampAsked["mode"], value: null }, "mode")}>
            {modes.map(([mode, words]) => (
              <option key={mode} value={mode}>
                {words}
              </option>
            ))}
          </select>
        </label>
        <Where clamp={clamp} tokens={tokens} token={token} generates={generates} onChange={onChange} />
      </div>
      {!BARE.has(clamp.mode) && (whole || unit.state !== "waiting") && <Value clamp={clamp} unit={unit.state === "here" ? unit.data : null} rest={rest} name={name} onChange={onChange} />}
      {clamp.mode === "ablate" && !many && <p class="small soft">set to 0 wherever it acts</p>}
      {clamp.mode === "patch" && !many && (
        <p class="small soft">
          its value on <q>{other}</q>
        </p>
      )}
      <Outside clamp={clamp} unit={unit.state === "here" ? unit.data : undefined} clamped={clamped} />
      {tokens && before && before.length === tokens.tokens.length && (
        <Folded when={many}>
          <Along tokens={tokens} before={before} after={clamped?.after ?? null} most={unit.state === "here" ? unit.data.statistics.maximum : null} />
        </Folded>
      )}
    </li>
  );
}

/** Where there are many clamps, what each did along the prompt is one click away. */
function Folded({ when, children }: { when: boolean; children: JSX.Element }): JSX.Element {
  if (!when) return children;
  return (
    <details class="small more">
      <summary>along the prompt</summary>
      {children}
    </details>
  );
}

/** The first position where a clamp acts: there the handle rests. */
function first(at: string, token: number, length: number): number {
  const start = /^(-?\d+)/.exec(at)?.[1];
  if (start === undefined) return token;
  return Number(start) < 0 ? length + Number(start) : Number(start);
}

function Known({ unit }: { unit: UnitPage }): JSX.Element {
  const words = unit.descriptions[0]?.text;
  return <p class="small soft known">{words !== undefined ? <q>{words}</q> : unit.line.text}</p>;
}

interface ValueProps {
  clamp: ClampAsked;
  unit: UnitPage | null;
  rest: number;
  name: string;
  onChange: Props["onChange"];
}

/** By how much of the seen range a slider reaches beyond it on either side. */
const BEYOND = 0.5;

function Value({ clamp, unit, rest, name, onChange }: ValueProps): JSX.Element {
  const { minimum = null, maximum = null, mean = null } = unit?.statistics ?? {};
  const [low, high] = [Math.min(minimum ?? 0, rest, 0), Math.max(maximum ?? 0, rest, 0)];
  const wide = high - low || 1;
  const scale = {
    set: {
      rest, low: low - wide * BEYOND, high: low + wide * (1 + BEYOND), ends: [low, low + wide] as const, natural: minimum !== null && maximum !== null ? ([minimum, maximum] as const) : null,
      marks: [[0, "0"], ...(maximum === null || maximum === 0 ? [] : [[maximum, `max ${number(maximum)}`]]), ...(mean === null ? [] : [[mean, `mean ${number(mean)}`]]), ...(minimum === null || minimum >= 0 ? [] : [[minimum, `min ${number(minimum)}`]])] as [number, string][],
    },
    add: { rest: 0, low: -wide, high: wide, ends: [-wide, wide] as const, natural: null, marks: [[0, "0"], [-wide, `−${number(wide)}`], [wide, `+${number(wide)}`]] as [number, string][] },
    scale: { rest: 1, low: 0, high: 2, ends: [0, 2] as const, natural: null, marks: [[1, "× 1"], [0, "× 0"], [2, "× 2"]] as [number, string][] },
    ablate: null,
    patch: null,
  }[clamp.mode];
  if (!scale) return <></>;
  return <Slider key={clamp.mode} value={clamp.value} {...scale} label={`${MODES.find(([mode]) => mode === clamp.mode)?.[1]}, ${name}`} onMove={(value) => onChange({ value }, "value")} />;
}

/** Where the clamp drives the unit to what was never seen, effects say less about the model. */
function Outside({ clamp, unit, clamped }: { clamp: ClampAsked; unit: UnitPage | undefined; clamped: Clamped | undefined }): JSX.Element | null {
  const { minimum = null, maximum = null } = unit?.statistics ?? {};
  const beyond = clamp.mode === "set" && clamp.value !== null && ((minimum !== null && clamp.value < minimum) || (maximum !== null && clamp.value > maximum));
  if (neutral(clamp) || !(beyond || (clamp.mode !== "set" && clamped?.outside))) return null;
  return (
    <p class="warn small" data-testid="outside">
      Outside the range that the atlas saw
      {minimum !== null && maximum !== null && `, ${number(minimum)} to ${number(maximum)}`}: the model was never seen there, and what it does then may say little
      about what it does otherwise.
    </p>
  );
}

function Where({ clamp, tokens, token, generates, onChange }: Pick<Props, "clamp" | "tokens" | "token" | "generates" | "onChange">): JSX.Element {
  const [free, setFree] = useState(false);
  const text = tokens?.tokens[token];
  const here = text === undefined ? "" : ` ${seen(text)}`;
  const options: [string, string][] = [["", "everywhere"]];
  if (text !== undefined) options.push([`${token}`, `only at token ${token},${here}`], [generates ? `${token}:,+0:` : `${token}:`, `from token ${token},${here}, on`]);
  if (generates) options.push(["+0:", "generated tokens only"]);
  if (!options.some(([at]) => at === clamp.at)) {
    const one = /^\d+$/.test(clamp.at) ? tokens?.tokens[Number(clamp.at)] : undefined;
    options.push([clamp.at, one === undefined ? `at ${clamp.at}` : `only at token ${clamp.at}, ${seen(one)}`]);
  }
  const chosen = (at: string) => {
    setFree(at === "?");
    if (at !== "?") onChange({ at }, "at");
  };
  return (
    <label>
      <span>where</span>
      <select data-testid="at" value={free ? "?" : clamp.at} onChange={(event) => chosen(event.currentTarget.value)}>
        {options.map(([at, words]) => (
          <option key={at} value={at}>
            {words}
          </option>
        ))}
        <option value="?">other …</option>
      </select>
      {free && (
        <input
          class="num"
          aria-label="positions"
          placeholder="5:9,+0:"
          defaultValue={clamp.at}
          autocomplete="off"
          onChange={(event) => {
            onChange({ at: event.currentTarget.value.replace(/\s/g, "") }, "at");
            setFree(false);
          }}
        />
      )}
    </label>
  );
}
