// Answers: which answers have been explained?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { GraphList, GraphRow } from "../../api/types";
import { count, number, plural } from "../../format";
import { Origin, Title, useTitle } from "../../parts/Frame";
import { Awaited, Nothing } from "../../parts/States";
import { Visible } from "../../parts/Text";
import { graphAddress } from "../../route";

const ADDRESS = "/api/graphs";

/** Every explained answer. */
export function Answers(): JSX.Element {
  useTitle("Answers");
  const answer = useAnswer<GraphList>(ADDRESS);
  return (
    <>
      <Title question="Which answers have been explained?" />
      <Awaited answer={answer}>
        {(list) => (
          <>
            <p class="small" data-testid="shown">
              showing {count(list.rows.length)} of <strong>{plural(list.total, "explained answer")}</strong>
            </p>
            {list.rows.length ? (
              <Table rows={list.rows} />
            ) : (
              <Nothing>None yet: `patchclamp explain MODEL PROMPT --target ANSWER --atlas ATLAS` adds one.</Nothing>
            )}
            <Origin source={list.source} twin={ADDRESS} />
          </>
        )}
      </Awaited>
    </>
  );
}

function Table({ rows }: { rows: GraphRow[] }): JSX.Element {
  return (
    <table class="runs answers" data-testid="answers">
      <thead>
        <tr>
          <th scope="col">prompt → answer</th>
          <th scope="col">method</th>
          <th scope="col" class="n">
            m
          </th>
          <th scope="col" class="n">
            nodes
          </th>
          <th scope="col">what replacing its causes took from m</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.id} data-testid="answer" data-id={row.id} data-measured={row.measured_together ?? ""}>
            <th scope="row">
              <a class="cover" href={graphAddress(row.id)} data-row>
                <Asked row={row} />
              </a>
            </th>
            <td data-label="method">{row.method}</td>
            <td class="n" data-label="m">
              {row.metric === null ? "—" : number(row.metric, true)}
            </td>
            <td class="n" data-label="nodes">
              {count(row.n_nodes)}
            </td>
            <td>
              <Together row={row} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What was asked: the prompt, the answer, and the one it was held against. */
export function Asked({ row }: { row: GraphRow }): JSX.Element {
  return (
    <>
      <bdi>{row.prompt}</bdi> → <b><Visible text={row.target} /></b>
      {row.contrast !== null && (
        <span class="soft">
          {" "}
          rather than <Visible text={row.contrast} />
        </span>
      )}
    </>
  );
}

/** What replacing all causes did, beside what was predicted and what random nodes did. */
export function Together({ row }: { row: GraphRow }): JSX.Element {
  if (row.measured_together === null) return <span class="soft">not measured</span>;
  return (
    <span class="num">
      <b>{number(row.measured_together, true)}</b>
      <span class="soft small">
        {row.predicted_together !== null && <> predicted {number(row.predicted_together, true)}</>}
        {row.control_low !== null && row.control_high !== null && (
          <>
            ; random sets' mean, 95&nbsp;%: {number(row.control_low, true)} to {number(row.control_high, true)}
          </>
        )}
        {row.p !== null && <>, p = {number(row.p)}</>}
      </span>
    </span>
  );
}
