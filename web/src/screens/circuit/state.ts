// What the address says of a circuit: pruning, view, what is chosen, pins, groups with their names, what it is compared with.
import { computed, signal } from "@preact/signals";
import { go, query, withQuery } from "../../route";

export const KEEP = { least: 0.1, most: 1, usual: 0.8, step: 0.01 };
export const LONGEST_NAME = 80;
/** Most pins that an address holds. */
export const MOST_PINS = 100;

/** A group: its name, and its nodes by their keys without subject. */
export interface Group {
  name: string;
  keys: string[];
}

// Keys stand beside one another with spaces between; a unit's key has none of these, and stays as it is.
const safe = (text: string) => text.replace(/[%\s]/g, encodeURIComponent);
const NAMED = " : ";

function plain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const words = (text: string | null) => (text ?? "").split(" ").filter(Boolean).map(plain);
const spaced = (keys: string[]) => keys.map(safe).join(" ") || null;

export const keep = computed(() => {
  const asked = Number(query.value.get("keep") ?? KEEP.usual);
  return Number.isFinite(asked) ? Math.min(Math.max(asked, KEEP.least), KEEP.most) : KEEP.usual;
});

export const view = computed(() => query.value.get("view"));

export const selected = computed(() => words(query.value.get("select")));

/** Nodes that pruning leaves, whatever their scores. */
export const pins = computed(() => words(query.value.get("pin")).slice(0, MOST_PINS));

/** Whether nothing but what is pinned is shown, and the ends. */
export const onlyPinned = computed(() => query.value.get("only") === "pinned" && pins.value.length > 0);

export const groups = computed(() => {
  const found: Group[] = [];
  const seen = new Set<string>();
  for (const part of query.value.getAll("group")) {
    const end = part.indexOf(NAMED);
    // A node is in one group; a link that was tampered with may say otherwise.
    const keys = words(part.slice(0, Math.max(end, 0))).filter((key) => !seen.has(key) && seen.add(key));
    const name = part.slice(end + NAMED.length).slice(0, LONGEST_NAME);
    if (keys.length && name) found.push({ name, keys });
  }
  return found;
});

export const comparedWith = computed(() => query.value.get("with"));

const packed = (all: Group[]) => all.map((one) => `${spaced(one.keys)}${NAMED}${one.name}`);

/** Choose items; no step for the back button. */
export function choose(ids: string[]): void {
  go(withQuery({ select: spaced(ids) }), true);
}

/** The address at which one item is chosen. */
export function choosing(id: string): string {
  return withQuery({ select: safe(id) });
}

/** Pin nodes; let all of them go where all are pinned already. */
export function pin(keys: string[]): void {
  const now = new Set(pins.value);
  const all = keys.every((key) => now.has(key));
  for (const key of keys) all ? now.delete(key) : now.add(key);
  go(withQuery({ pin: spaced([...now].slice(0, MOST_PINS)), ...(now.size ? {} : { only: null }) }), true);
}

/** The name by which a group is chosen. */
export const idOf = (group: number) => `group:${group + 1}`;

/** Group nodes; they leave the groups in which they were. */
export function makeGroup(name: string, keys: string[]): void {
  const taken = new Set(keys);
  const rest = groups.value.map((one) => ({ ...one, keys: one.keys.filter((key) => !taken.has(key)) })).filter((one) => one.keys.length);
  go(withQuery({ group: packed([...rest, { name: name.slice(0, LONGEST_NAME), keys }]), select: idOf(rest.length) }));
}

/** Give a group another name. */
export function rename(at: number, name: string): void {
  go(withQuery({ group: packed(groups.value.map((one, i) => (i === at ? { ...one, name: name.slice(0, LONGEST_NAME) } : one))) }), true);
}

/** Let a group's nodes go; they stay chosen. */
export function ungroup(at: number): void {
  const keys = groups.value[at]?.keys ?? [];
  go(withQuery({ group: packed(groups.value.filter((_, i) => i !== at)), select: spaced(keys) }));
}

/** The item that is pointed at, or has the focus; empty for none. */
export const near = signal("");
