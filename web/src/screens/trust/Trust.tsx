// Trust: which explanations hold up?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { FailingUnit, LabPage, TrustPage } from "../../api/types";
import { count, percent, plural } from "../../format";
import { Interval } from "../../parts/Interval";
import { Awaited, Nothing } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";
import { query, unitAddress } from "../../route";
import { Methods, Planted } from "./Methods";
import { Points } from "./Points";
import "./trust.css";

/** What the address asks for, as the API takes it. */
const ASKED = ["run", "author", "measure"];

/** Methods beside controls, scores beside frequency, and descriptions that do not hold. */
export default function Trust(): JSX.Element {
  useTitle("Trust");
  const asked = new URLSearchParams(ASKED.flatMap((name) => (query.value.get(name) ? [[name, query.value.get(name) as string]] : [])));
  const address = `/api/trust${asked.size ? `?${asked}` : ""}`;
  const answer = useAnswer<TrustPage>(address);
  return (
    <div class="trust">
      <Title question="Which explanations hold up?" />
      <Awaited answer={answer}>
        {(page) => (
          <>
            <p class="lead" data-testid="coverage" data-described={page.n_described} data-scored={page.n_scored}>
              <a href="/units?described=true">{count(page.n_described)}</a> of {plural(page.n_units, "unit")} are described
              {page.n_described > 0 && (
                <>
                  {" "}
                  ({percent(page.n_described / Math.max(page.n_units, 1))}), <a href="/units?sort=score&descending=true">{count(page.n_scored)}</a> of them with a score
                </>
              )}
              .
            </p>
            {page.methods.length ? <Methods methods={page.methods} /> : <None />}
            <Planted methods={page.methods} />
            {page.points && <Points points={page.points} methods={page.methods} />}
            {page.points && <Failing page={page} />}
            <Origin source={page.source} twin={address} />
          </>
        )}
      </Awaited>
    </div>
  );
}

/** How to have the first descriptions. */
function None(): JSX.Element {
  const lab = useAnswer<LabPage>("/api/lab");
  const attached = lab.state === "here" && lab.data.attached;
  return (
    <Nothing>
      Nothing is described yet. {attached && "A button on every unit's page describes that unit; "}
      {attached ? "all of them are described by a command: " : "A command describes every unit, offline: "}
      <code>patchclamp describe ATLAS</code>
    </Nothing>
  );
}

/** Descriptions that score no better than shuffled ones, the lowest first. */
function Failing({ page }: { page: TrustPage }): JSX.Element {
  const shown = page.failing.length;
  return (
    <section aria-labelledby="failing" data-testid="failing" data-total={page.n_failing}>
      <h2 id="failing">Descriptions that do not hold</h2>
      {page.n_failing === 0 ? (
        <Nothing>Every score's interval lies above {page.points?.chance.toFixed(2)}, which is what chance gives.</Nothing>
      ) : (
        <>
          <p class="small soft">
            their interval reaches down to chance or below it; showing {count(shown)} of {count(page.n_failing)}
            {shown < page.n_failing && (
              <>
                {" "}
                · <a href="/units?described=true&sort=score&descending=false">the rest in Find</a>
              </>
            )}
          </p>
          <table class="runs failing">
            <thead>
              <tr>
                <th scope="col">unit</th>
                <th scope="col">description</th>
                <th scope="col">score</th>
                <th scope="col" class="n">
                  wrong on
                </th>
              </tr>
            </thead>
            <tbody>
              {page.failing.map((one) => (
                <Row key={one.key} one={one} />
              ))}
            </tbody>
          </table>
        </>
      )}
    </section>
  );
}

function Row({ one }: { one: FailingUnit }): JSX.Element {
  return (
    <tr data-testid="failing-unit" data-key={one.key} data-score={one.score.value ?? ""}>
      <th scope="row">
        <a href={unitAddress(one.key)}>{one.name}</a>
      </th>
      <td>
        <q>{one.text}</q>
      </td>
      <td>
        <Interval estimate={one.score} chance={0.5} />
      </td>
      <td class="n" data-label={one.wrong > 0 ? "wrong on" : undefined}>
        {one.wrong > 0 && <a href={`${unitAddress(one.key)}?kind=counter`}>{plural(one.wrong, "window")}</a>}
      </td>
    </tr>
  );
}
