// A unit of a recorded brain: its trace or events, its mean over trials, its tuning, its neighbours, its place.
import "../../parts/recorded.css";
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { Course, RecordedUnit, Tissue, Tuning, UnitPage } from "../../api/types";
import { count, number, plural } from "../../format";
import { type Bar, Bars } from "../../parts/Bars";
import { Histogram } from "../../parts/Histogram";
import { Interval } from "../../parts/Interval";
import { Line } from "../../parts/Line";
import { ends, outline, scaled } from "../../parts/Spark";
import { Awaited, Nothing } from "../../parts/States";
import { TissueMap } from "../../parts/TissueMap";
import { query, unitAddress, withQuery } from "../../route";
import { Numbers } from "./Activity";
import { Descriptions } from "./Descriptions";
import { Write } from "./Write";

const [WIDE, TALL] = [600, 120];

/** The page's panels; `id` is the unit's key. */
export function Recorded({ id }: { id: string }): JSX.Element {
  const answer = useAnswer<UnitPage>(`/api${unitAddress(id)}`);
  const trial = query.value.get("trial");
  const recorded = useAnswer<RecordedUnit>(`/api${unitAddress(id)}/recorded${trial === null ? "" : `?trial=${encodeURIComponent(trial)}`}`);
  return <Awaited answer={answer}>{(unit) => <Awaited answer={recorded}>{(did) => <Whole unit={unit} did={did} />}</Awaited>}</Awaited>;
}

function Whole({ unit, did }: { unit: UnitPage; did: RecordedUnit }): JSX.Element {
  return (
    <>
      <Sum unit={unit} did={did} />
      <div class="unit">
        <div class="column">
          {unit.descriptions.length > 0 && (
            <div class="said">
              <Descriptions unit={unit} />
            </div>
          )}
          <div class="evidence">
            <InTime did={did} />
            <Courses did={did} />
            <Near did={did} />
          </div>
          <div class="notes-of">
            <Write id={unit.key} />
          </div>
        </div>
        <div class="column">
          <div class="activity">
            <Activity unit={unit} did={did} />
          </div>
          <div class="rail">
            <Told unit={unit} />
            {did.tuning.map((one) => (
              <InConditions key={one.label} of={one} measure={did.rate_measure} />
            ))}
            <Place id={unit.key} did={did} />
          </div>
        </div>
      </div>
    </>
  );
}

function Sum({ unit, did }: { unit: UnitPage; did: RecordedUnit }): JSX.Element {
  return (
    <p class="lead">
      <Line parts={unit.line.parts} />
      <br />
      <span class="soft small">
        {plural(did.trials, "trial")} of {count(did.samples)} samples
        {did.rate === null ? ", rate unknown" : ` at ${Number(did.rate.toPrecision(6))} Hz`}, in <bdi>{did.measure}</bdi>
        {did.missing > 0 && (
          <span data-testid="missing" data-value={did.missing}>
            ; {plural(did.missing, "sample")} missing
          </span>
        )}
        {" · "}
        <span data-testid="cannot">{did.cannot}</span>
      </span>
    </p>
  );
}

// -- in time ----------------------------------------------------------------------------------------------------------

/** Return a sample's time in words: seconds, or its number where nobody stated a rate. */
function moment(did: RecordedUnit, sample: number): string {
  return did.rate === null ? `sample ${count(sample)}` : `${number(did.start + sample / did.rate)} s`;
}

function InTime({ did }: { did: RecordedUnit }): JSX.Element {
  const { raster } = did;
  return (
    <section aria-labelledby="in-time">
      <h2 id="in-time">In time</h2>
      {did.peak && !raster && !did.constant && (
        <p class="small soft" data-testid="peak" data-trial={did.peak[0]} data-sample={did.peak[1]}>
          highest at {moment(did, did.peak[1] as number)}
          {did.trials > 1 && ` of trial ${count(did.peak[0] as number)}`}
        </p>
      )}
      {raster && <Events did={did} />}
      {(!raster || did.trials === 1 || raster.trials === 0) && <Trace did={did} />}
    </section>
  );
}

