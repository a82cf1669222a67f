// What people wrote about the unit, and a form to write more.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { Failure } from "../../api/failure";
import type { NoteList, NoteView } from "../../api/types";
import { author, remember, useWriting, write } from "../../api/write";
import { Written } from "../../parts/Written";

const LONGEST = { description: 2000, note: 2000, tag: 40 };
type Kind = keyof typeof LONGEST;
const HINTS: Record<Kind, string> = {
  description: 'what it does; tokens in quotation marks are checked: fires on " cat"',
  note: "a note for whoever comes next",
  tag: "a word or two",
};

/** Star, notes, and the form; `id` is the unit's key. */
export function Write({ id }: { id: string }): JSX.Element | null {
  const answer = useAnswer<NoteList>(`/api/notes?unit=${encodeURIComponent(id)}`);
  const { may, remedy } = useWriting();
  const [failure, fail] = useState<Failure | null>(null);
  const [taken, take] = useState<NoteView | null>(null);
  useEffect(() => {
    fail(null);
    take(null);
  }, [id]);
  const list = answer.state === "failed" ? undefined : answer.data;
  if (!list) return null;
  const stars = list.rows.filter((row) => row.kind === "star");
  // The words of descriptions stand above; here is who wrote them, so that they can be withdrawn.
  const told = list.rows.filter((row) => row.kind !== "star" && (may || row.kind !== "description"));
  const how = remedy && (
    <p class="small soft" data-testid="how-to-write">
      To write notes here: {remedy}
    </p>
  );
  if (!may && !told.length && !stars.length) return how ? <>{how}</> : null;
  const send = async (...notes: Parameters<typeof write>[0][]) => {
    try {
      const kept = [];
      for (const note of notes) kept.push(await write({ author: author(), ...note }));
      fail(null);
      return kept;
    } catch (fault) {
      fail(fault as Failure);
      return null;
    }
  };
  const withdraw = async (row: NoteView) => {
    const [kept] = (await send({ unit: id, kind: "withdraw", replaces: row.id })) ?? [];
    if (kept) take(kept);
  };
  const undo = async () => {
    if (taken && (await send({ unit: id, kind: "withdraw", replaces: taken.id }))) take(null);
  };
  const star = () => send(...(stars.length ? stars.map((row) => ({ unit: id, kind: "withdraw" as const, replaces: row.id })) : [{ unit: id, kind: "star" as const }]));
  return (
    <section aria-labelledby="notes" class="notes" data-testid="notes" data-total={list.rows.length}>
      <div class="row">
        <h2 id="notes">Notes</h2>
        {may ? (
          <button type="button" class="star" aria-pressed={stars.length > 0} data-testid="star" onClick={star}>
            <span aria-hidden="true">{stars.length ? "★" : "☆"}</span> {stars.length ? "starred" : "star"}
          </button>
        ) : (
          stars.length > 0 && (
            <span class="star small" data-testid="starred">
              <span aria-hidden="true">★</span> starred
            </span>
          )
        )}
      </div>
      {told.map((row) => (
        <Written key={row.id} note={row} bare={row.kind === "description"}>
          {may && (
            <button type="button" class="quiet" data-testid="withdraw" onClick={() => withdraw(row)}>
              withdraw
            </button>
          )}
        </Written>
      ))}
      {taken && (
        <p class="small soft" role="status">
          withdrawn{" "}
          <button type="button" class="quiet" data-testid="undo-withdraw" onClick={undo}>
            undo
          </button>
        </p>
      )}
      {may ? <Form key={id} onWrite={(kind, text) => send({ unit: id, kind, text })} /> : how}
      {failure && (
        <p class="fails" role="alert" data-testid="not-written">
          Not written: expected {failure.expected}, got {failure.got}. {failure.remedy}
        </p>
      )}
    </section>
  );
}

interface FormProps {
  /** Returns what was written, or null where it was refused: the words then stay in the form. */
  onWrite: (kind: Kind, text: string) => Promise<unknown>;
}

function Form({ onWrite }: FormProps): JSX.Element {
  const [kind, choose] = useState<Kind>("note");
  const [text, type] = useState("");
  const [name, call] = useState(author());
  const [busy, wait] = useState(false);
  const send = async (event: Event) => {
    event.preventDefault();
    if (!text.trim() || busy) return;
    remember(name.trim());
    wait(true);
    if (await onWrite(kind, text)) type("");
    wait(false);
  };
  const keys = (event: KeyboardEvent) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && send(event);
  return (
    <form class="write" data-testid="write" onSubmit={send}>
      <textarea
        data-testid="write-text"
        aria-label={`a ${kind} of this unit`}
        rows={2}
        value={text}
        maxLength={LONGEST[kind]}
        placeholder={HINTS[kind]}
        autocomplete="off"
        onInput={(event) => type(event.currentTarget.value)}
        onKeyDown={keys}
      />
      <div class="row">
        <select aria-label="what it is" data-testid="write-kind" value={kind} onChange={(event) => choose(event.currentTarget.value as Kind)}>
          <option value="note">note</option>
          <option value="description">description</option>
          <option value="tag">tag</option>
        </select>
        <input aria-label="your name" data-testid="write-author" placeholder="your name" maxLength={80} value={name} autocomplete="nickname" spellcheck={false} onInput={(event) => call(event.currentTarget.value)} />
        <button type="submit" disabled={!text.trim() || busy} data-testid="write-send">
          write
        </button>
      </div>
    </form>
  );
}
