// Answers: which answers have been explained?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { ComparisonList, GraphList, GraphRow, LabPage } from "../../api/types";
import { count, number, plural } from "../../format";
import { Asked, Stated } from "../../parts/Answer";
import { Awaited, Nothing } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";
import { graphAddress } from "../../route";

const ADDRESS = "/api/graphs";

/** Every explained answer. */
export default function Answers(): JSX.Element {
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
              <None />
            )}
            <Compared />
            <Origin source={list.source} twin={ADDRESS} />
          </>
        )}
      </Awaited>
    </>
  );
}

/** How to have the first: by Ask where a model is attached, else by a command. */
function None(): JSX.Element | null {
  const lab = useAnswer<LabPage>("/api/lab");
  if (lab.state === "waiting") return null;
  const { attached = false, shows = "texts", model = "MODEL" } = lab.state === "here" ? lab.data : {};
  if (shows === "recording") return <Nothing>A recording answers nothing, so there is nothing to explain.</Nothing>;
  return (
    <Nothing>
      None yet.{" "}
      {attached ? (
        <>
          <a href="/ask" data-testid="to-ask">
            Ask why the model answers as it does
          </a>
          , and the answer is listed here; or let a command add one:{" "}
        </>
      ) : (
        "A command adds one: "
      )}
      <code>
        patchclamp explain {model || "MODEL"} {shows === "pictures" ? "IMAGE --target CLASS" : "PROMPT --target ANSWER"} --atlas ATLAS
      </code>
    </Nothing>
  );
}

/** The way to comparisons, where there are some. */
function Compared(): JSX.Element | null {
  const answer = useAnswer<ComparisonList>("/api/compare");
  if (answer.state !== "here" || !answer.data.total) return null;
  return (
    <p class="small">
      <a href="/compare" data-testid="to-comparisons">
        {plural(answer.data.total, "comparison")}
      </a>{" "}
      of models or recordings
    </p>
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
          <th scope="col">verdict</th>
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
              <Stated row={row} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
