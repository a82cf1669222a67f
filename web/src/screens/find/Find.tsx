// Find: which units match this?
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { AtlasPage, UnitList, UnitRow } from "../../api/types";
import { count, number, percent, plural } from "../../format";
import { useKeys } from "../../keys";
import { Interval } from "../../parts/Interval";
import { Known } from "../../parts/Line";
import { Awaited, Nothing } from "../../parts/States";
import { Thumbnail } from "../../parts/Thumbnail";
import { Origin, Title, useTitle } from "../../parts/Title";
import { go, local, query, spelt, unitAddress, withQuery } from "../../route";
import { ByText } from "./ByText";
import { Filters } from "./Filters";
import { Switch, byText } from "./Switch";

/** The columns that can be sorted by; frequencies and the like are first wanted from the largest. */
const COLUMNS: [name: string, sort: string, kind: string][] = [
  ["unit", "key", ""],
  ["what is measured", "concept", "known"],
  ["fires at", "frequency", "n"],
  ["max", "maximum", "n"],
  ["score", "score", "n"],
];

const SORTS: [sort: UnitList["sort"], words: string][] = [
  ["relevance", "relevance"],
  ["key", "key"],
  ["frequency", "how often it fires"],
  ["maximum", "highest activation"],
  ["mean", "mean activation"],
  ["score", "score of its description"],
  ["concept", "AUROC of its best concept"],
];

/** By words, or by a text that units respond to. */
export default function Find(): JSX.Element {
  useTitle("Find");
  return byText() ? <ByText /> : <ByWords />;
}

/** Search, filter, sort, walk through with the arrow keys. */
function ByWords(): JSX.Element {
  const asked = query.value.toString();
  const url = `/api/units${asked && `?${asked}`}`;
  const answer = useAnswer<UnitList>(url);
  const atlas = useAnswer<AtlasPage>("/api/atlas");
  useRows();
  return (
    <>
      <Title question="Which units match this?" />
      <Switch />
      <Filters atlas={atlas.state === "failed" ? undefined : atlas.data} />
      <Awaited answer={answer}>{(list) => <Found list={list} url={url} modality={(atlas.state !== "failed" && atlas.data?.modality) || ""} />}</Awaited>
    </>
  );
}

