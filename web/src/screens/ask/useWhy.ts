// Asking why: by the button, and at once where a link holds the whole question.
import { useEffect, useRef } from "preact/hooks";
import { type Explaining, useExplaining } from "../../api/explain";

interface Why {
  now: Explaining;
  why: () => void;
  stop: () => void;
  /** Whether what is shown answers another question than the one that is written. */
  stale: boolean;
}

/**
 * Return what has come in, and what asks; `linked` gives the question of the address, null where it is not whole.
 * Where nothing was asked yet (`blank`), a link that brings a whole question asks it.
 */
export function useWhy(url: string, question: unknown, linked: () => unknown, blank = false): Why {
  const [now, ask, stop] = useExplaining(url);
  const pressed = useRef("");
  const send = (asked: unknown) => {
    if (!asked) return;
    pressed.current = JSON.stringify(asked);
    ask(asked);
  };
  // What is asked last holds for the address that comes next.
  const latest = useRef(linked);
  latest.current = linked;
  useEffect(() => {
    const again = () => send(latest.current());
    again();
    addEventListener("popstate", again);
    return () => removeEventListener("popstate", again);
  }, []);
  const wasBlank = useRef(blank);
  useEffect(() => {
    if (wasBlank.current && !blank) send(latest.current());
    wasBlank.current = blank;
  }, [blank]);
  return { now, why: () => send(question), stop, stale: pressed.current !== "" && pressed.current !== JSON.stringify(question) };
}
