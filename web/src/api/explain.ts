// An explanation, as its events come in; whoever asks something else, or leaves, stops it.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Failure } from "./failure";
import { failureOf } from "./run";
import { streamed } from "./stream";
import type { Explained, Finished, Progressed, Queued } from "./types";

export interface Explaining {
  busy: boolean;
  /** How many are explained before this one; null where it is not known. */
  ahead: number | null;
  progress: Progressed | null;
  explained: Explained | null;
  finished: Finished | null;
  failure: Failure | null;
}

const NONE: Explaining = { busy: false, ahead: null, progress: null, explained: null, finished: null, failure: null };

/** Return what has come in, and what asks; what was asked before is stopped. */
export function useExplaining(url: string): [Explaining, (asked: unknown) => void, () => void] {
  const [now, set] = useState<Explaining>(NONE);
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
    const next = (part: Partial<Explaining>) => own.signal.aborted || set((before) => ({ ...before, ...part }));
    set({ ...NONE, busy: true });
    const hears = {
      queued: ({ ahead }: Queued) => next({ ahead }),
      progressed: (progress: Progressed) => next({ progress }),
      explained: (explained: Explained) => next({ explained }),
      finished: (finished: Finished) => next({ finished, busy: false }),
    };
    streamed(url, asked, hears, own.signal).catch((fault: unknown) => next({ busy: false, failure: failureOf(fault) }));
  };
  return [now, ask, stop];
}
