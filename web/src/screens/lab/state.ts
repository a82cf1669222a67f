// What the lab is asked: all of it is in the address. And the clamps before and after, for undo.
import { computed, signal } from "@preact/signals";
import type { ClampAsked, Ranking, RunAsked } from "../../api/types";
import { readClamps, written } from "../../clamps";
import { draft, drafted, newGesture } from "../../draft";
import { query } from "../../route";

export const TOP = 10;
export const SETS = 99;
const NEW = 12;
export const MOST_NEW = 100;
const FIRST_RANKED = 8;
export const MOST_RANKED = 40;

export interface Asked {
  text: string;
  /** The prompt from which clamps take values; empty without one. */
  other: string;
  clamps: ClampAsked[];
  /** Clamps of the address that are none. */
  unread: string[];
  /** The chosen token; null for the last. */
  token: number | null;
  by: Ranking["by"];
  site: string;
  target: number | null;
  contrast: number | null;
  fresh: number;
  controls: number;
  ranked: number;
}

function whole(text: string | null, most: number): number | null {
  return text !== null && /^\d{1,9}$/.test(text) ? Math.min(Number(text), most) : null;
}

function read(from: URLSearchParams): Asked {
  const all = from.getAll("clamp").map((text) => ({ text, clamps: readClamps(text) }));
  return {
    text: from.get("text") ?? "",
    other: from.get("other") ?? "",
    clamps: all.flatMap(({ clamps }) => clamps ?? []),
    unread: all.filter(({ clamps }) => !clamps).map(({ text }) => text),
    token: whole(from.get("token"), 1e9),
    by: from.get("by") === "effect" ? "effect" : "activation",
    site: from.get("site") ?? "",
    target: whole(from.get("target"), 1e9),
    contrast: whole(from.get("contrast"), 1e9),
    fresh: whole(from.get("new"), MOST_NEW) ?? NEW,
    controls: whole(from.get("controls"), 200) ?? 0,
    ranked: whole(from.get("ranked"), MOST_RANKED) ?? FIRST_RANKED,
  };
}

/** What is shown: changed at once. */
export const shown = computed(() => read(drafted.value));
/** What is asked: changed after a pause. */
export const asked = computed(() => read(query.value));

/** Return the run that the address asks for; null without a text. */
export function runAsked(of: Asked, generates: boolean): RunAsked | null {
  if (!of.text) return null;
  const { text, other, clamps, target, controls } = of;
  return { text, other, clamps, top: TOP, new_tokens: generates ? of.fresh : 0, controls, target, seed: 0 };
}

const past = signal<string[][]>([]);
const future = signal<string[][]>([]);
export const canUndo = computed(() => past.value.length > 0);
export const canRedo = computed(() => future.value.length > 0);

const present = () => drafted.peek().getAll("clamp");

/** Change the clamps; what was measured beside them was another's. */
export function clampTo(clamps: ClampAsked[], by: string): void {
  const before = present();
  const now = written(clamps);
  if (before.join("\n") === now.join("\n")) return;
  if (draft({ clamp: now, controls: null }, by)) past.value = [...past.peek(), before];
  future.value = [];
}

function turn(from: typeof past, to: typeof past): void {
  const clamps = from.peek().at(-1);
  if (clamps === undefined) return;
  from.value = from.peek().slice(0, -1);
  to.value = [...to.peek(), present()];
  newGesture();
  draft({ clamp: clamps, controls: null }, "undo");
  newGesture();
}

export const undo = () => turn(past, future);
export const redo = () => turn(future, past);

/** Another visit has other clamps. */
export function beginAnew(): void {
  past.value = [];
  future.value = [];
}

/** Which clamp takes the focus when it appears, or now if it is there. */
export const focusNext = signal<number | null>(null);
