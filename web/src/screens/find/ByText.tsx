// Find by text: which units respond most to this, anywhere in it?
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { AtlasPage, Example, LabPage, Response, Responses } from "../../api/types";
import { draft, drafted, forget } from "../../draft";
import { count, number, percent, plural } from "../../format";
import { Awaited, Nothing } from "../../parts/States";
import { Strip } from "../../parts/Strip";
import { Origin, Title } from "../../parts/Title";
import { placesOf, query, unitAddress } from "../../route";
import { Choice } from "./Filters";
import { Switch } from "./Switch";

const LONGEST = 1000;

/** A text, and the units that do most on it. */
export function ByText(): JSX.Element {
  const lab = useAnswer<LabPage>("/api/lab");
  const atlas = useAnswer<AtlasPage>("/api/atlas");
  useEffect(() => forget, []);
  const asked = new URLSearchParams();
  for (const [name, to] of [["text", "text"], ["site", "site"], ["rank", "by"]] as const) {
    const value = query.value.get(name);
    if (value) asked.set(to, value);
  }
  const attached = lab.state === "here" && lab.data.attached;
  const url = attached && asked.get("text")?.trim() ? `/api/lab/search?${asked}` : null;
  const answer = useAnswer<Responses>(url);
  const sites = atlas.state === "here" ? placesOf(atlas.data.sites) : [];
  return (
    <>
      <Title question="Which units respond most to this?" />
      <Switch />
      {lab.state === "here" && !lab.data.attached && (
        <Nothing>
          To search by text the model must be attached: <code>{lab.data.remedy}</code>
        </Nothing>
      )}
      <form role="search" class="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          <span class="out-of-sight">a text</span>
          <textarea
            data-search
            data-testid="search-text"
            rows={2}
            value={drafted.value.get("text") ?? ""}
            maxLength={LONGEST}
            placeholder="paste a sentence"
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => draft({ text: event.currentTarget.value }, "text")}
          />
        </label>
        <div class="fields">
          <Choice name="site" words="site" options={sites.map((place) => [place, place])} all="all sites" />
          <Choice name="rank" words="ranked by" options={[["value", "activation"]]} all="own maximum" />
        </div>
      </form>
      {url === null ? attached && <p class="small soft">Every unit reads the text; those that come nearest to their own maximum over the corpus stand first.</p> : <Awaited answer={answer}>{(found) => <Found found={found} url={url} />}</Awaited>}
    </>
  );
}

function Found({ found, url }: { found: Responses; url: string }): JSX.Element {
  const most = found.by === "share" ? "nearest to their own maximum over the corpus first" : "highest activation first";
  return (
    <>
      <p class="small" data-testid="responding" data-total={found.responding} aria-live="polite">
        showing {count(found.rows.length)} of <strong>{plural(found.responding, "unit")}</strong> above zero on this text, {most}; {count(found.total)} compared
      </p>
      <table class="units responses">
        <thead>
          <tr>
            <th scope="col">unit</th>
            <th scope="col" class="known">
              on this text
            </th>
            <th scope="col" class="n">
              of its maximum
            </th>
            <th scope="col" class="n">
              activation
            </th>
          </tr>
        </thead>
        <tbody>
          {found.rows.map((row) => (
            <Row key={row.key} row={row} found={found} />
          ))}
        </tbody>
      </table>
      <Origin source={found.source} twin={url} />
    </>
  );
}

function Row({ row, found }: { row: Response; found: Responses }): JSX.Element {
  const { cut } = found;
  const example: Example = { ...cut, kind: "top", value: row.value ?? 0, mark: row.position, acts: row.acts, before: false, after: false, stimulus: 0, position: row.position, reason: "" };
  const most = Math.max(row.maximum ?? 0, row.value ?? 0);
  return (
    <tr data-testid="response" data-key={row.key} data-value={row.value ?? ""} data-share={row.share ?? ""} data-position={row.position}>
      <th scope="row">
        <a class="cover" href={unitAddress(row.key)} data-row title={row.key}>
          {row.name}
        </a>
        {row.label && <span class="small soft">{row.label}</span>}
      </th>
      <td class="known">
        <Strip example={example} most={most} under="peak" />
      </td>
      <td class="n" data-label="of its maximum">
        {row.share === null ? <span class="soft small">never above zero there</span> : percent(row.share)}
      </td>
      <td class="n" data-label="activation">
        {number(row.value)}
        {row.maximum !== null && <small class="soft"> of {number(row.maximum)}</small>}
      </td>
    </tr>
  );
}
