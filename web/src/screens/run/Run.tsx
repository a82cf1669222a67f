// Run: one command, with what is needed to do it again.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { GraphPage, RunPage } from "../../api/types";
import { began, count, duration, number, percent, plural } from "../../format";
import { Command } from "../../parts/Command";
import { Awaited, Nothing } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";
import { graphAddress, local, unitAddress } from "../../route";

const ADDRESS = "/api/runs";
const NODES = 30;

/** One run, with what is needed to do it again. */
export default function Run({ id }: { id: string }): JSX.Element {
  const url = `${ADDRESS}/${encodeURIComponent(id)}`;
  const answer = useAnswer<RunPage>(url);
  useTitle(answer.state === "here" ? answer.data.run.verb : "Run");
  return <Awaited answer={answer}>{(page) => <Whole page={page} url={url} />}</Awaited>;
}

function Whole({ page, url }: { page: RunPage; url: string }): JSX.Element {
  const { run } = page;
  return (
    <article data-testid="run-page" data-run={run.id}>
      <Title question="Where did this come from?">{run.verb}</Title>
      <p class="lead">{run.made}</p>
      <dl class="facts">
        <div>
          <dt>began, UTC</dt>
          <dd>{began(run)}</dd>
        </div>
        <div>
          <dt>took</dt>
          <dd>{duration(run.duration_s)}</dd>
        </div>
        <div>
          <dt>on</dt>
          <dd>{page.host ?? "not recorded"}</dd>
        </div>
      </dl>
      <Command command={run.command}>What was typed</Command>
      {run.id.startsWith("graph-") && <Nodes id={run.id} />}
      {Object.keys(page.curves).length > 0 && <Curves of={page.curves} />}
      <section class="halves">
        <Pairs title="Versions" values={page.versions} />
        <Pairs title="Seeds" values={page.seeds} />
        <Pairs title="Options" values={page.options} />
        <Pairs title="Hashes" values={page.hashes} mono />
      </section>
      <section>
        <h2>Make it again</h2>
        <p class="small soft" data-testid="unverified">
          {page.unverified}
        </p>
        <Command command={page.rebuild}>A shell script that makes the same part, in a new place</Command>
      </section>
      <section>
        <h2>Log</h2>
        {page.log.length ? <pre class="log">{page.log.join("\n")}</pre> : <Nothing>No log was kept.</Nothing>}
      </section>
      <Origin source={page.source} twin={url} itself />
    </article>
  );
}

/** What was followed while a dictionary was trained: a line per site and measure, with where it began and ended. */
function Curves({ of }: { of: RunPage["curves"] }): JSX.Element {
  return (
    <section>
      <h2>While it was made</h2>
      <table class="curves" data-testid="curves">
        <thead>
          <tr>
            <th scope="col">site</th>
            <th scope="col">measure</th>
            <th scope="col">over steps</th>
            <th scope="col" class="n">
              first
            </th>
            <th scope="col" class="n">
              last
            </th>
          </tr>
        </thead>
        <tbody>
          {Object.entries(of).flatMap(([site, measures]) =>
            Object.entries(measures).map(([name, pairs]) => (
              <tr key={`${site}/${name}`} data-testid="curve" data-measure={name}>
                <th scope="row" class="mono">
                  {site}
                </th>
                <td data-label="measure">{name}</td>
                <td aria-hidden="true">
                  <Line pairs={pairs} />
                </td>
                <td class="n" data-label="first">
                  {number(pairs[0]?.[1] ?? null)}
                </td>
                <td class="n" data-label="last">
                  {number(pairs[pairs.length - 1]?.[1] ?? null)}
                </td>
              </tr>
            )),
          )}
        </tbody>
      </table>
    </section>
  );
}

const WIDE = 160;
const HIGH = 24;

function Line({ pairs }: { pairs: number[][] }): JSX.Element {
  const [xs, ys] = [0, 1].map((i) => pairs.map((pair) => pair[i] as number)) as [number[], number[]];
  const place = (all: number[], x: number) => (x - Math.min(...all)) / (Math.max(...all) - Math.min(...all) || 1);
  const points = pairs.map((_, i) => `${(place(xs, xs[i] as number) * WIDE).toFixed(1)},${((1 - place(ys, ys[i] as number)) * HIGH).toFixed(1)}`);
  return (
    <svg viewBox={`-1 -1 ${WIDE + 2} ${HIGH + 2}`} width={WIDE} height={HIGH}>
      <polyline points={points.join(" ")} fill="none" stroke="currentColor" stroke-width="1.5" />
    </svg>
  );
}

function Pairs({ title, values, mono = false }: { title: string; values: Record<string, string | number>; mono?: boolean }): JSX.Element {
  const rows = Object.entries(values);
  return (
    <div>
      <h2>{title}</h2>
      {rows.length ? (
        <dl class={`pairs ${mono ? "hashes" : ""}`}>
          {rows.map(([name, value]) => (
            <>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </>
          ))}
        </dl>
      ) : (
        <p class="small soft">none</p>
      )}
    </div>
  );
}

/** The largest nodes of an explained answer. */
function Nodes({ id }: { id: string }): JSX.Element {
  const answer = useAnswer<GraphPage>(`/api/graphs/${encodeURIComponent(id)}?max_nodes=${NODES}`);
  return (
    <section>
      <h2>What it found</h2>
      <Awaited answer={answer}>
        {(page) => (
          <>
            <p class="small soft" data-testid="shown">
              showing {count(page.nodes.length)} of {plural(page.total, "node")}
              {page.kept !== null && <>, {percent(page.kept)} of the sum of all sizes</>}; <a href={graphAddress(id)}>see the graph</a>
            </p>
            <table class="nodes" data-testid="nodes">
              <thead>
                <tr>
                  <th scope="col">unit</th>
                  <th scope="col" class="n">
                    value
                  </th>
                  <th scope="col" class="n">
                    score
                  </th>
                  <th scope="col" class="n">
                    measured
                  </th>
                </tr>
              </thead>
              <tbody>
                {page.nodes.map((node) => (
                  <tr key={node.key}>
                    <th scope="row" class="mono">
                      {node.unit ? <a href={unitAddress(node.unit)}>{local(node.key)}</a> : local(node.key)}
                    </th>
                    <td class="n" data-label="value">
                      {number(node.value)}
                    </td>
                    <td class="n" data-label="score">
                      {number(node.score, true)}
                    </td>
                    <td class="n" data-label="measured">
                      {node.measured === null ? "—" : number(node.measured, true)}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </>
        )}
      </Awaited>
    </section>
  );
}
