// What is being changed is shown at once, and written to the address after a pause; requests follow the address.
import { batch, computed, signal } from "@preact/signals";
import { go, path, query } from "./route";

const PAUSE_MS = 150;
const GESTURE_MS = 1000;

/** Parameters with their new values; a list for one that is repeated, null for one that is taken away. */
export type Change = Record<string, string | string[] | null>;

const pending = signal<Change | null>(null);
let timer = 0;
let from = "";
let step = true;
let last = { by: "", at: 0 };
let held = false;

/** The address's parameters as they will be after the pause. */
export const drafted = computed(() => changed(query.value, pending.value ?? {}));

/** Return parameters with some of them changed. */
export function changed(before: URLSearchParams, changes: Change): URLSearchParams {
  const next = new URLSearchParams(before);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of Array.isArray(value) ? value : value ? [value] : []) next.append(name, one);
  }
  return next;
}

/** Return parameters as text; a unit's key stays readable. */
export function spelt(parameters: URLSearchParams): string {
  const text = parameters.toString().replace(/%2F/g, "/").replace(/%3A/g, ":").replace(/%2C/g, ",").replace(/%40/g, "@");
  return text && `?${text}`;
}

/**
 * Change parameters by hand. What one control does without a pause is one gesture, and one step for the back button:
 * its moves replace the address. Returns whether a gesture begins.
 */
export function draft(changes: Change, by: string): boolean {
  const now = performance.now();
  const begins = by !== last.by || (!held && now - last.at > GESTURE_MS);
  last = { by, at: now };
  if (from !== path.peek()) pending.value = null;
  from = path.peek();
  step ||= begins;
  pending.value = { ...pending.peek(), ...changes };
  clearTimeout(timer);
  timer = setTimeout(write, PAUSE_MS);
  return begins;
}

/** The next change begins a gesture, even of the same control; while a pointer holds it, it is the same one. */
export function newGesture(holds = false): void {
  last.by = "";
  held = holds;
}

for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (held = false));

function write(): void {
  const replace = !step;
  step = false;
  batch(() => {
    const to = path.peek() + spelt(drafted.peek());
    const here = from === path.peek();
    pending.value = null;
    if (here) go(to, replace);
  });
}

/** Forget what was not written yet: one has gone elsewhere. */
export function forget(): void {
  clearTimeout(timer);
  newGesture();
  step = true;
  pending.value = null;
}

addEventListener("popstate", forget);
