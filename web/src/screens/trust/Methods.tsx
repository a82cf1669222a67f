// Methods by measures: each score beside shuffled and random descriptions, and what it cost.
import type { JSX } from "preact";
import type { EstimateView, TrustMeasure, TrustMethod } from "../../api/types";
import { count, duration, number, percent, plural } from "../../format";
import { Interval } from "../../parts/Interval";

/** A row for every measure of every method; each number leads to the run that made it. */
export function Methods({ methods }: { methods: TrustMethod[] }): JSX.Element {
  return (
    <section aria-labelledby="methods">
      <h2 id="methods">Methods</h2>
      <table class="runs methods" data-testid="methods">
        <caption class="small soft">mean over units with its 95 % interval; the line on each track marks what shuffled descriptions score, or 0.5</caption>
        <thead>
          <tr>
            <th scope="col">measure</th>
            <th scope="col">descriptions</th>
            <th scope="col">shuffled among units</th>
            <th scope="col">random</th>
            <th scope="col" class="n">
              0.8 or more
            </th>
            <th scope="col" class="n">
              units
            </th>
            <th scope="col" class="n">
              unread
            </th>
            <th scope="col">cost</th>
          </tr>
        </thead>
        {methods.map((method) => (
          <Method key={method.run + method.author} method={method} />
        ))}
      </table>
    </section>
  );
}

function Method({ method }: { method: TrustMethod }): JSX.Element {
  const run = `/runs/${encodeURIComponent(method.run)}`;
  return (
    <tbody data-testid="method" data-run={method.run} data-author={method.author}>
      <tr class="of">
        <th scope="rowgroup" colSpan={8}>
          <a href={run}>{method.author}</a>{" "}
          <span class="small soft">
            {plural(method.units, "unit")} · <Cost calls={method.calls} tokens={method.tokens} seconds={method.seconds} />
            {method.failed.map((one) => (
              <> · {plural(one.units, "unit")} without: {one.reason}</>
            ))}
          </span>
        </th>
      </tr>
      {method.measures.length ? (
        method.measures.map((measure) => <Measure key={measure.measure} measure={measure} run={run} />)
      ) : (
        <tr>
          <td colSpan={8} class="soft">
            nobody has scored these descriptions
          </td>
        </tr>
      )}
    </tbody>
  );
}

function Measure({ measure, run }: { measure: TrustMeasure; run: string }): JSX.Element {
  const chance = measure.shuffled?.value ?? measure.described.null_low ?? 0.5;
  return (
    <tr data-testid="measure" data-measure={measure.measure} data-value={measure.described.value ?? ""}>
      <th scope="row">
        {measure.measure}
        {measure.judge && <span class="small soft"> by {measure.judge}</span>}
      </th>
      <td data-label="descriptions">
        <Cell of={measure.described} run={run} chance={chance} />
      </td>
      <td data-label="shuffled" data-testid="shuffled" data-value={measure.shuffled?.value ?? ""}>
        <Cell of={measure.shuffled} run={run} />
      </td>
      <td data-label="random" data-testid="random" data-value={measure.random?.value ?? ""}>
        <Cell of={measure.random} run={run} />
      </td>
      <td class="n" data-label="0.8 or more" data-testid="good" data-value={measure.good ?? ""} title={spread(measure)}>
        {percent(measure.good)}
      </td>
      <td class="n" data-label="units">
        {count(measure.described.n)}
      </td>
      <td class="n" data-label="unread">
        {measure.missing === null ? <span class="soft">—</span> : percent(measure.missing)}
      </td>
      <td data-label="cost">
        <Cost calls={measure.calls} tokens={measure.tokens} seconds={measure.seconds} />
      </td>
    </tr>
  );
}

/** The distribution of the scores in words. */
function spread({ quantiles: [low, first, middle, third, high] }: TrustMeasure): string {
  return `lowest ${number(low)}, quartiles ${number(first)}, ${number(middle)}, ${number(third)}, highest ${number(high)}`;
}

/** A number that leads to its run; on a track where it is the method's own. */
function Cell({ of, run, chance }: { of: EstimateView | null; run: string; chance?: number }): JSX.Element {
  if (of === null) return <span class="soft">not measured</span>;
  return (
    <a href={run} class="cell-of">
      {chance !== undefined ? <Interval estimate={of} chance={chance} /> : <Numbers of={of} />}
    </a>
  );
}

function Numbers({ of }: { of: EstimateView }): JSX.Element {
  return (
    <span class="num nowrap">
      {number(of.value)}
      {of.low !== null && of.high !== null && <span class="soft small"> {`${number(of.low)}–${number(of.high)}`}</span>}
    </span>
  );
}

/** What was paid: questions to the judge where there were any, and time. */
function Cost({ calls, tokens, seconds }: { calls: number; tokens: number; seconds: number | null }): JSX.Element {
  const parts = [];
  if (calls > 0) parts.push(plural(calls, "call"), plural(tokens, "token"));
  if (seconds) parts.push(duration(seconds));
  return <span class="small soft">{parts.join(", ") || "—"}</span>;
}

/** What the methods find where the answer is known. */
export function Planted({ methods }: { methods: TrustMethod[] }): JSX.Element | null {
  const known = methods.filter((method) => method.truth.length);
  if (!known.length) return null;
  return (
    <section aria-labelledby="planted">
      <h2 id="planted">Where the answer is planted</h2>
      <table class="runs planted" data-testid="planted">
        <caption class="small soft">the same methods on networks whose truth is known, from the stored calibration</caption>
        <thead>
          <tr>
            <th scope="col">method and network</th>
            <th scope="col">oracle</th>
            <th scope="col">method</th>
            <th scope="col">random</th>
          </tr>
        </thead>
        <tbody>
          {known.flatMap((method) =>
            method.truth.map((one) => (
              <tr key={method.run + one.place + one.figure} data-testid="truth" data-oracle={one.oracle.value ?? ""} data-method={one.method.value ?? ""} data-random={one.random.value ?? ""}>
                <th scope="row">
                  {method.author} on {one.place}
                  <span class="small soft"> {one.figure}, {one.method.unit}</span>
                </th>
                <td data-label="oracle">
                  <Numbers of={one.oracle} />
                </td>
                <td data-label="method">
                  <Interval estimate={one.method} />
                </td>
                <td data-label="random">
                  <Numbers of={one.random} />
                </td>
              </tr>
            )),
          )}
        </tbody>
      </table>
    </section>
  );
}