function Found({ list, url, modality }: { list: UnitList; url: string; modality: string }): JSX.Element {
  const turn = (cursor: string | null) => () => cursor !== null && go(withQuery({ cursor }));
  useKeys({ "]": turn(list.next), "[": turn(list.previous) });
  if (!list.total) {
    return (
      <>
        <Nothing>
          None of the {count(list.n_units)} units of this atlas matches. <a href="/units">Take all filters away</a>, or search for a
          part of a word. Searched are {modality === "recording" ? "descriptions, notes, names, groups and conditions" : modality === "image" ? "descriptions, notes, and classes that are detected or promoted" : "descriptions, notes, concepts, what heads attend to, tokens at the peaks and promoted tokens"}; a
          unit is also found by its key or a part of it, its name, or its block and number: <code>2/16</code>.
        </Nothing>
        {modality === "language" && list.unknown.length > 0 && (
          <p class="small soft" data-testid="unknown">
            No token of this atlas begins with {list.unknown.map((word) => `“${word}”`).join(", ")}, so no unit fires on it, or promotes it, as a whole.{" "}
            <a href={`/units${spelt(new URLSearchParams({ search: "text", text: query.value.get("q") ?? "" }))}`}>Search by text</a> instead: which units respond to it?
          </p>
        )}
        <Origin source={list.source} twin={url} />
      </>
    );
  }
  const last = list.first + list.rows.length - 1;
  // A column in which every row would be empty is left out.
  const scored = list.sort === "score" || list.rows.some((row) => row.score !== null);
  const words = query.value.get("q") ?? "";
  return (
    <>
      <div class="row shown">
        <p class="small" data-testid="shown" data-total={list.total} data-units={list.n_units} aria-live="polite">
          showing {count(list.first)}–{count(last)} of <strong>{plural(list.total, "unit")}</strong>
          {list.total < list.n_units && ` that match, of ${count(list.n_units)} in all`}
        </p>
        <Sorted list={list} />
        <Turn list={list} />
      </div>
      <table class="units" data-testid="units">
        <thead>
          <tr>
            {COLUMNS.filter(([, sort]) => sort !== "score" || scored).map(([name, sort, kind]) => (
              <th scope="col" class={kind} aria-sort={sort && list.sort === sort ? (list.descending ? "descending" : "ascending") : undefined}>
                <Sorter list={list} sort={sort} name={sort === "frequency" && modality === "recording" ? "above 0" : name} />
                {sort === "frequency" && <span class="scale">bars: log, {percent(RAREST)} to 100&nbsp;%</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {list.rows.map((row) => (
            <Row key={row.key} row={row} words={words} scored={scored} modality={modality} />
          ))}
        </tbody>
      </table>
      {(list.next !== null || list.previous !== null) && (
        <div class="row shown">
          <span />
          <Turn list={list} />
        </div>
      )}
      <Origin source={list.source} twin={url} />
    </>
  );
}

/** Sort by a column; once more turns it round. */
function Sorter({ list, sort, name }: { list: UnitList; sort: string; name: string }): JSX.Element {
  const here = list.sort === sort;
  const descending = here ? !list.descending : sort !== "key";
  const to = withQuery({ sort, descending: String(descending), cursor: null });
  return (
    <a href={to} class={here ? "here" : ""} title={sort === "concept" ? "sort by the AUROC of the best concept or token pattern" : undefined}>
      {name}
      <span class="arrow" aria-hidden="true">
        {here ? (list.descending ? "↓" : "↑") : ""}
      </span>
    </a>
  );
}

/** The same choice where there are no column heads, and for what has no column. */
function Sorted({ list }: { list: UnitList }): JSX.Element {
  const chosen = (event: { currentTarget: HTMLSelectElement }) => {
    const sort = event.currentTarget.value;
    go(withQuery({ sort, descending: String(sort !== "key"), cursor: null }));
  };
  const names = SORTS.filter(([sort]) => sort !== "relevance" || query.value.has("q"));
  return (
    <label class="sorted small">
      <span class="soft">sorted by</span>
      <select value={list.sort} onChange={chosen} data-testid="sort">
        {names.map(([sort, words]) => (
          <option key={sort} value={sort}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}

function Turn({ list }: { list: UnitList }): JSX.Element | null {
  if (list.next === null && list.previous === null) return null;
  const link = (cursor: string | null, words: string, id: string) =>
    cursor === null ? (
      <span class="soft">{words}</span>
    ) : (
      <a href={withQuery({ cursor })} data-testid={id}>
        {words}
      </a>
    );
  return (
    <nav class="turn small" aria-label="pages of the list">
      {link(list.previous, "← before", "before")}
      {link(list.next, "after →", "after")}
    </nav>
  );
}

function Row({ row, words, scored, modality }: { row: UnitRow; words: string; scored: boolean; modality: string }): JSX.Element {
  return (
    <tr data-testid="unit" data-key={row.key} data-maximum={row.maximum ?? ""} data-score={row.score?.value ?? ""}>
      <th scope="row">
        <a class="cover" href={unitAddress(row.key)} data-row>
          {row.name}
          {row.starred && (
            <span class="star" role="img" aria-label="starred" title="starred">
              {" "}
              ★
            </span>
          )}
        </a>
        <span class="place mono soft">{local(row.key)}</span>
      </th>
      <td class="known">
        {modality === "image" ? (
          <div class="pictured">
            <Thumbnail of={row.key} />
            <Known row={row} words={words} />
          </div>
        ) : (
          <Known row={row} words={words} />
        )}
      </td>
      <td class="n" data-label={modality === "recording" ? "above 0" : "fires at"}>
        {(row.maximum ?? 0) > 0 ? <Rare share={row.frequency} /> : <span class="soft small">{modality === "recording" ? "never" : (row.example?.value ?? 0) < 0 ? "only below zero" : "never fired"}</span>}
      </td>
      <td class="n" data-label="max">
        {number(row.maximum)}
      </td>
      {scored && (
        <td class="n score" data-label={row.score && "score"}>
          {row.score && <Interval estimate={row.score} />}
        </td>
      )}
    </tr>
  );
}

/** Where the bar of a share begins; its scale is logarithmic, as most units fire rarely. */
const RAREST = 1e-4;

/** A share with a bar on a logarithmic scale. */
function Rare({ share }: { share: number | null }): JSX.Element {
  const width = share ? Math.min(Math.max(100 * (1 - Math.log(share) / Math.log(RAREST)), 0), 100) : 0;
  return (
    <span class="rare">
      <span class="num">{percent(share)}</span>
      <i aria-hidden="true">
        <i style={{ width: `${width}%` }} />
      </i>
    </span>
  );
}

/** Arrow keys walk from the search field through the rows and back. */
function useRows(): void {
  useEffect(() => {
    const walk = (event: KeyboardEvent) => {
      const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
      const at = document.activeElement as HTMLElement | null;
      const search = document.querySelector<HTMLElement>("#page [data-search]");
      if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      if (at !== search && at?.matches("input, select, textarea, dialog *")) return;
      const rows = [...document.querySelectorAll<HTMLElement>("#page [data-row]")];
      const now = rows.indexOf(at as HTMLElement);
      if (at === search && step < 0) return;
      event.preventDefault();
      const next = now + step;
      (now === 0 && step < 0 ? search : rows[now < 0 ? 0 : Math.min(Math.max(next, 0), rows.length - 1)])?.focus();
    };
    addEventListener("keydown", walk);
    return () => removeEventListener("keydown", walk);
  }, []);
}
