// One note: what it is, its words, who wrote it and when.
import type { ComponentChildren, JSX } from "preact";
import type { NoteView } from "../api/types";

interface Props {
  note: NoteView;
  /** Whether its words stand elsewhere on the screen. */
  bare?: boolean;
  children?: ComponentChildren;
}

/** A note as text, whatever its words hold; `children` stand behind its author. */
export function Written({ note, bare = false, children }: Props): JSX.Element {
  return (
    <div class="written" data-testid="note" data-kind={note.kind} data-id={note.id}>
      {!bare && <p>{note.kind === "star" ? <span aria-label="a star">★</span> : <bdi class={note.kind === "tag" ? "chip" : ""}>{note.text}</bdi>}</p>}
      <p class="small soft row">
        <span>
          {note.kind === "description" ? "description by " : ""}
          <bdi>{note.author}</bdi>, <time dateTime={note.time}>{note.time.slice(0, 10)}</time>
        </span>
        {children}
      </p>
    </div>
  );
}
