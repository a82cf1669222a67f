// Nodes and groups as one graph: a group's score and edges are the sums of its members'.
import type { EdgeRow, GraphPage, NodeRow } from "../../api/types";
import { seen } from "../../parts/Text";
import { local } from "../../route";
import { type Group, idOf } from "./state";

/** What is drawn as one: a node, or a group of them. */
export interface Item {
  id: string;
  label: string;
  kind: string;
  /** Which group it is, counted from 0; null for a node. */
  group: number | null;
  /** The nodes in it that pruning leaves, the largest first. */
  members: NodeRow[];
  /** How many of its nodes pruning hides. */
  hidden: number;
  score: number;
}

/** The sum of all edges from one item to another. */
export interface Link {
  source: string;
  target: string;
  weight: number;
  /** What the target reads it as, with what each slot carries; empty where it reads one thing. */
  slots: Record<string, number>;
  /** What replacing its edges one by one took, summed; null where one of them was not measured. */
  measured: number | null;
}

export interface Merged {
  items: Item[];
  links: Link[];
  byId: Map<string, Item>;
  into: Map<string, Link[]>;
  outOf: Map<string, Link[]>;
}

export const ENDS = new Set(["input", "output", "error"]);

/** What a node is called where it stands alone: what it is known for and its name, with its token. */
export function nameOf(node: NodeRow, tokens: string[]): string {
  if (node.kind === "output") return "output";
  const token = node.position === null ? undefined : tokens[node.position];
  const at = node.position === null ? "" : token === undefined ? ` @${node.position}` : ` at ${seen(token)}`;
  if (node.kind === "input") return `input${at}`;
  return `${node.label ? `${node.label} (${node.name})` : node.name}${at}`;
}

/** A node by itself. */
export const itemOf = (node: NodeRow): Item => ({ id: local(node.key), label: node.name, kind: node.kind, group: null, members: [node], hidden: 0, score: node.score });

/** Return the first member, which says where an item stands. */
export const first = (item: Item) => item.members[0] as NodeRow;

/** Nodes and groups; `only` leaves nothing but those keys, and the ends. */
export function merge(page: GraphPage, groups: Group[], only: ReadonlySet<string> | null = null): Merged {
  const groupOf = new Map<string, number>();
  groups.forEach((group, i) => group.keys.forEach((key) => groupOf.set(key, i)));
  const byId = new Map<string, Item>();
  const idByKey = new Map<string, string>();
  for (const node of page.nodes) {
    const key = local(node.key);
    if (only && !only.has(key) && !ENDS.has(node.kind)) continue;
    const group = groupOf.get(key) ?? null;
    const id = group === null ? key : idOf(group);
    idByKey.set(node.key, id);
    const item = byId.get(id);
    if (item) {
      item.members.push(node);
      item.score += node.score;
    } else {
      const label = group === null ? nameOf(node, page.tokens) : (groups[group] as Group).name;
      byId.set(id, { id, label, kind: group === null ? node.kind : "group", group, members: [node], hidden: 0, score: node.score });
    }
  }
  for (const item of byId.values()) {
    if (item.group !== null) item.hidden = (groups[item.group] as Group).keys.length - item.members.length;
  }
  const items = [...byId.values()].sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  const links = sums(page.edges, idByKey);
  const into = new Map<string, Link[]>();
  const outOf = new Map<string, Link[]>();
  for (const link of links) {
    (into.get(link.target) ?? into.set(link.target, []).get(link.target)!).push(link);
    (outOf.get(link.source) ?? outOf.set(link.source, []).get(link.source)!).push(link);
  }
  return { items, links, byId, into, outOf };
}

function sums(edges: EdgeRow[], idByKey: Map<string, string>): Link[] {
  const found = new Map<string, Link>();
  for (const edge of edges) {
    const source = idByKey.get(edge.source);
    const target = idByKey.get(edge.target);
    // What flows within a group is its own business.
    if (source === undefined || target === undefined || source === target) continue;
    const name = `${source}\n${target}`;
    const link = found.get(name) ?? { source, target, weight: 0, slots: {}, measured: 0 };
    link.weight += edge.weight;
    link.measured = link.measured === null || edge.measured === null ? null : link.measured + edge.measured;
    if (edge.slot) link.slots[edge.slot] = (link.slots[edge.slot] ?? 0) + edge.weight;
    found.set(name, link);
  }
  return [...found.values()].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
}

/** A group that might be of use, with a name. */
export interface Suggestion extends Group {
  why: string;
}

const SUGGESTED = 6;

/** Suggest groups among nodes that are in none: one unit at several tokens, one token, one layer and kind. */
export function suggestions(merged: Merged, tokens: string[]): Suggestion[] {
  const found = new Map<string, Suggestion & { size: number }>();
  const add = (why: string, name: string, key: string, size: number) => {
    const one = found.get(why + name) ?? { why, name, keys: [], size: 0 };
    one.keys.push(key);
    one.size += size;
    found.set(why + name, one);
  };
  for (const item of merged.items) {
    const node = first(item);
    if (item.group !== null || ENDS.has(node.kind)) continue;
    const size = Math.abs(node.score);
    if (node.position !== null) {
      add("one unit at several tokens", node.label || node.name, item.id, size);
      const token = tokens[node.position];
      add("one token", token === undefined ? `at ${node.position}` : `at ${seen(token)} (${node.position})`, item.id, size);
    }
    if (node.layer !== null) add("one layer and kind", `${node.kind}s of Block ${node.layer}`, item.id, size);
  }
  const enough = [...found.values()].filter((one) => one.keys.length > 1);
  // One unit at several tokens is the same thing twice; the other two are only near each other.
  const rank = (one: Suggestion) => (one.why === "one unit at several tokens" ? 0 : 1);
  return enough.sort((a, b) => rank(a) - rank(b) || b.size - a.size).slice(0, SUGGESTED);
}
