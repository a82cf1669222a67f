// An explanation, as its events come in.
import { type Job, useJob } from "./job";
import type { Explained } from "./types";

export type Explaining = Job<Explained>;

/** Return what has come in, and what asks; what was asked before is stopped. */
export const useExplaining = (url: string) => useJob<Explained>(url, "explained");
