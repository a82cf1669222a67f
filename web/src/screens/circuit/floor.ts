// How many random sets there can be for some nodes, and so the smallest p.
import type { GraphPage, NodeRow } from "../../api/types";
import { local } from "../../route";

export interface Floor {
  /** Different sets, at most so many as are drawn. */
  sets: number;
  /** Whether sets have fewer units, for so few others are left: then there is no p. */
  fewer: boolean;
}

/** Return what random sets there can be; null where the atlas does not know how many units are like these. */
export function floorOf(page: GraphPage, nodes: NodeRow[], most: number): Floor | null {
  const pairs = typeof page.about.n_pairs === "number";
  const kindOf = (place: string) => (pairs ? place.replace(/^blocks\.\d+\./, "") : place);
  const chosen = new Map<string, number>();
  for (const { key, position } of nodes) {
    const place = local(key).replace(/\/[^/]*$/, "");
    const name = `${kindOf(place)} ${position}`;
    chosen.set(name, (chosen.get(name) ?? 0) + 1);
  }
  let [sets, fewer] = [1, false];
  for (const [name, n] of chosen) {
    const kind = name.split(" ")[0] as string;
    const all = Object.entries(page.units).reduce((sum, [place, units]) => sum + (kindOf(place) === kind ? units : 0), 0);
    if (!all) return null;
    fewer ||= all - n < n;
    for (let i = 0, ways = 1; i < Math.min(n, all - n); i++) {
      ways = (ways * (all - n - i)) / (i + 1);
      if (i + 1 === Math.min(n, all - n)) sets *= ways;
      if (ways > 1e9) {
        sets = most;
        break;
      }
    }
    if (all === n) sets = 0;
  }
  return { sets: Math.min(Math.round(sets), most), fewer };
}
