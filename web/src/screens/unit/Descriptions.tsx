// Words about the unit, with who wrote them, how well they hold, and where they fail.
import type { JSX } from "preact";
import type { DescriptionView, UnitPage } from "../../api/types";
import { count, plural } from "../../format";
import { Interval } from "../../parts/Interval";
import { Nothing } from "../../parts/States";
import { withQuery } from "../../route";

/** All descriptions, the best scored first. */
export function Descriptions({ unit }: { unit: UnitPage }): JSX.Element {
  return (
    <section aria-labelledby="descriptions">
      <h2 id="descriptions">In words</h2>
      {unit.descriptions.length ? (
        unit.descriptions.map((one) => <Words key={one.run + one.author + one.text} one={one} />)
      ) : (
        <Nothing>Nobody has described this unit yet. What follows is measured, not interpreted.</Nothing>
      )}
    </section>
  );
}

function Words({ one }: { one: DescriptionView }): JSX.Element {
  return (
    <figure class="description" data-testid="description">
      <blockquote>{one.text}</blockquote>
      {one.scores.length ? (
        <dl class="scores">
          {one.scores.map((score) => (
            <div key={score.unit} data-testid="score" data-value={score.value}>
              <dt>{score.unit}</dt>
              <dd>
                <Interval estimate={score} {...(score.null_low !== null && { chance: score.null_low })} />
              </dd>
              <dd class="soft small">{plural(score.n, "item")}</dd>
            </div>
          ))}
        </dl>
      ) : (
        <p class="small soft">nobody has scored these words</p>
      )}
      {one.fails_on > 0 && (
        <p class="fails" data-testid="fails" data-value={one.fails_on}>
          <span aria-hidden="true">✕</span> wrong on{" "}
          <a href={withQuery({ kind: "counter", low: null, high: null })}>{plural(one.fails_on, "example")}</a> of this atlas
        </p>
      )}
      <figcaption class="small soft">
        <a href={`/runs/${encodeURIComponent(one.run)}`}>{one.author}</a>
        {one.made && (
          <>
            , <time dateTime={one.made}>{one.made.slice(0, 10)}</time>
          </>
        )}
        {one.evidence.length > 0 && <>, who was shown {seenBy(one.evidence)}</>}
      </figcaption>
    </figure>
  );
}

/** What the author was shown: a statement as it is, or how many stimuli. */
function seenBy(evidence: string[]): string {
  const stated = evidence.filter((one) => one.includes(" "));
  const rest = evidence.length - stated.length;
  return [...stated, ...(rest ? [`${count(rest)} stimuli`] : [])].join("; ");
}
