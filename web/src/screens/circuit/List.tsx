// The same nodes as a table: for those who listen, and for small screens.
import type { JSX } from "preact";
import type { GraphPage } from "../../api/types";
import { count, number } from "../../format";
import { Visible } from "../../parts/Text";
import { unitAddress } from "../../route";
import { ENDS, type Item, type Merged, first } from "./merge";
import { Sign } from "./Sign";
import { near } from "./state";
import { said } from "./words";

interface Props {
  page: GraphPage;
  merged: Merged;
  chosen: ReadonlySet<string>;
  onChoose: (id: string, join: boolean) => void;
}

/** Units come first: what no unit explains is often larger than any of them, and answers nothing. */
const PARTS: [name: "units" | "ends" | "errors", belongs: (kind: string) => boolean][] = [
  ["units", (kind) => !ENDS.has(kind)],
  ["ends", (kind) => kind === "input" || kind === "output"],
  ["errors", (kind) => kind === "error"],
];
const SAID = { units: "", ends: "what goes in, and what comes out", errors: "errors: what no unit shown here explains" };

export function List({ page, merged, chosen, onChoose }: Props): JSX.Element {
  return (
    <table class="nodes circuit-list" data-testid="list">
      <caption class="small soft">largest score first; press a box to choose what to group or to verify</caption>
      <thead>
        <tr>
          <th scope="col">node</th>
          <th scope="col">token</th>
          <th scope="col" class="n">
            value
          </th>
          <th scope="col" class="n">
            predicted
          </th>
          <th scope="col" class="n">
            measured
          </th>
          <th scope="col" class="n">
            edges in, out
          </th>
        </tr>
      </thead>
      {PARTS.map(([name, belongs]) => {
        const items = merged.items.filter((item) => belongs(item.kind));
        return (
          items.length > 0 && (
            <tbody key={name} data-testid={`part-${name}`}>
              {name !== "units" && (
                <tr class="part">
                  <th scope="rowgroup" colSpan={6} class="small soft">
                    {SAID[name]}
                  </th>
                </tr>
              )}
              {items.map((item) => (
                <Line key={item.id} item={item} page={page} merged={merged} chosen={chosen.has(item.id)} onChoose={onChoose} />
              ))}
            </tbody>
          )
        );
      })}
    </table>
  );
}

interface LineProps {
  item: Item;
  page: GraphPage;
  merged: Merged;
  chosen: boolean;
  onChoose: Props["onChoose"];
}

function Line({ item, page, merged, chosen, onChoose }: LineProps): JSX.Element {
  const node = first(item);
  const alone = item.group === null;
  const token = node.position === null ? undefined : page.tokens[node.position];
  const look = () => {
    near.value = item.id;
  };
  return (
    <tr class={chosen ? "chosen" : ""} data-testid="item" data-id={item.id} data-kind={item.kind} data-score={item.score} onMouseOver={look} onFocusIn={look}>
      <th scope="row">
        <button type="button" class="box" role="checkbox" aria-checked={chosen} aria-label={`choose ${said(item, page, number(item.score, true))}`} onClick={() => onChoose(item.id, true)}>
          <Sign kind={item.kind} score={item.score} />
        </button>{" "}
        <bdi>{!alone ? item.label : node.unit ? <a href={unitAddress(node.unit)}>{node.label || node.name}</a> : node.label || node.name}</bdi>{" "}
        <span class="soft small">{!alone ? `group of ${count(item.members.length)}` : node.label ? node.name : ""}</span>
      </th>
      <td data-label="token">{!alone || node.position === null ? "—" : token === undefined ? `@${node.position}` : <Visible text={token} />}</td>
      <td class="n" data-label="value">
        {alone && node.value !== null ? number(node.value) : "—"}
      </td>
      <td class="n" data-label="predicted">
        {number(item.score, true)}
      </td>
      <td class="n" data-label="measured">
        {alone && node.measured !== null ? number(node.measured, true) : "—"}
      </td>
      <td class="n" data-label="edges">
        {count(merged.into.get(item.id)?.length ?? 0)}, {count(merged.outOf.get(item.id)?.length ?? 0)}
      </td>
    </tr>
  );
}
