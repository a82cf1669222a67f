// What is shown as a file that patchclamp reads again: nodes, edges, groups with their names.
import type { GraphPage } from "../../api/types";
import { local } from "../../route";
import type { Group } from "./state";

/** Return a graph in the format of `patchclamp explain --out`, with what was pruned and how it is grouped. */
export function exported(page: GraphPage, keep: number, groups: Group[]): unknown {
  const scores = new Map(page.nodes.map((node) => [local(node.key), node.score]));
  const keys = new Map(page.nodes.map((node) => [local(node.key), node.key]));
  return {
    format: "patchclamp-graph",
    version: 1,
    subject: page.subject,
    metric: page.explains,
    measures: page.measures,
    about: {
      ...page.about,
      graph: page.graph.id,
      shown: { keep, kept: page.kept, nodes: page.nodes.length, of_nodes: page.total, edges: page.edges.length, of_edges: page.total_edges, notice: page.notice },
      groups: groups.map((group) => ({
        name: group.name,
        nodes: group.keys.map((key) => keys.get(key) ?? key),
        score: group.keys.reduce((sum, key) => sum + (scores.get(key) ?? 0), 0),
      })),
    },
    nodes: page.nodes.map(({ key, kind, score, measured, value }) => ({
      key,
      kind,
      score,
      ...(value === null ? {} : { activation: value }),
      ...(measured === null ? {} : { measured }),
    })),
    edges: page.edges.map(({ measured, ...edge }) => ({ ...edge, ...(measured === null ? {} : { measured }) })),
  };
}

/** Give a file to the reader. */
export function save(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
