// Writing to the atlas: with the token that came behind the address's #, kept for this tab only.
import { signal } from "@preact/signals";
import { exportedFile } from "../exportedFile";
import { changed, fetched, posting, useAnswer } from "./ask";
import type { Kept, NoteAsked, NoteView, WriteState } from "./types";

const KEPT = "patchclamp-write";
const AUTHOR = "patchclamp-author";

/** The token; empty without one. */
export const token = signal(kept());

function kept(): string {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // a browser that keeps nothing
  }
}

/** Take the token out of the address, so that no copied link and no screenshot holds it. */
function take(): void {
  const brought = /^#write=([\w-]+)$/.exec(location.hash)?.[1];
  if (exportedFile || !brought) return;
  token.value = brought;
  try {
    sessionStorage.setItem(KEPT, brought);
  } catch {
    // It lasts until the page is loaded again.
  }
  history.replaceState(history.state, "", location.pathname + location.search);
}

take();
addEventListener("hashchange", take);

/** The name under which one wrote last. */
export function author(): string {
  try {
    return localStorage.getItem(AUTHOR) ?? "";
  } catch {
    return "";
  }
}

/** Remember under which name one writes. */
export function remember(name: string): void {
  try {
    localStorage.setItem(AUTHOR, name);
  } catch {
    // It is asked for again.
  }
}

/** Whether one may write here, and what to do where not; empty while that is not known. */
export function useWriting(): { may: boolean; remedy: string } {
  const answer = useAnswer<WriteState>(exportedFile ? null : "/api/write");
  if (answer.state !== "here") return { may: false, remedy: "" };
  if (!answer.data.enabled) return { may: false, remedy: answer.data.remedy };
  return token.value ? { may: true, remedy: "" } : { may: false, remedy: "Open the whole address that `patchclamp atlas serve --write` printed." };
}

/** Send what is to be written; everything that is shown is then asked for again. Throws a Failure. */
async function send<T>(url: string, body: unknown): Promise<T> {
  const kept = await fetched<T>(url, undefined, posting(body, { "x-patchclamp-token": token.value }));
  changed.value += 1;
  return kept;
}

/** Write a note. */
export const write = (note: Partial<NoteAsked> & Pick<NoteAsked, "unit" | "kind">) => send<NoteView>("/api/write/notes", note);

/** Keep an explained answer in the atlas. */
export const keep = (id: string) => send<Kept>("/api/write/graphs", { id });

/** Keep the description of a unit in the atlas. */
export const keepDescription = (id: string) => send<Kept>("/api/write/descriptions", { id });
