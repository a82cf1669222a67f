// What is being changed is shown at once, and written to the address after a pause; requests follow the address.
import { batch, computed, signal } from "@preact/signals";
import { type Change, changed, go, path, query, spelt } from "./route";

const PAUSE_MS = 150;
const GESTURE_MS = 1000;

const pending = signal<Change | null>(null);
let timer = 0;
let from = "";
let step = true;
let last = { by: "", at: 0 };
let held = false;

/** The address's parameters as they will be after the pause. */
export const drafted = computed(() => changed(query.value, pending.value ?? {}));

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
