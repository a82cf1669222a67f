// Notes: what did people write?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { NoteList } from "../../api/types";
import { useWriting } from "../../api/write";
import { count, plural } from "../../format";
import { Awaited, Nothing } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";
import { Written } from "../../parts/Written";
import { query, unitAddress, withQuery } from "../../route";

const KINDS: [kind: string, words: string][] = [
  ["", "all"],
  ["note", "notes"],
  ["description", "descriptions"],
  ["tag", "tags"],
  ["star", "stars"],
];

/** Everything that was written, the newest first, by kind. */
export default function Notes(): JSX.Element {
  useTitle("Notes");
  const kind = query.value.get("kind") ?? "";
  const url = `/api/notes${kind && `?kind=${encodeURIComponent(kind)}`}`;
  const answer = useAnswer<NoteList>(url);
  const { remedy } = useWriting();
  return (
    <>
      <Title question="What did people write?" />
      <nav class="switch row small" aria-label="kinds of notes">
        {KINDS.map(([name, words]) => (
          <a href={withQuery({ kind: name })} aria-current={name === kind ? "page" : undefined}>
            {words}
          </a>
        ))}
        <a href="/units?starred=true">starred units in Find</a>
      </nav>
      <Awaited answer={answer}>
        {(list) => (
          <>
            {list.total > list.rows.length && (
              <p class="small soft">
                the newest {count(list.rows.length)} of {plural(list.total, "note")}
              </p>
            )}
            {!list.rows.length && <Nothing>Nobody has written anything of this kind yet. A unit's page takes notes, stars and descriptions. {remedy}</Nothing>}
            <div class="notes" data-testid="all-notes" data-total={list.total}>
              {list.rows.map((row) => (
                <Written key={row.id} note={row}>
                  <a href={unitAddress(row.unit)} title={row.unit}>
                    {row.name}
                  </a>
                </Written>
              ))}
            </div>
            <Origin source={list.source} twin={url} />
          </>
        )}
      </Awaited>
    </>
  );
}
