// Two explained answers beside one another: units in both, only here, only there.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { GraphList, GraphPage, GraphRow, NodeRow } from "../../api/types";
import { count, number, plural } from "../../format";
import { Failed } from "../../parts/States";
import { Visible } from "../../parts/Text";
import { go, graphAddress, local, unitAddress, withQuery } from "../../route";
import { ENDS } from "./merge";
import { comparedWith } from "./state";

const MOST = 100;

interface Row {
  unit: string;
  link: string | null;
  here: NodeRow[];
  there: NodeRow[];
}

const whole = (id: string) => `/api/graphs/${encodeURIComponent(id)}?keep=1`;
const sum = (nodes: NodeRow[]) => nodes.reduce((total, node) => total + node.score, 0);
const size = (row: Row) => Math.max(Math.abs(sum(row.here)), Math.abs(sum(row.there)));

/** An answer in a few words: for lists that take no markup. */
const titled = (row: GraphRow) => `${row.prompt} →${row.target} (${row.method})`;

export function Compare({ graph }: { graph: GraphRow }): JSX.Element {
  const list = useAnswer<GraphList>("/api/graphs");
  const others = list.state === "here" ? list.data.rows.filter((row) => row.id !== graph.id) : [];
  const other = comparedWith.value;
  return (
    <section data-testid="compare" aria-label="compare">
      <h2>Compare with another answer</h2>
      <p class="row">
        <label>
          <span class="out-of-sight">answer to compare with</span>
          <select data-testid="with" value={other ?? ""} onChange={(event) => go(withQuery({ with: event.currentTarget.value || null }))}>
            <option value="">{others.length ? "none" : "no other answer in this atlas"}</option>
            {others.map((row) => (
              <option key={row.id} value={row.id}>
                {titled(row)}
              </option>
            ))}
          </select>
        </label>
        {other && (
          <a class="small" href={graphAddress(other)}>
            go there
          </a>
        )}
      </p>
      {other && <Beside here={graph.id} there={other} />}
    </section>
  );
}

function Beside({ here, there }: { here: string; there: string }): JSX.Element {
  const one = useAnswer<GraphPage>(whole(here));
  const two = useAnswer<GraphPage>(whole(there));
  if (two.state === "failed") return <Failed failure={two.failure} />;
  if (one.state !== "here" || two.state !== "here") return <p class="waiting soft">asking …</p>;
  const rows = matched(one.data, two.data);
  const parts: [string, string, Row[]][] = [
    ["both", "In both", rows.filter((row) => row.here.length && row.there.length)],
    ["here", "Only here", rows.filter((row) => !row.there.length)],
    ["there", "Only there", rows.filter((row) => !row.here.length)],
  ];
  const cut = [one.data.notice && `Here: ${one.data.notice}`, two.data.notice && `There: ${two.data.notice}`].filter(Boolean);
  return (
    <div data-testid="beside">
      <p class="small soft">
        Matched by unit, wherever it stands; pruning counts for nothing here. There: <bdi>{two.data.graph.prompt}</bdi> → <Visible text={two.data.graph.target} />
      </p>
      {cut.map((text) => (
        <p class="small warn">{text}</p>
      ))}
      {parts.map(([name, title, all]) => (
        <Part key={name} name={name} title={title} rows={all} here={one.data} there={two.data} />
      ))}
    </div>
  );
}

function matched(one: GraphPage, two: GraphPage): Row[] {
  const rows = new Map<string, Row>();
  const add = (side: "here" | "there") => (node: NodeRow) => {
    if (ENDS.has(node.kind)) return;
    const unit = local(node.key).replace(/@\+?\d+$/, "");
    const row = rows.get(unit) ?? { unit, link: node.unit, here: [], there: [] };
    row[side].push(node);
    rows.set(unit, row);
  };
  one.nodes.forEach(add("here"));
  two.nodes.forEach(add("there"));
  return [...rows.values()].sort((a, b) => size(b) - size(a));
}

function Part({ name, title, rows, here, there }: { name: string; title: string; rows: Row[]; here: GraphPage; there: GraphPage }): JSX.Element {
  return (
    <table class="nodes" data-testid={`compare-${name}`} data-count={rows.length}>
      <caption>
        <b>{title}</b>{" "}
        <span class="soft small">
          {rows.length > MOST ? `${count(MOST)} of ` : ""}
          {plural(rows.length, "unit")}
        </span>
      </caption>
      {rows.length > 0 && (
        <thead>
          <tr>
            <th scope="col">unit</th>
            <th scope="col">here</th>
            <th scope="col">there</th>
          </tr>
        </thead>
      )}
      <tbody>
        {rows.slice(0, MOST).map((row) => (
          <tr key={row.unit} data-unit={row.unit} data-here={row.here.length ? sum(row.here) : ""} data-there={row.there.length ? sum(row.there) : ""}>
            <th scope="row" class="mono">
              {row.link ? <a href={unitAddress(row.link)}>{row.unit}</a> : row.unit}
            </th>
            <Side name="here" nodes={row.here} page={here} />
            <Side name="there" nodes={row.there} page={there} />
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Side({ name, nodes, page }: { name: string; nodes: NodeRow[]; page: GraphPage }): JSX.Element {
  return (
    <td data-label={name}>
      {nodes.length ? (
        <>
          <span class="num">{number(sum(nodes), true)}</span>{" "}
          <span class="small soft">
            {nodes.slice(0, 4).map((node) =>
              node.position === null ? null : page.tokens[node.position] === undefined ? ` @${node.position}` : <> <Visible text={page.tokens[node.position] as string} /></>,
            )}
            {nodes.length > 4 && " …"}
          </span>
        </>
      ) : (
        "—"
      )}
    </td>
  );
}
