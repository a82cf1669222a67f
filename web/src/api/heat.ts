// A map of blocks against tokens: answered at once, or as it is computed; a newer question stops the older one.
import { useEffect, useRef, useState } from "preact/hooks";
import { fetched, posting } from "./ask";
import type { Failure } from "./failure";
import { failureOf } from "./run";
import { streamed } from "./stream";
import type { HeatAsked, HeatPage, LensAsked, LensPage, Progressed, Queued } from "./types";

export type Question = { of: "lens"; asked: LensAsked } | { of: "heat"; asked: HeatAsked } | { of: "patching"; asked: HeatAsked };

export interface Mapped {
  busy: boolean;
  /** Whether the map answers an older question. */
  stale: boolean;
  ahead: number | null;
  progress: Progressed | null;
  /** Whether the reader stopped it. */
  stopped: boolean;
  lens: LensPage | null;
  heat: HeatPage | null;
  failure: Failure | null;
}

const NONE: Mapped = { busy: false, stale: false, ahead: null, progress: null, stopped: false, lens: null, heat: null, failure: null };

/** Ask for a map; null asks nothing. Also gives what stops it. */
export function useMap(question: Question | null): [Mapped, () => void] {
  const name = question && JSON.stringify(question);
  const [{ of, now }, set] = useState<{ of: string | null; now: Mapped }>({ of: null, now: NONE });
  const running = useRef<AbortController | null>(null);
  useEffect(() => {
    if (question === null) {
      set({ of: name, now: NONE });
      return;
    }
    const own = new AbortController();
    running.current = own;
    const next = (part: Partial<Mapped>) => own.signal.aborted || set(({ now: before }) => ({ of: name, now: { ...before, ...part } }));
    const fail = (fault: unknown) => next({ busy: false, progress: null, failure: failureOf(fault) });
    next({ busy: true, stale: true, stopped: false, ahead: null, progress: null, failure: null });
    const here = { busy: false, stale: false, progress: null };
    if (question.of === "patching") {
      const hears = {
        queued: ({ ahead }: Queued) => next({ ahead }),
        progressed: (progress: Progressed) => next({ progress }),
        heatpage: (heat: HeatPage) => next({ heat, lens: null, ...here }),
      };
      streamed("/api/lab/patching", question.asked, hears, own.signal).catch(fail);
    } else if (question.of === "lens") {
      fetched<LensPage>("/api/lab/lens", own.signal, posting(question.asked)).then((lens) => next({ lens, heat: null, ...here }), fail);
    } else {
      fetched<HeatPage>("/api/lab/heat", own.signal, posting(question.asked)).then((heat) => next({ heat, lens: null, ...here }), fail);
    }
    return () => own.abort();
  }, [name]);
  const stop = () => {
    running.current?.abort();
    set((before) => ({ ...before, now: { ...before.now, busy: false, progress: null, stopped: true } }));
  };
  // Until the effect has run, what is here answers the question before.
  return [of === name ? now : { ...now, busy: question !== null, stale: true, failure: null }, stop];
}
