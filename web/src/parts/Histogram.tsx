// How often the unit was how active; choosing an interval chooses the examples.
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { count, number } from "../format";

export interface Bins {
  edges: readonly number[];
  counts: readonly number[];
}

/** First and last chosen bin. */
export type Chosen = readonly [number, number];

interface Props extends Bins {
  chosen: Chosen | null;
  /** None where there is nothing to choose. */
  onChoose: ((chosen: Chosen | null) => void) | null;
  /** What is counted. */
  what?: string;
}

/** Draw the bins; heights are logarithmic, as one bin near zero holds nearly everything. */
export function Histogram({ edges, counts, chosen, onChoose, what = "tokens" }: Props): JSX.Element {
  const [drag, setDrag] = useState<Chosen | null>(null);
  const start = useRef<number | null>(null);
  const last = counts.length - 1;
  const tallest = Math.log1p(Math.max(...counts, 1));
  const shown = drag ?? chosen;
  const [from, to] = shown ?? [0, last];
  const edge = (i: number) => edges[i] as number;
  const zero = Math.min(Math.max(-edge(0) / (edge(last + 1) - edge(0)), 0), 1);

  const binAt = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const at = Math.floor(((event.clientX - box.left) / box.width) * counts.length);
    return Math.min(Math.max(at, 0), last);
  };
  const span = (a: number, b: number): Chosen => [Math.min(a, b), Math.max(a, b)];
  const down = (event: PointerEvent) => {
    if (event.button !== 0 || !onChoose) return;
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    start.current = binAt(event);
    setDrag(span(start.current, start.current));
  };
  const move = (event: PointerEvent) => start.current !== null && setDrag(span(start.current, binAt(event)));
  const up = (event: PointerEvent) => {
    if (start.current === null) return;
    onChoose?.(span(start.current, binAt(event)));
    start.current = null;
    setDrag(null);
  };
  const cancel = () => {
    start.current = null;
    setDrag(null);
  };
  const slide = (low: number, high: number) => onChoose?.(low === 0 && high === last ? null : span(low, high));
  // Whole powers of ten, the axis of a logarithm.
  const most = Math.max(...counts, 1);
  const ticks = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].filter((n) => n <= most);
  const step = Math.ceil(ticks.length / 4);
  const words = (i: number, side: 0 | 1) => number(edge(i + side));

  return (
    <div class="histogram" data-testid="histogram">
      <p class="small soft">{what} per interval, on a logarithmic scale</p>
      <div class="bins" onPointerDown={down} onPointerMove={move} onPointerUp={up} onPointerCancel={cancel}>
        {counts.map((n, i) => (
          <div
            key={i}
            class={`bin ${edge(i + 1) <= 0 ? "neg" : "pos"} ${i >= from && i <= to ? "" : "out"}`}
            data-bin={i}
            data-count={n}
            title={`${number(edge(i))} to ${number(edge(i + 1))}: ${count(n)}`}
          >
            <span style={{ height: `${n ? Math.max((Math.log1p(n) / tallest) * 100, 2) : 0}%` }} />
          </div>
        ))}
        {ticks
          .filter((_, i) => i % step === 0)
          .map((n) => (
            <span key={n} class="tick" data-tokens={n} style={{ bottom: `${(Math.log1p(n) / tallest) * 100}%` }} aria-hidden="true">
              {count(n)}
            </span>
          ))}
        {zero > 0 && zero < 1 && <i class="zero" style={{ left: `${zero * 100}%` }} />}
      </div>
      <div class="axis small soft" aria-hidden="true">
        <span>{number(edge(0))}</span>
        {zero > 0.14 && zero < 0.86 && <span style={{ position: "absolute", left: `${zero * 100}%`, transform: "translateX(-50%)" }}>0</span>}
        <span>{number(edge(last + 1))}</span>
      </div>
      {onChoose && (
        <div class="ends">
          <label>
            <span class="small soft">from</span>
            <input
              type="range"
              min={0}
              max={last}
              value={from}
              aria-valuetext={words(from, 0)}
              aria-label="lowest activation of the examples"
              onInput={(e) => slide(Number(e.currentTarget.value), Math.max(to, Number(e.currentTarget.value)))}
            />
          </label>
          <label>
            <span class="small soft">to</span>
            <input
              type="range"
              min={0}
              max={last}
              value={to}
              aria-valuetext={words(to, 1)}
              aria-label="highest activation of the examples"
              onInput={(e) => slide(Math.min(from, Number(e.currentTarget.value)), Number(e.currentTarget.value))}
            />
          </label>
        </div>
      )}
    </div>
  );
}
