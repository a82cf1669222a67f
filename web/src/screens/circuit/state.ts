// What the address says of a circuit: pruning, view, what is chosen, groups with their names, what it is compared with.
import { computed } from "@preact/signals";
import { go, query, withQuery } from "../../route";

export const KEEP = { least: 0.1, most: 1, usual: 0.8, step: 0.01 };
export const LONGEST_NAME = 80;

/** A group: its name, and its nodes by their keys without subject. */
export interface Group {
  name: string;
  keys: string[];
}

// Space, comma, semicolon and colon part names and keys from one another; inside of one they are escaped.
const safe = (text: string) => text.replace(/[%\s,;:]/g, encodeURIComponent);

function plain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const words = (text: string | null) => (text ?? "").split(" ").filter(Boolean).map(plain);

export const keep = computed(() => {
  const asked = Number(query.value.get("keep") ?? KEEP.usual);
  return Number.isFinite(asked) ? Math.min(Math.max(asked, KEEP.least), KEEP.most) : KEEP.usual;
});

export const view = computed(() => query.value.get("view"));

export const selected = computed(() => words(query.value.get("select")));

export const groups = computed(() => {
  const found: Group[] = [];
  const seen = new Set<string>();
  for (const part of (query.value.get("groups") ?? "").split(";").filter(Boolean)) {
    const colon = part.indexOf(":");
    // A node is in one group; a link that was tampered with may say otherwise.
    const keys = words(part.slice(colon + 1)).filter((key) => !seen.has(key) && seen.add(key));
    if (colon >= 0 && keys.length) found.push({ name: plain(part.slice(0, colon)).slice(0, LONGEST_NAME), keys });
  }
  return found;
});

export const comparedWith = computed(() => query.value.get("with"));

const packed = (all: Group[]) => all.map((one) => `${safe(one.name)}:${one.keys.map(safe).join(" ")}`).join(";") || null;
const chosen = (ids: string[]) => ids.map(safe).join(" ") || null;

/** Choose items; no step for the back button. */
export function choose(ids: string[]): void {
  go(withQuery({ select: chosen(ids) }), true);
}

/** The address at which one item is chosen. */
export function choosing(id: string): string {
  return withQuery({ select: safe(id) });
}

/** The name by which a group is chosen. */
export const idOf = (group: number) => `group:${group + 1}`;

/** Group nodes; they leave the groups in which they were. */
export function makeGroup(name: string, keys: string[]): void {
  const taken = new Set(keys);
  const rest = groups.value.map((one) => ({ ...one, keys: one.keys.filter((key) => !taken.has(key)) })).filter((one) => one.keys.length);
  go(withQuery({ groups: packed([...rest, { name: name.slice(0, LONGEST_NAME), keys }]), select: safe(idOf(rest.length)) }));
}

/** Give a group another name. */
export function rename(at: number, name: string): void {
  go(withQuery({ groups: packed(groups.value.map((one, i) => (i === at ? { ...one, name: name.slice(0, LONGEST_NAME) } : one))) }), true);
}

/** Let a group's nodes go; they stay chosen. */
export function ungroup(at: number): void {
  const keys = groups.value[at]?.keys ?? [];
  go(withQuery({ groups: packed(groups.value.filter((_, i) => i !== at)), select: chosen(keys) }));
}
