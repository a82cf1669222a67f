// Scores beside how often units fire: a point for every unit, and a line at chance.
import type { JSX } from "preact";
import type { TrustMethod, TrustPoints } from "../../api/types";
import { count, number, percent } from "../../format";
import { go, unitAddress, withQuery } from "../../route";

const [WIDE, HIGH, LEFT, BELOW] = [760, 300, 58, 34];
/** Shares at which the axis has a mark. */
const SHARES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1];

/** The drawing, and links to other measures. */
export function Points({ points, methods }: { points: TrustPoints; methods: TrustMethod[] }): JSX.Element {
  return (
    <section aria-labelledby="points">
      <div class="row">
        <h2 id="points">Score by frequency</h2>
        <Choice points={points} methods={methods} />
      </div>
      <p class="small soft" data-testid="drawn" data-total={points.total} data-drawn={points.keys.length}>
        {points.measure} of the descriptions by {points.author}; showing {count(points.keys.length)} of {count(points.total)} units
        {points.keys.length < points.total && ", evenly spaced among them"}
      </p>
      <Drawing points={points} />
      <p class="legend small soft">
        <span>
          <svg width="12" height="12" viewBox="-6 -6 12 12" aria-hidden="true">
            <circle r="3.4" class="point" />
          </svg>{" "}
          above chance
        </span>
        <span>
          <svg width="12" height="12" viewBox="-6 -6 12 12" aria-hidden="true">
            <path d="M-3.5-3.5l7 7m0-7l-7 7" class="point below" />
          </svg>{" "}
          at or below it
        </span>
        <span>dashes: chance, {number(points.chance)}</span>
      </p>
    </section>
  );
}

/** The measures of all methods that have scores, where there are several. */
function Choice({ points, methods }: { points: TrustPoints; methods: TrustMethod[] }): JSX.Element | null {
  const all = methods.flatMap((method) => method.measures.map((one) => ({ run: method.run, author: method.author, measure: one.measure })));
  if (all.length < 2) return null;
  const several = methods.length > 1;
  return (
    <fieldset class="switch small">
      <legend class="out-of-sight">which score is drawn</legend>
      {all.map((one) => {
        const here = one.run === points.run && one.author === points.author && one.measure === points.measure;
        return (
          <a key={one.run + one.author + one.measure} href={withQuery(one)} aria-current={here ? "true" : undefined} data-testid="draw">
            {several && `${one.author}: `}
            {one.measure}
          </a>
        );
      })}
    </fieldset>
  );
}

function Drawing({ points }: { points: TrustPoints }): JSX.Element {
  const seen = points.frequency.filter((share) => share > 0);
  const rarest = Math.log10(Math.min(...seen, 0.1));
  const from = Math.max(Math.floor(rarest), -6);
  const lowest = Math.min(0, ...points.score) < -0.02 ? -1 : 0;
  const x = (share: number) => LEFT + ((Math.log10(Math.max(share, 10 ** from)) - from) / -from) * (WIDE - LEFT - 12);
  const y = (score: number) => 10 + (1 - (score - lowest) / (1 - lowest)) * (HIGH - BELOW - 10);
  const scores = lowest < 0 ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
  const open = (event: MouseEvent) => {
    const key = (event.target as Element).getAttribute("data-key");
    if (key) go(unitAddress(key));
  };
  const below = points.score.filter((score) => score <= points.chance).length;
  return (
    <svg
      class="points"
      viewBox={`0 0 ${WIDE} ${HIGH}`}
      role="img"
      aria-label={`${count(points.keys.length)} units by score and frequency; ${count(below)} at or below chance. Those that do not hold are listed below.`}
      data-testid="points"
      data-points={points.keys.length}
      onClick={open}
    >
      {scores.map((score) => (
        <g key={score}>
          <line x1={LEFT} x2={WIDE - 12} y1={y(score)} y2={y(score)} class="rule" />
          <text x={LEFT - 8} y={y(score) + 4} text-anchor="end">
            {score}
          </text>
        </g>
      ))}
      {SHARES.filter((share) => Math.log10(share) >= from - 1e-9).map((share) => (
        <g key={share}>
          <line x1={x(share)} x2={x(share)} y1={10} y2={HIGH - BELOW + 4} class="rule" />
          <text x={x(share)} y={HIGH - BELOW + 18} text-anchor={share === 1 ? "end" : "middle"}>
            {share >= 0.01 ? `${share * 100} %` : `${Number((share * 100).toPrecision(1))} %`}
          </text>
        </g>
      ))}
      <text x={(LEFT + WIDE) / 2} y={HIGH - 2} text-anchor="middle" class="name">
        share of tokens at which the unit fires, logarithmic
      </text>
      <line x1={LEFT} x2={WIDE - 12} y1={y(points.chance)} y2={y(points.chance)} class="chance" />
      {points.keys.map((key, i) => {
        const [share, score] = [points.frequency[i] as number, points.score[i] as number];
        const [left, top] = [x(share).toFixed(1), y(score).toFixed(1)];
        const said = `${key}: ${number(score)}, fires at ${percent(share)}`;
        return score > points.chance ? (
          <circle key={key} cx={left} cy={top} r="3.4" class="point" data-key={key}>
            <title>{said}</title>
          </circle>
        ) : (
          <path key={key} d={`M${left} ${top}m-3.5-3.5l7 7m0-7l-7 7`} class="point below" data-key={key}>
            <title>{said}</title>
          </path>
        );
      })}
    </svg>
  );
}
