// A long computation of the server, as its events come in; whoever asks something else, or leaves, stops it.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Failure } from "./failure";
import { failureOf } from "./run";
import { streamed } from "./stream";
import type { Finished, Progressed, Queued } from "./types";

export interface Job<Result> {
  busy: boolean;
  /** How many are computed before this one; null where it is not known. */
  ahead: number | null;
  progress: Progressed | null;
  result: Result | null;
  finished: Finished | null;
  failure: Failure | null;
}

/** Return what has come in, what asks, and what stops it; `event` is the name under which the result comes. */
export function useJob<Result>(url: string, event: string): [Job<Result>, (asked: unknown) => void, () => void] {
  const none: Job<Result> = { busy: false, ahead: null, progress: null, result: null, finished: null, failure: null };
  const [now, set] = useState(none);
  const running = useRef<AbortController | null>(null);
  const stop = () => {
    running.current?.abort();
    running.current = null;
    set((before) => (before.busy ? { ...before, busy: false, progress: null } : before));
  };
  useEffect(() => () => running.current?.abort(), []);
  const ask = (asked: unknown) => {
    running.current?.abort();
    const own = new AbortController();
    running.current = own;
    const next = (part: Partial<Job<Result>>) => own.signal.aborted || set((before) => ({ ...before, ...part }));
    set({ ...none, busy: true });
    const hears = {
      queued: ({ ahead }: Queued) => next({ ahead }),
      progressed: (progress: Progressed) => next({ progress }),
      [event]: (result: Result) => next({ result }),
      finished: (finished: Finished) => next({ finished, busy: false }),
    };
    streamed(url, asked, hears, own.signal).catch((fault: unknown) => next({ busy: false, failure: failureOf(fault) }));
  };
  return [now, ask, stop];
}
