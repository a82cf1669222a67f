// Runs: where did this come from?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { RunList, RunRow } from "../../api/types";
import { began, count, duration, plural } from "../../format";
import { Awaited, Nothing } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";

const ADDRESS = "/api/runs";

/** Every run that made a part of the atlas. */
export default function Runs(): JSX.Element {
  useTitle("Runs");
  const answer = useAnswer<RunList>(ADDRESS);
  return (
    <>
      <Title question="Where did this come from?" />
      <Awaited answer={answer}>
        {(list) => (
          <>
            <p class="small" data-testid="shown">
              showing {count(list.rows.length)} of <strong>{plural(list.total, "run")}</strong>
            </p>
            <p class="small soft" data-testid="unverified">
              {list.unverified}
            </p>
            {list.rows.length ? <Table rows={list.rows} /> : <Nothing>No run left a record in this atlas.</Nothing>}
            <Origin source={list.source} twin={ADDRESS} />
          </>
        )}
      </Awaited>
    </>
  );
}

function Table({ rows }: { rows: RunRow[] }): JSX.Element {
  return (
    <table class="runs" data-testid="runs">
      <thead>
        <tr>
          <th scope="col">run</th>
          <th scope="col">made</th>
          <th scope="col">began, UTC</th>
          <th scope="col" class="n">
            took
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((run) => (
          <tr key={run.id} data-testid="run" data-run={run.id}>
            <th scope="row">
              <a class="cover" href={`/runs/${encodeURIComponent(run.id)}`} data-row>
                {run.verb}
              </a>
              <pre class="inline">{run.command}</pre>
            </th>
            <td data-label="made">{run.made}</td>
            <td data-label="began" class="tight">
              {began(run)}
            </td>
            <td data-label="took" class="n">
              {duration(run.duration_s)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
