// Compare: do these two represent the same thing?
import "./compare.css";
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { ComparisonPage } from "../../api/types";
import { count, number, percent, plural } from "../../format";
import { Awaited } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";
import { go, query, withQuery } from "../../route";
import { Grid } from "./Grid";
import { Lens } from "./Lens";
import { Next } from "./Next";
import { CellPairs, Moved, Pairs } from "./Units";

/** A comparison of two models, or of two recordings. */
export default function Compare({ id }: { id: string }): JSX.Element {
  const url = `/api/compare/${encodeURIComponent(id)}`;
  const answer = useAnswer<ComparisonPage>(url);
  useTitle(answer.state === "here" ? `${answer.data.comparison.first} and ${answer.data.comparison.second}` : "Compare");
  return <Awaited answer={answer}>{(page) => <Whole page={page} url={url} />}</Awaited>;
}

/** A number with the ends of its interval. */
function Between({ value, low, high }: { value: number | null; low: number | null; high: number | null }): JSX.Element {
  return (
    <>
      {number(value)}
      {low !== null && high !== null && (
        <small class="soft tight">
          {" "}
          [{number(low)}, {number(high)}]
        </small>
      )}
    </>
  );
}

function Whole({ page, url }: { page: ComparisonPage; url: string }): JSX.Element {
  const { comparison, estimate } = page;
  const models = comparison.kind === "models";
  return (
    <div class="compare" data-testid="compare-page" data-id={comparison.id} data-kind={comparison.kind}>
      <Title question="Do these two represent the same thing?">
        <bdi>{comparison.first}</bdi> <span class="soft">and</span> <bdi>{comparison.second}</bdi>
      </Title>
      <p class="lead" data-testid="sentence">
        {comparison.sentence}
      </p>
      {page.cautions.length > 0 && (
        <ul class="cautions small" data-testid="cautions">
          {page.cautions.map((one) => (
            <li key={one}>{one}</li>
          ))}
        </ul>
      )}
      <dl class="facts">
        <div>
          <dt>{models ? "KL divergence of the next token, nats" : estimate.unit}</dt>
          <dd data-testid="estimate" data-value={estimate.value ?? ""}>
            <Between value={estimate.value} low={estimate.low} high={estimate.high} />
          </dd>
        </div>
        {page.random.length > 0 && (
          <div>
            <dt>of {plural(page.random.length, "random change")} of the same size</dt>
            <dd data-testid="random" data-values={page.random.join(" ")}>
              {page.random.map((one) => number(one)).join(" · ")}
            </dd>
          </div>
        )}
        {page.agreement !== null && (
          <div>
            <dt>same likeliest next token</dt>
            <dd data-testid="agreement" data-value={page.agreement}>
              {percent(page.agreement)} <small class="soft">of {plural(page.n, "token")}</small>
            </dd>
          </div>
        )}
        {page.pairs && (
          <div>
            <dt>units with a partner above chance</dt>
            <dd data-testid="above" data-value={page.pairs.above}>
              {count(page.pairs.above)} <small class="soft">of {count(page.pairs.total)} that ever change</small>
            </dd>
          </div>
        )}
        {!models && estimate.null_low !== null && (
          <div>
            <dt>shuffled</dt>
            <dd data-testid="shuffled" data-low={page.shuffled_low ?? ""} data-high={page.shuffled_high ?? ""}>
              {number(page.shuffled_low)} to {number(page.shuffled_high)} <small class="soft">p = {number(estimate.p)}</small>
            </dd>
          </div>
        )}
        {!models && (
          <div>
            <dt>noise ceiling</dt>
            <dd data-testid="ceiling">{page.ceiling === null ? <small class="soft">not known: nothing was shown twice</small> : number(page.ceiling)}</dd>
          </div>
        )}
      </dl>
      {page.layers && page.layers.value.length > 0 && <Layers page={page} url={url} />}
      {models && <Next page={page} />}
      {page.lens && <Lens lens={page.lens} page={page} />}
      {page.moved.length > 0 && <Moved page={page} />}
      {page.pairs && (
        <section>
          <h2>Paired units</h2>
          <Pairs pairs={page.pairs} page={page} />
        </section>
      )}
      {page.matrices.length > 0 && (
        <section>
          <h2>How far apart conditions are</h2>
          {page.notice && <p class="warn small">{page.notice}</p>}
          <div class="halves">
            {page.matrices.map((matrix, i) => (
              <div key={i}>
                <h3>{i ? comparison.second : comparison.first}</h3>
                <Grid grid={matrix} label={`dissimilarity of conditions, ${i ? comparison.second : comparison.first}`} />
              </div>
            ))}
          </div>
        </section>
      )}
      <p class="small">
        <a href="/compare">all comparisons</a>
      </p>
      <Origin source={page.source} twin={url} itself />
    </div>
  );
}

/** Layer × layer, and the pair of layers that is chosen. */
function Layers({ page, url }: { page: ComparisonPage; url: string }): JSX.Element {
  const grid = page.layers as NonNullable<ComparisonPage["layers"]>;
  const at = (name: string, most: number) => {
    const given = query.value.get(name);
    const value = given === null || !/^\d+$/.test(given) ? -1 : Number(given);
    return value < most ? value : -1;
  };
  const row = at("row", grid.rows.length);
  const column = at("column", grid.columns.length);
  const chosen = row >= 0 && column >= 0 ? { row, column } : undefined;
  const choose = (r: number, c: number) => go(withQuery({ row: String(r), column: String(c) }), true);
  return (
    <section>
      <h2>Layers</h2>
      <p class="small soft">
        Spearman correlation of the dissimilarities between {plural(page.n_conditions, "token")}. Rows: {page.comparison.first}; columns: {page.comparison.second}.
      </p>
      <div class="cells-and-pair">
        <div>
          <Grid grid={grid} label="similarity of layers" chosen={chosen} choose={choose} />
          <p class="small" data-testid="control" data-mean={page.shuffled ?? ""} data-low={page.shuffled_low ?? ""} data-high={page.shuffled_high ?? ""}>
            With shuffled tokens {number(page.shuffled)}{" "}
            <span class="soft">
              [{number(page.shuffled_low)}, {number(page.shuffled_high)}]
            </span>
            ; ceiling {number(page.ceiling)}: a network gives the same values every time.
          </p>
        </div>
        {chosen ? (
          <CellPairs page={page} grid={grid} url={url} {...chosen} />
        ) : (
          <p class="soft small">Choose a cell, by click or with the arrow keys and Enter, to see which units of the two layers do the same.</p>
        )}
      </div>
    </section>
  );
}
