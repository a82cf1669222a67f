// How edges run: up through the gaps between nodes, so that no line lies on what is written.
import { type Band, type Layout, PORTS, type Spot } from "./layout";
import type { Link } from "./merge";

/** One line of a link: the whole of it, or what one slot of its target carries. */
export interface Strand {
  link: Link;
  slot: string;
  weight: number;
}

/** Return the lines of links: one for each slot that a head reads one as. */
export function strandsOf(links: Link[]): Strand[] {
  return links.flatMap((link) => {
    const slots = Object.entries(link.slots);
    return slots.length ? slots.map(([slot, weight]) => ({ link, slot, weight })) : [{ link, slot: "", weight: link.weight }];
  });
}

/** How near to a node a line passes. */
const BESIDE = 5;
/** Gaps that are narrower than this are none. */
const NARROW = 6;

/** Return where a band can be passed, nearest to where a line would like to. */
function passed(band: Band, x: number, width: number): number {
  let best = x;
  let least = Number.POSITIVE_INFINITY;
  let from = Number.NEGATIVE_INFINITY;
  const gap = (low: number, high: number) => {
    if (high - low < NARROW) return;
    const inside = Math.min(Math.max(x, Math.min(low + BESIDE, (low + high) / 2)), Math.max(high - BESIDE, (low + high) / 2));
    if (Math.abs(inside - x) < least) [best, least] = [inside, Math.abs(inside - x)];
  };
  for (const [low, high] of band.taken) {
    if (low > from) gap(from === Number.NEGATIVE_INFINITY ? Math.min(0, low - 2 * BESIDE) : from, low);
    from = Math.max(from, high);
  }
  gap(from === Number.NEGATIVE_INFINITY ? 0 : from, Math.max(width, from + 2 * BESIDE));
  return best;
}

const n = (x: number) => x.toFixed(1);

/** Where a line comes in: a head has places of their own for queries, keys and values. */
const portOf = (spot: Spot, slot: string) => spot.x + (spot.slots && slot in PORTS ? ((PORTS[slot] as number) - 0.5) * spot.width : 0);

/** Return a strand's line as the data of a path. */
export function routed(layout: Layout, { link, slot }: Strand): string {
  const a = layout.at.get(link.source);
  const b = layout.at.get(link.target);
  if (!a || !b) return "";
  const end = portOf(b, slot);
  let [x, y] = [a.x, a.top];
  let path = `M${n(x)} ${n(y)}`;
  const turnTo = (nextX: number, nextY: number) => {
    const half = (nextY - y) / 2;
    path += `C${n(x)} ${n(y + half)} ${n(nextX)} ${n(nextY - half)} ${n(nextX)} ${n(nextY)}`;
    [x, y] = [nextX, nextY];
  };
  const upwards = b.band < a.band;
  // Bands are counted from above: to a higher one, all between; to a lower one or its own, those from its own on.
  const [from, to] = upwards ? [a.band - 1, b.band + 1] : [a.band, b.band];
  for (let i = from; upwards ? i >= to : i <= to; upwards ? i-- : i++) {
    const band = layout.bands[i] as Band;
    const [enter, leave] = upwards ? [band.bottom, band.top] : [band.top, band.bottom];
    const share = b.bottom === a.top ? 0 : (enter - a.top) / (b.bottom - a.top);
    const at = passed(band, a.x + Math.min(Math.max(share, 0), 1) * (end - a.x), layout.width);
    if (upwards || i > from) turnTo(at, enter);
    else {
      // Out above, and around to go down.
      const over = band.top - 12;
      path += `C${n(x)} ${n(over)} ${n(at)} ${n(over)} ${n(at)} ${n(band.top)}`;
      [x, y] = [at, band.top];
    }
    path += `L${n(at)} ${n(leave)}`;
    y = leave;
  }
  if (upwards) turnTo(end, b.bottom);
  else path += `C${n(x)} ${n(y + 12)} ${n(end)} ${n(b.bottom + 12)} ${n(end)} ${n(b.bottom)}`;
  return path;
}

/** Start, two handles and end of a curve. */
export type Curve = [number, number, number, number, number, number, number, number];

/** Return a line between signs: bent where it would run up a column through what stands between. */
export function bent(layout: Layout, { link }: Strand): Curve | null {
  const a = layout.at.get(link.source);
  const b = layout.at.get(link.target);
  if (!a || !b) return null;
  const rise = b.y - a.y;
  if (Math.abs(rise) < 4) return [a.x, a.y, a.x, a.y - 26, b.x, b.y - 26, b.x, b.y];
  const bow = Math.abs(b.x - a.x) < 4 && Math.abs(rise) > 1.5 * layout.pitch ? Math.min(Math.abs(rise) * 0.16, 46) : 0;
  return [a.x, a.y, a.x + bow, a.y + rise / 2, b.x + bow, b.y - rise / 2, b.x, b.y];
}

/** Return a curve as the data of a path. */
export const curved = ([x, y, ...rest]: Curve) => `M${n(x)} ${n(y)}C${rest.map(n).join(" ")}`;