function Trace({ did }: { did: RecordedUnit }): JSX.Element {
  const { trace } = did;
  const { place, low, high } = scaled([trace.low, trace.high], TALL);
  const known = [...trace.low, ...trace.high].filter((x): x is number => x !== null);
  if (did.constant || !known.length) return <Nothing>It has one value throughout, or none.</Nothing>;
  return (
    <>
      {trace.trials.length > 1 && (
        <nav class="row small switch" aria-label="trials">
          <span class="soft">trial</span>
          {trace.trials.map((trial) => (
            <a key={trial} href={withQuery({ trial: String(trial) })} aria-current={trial === trace.trial ? "true" : undefined}>
              {count(trial)}
            </a>
          ))}
        </nav>
      )}
      <figure class="plot" data-testid="trace" data-trial={trace.trial} data-low={JSON.stringify(trace.low)} data-high={JSON.stringify(trace.high)}>
        <svg viewBox={`0 0 ${WIDE} ${TALL}`} preserveAspectRatio="none" role="img" aria-label={`trace from ${number(low)} to ${number(high)} ${did.measure}`}>
          <path class="pos" d={outline(trace.low, trace.high, place, true, WIDE)} />
          <path class="neg" d={outline(trace.low, trace.high, place, false, WIDE)} />
          {trace.exact && <path class="curve" d={curve(trace.low, place)} />}
          {low <= 0 && high >= 0 && <line x1="0" x2={WIDE} y1={place(0)} y2={place(0)} />}
        </svg>
        <Ends did={did} from={0} to={did.samples - 1} />
        <figcaption class="small soft">
          from {number(Math.min(...known))} to {number(Math.max(...known))} <bdi>{did.measure}</bdi>
          {low === 0 && Math.min(...known) > 0 && ", drawn from 0"};{" "}
          {trace.exact ? "every sample is drawn" : `${count(trace.low.length)} bins, each from its lowest to its highest sample`}
        </figcaption>
      </figure>
    </>
  );
}

function Ends({ did, from, to }: { did: RecordedUnit; from: number; to: number }): JSX.Element {
  return (
    <div class="ends-of small soft" aria-hidden="true">
      <span>{moment(did, from)}</span>
      <span>{moment(did, to)}</span>
    </div>
  );
}

/** Return a line through numbers, broken where one is missing. */
function curve(values: readonly (number | null)[], place: (value: number) => number): string {
  const step = WIDE / Math.max(values.length, 1);
  let path = "";
  values.forEach((value, i) => {
    if (value !== null) path += `${i > 0 && values[i - 1] !== null ? "L" : "M"}${((i + 0.5) * step).toFixed(1)},${place(value).toFixed(1)}`;
  });
  return path;
}

function Events({ did }: { did: RecordedUnit }): JSX.Element {
  const raster = did.raster as NonNullable<RecordedUnit["raster"]>;
  if (raster.trials === 0) {
    return (
      <p class="small soft" data-testid="raster" data-total={raster.total} data-events={0}>
        {count(raster.total)} events: too many to draw each, so the trace shows counts.
      </p>
    );
  }
  const row = TALL / raster.trials;
  const ticks = raster.samples.map((sample) => {
    const [trial, at] = [Math.floor(sample / did.samples), sample % did.samples];
    return `M${(((at + 0.5) / did.samples) * WIDE).toFixed(1)},${((trial + 0.1) * row).toFixed(1)}v${(0.8 * row).toFixed(2)}`;
  });
  return (
    <figure class="plot" data-testid="raster" data-total={raster.total} data-events={raster.samples.length} data-trials={raster.trials}>
      <svg viewBox={`0 0 ${WIDE} ${TALL}`} preserveAspectRatio="none" role="img" aria-label={`events of ${plural(raster.trials, "trial")}`}>
        <path class="ticks" d={ticks.join("")} />
      </svg>
      <Ends did={did} from={0} to={did.samples - 1} />
      <figcaption class="small soft">
        {plural(raster.samples.length, "event")}
        {raster.samples.length < raster.total && ` of ${count(raster.total)}`}, {raster.trials > 1 ? `a row for each of the ${raster.trials < did.trials ? "first " : ""}${count(raster.trials)} trials` : "one trial"}
      </figcaption>
    </figure>
  );
}

