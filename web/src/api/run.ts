// A run of the lab, as its events come in: a newer question stops the older one, and its last good table stays.
import { useEffect, useState } from "preact/hooks";
import type { Failure } from "./failure";
import { streamed } from "./stream";
import type { Control, Finished, Queued, RunAsked, Step, Table } from "./types";

export interface Ran {
  /** Whether something is still to come. */
  busy: boolean;
  /** Whether what is here answers an older question. */
  stale: boolean;
  /** How many runs are done before this one; null where it is not known. */
  ahead: number | null;
  /** The question that the table answers. */
  asked: RunAsked | null;
  table: Table | null;
  steps: Step[];
  control: Control | null;
  finished: Finished | null;
  failure: Failure | null;
}

const NONE: Ran = { busy: false, stale: false, ahead: null, asked: null, table: null, steps: [], control: null, finished: null, failure: null };

/** Return what went wrong in the server's three parts. */
export function failureOf(fault: unknown): Failure {
  if (typeof fault === "object" && fault !== null && "remedy" in fault) return fault as Failure;
  const remedy = "Start it again with `patchclamp atlas serve`, then try again.";
  return { status: 0, expected: "a whole answer of the atlas' server", got: "only a part of one", remedy };
}

/** Ask for a run and hear what comes; null asks nothing. */
export function useRun(asked: RunAsked | null): Ran {
  const question = asked && JSON.stringify(asked);
  const [{ of, ran }, set] = useState<{ of: string | null; ran: Ran }>({ of: null, ran: NONE });
  useEffect(() => {
    if (asked === null) {
      set({ of: question, ran: NONE });
      return;
    }
    const stop = new AbortController();
    const next = (part: Partial<Ran> | ((now: Ran) => Partial<Ran>)) => {
      if (stop.signal.aborted) return;
      set(({ ran: now }) => ({ of: question, ran: { ...now, ...(typeof part === "function" ? part(now) : part) } }));
    };
    next({ busy: true, stale: true, ahead: null, failure: null });
    const hears = {
      queued: ({ ahead }: Queued) => next({ ahead }),
      table: (table: Table) => next({ table, asked, steps: [], control: null, finished: null, stale: false, ahead: null }),
      step: (one: Step) => next((now) => ({ steps: [...now.steps, one] })),
      control: (control: Control) => next({ control }),
      finished: (finished: Finished) => next({ finished, busy: false }),
    };
    streamed("/api/lab/run", asked, hears, stop.signal).catch((fault: unknown) => next({ busy: false, failure: failureOf(fault) }));
    return () => stop.abort();
  }, [question]);
  // Until the effect has run, what is here answers the question before.
  return of === question ? ran : { ...ran, busy: asked !== null, stale: true, failure: null };
}
