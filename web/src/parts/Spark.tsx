// A small trace: the lowest and the highest sample of every bin, blue above zero and orange below.
import type { JSX } from "preact";
import type { Spark as Points } from "../api/types";

type Row = readonly (number | null)[];

/** Return the outline between two rows of numbers, cut off at zero; gaps where samples are missing. */
export function outline(low: Row, high: Row, place: (value: number) => number, above: boolean, width: number): string {
  const cut = (x: number) => (above ? Math.max(x, 0) : Math.min(x, 0));
  const step = width / Math.max(low.length, 1);
  let path = "";
  let run: number[] = [];
  const close = () => {
    // Each bin keeps its width, so that a single one between two gaps is seen.
    const edge = (i: number, row: Row) => `${(i * step).toFixed(1)},${place(cut(row[i] as number)).toFixed(1)} ${((i + 1) * step).toFixed(1)},${place(cut(row[i] as number)).toFixed(1)}`;
    if (run.length) path += `M${run.map((i) => edge(i, high)).join(" L")} L${[...run].reverse().map((i) => edge(i, low).split(" ").reverse().join(" ")).join(" L")}Z`;
    run = [];
  };
  low.forEach((value, i) => {
    const top = high[i];
    if (value === null || top === null || top === undefined) close();
    else if (above ? top > 0 : value < 0) run.push(i);
    else close();
  });
  close();
  return path;
}

/** Return the ends of a scale: zero is one of them unless it lies further off than the values from one another. */
export function ends(values: readonly (number | null)[]): [low: number, high: number] {
  const all = values.filter((value): value is number => value !== null);
  if (!all.length) return [0, 1];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  return low > high - low ? [low, high] : -high > high - low ? [low, high] : [Math.min(low, 0), Math.max(high, 0)];
}

/** Return where a value stands on a plot of some height, and the ends of its scale. */
export function scaled(rows: Row[], height: number): { place: (value: number) => number; low: number; high: number } {
  const [low, high] = ends(rows.flat());
  const size = high - low || 1;
  return { place: (value) => (1 - (value - low) / size) * height, low, high };
}

/** The trace of one unit. */
export function Spark({ of }: { of: Points }): JSX.Element {
  const { place } = scaled([of.low, of.high], 24);
  return (
    <svg class="spark" viewBox="0 0 120 24" preserveAspectRatio="none" aria-hidden="true" data-testid="spark">
      <path class="pos" d={outline(of.low, of.high, place, true, 120)} />
      <path class="neg" d={outline(of.low, of.high, place, false, 120)} />
      <line x1="0" x2="120" y1={place(0)} y2={place(0)} />
    </svg>
  );
}