function Courses({ did }: { did: RecordedUnit }): JSX.Element | null {
  if (!did.courses.length) return null;
  const { place, low, high } = scaled(did.courses.flatMap((one) => [one.mean, one.low, one.high]), TALL);
  return (
    <section aria-labelledby="courses" data-testid="courses">
      <h2 id="courses">Mean over trials</h2>
      <p class="small soft">
        with a 95 % interval over trials; every panel from {number(low)} to {number(high)} <bdi>{did.rate_measure}</bdi>
      </p>
      <div class="courses">
        {did.courses.map((one) => (
          <CourseOf key={`${one.label}=${one.condition}`} one={one} did={did} place={place} />
        ))}
      </div>
    </section>
  );
}

function CourseOf({ one, did, place }: { one: Course; did: RecordedUnit; place: (value: number) => number }): JSX.Element {
  const step = WIDE / Math.max(one.mean.length, 1);
  const known = one.mean.flatMap((_, i) => (one.low[i] == null || one.high[i] == null ? [] : [i]));
  const at = (i: number, row: readonly (number | null)[]) => `${((i + 0.5) * step).toFixed(1)},${place(row[i] as number).toFixed(1)}`;
  const band = known.length ? `M${known.map((i) => at(i, one.high)).join("L")}L${[...known].reverse().map((i) => at(i, one.low)).join("L")}Z` : "";
  return (
    <figure class="plot" data-testid="course" data-label={one.label} data-condition={one.condition} data-n={one.n} data-mean={JSON.stringify(one.mean)} data-low={JSON.stringify(one.low)} data-high={JSON.stringify(one.high)}>
      <figcaption class="small">
        {one.label === "" ? "all trials" : <bdi>{`${one.label} = ${one.condition}`}</bdi>} <span class="soft">{plural(one.n, "trial")}</span>
      </figcaption>
      <svg viewBox={`0 0 ${WIDE} ${TALL}`} preserveAspectRatio="none" role="img" aria-label={one.label === "" ? "mean over all trials" : `mean over trials with ${one.label} ${one.condition}`}>
        <path class="band" d={band} />
        <path class="curve" d={curve(one.mean, place)} />
        <line x1="0" x2={WIDE} y1={place(0)} y2={place(0)} />
      </svg>
      <Ends did={did} from={0} to={did.samples - 1} />
    </figure>
  );
}

// -- beside it --------------------------------------------------------------------------------------------------------

function Activity({ unit, did }: { unit: UnitPage; did: RecordedUnit }): JSX.Element {
  const { histogram } = unit;
  return (
    <section aria-labelledby="activity">
      <h2 id="activity">Activity</h2>
      {histogram === null ? <Nothing>It has one value throughout, or none, so there is no histogram.</Nothing> : <Histogram edges={histogram.edges} counts={histogram.tokens} chosen={null} onChoose={null} what="samples" />}
      <Numbers of={unit.statistics} />
      <p class="small soft">
        of single samples, in <bdi>{did.measure}</bdi>
      </p>
    </section>
  );
}

