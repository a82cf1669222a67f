// How active the unit was, and choosing an interval of it.
import type { JSX } from "preact";
import type { Statistics, UnitPage } from "../../api/types";
import { count, number, percent } from "../../format";
import { type Chosen, Histogram } from "../../parts/Histogram";
import { Nothing } from "../../parts/States";
import { go, query, withQuery } from "../../route";

/** Statistics and the histogram that chooses examples. */
export function Activity({ unit }: { unit: UnitPage }): JSX.Element {
  const { histogram } = unit;
  return (
    <section aria-labelledby="activity">
      <h2 id="activity">Activity</h2>
      {histogram === null ? (
        <Nothing>{unit.not_known.histogram ?? "It was the same at every token, so there is no histogram."}</Nothing>
      ) : (
        <Brushed unit={unit} />
      )}
      <Numbers of={unit.statistics} />
    </section>
  );
}

/** Mean, range and quantiles. */
export function Numbers({ of: s }: { of: Statistics }): JSX.Element {
  const rows: [string, number | null, string?][] = [
    ["mean", s.mean],
    ["deviation", s.deviation],
    ["lowest", s.minimum],
    ["highest", s.maximum],
    ["above 0", s.frequency, percent(s.frequency)],
    ...s.quantiles
      .filter((q) => [0.05, 0.5, 0.95].includes(q.probability))
      .map((q): [string, number | null] => [`${Math.round(q.probability * 100)} % quantile`, q.value]),
  ];
  return (
    <dl class="numbers small">
      {rows.map(([name, value, words]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd class="num" data-statistic={name} data-value={value ?? ""}>
            {words ?? number(value)}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Brushed({ unit }: { unit: UnitPage }): JSX.Element {
  const { edges, tokens, pieces } = unit.histogram as NonNullable<UnitPage["histogram"]>;
  const chosen = chosenBins(edges);
  const choose = (bins: Chosen | null) => {
    const ends = bins && { low: String(edges[bins[0]]), high: String(edges[bins[1] + 1]) };
    // A slider is dragged through many values: only the first is a step for the back button.
    go(withQuery({ low: ends?.low ?? null, high: ends?.high ?? null, kind: null }), chosen !== null && bins !== null);
  };
  const sum = (counts: readonly number[], [from, to]: Chosen) => counts.slice(from, to + 1).reduce((a, b) => a + b, 0);
  const all: Chosen = [0, tokens.length - 1];
  return (
    <>
      <Histogram edges={edges} counts={tokens} chosen={chosen} onChoose={choose} />
      <p class="small soft" data-testid="chosen" aria-live="polite">
        {chosen ? (
          <>
            {number(edges[chosen[0]])} to {number(edges[chosen[1] + 1])}: {count(sum(tokens, chosen))} of {count(sum(tokens, all))}{" "}
            tokens; the highest of {count(sum(pieces, chosen))} of {count(sum(pieces, all))} windows of 32 tokens.{" "}
            <a href={withQuery({ low: null, high: null })}>show all</a>
          </>
        ) : (
          <>{count(sum(tokens, all))} tokens. Drag over bars to see examples from there.</>
        )}
      </p>
    </>
  );
}

/** Return the bins that the address chooses, if any. */
export function chosenBins(edges: readonly number[]): Chosen | null {
  const [low, high] = ["low", "high"].map((name) => Number(query.value.get(name) ?? Number.NaN)) as [number, number];
  if (!Number.isFinite(low) || !Number.isFinite(high)) return null;
  const nearest = (x: number) => {
    let best = 0;
    edges.forEach((edge, i) => Math.abs(edge - x) < Math.abs((edges[best] as number) - x) && (best = i));
    return best;
  };
  const from = Math.min(nearest(low), edges.length - 2);
  return [from, Math.max(from, nearest(high) - 1)];
}
