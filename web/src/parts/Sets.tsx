// How many random sets a comparison can draw, and how low its p can fall: said before it is asked for.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { fetched, posting } from "../api/ask";
import type { Sets as Counted, SetsAsked } from "../api/types";

/** The number of sets and the least p; nothing while it is not known. */
export function Sets({ asked }: { asked: SetsAsked }): JSX.Element | null {
  const [counted, setCounted] = useState<Counted | null>(null);
  const body = JSON.stringify(asked);
  useEffect(() => {
    const stop = new AbortController();
    setCounted(null);
    // What cannot be counted is refused with its reason where it is asked for.
    fetched<Counted>("/api/lab/sets", stop.signal, posting(JSON.parse(body))).then(setCounted, () => undefined);
    return () => stop.abort();
  }, [body]);
  if (!counted) return null;
  return (
    <p class={`small ${counted.different < 19 ? "warn" : "soft"}`} data-testid="sets" data-different={counted.different}>
      {counted.sentence}
    </p>
  );
}