function Told({ unit }: { unit: UnitPage }): JSX.Element | null {
  if (!unit.concepts.length) return null;
  return (
    <section aria-labelledby="concepts" data-testid="concepts">
      <h2 id="concepts">Where it is highest</h2>
      <table class="concepts">
        <caption class="small soft">by AUROC of a condition against all others, on the half of the time that it was not chosen on; 0.5 is chance</caption>
        <tbody>
          {unit.concepts.map((one) => (
            <tr key={one.concept} data-concept={one.concept} data-value={one.auroc.value} data-low={one.auroc.low ?? ""}>
              <th scope="row">
                <bdi>{one.concept}</bdi>
              </th>
              <td>
                <Interval estimate={one.auroc} chance={0.5} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function InConditions({ of, measure }: { of: Tuning; measure: string }): JSX.Element {
  const [low, high] = ends(of.points.flatMap((one) => [one.mean, one.low, one.high]));
  const at = (x: number) => `${((x - low) / (high - low || 1)) * 100}%`;
  return (
    <section data-testid="tuning" data-label={of.label}>
      <h2>
        By <bdi>{of.label}</bdi>
      </h2>
      <table class="concepts tuning">
        <caption class="small soft">
          mean in <bdi>{measure}</bdi>, with a 95 % interval over {of.over}
        </caption>
        <tbody>
          {of.points.map((one) => (
            <tr key={one.condition} data-condition={one.condition} data-value={one.mean ?? ""} data-low={one.low ?? ""} data-high={one.high ?? ""} data-n={one.n}>
              <th scope="row">
                <bdi>{one.condition}</bdi>
              </th>
              <td>
                <span class="interval">
                  <span class="track" aria-hidden="true">
                    {low <= 0 && high >= 0 && <i class="chance" style={{ left: at(0) }} />}
                    {one.low !== null && one.high !== null && <i class="span" style={{ left: at(one.low), right: `calc(100% - ${at(one.high)})` }} />}
                    {one.mean !== null && <i class="dot" style={{ left: at(one.mean) }} />}
                  </span>
                  <span class="num">
                    {number(one.mean)}
                    {one.low !== null && one.high !== null && <span class="soft small"> {`${number(one.low)}–${number(one.high)}`}</span>}
                  </span>
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Near({ did }: { did: RecordedUnit }): JSX.Element | null {
  if (!did.near.length) return did.constant ? <Nothing>It has one value throughout, so it correlates with nothing.</Nothing> : null;
  const bars: Bar[] = did.near.map((one) => ({
    label: <bdi>{one.name}</bdi>,
    value: one.r,
    href: unitAddress(one.key),
    note: (
      <>
        {one.low !== null && one.high !== null && `${number(one.low)} to ${number(one.high)}`}
        {one.p !== null && ` · p ${one.p < 0.01 ? "<" : "="} ${one.p < 0.01 ? "0.01" : one.p.toFixed(2)}`}
        {one.groups.length > 0 && (
          <>
            {" · both in "}
            <bdi>{one.groups.join(", ")}</bdi>
          </>
        )}
      </>
    ),
  }));
  return (
    <section aria-labelledby="near" data-testid="near">
      <h2 id="near">Goes with</h2>
      {did.chance !== null && (
        <p class="small soft" data-testid="chance" data-value={did.chance} data-shifts={did.shifts}>
          Chance: in 95 % of {count(did.shifts)} circular shifts of this unit in time, no other unit reaches an |r| above {number(did.chance)}; p counts the shifts in which any does.
        </p>
      )}
      <Bars bars={bars} scale={1} testid="correlations" caption="Pearson's r over all samples, with a 95 % interval over trials or blocks of time" />
      {did.within !== null && (
        <p class="small" data-testid="within" data-value={did.within} data-outside={did.outside ?? ""} data-low={did.within_low ?? ""} data-high={did.within_high ?? ""}>
          Mean r with the others of <bdi>{did.groups.join(", ")}</bdi>: <strong class="num">{number(did.within)}</strong>
          {did.within_low !== null && <span class="soft">{` (chance ${number(did.within_low)} to ${number(did.within_high)})`}</span>}; with the rest <span class="num">{number(did.outside)}</span>.
        </p>
      )}
    </section>
  );
}

function Place({ id, did }: { id: string; did: RecordedUnit }): JSX.Element {
  const answer = useAnswer<Tissue>(`/api/tissue?unit=${encodeURIComponent(id)}`);
  const facts = Object.entries(did.labels).filter(([name]) => !(name.toLowerCase() in did.place));
  const here = Object.entries(did.place);
  return (
    <>
      {here.length > 0 && (
        <section aria-labelledby="place">
          <h2 id="place">Where it lies</h2>
          <p class="small soft" data-testid="place">
            {here.map(([axis, value]) => `${axis} ${number(value)}`).join(", ")}
          </p>
          <Awaited answer={answer}>{(tissue) => <TissueMap tissue={tissue} own={id} />}</Awaited>
        </section>
      )}
      {did.groups.length + facts.length > 0 && (
        <section aria-labelledby="of-it">
          <h2 id="of-it">Of this unit</h2>
          <dl class="pairs small">
            {did.groups.length > 0 && (
              <>
                <dt>groups</dt>
                <dd data-testid="groups">
                  {did.groups.map((name, i) => (
                    <span key={name}>
                      {i > 0 && ", "}
                      <a href={`/units?q=${encodeURIComponent(name)}`}>
                        <bdi>{name}</bdi>
                      </a>
                    </span>
                  ))}
                </dd>
              </>
            )}
            {facts.map(([name, value]) => (
              <>
                <dt key={name}>
                  <bdi>{name}</bdi>
                </dt>
                <dd>{value}</dd>
              </>
            ))}
          </dl>
        </section>
      )}
    </>
  );
}
