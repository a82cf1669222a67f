// How many random sets there can be for some nodes, and so the smallest p.
import type { GraphPage, NodeRow } from "../../api/types";
import { local } from "../../route";

export interface Floor {
  /** Different sets, at most so many as are drawn. */
  sets: number;
  /** Whether sets have fewer units, for so few others are left: then there is no p. */
  fewer: boolean;
}

/** Return what random sets there can be: of units of the same kinds, in any block and at any position; null where that is not known. */
export function floorOf(page: GraphPage, nodes: NodeRow[], most: number): Floor | null {
  const kindOf = (place: string) => place.replace(/^blocks\.\d+\./, "");
  const chosen = new Map<string, number>();
  for (const { key } of nodes) {
    const kind = kindOf(local(key).replace(/\/[^/]*$/, ""));
    chosen.set(kind, (chosen.get(kind) ?? 0) + 1);
  }
  let [sets, fewer] = [1, false];
  for (const [kind, n] of chosen) {
    const places = nodes.some((node) => node.position !== null) ? Math.max(page.tokens.length, 1) : 1;
    const known = Object.entries(page.units).reduce((sum, [place, units]) => sum + (kindOf(place) === kind ? units : 0), 0);
    // The whole of a site stands once in every block.
    const all = (kind === "embed/whole" ? 1 : kind.endsWith("/whole") ? (page.layers ?? 0) : known) * places;
    if (!all) return null;
    const others = all - n;
    fewer ||= others < n;
    let ways = others > 0 ? 1 : 0;
    for (let i = 0; i < Math.min(n, others) && ways < most; i++) ways = (ways * (others - i)) / (i + 1);
    sets = Math.min(sets * ways, most);
  }
  return { sets: Math.min(Math.floor(sets + 1e-9), most), fewer };
}
