// What is asked: all of it is in the address. The cell that is looked at is there too, and asks nothing.
import { computed, signal } from "@preact/signals";
import type { Question } from "../../api/heat";
import type { ClampAsked, HeatAsked } from "../../api/types";
import { readClamps } from "../../clamps";
import { drafted } from "../../draft";
import { go, path, query, withQuery } from "../../route";

export type Of = "lens" | "activation" | "attribution" | "patching";
export type Part = HeatAsked["part"];
export type Side = "without" | "with" | "difference";

export const MAPS: [of: Of, words: string][] = [
  ["lens", "logit lens"],
  ["activation", "activation"],
  ["attribution", "attribution"],
  ["patching", "patching"],
];
export const SIDES: Side[] = ["without", "with", "difference"];
const STREAM: [Part, string][] = [
  ["resid", "residual stream"],
  ["attn", "attention's output"],
  ["mlp", "MLP's output"],
];
/** What of each block a map can show, the usual first. */
export const PARTS: Record<Of, [Part, string][]> = {
  lens: [],
  activation: STREAM,
  attribution: [
    ["all", "heads and neurons"],
    ["attn", "heads"],
    ["mlp", "neurons"],
  ],
  patching: STREAM,
};

export interface Asked {
  text: string;
  of: Of;
  part: Part;
  unit: string;
  other: string;
  clamps: ClampAsked[];
  target: number | null;
  contrast: number | null;
  side: Side;
  /** Row, counted from the lowest, and token; null where none was looked at. */
  at: [row: number, position: number] | null;
}

const id = (text: string | null) => (text !== null && /^\d{1,9}$/.test(text) ? Number(text) : null);

function read(from: URLSearchParams): Asked {
  const of = MAPS.find(([name]) => name === from.get("of"))?.[0] ?? "lens";
  const part = PARTS[of].find(([name]) => name === from.get("part"))?.[0] ?? PARTS[of][0]?.[0] ?? "resid";
  const clamps = from.getAll("clamp").flatMap((text) => readClamps(text) ?? []);
  const side = SIDES.find((name) => name === from.get("side")) ?? "with";
  const at = /^(\d{1,4}),(\d{1,5})$/.exec(from.get("at") ?? "");
  return {
    text: from.get("text") ?? "",
    of,
    part,
    unit: of === "activation" ? (from.get("unit") ?? "") : "",
    other: from.get("other") ?? "",
    clamps,
    target: id(from.get("target")),
    contrast: id(from.get("contrast")),
    side: clamps.length && (of === "lens" || of === "activation") ? side : "without",
    at: at && [Number(at[1]), Number(at[2])],
  };
}

/** What is shown: changed at once. */
export const shown = computed(() => read(drafted.value));
/** What is asked: changed after a pause. */
export const settled = computed(() => read(query.value));

/** Return what the server is asked; null without what it takes. */
export function questionOf({ text, of, part, unit, other, clamps, target, contrast }: Asked): Question | null {
  if (!text) return null;
  if (of === "lens") return { of, asked: { text, other, clamps, target, top: 5 } };
  if (of === "activation") return { of: "heat", asked: { text, of, part, unit, other, clamps, target: null, contrast: null } };
  if (of === "attribution") return { of: "heat", asked: { text, of, part, unit: "", other: "", clamps: [], target, contrast } };
  return other ? { of, asked: { text, of, part, unit: "", other, clamps: [], target, contrast } } : null;
}

const PAUSE_MS = 150;
const looked = signal<Asked["at"]>(null);
let timer = 0;

/** The cell that is looked at; null for the map's own choice. */
export const lookedAt = computed(() => looked.value ?? settled.value.at);

/** Look at a cell: at once, and in the address after a pause, without a step for the back button. */
export function look(row: number, position: number): void {
  looked.value = [row, position];
  clearTimeout(timer);
  timer = setTimeout(() => path.peek() === "/heat" && go(withQuery({ at: `${row},${position}` }), true), PAUSE_MS);
}

/** Forget the cell: one has gone elsewhere. */
export function lookAway(): void {
  clearTimeout(timer);
  looked.value = null;
}
