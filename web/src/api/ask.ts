// Asking the server: one answer or one failure in three parts, never an exception that leaves a blank page.
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

/** Return the JSON under an address, or what a body that is sent there is answered with; throws a Failure. */
export async function fetched<T>(url: string, signal?: AbortSignal, sent?: unknown): Promise<T> {
  if (exportedFile) return storedAnswer(url) as T;
  const posted = sent === undefined ? {} : { method: "POST", body: JSON.stringify(sent) };
  const headers = { accept: "application/json", ...(sent !== undefined && { "content-type": "application/json" }) };
  let response: Response;
  try {
    response = await fetch(url, { headers, ...posted, ...(signal && { signal }) });
  } catch (error) {
    if (signal?.aborted) throw error;
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
    if (sent !== undefined) return body as T;
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
  useEffect(() => {
    if (url === null) return;
    const stop = new AbortController();
    const set = (next: Answer<T>) => stop.signal.aborted || setAnswer({ url, answer: next });
    fetched<T>(url, stop.signal)
      .then((data) => set({ state: "here", data }))
      .catch((failure: Failure) => set({ state: "failed", failure }));
    return () => stop.abort();
  }, [url]);
  if (answer.url === url) return answer.answer;
  const before = url === null ? undefined : (kept.get(url) as T | undefined);
  if (before !== undefined) return { state: "here", data: before };
  const stale = answer.answer.state === "failed" ? undefined : answer.answer.data;
  return stale === undefined ? { state: "waiting" } : { state: "waiting", data: stale };
}
