// Asking the server: one answer or one failure in three parts, never an exception that leaves a blank page.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { storedAnswer, exportedFile } from "../exportedFile";
import type { Failure } from "./failure";

export type Answer<T> =
  | { state: "waiting"; data?: T }
  | { state: "here"; data: T }
  | { state: "failed"; failure: Failure };

// The server's ETag makes a second look cheap; this makes the back button immediate.
const kept = new Map<string, unknown>();
const KEPT = 60;

/** How often the atlas was written to from here; what is shown is asked for again with each. */
export const changed = signal(0);

/** Return how a body of JSON is sent, with further headers. */
export const posting = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { accept: "application/json", "content-type": "application/json", ...headers },
  body: JSON.stringify(body),
});

/** Return the JSON under an address; throws a Failure. */
export async function fetched<T>(url: string, stop?: AbortSignal, how: RequestInit = {}): Promise<T> {
  if (exportedFile) return storedAnswer(url) as T;
  let response: Response;
  try {
    response = await fetch(url, { headers: { accept: "application/json" }, ...how, ...(stop && { signal: stop }) });
  } catch (error) {
    if (stop?.aborted) throw error;
    throw {
      status: 0,
      expected: "an answer of the atlas' server",
      got: "none: it has stopped, or cannot be reached",
      remedy: "Start it again with `patchclamp atlas serve`, then reload this page.",
    } satisfies Failure;
  }
  const text = await response.text();
  const body = parsed(text);
  if (response.ok && body !== undefined) {
    if (how.method) return body as T;
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value as string);
    kept.set(url, body);
    return body as T;
  }
  const said = ((body as { error?: Partial<Failure> } | undefined)?.error ?? {}) as Partial<Failure>;
  throw {
    status: response.status,
    expected: said.expected ?? "an answer of the atlas' server",
    got: said.got ?? (response.ok ? "something that is not JSON" : `HTTP ${response.status}`),
    remedy: said.remedy ?? "Reload the page; if it stays so, look at what the server printed.",
  } satisfies Failure;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Ask while a component is shown. The last answer stays until the next is here; `null` asks nothing. */
export function useAnswer<T>(url: string | null): Answer<T> {
  const [answer, setAnswer] = useState<{ url: string | null; answer: Answer<T> }>({ url: null, answer: { state: "waiting" } });
  const version = changed.value;
  useEffect(() => {
    if (url === null) return;
    const stop = new AbortController();
    const set = (next: Answer<T>) => stop.signal.aborted || setAnswer({ url, answer: next });
    fetched<T>(url, stop.signal)
      .then((data) => set({ state: "here", data }))
      .catch((failure: Failure) => set({ state: "failed", failure }));
    return () => stop.abort();
  }, [url, version]);
  if (answer.url === url) return answer.answer;
  const before = url === null ? undefined : (kept.get(url) as T | undefined);
  if (before !== undefined) return { state: "here", data: before };
  const stale = answer.answer.state === "failed" ? undefined : answer.answer.data;
  return stale === undefined ? { state: "waiting" } : { state: "waiting", data: stale };
}

/** Ask with a body while a component is shown; `null` asks nothing. */
export function usePosted<T>(url: string, body: string | null): Answer<T> {
  const [answer, setAnswer] = useState<{ body: string | null; answer: Answer<T> }>({ body: null, answer: { state: "waiting" } });
  useEffect(() => {
    if (body === null) return;
    const stop = new AbortController();
    const set = (next: Answer<T>) => stop.signal.aborted || setAnswer({ body, answer: next });
    fetched<T>(url, stop.signal, posting(JSON.parse(body)))
      .then((data) => set({ state: "here", data }))
      .catch((failure: Failure) => set({ state: "failed", failure }));
    return () => stop.abort();
  }, [url, body]);
  if (answer.body === body) return answer.answer;
  const stale = answer.answer.state === "failed" ? undefined : answer.answer.data;
  return stale === undefined ? { state: "waiting" } : { state: "waiting", data: stale };
}
