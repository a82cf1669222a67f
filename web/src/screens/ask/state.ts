// What is asked: all of it is in the address, so that a link asks the same again.
import { computed } from "@preact/signals";
import type { ExplainAsked } from "../../api/types";
import { draft, drafted } from "../../draft";
import { query } from "../../route";

/** Causes: as many as `patchclamp explain` and `pc.explain` name. */
export const TOP = 20;
export const SETS = 99;
export const LONGEST = { prompt: 4000, answer: 200, pairs: 60_000 };

export interface Question {
  prompt: string;
  target: string;
  contrast: string;
  counterpart: string;
}

const read = (from: URLSearchParams): Question => ({
  prompt: from.get("prompt") ?? "",
  target: from.get("target") ?? "",
  contrast: from.get("contrast") ?? "",
  counterpart: from.get("counterpart") ?? "",
});

/** What is shown: changed at once. */
export const shown = computed(() => read(drafted.value));
/** What the server is asked of the prompt: changed after a pause. */
export const settled = computed(() => read(query.value));
export const overPairs = computed(() => query.value.get("over") === "pairs");

/** Return the question as the server takes it; null where no answer is chosen. */
export function explainAsked({ prompt, target, contrast, counterpart }: Question): ExplainAsked | null {
  if (!prompt || !target) return null;
  return { prompt, target, contrast: contrast || null, counterpart: counterpart || null, top: TOP, controls: SETS, seed: 0 };
}

/** Change some of the question. */
export function change(part: Partial<Question>, by: string): void {
  draft(part, by);
}

/** Choose a token: the first is the answer, another one what it is compared with; one that is chosen is let go. */
export function choose(text: string): void {
  const { target, contrast } = shown.peek();
  if (text === target) change({ target: contrast, contrast: "" }, "token");
  else if (text === contrast) change({ contrast: "" }, "token");
  else if (!target) change({ target: text }, "token");
  else change({ contrast: text }, "token");
}
