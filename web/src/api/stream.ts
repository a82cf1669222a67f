// Answers that come as server-sent events, after a POST: EventSource can only GET.
import type { Failure } from "./failure";

/** The type of each event's data, by the event's name; `refused` ends the stream as a Failure. */
export type Hears = Record<string, (data: never) => void>;

/** Ask, and hear each event as it comes; throws a Failure. Abort the signal and the server stops too. */
export async function streamed(url: string, asked: unknown, hears: Hears, signal: AbortSignal): Promise<void> {
  let response: Response;
  try {
    const headers = { "content-type": "application/json", accept: "text/event-stream" };
    response = await fetch(url, { method: "POST", headers, body: JSON.stringify(asked), signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw gone("none: it has stopped, or cannot be reached");
  }
  if (!response.ok || !response.body) {
    const said = (await response.json().catch(() => ({}))) as { error?: Partial<Failure> };
    throw { ...gone(`HTTP ${response.status}`), ...said.error, status: response.status } satisfies Failure;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      const name = /^event: (.+)$/m.exec(block)?.[1];
      const data = /^data: (.+)$/m.exec(block)?.[1];
      if (!name || !data) continue; // a comment that keeps the connection open
      const said = JSON.parse(data) as never;
      if (name === "refused") throw { status: 200, ...(said as { error: Omit<Failure, "status"> }).error } satisfies Failure;
      hears[name]?.(said);
      if (name === "finished") return;
    }
  }
  throw gone("only a part of one");
}

function gone(got: string): Failure {
  const remedy = "Start it again with `patchclamp atlas serve`, then try again.";
  return { status: 0, expected: "an answer of the atlas' server", got, remedy };
}
