// A value to be chosen on a unit's own scale: 0, mean and extremes marked, neutral within reach.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { newGesture } from "../draft";
import { number } from "../format";

interface Props {
  /** What is chosen; null for neutral, which changes nothing. */
  value: number | null;
  /** Where the handle rests at neutral. */
  rest: number;
  low: number;
  high: number;
  /** Where Home and End lead; the ends of the track unless said. */
  ends?: readonly [low: number, high: number];
  /** What the unit was seen to do. */
  natural: readonly [low: number, high: number] | null;
  /** Values that are marked, with their names; the handle catches on them. */
  marks: readonly (readonly [value: number, name: string])[];
  label: string;
  onMove: (value: number | null) => void;
}

const CATCH = 0.008;
const NEUTRAL_KEYS = ["Delete", "Backspace", "Escape"];

/** Draw the slider and, beside it, a field that takes any number. */
export function Slider({ value, rest, low, high, ends: stops = [low, high], natural, marks, label, onMove }: Props): JSX.Element {
  const handle = useRef<HTMLInputElement>(null);
  const field = useRef<HTMLInputElement>(null);
  // A number beyond the ends makes the track longer, and it stays so: a handle must not move its own track.
  const [ends, setEnds] = useState<[number, number]>([low, high]);
  const from = Math.min(low, ends[0], value ?? low);
  const to = Math.max(high, ends[1], value ?? high, from + 1e-6);
  useEffect(() => setEnds(value === null ? [low, high] : [from, to]), [value, low, high]);
  const at = Math.min(Math.max(value ?? rest, from), to);
  useEffect(() => {
    if (handle.current) handle.current.value = String(at);
    if (field.current && document.activeElement !== field.current) field.current.value = value === null ? "" : String(value);
  });
  const share = (x: number) => (x - from) / (to - from);
  const left = (x: number) => `${share(x) * 100}%`;
  const moved = (x: number) => {
    const near = marks.find(([mark]) => Math.abs(x - mark) < (to - from) * CATCH);
    onMove(near ? near[0] : Number(x.toPrecision(5)));
  };
  const keyed = (event: KeyboardEvent) => {
    // A handle that rests at an end does not move there, and the browser says nothing.
    const chosen = NEUTRAL_KEYS.includes(event.key) ? null : { Home: stops[0], End: stops[1] }[event.key];
    if (chosen === undefined) return;
    event.preventDefault();
    onMove(chosen);
  };
  // Names stand where there is room, the first ones first.
  const placed: number[] = [];
  const named = marks.filter(([x]) => {
    const room = placed.every((other) => Math.abs(share(x) - other) > 0.24);
    if (room) placed.push(share(x));
    return room;
  });
  return (
    <div class={`slider ${value === null ? "neutral" : ""}`} data-testid="slider" data-value={value ?? ""}>
      <div class="groove">
        {natural && from < Math.min(natural[0], 0) && <i class="beyond" title="below what was seen" style={{ left: 0, right: `calc(100% - ${left(Math.min(natural[0], 0))})` }} />}
        {natural && to > Math.max(natural[1], 0) && <i class="beyond" title="above what was seen" style={{ left: left(Math.max(natural[1], 0)), right: 0 }} />}
        {natural && <i class="natural" style={{ left: left(Math.max(natural[0], from)), right: `calc(100% - ${left(Math.min(natural[1], to))})` }} />}
        {marks.map(([x, name]) => (
          <i key={name} class="tick" data-mark={name} style={{ left: left(x) }} />
        ))}
        {value !== null && <i class={`pull ${value < rest ? "neg" : "pos"}`} style={{ left: left(Math.min(at, rest)), right: `calc(100% - ${left(Math.max(at, rest))})` }} />}
        <i class="rest" style={{ left: left(rest) }} title={`without the clamp ${number(rest)}`} />
      </div>
      <input
        ref={handle}
        type="range"
        min={from}
        max={to}
        step="any"
        defaultValue={String(at)}
        aria-label={label}
        aria-valuetext={value === null ? `neutral: ${number(rest)}, not changed` : number(value)}
        title="double click or Delete: neutral"
        onPointerDown={() => newGesture(true)}
        onInput={(event) => moved(Number(event.currentTarget.value))}
        onDblClick={() => onMove(null)}
        onKeyDown={keyed}
      />
      <div class="names" aria-hidden="true">
        {named.map(([x, name]) => (
          <span key={name} style={{ left: left(x), translate: `${-share(x) * 100}% 0` }}>
            {name}
          </span>
        ))}
      </div>
      <input
        ref={field}
        class="exact num"
        type="number"
        step="any"
        aria-label={`${label}, as a number`}
        placeholder="neutral"
        defaultValue={value === null ? "" : String(value)}
        onChange={(event) => {
          const text = event.currentTarget.value;
          onMove(text === "" || !Number.isFinite(Number(text)) ? null : Number(text));
        }}
      />
    </div>
  );
}
