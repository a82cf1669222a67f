// What people wrote, in one line: links to it, where there is any.
import type { JSX } from "preact";
import { useAnswer } from "../api/ask";
import type { NoteList } from "../api/types";
import { plural } from "../format";

/** Starred units and notes of this atlas. */
export function WrittenHere(): JSX.Element | null {
  const answer = useAnswer<NoteList>("/api/notes?limit=1");
  if (answer.state !== "here" || !answer.data.total) return null;
  const { starred, total } = answer.data;
  return (
    <p class="row" data-testid="written-here">
      {starred > 0 && (
        <a href="/units?starred=true">
          <span class="star" aria-hidden="true">
            ★
          </span>{" "}
          {plural(starred, "starred unit")}
        </a>
      )}
      <a href="/notes">{plural(total, "note")} that people wrote</a>
    </p>
  );
}
