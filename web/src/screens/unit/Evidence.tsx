// Evidence: the text where the unit fired most, across its range, anywhere, and where a description is wrong.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { Example, Examples, UnitPage } from "../../api/types";
import { count, number } from "../../format";
import { useKeys } from "../../keys";
import { Awaited, Nothing } from "../../parts/States";
import { Strip, type Under } from "../../parts/Strip";
import { go, query, unitAddress, withQuery } from "../../route";

const MOST = 50;
const UNDER: [Under, string][] = [
  ["peak", "peak"],
  ["values", "values"],
  ["ids", "ids"],
];
/** The kinds in the order of the page, and how many are shown before one asks for all. */
const KINDS: [kind: string, title: string, first: number][] = [
  ["top", "Highest", 6],
  ["counter", "Where the words are wrong", 4],
  ["lowest", "Lowest", 3],
  ["range", "Across its range", 10],
  ["random", "Random", 4],
];

/** Examples of every kind, or of the interval that was chosen. */
export function Evidence({ unit }: { unit: UnitPage }): JSX.Element {
  const asked = query.value;
  const [low, high, only] = [asked.get("low"), asked.get("high"), asked.get("kind")];
  const under = UNDER.find(([name]) => name === asked.get("under"))?.[0] ?? "peak";
  const after = UNDER[(UNDER.findIndex(([name]) => name === under) + 1) % UNDER.length]?.[0] as Under;
  const to = (name: Under) => withQuery({ under: name === "peak" ? null : name });
  useKeys({ v: () => go(to(after), true) });
  const base = `/api${unitAddress(unit.key)}/examples`;
  const counted = new Map<string, number>(unit.examples.map((one) => [one.kind, one.n]));
  const kinds = KINDS.filter(([kind]) => (only ? kind === only : (counted.get(kind) ?? 0) > 0));
  const shared = { unit, under };
  return (
    <section aria-labelledby="examples">
      <div class="row">
        <h2 id="examples">Examples</h2>
        <fieldset class="switch small">
          <legend class="out-of-sight">what stands under each token</legend>
          <span class="soft" aria-hidden="true">
            under tokens:
          </span>
          {UNDER.map(([name, words]) => (
            <a href={to(name)} aria-current={name === under ? "true" : undefined} data-testid={`under-${name}`}>
              {words}
            </a>
          ))}
        </fieldset>
      </div>
      {low !== null && high !== null ? (
        <Group {...shared} title="From the chosen interval" kind="interval" url={`${base}?kind=interval&low=${encodeURIComponent(low)}&high=${encodeURIComponent(high)}&limit=20`} all={null} whole={false} />
      ) : kinds.length ? (
        kinds.map(([kind, title, first]) => (
          <Group {...shared} key={kind} title={title} kind={kind} url={`${base}?kind=${kind}&limit=${only ? MOST : first}`} all={counted.get(kind) ?? 0} whole={only !== null} />
        ))
      ) : (
        <Nothing>
          There are no {only ? `examples of the kind “${only}”` : "examples of this unit"}.{" "}
          {only && <a href={withQuery({ kind: null })}>Show every kind</a>}
        </Nothing>
      )}
    </section>
  );
}

interface GroupProps {
  unit: UnitPage;
  under: Under;
  title: string;
  kind: string;
  url: string;
  all: number | null;
  whole: boolean;
}

function Group({ unit, under, title, kind, url, all, whole }: GroupProps): JSX.Element {
  const answer = useAnswer<Examples>(url);
  const { maximum, minimum } = unit.statistics;
  const most = Math.max(Math.abs(maximum ?? 0), Math.abs(minimum ?? 0));
  return (
    <div class={`group ${kind === "counter" ? "counter" : ""}`} data-testid={`examples-${kind}`}>
      <Awaited answer={answer}>
        {(found) => (
          <>
            <div class="row">
              <h3>{title}</h3>
              <p class="small soft" data-testid="shown">
                showing {count(found.examples.length)} of {count(all ?? found.total ?? found.examples.length)}
                {all !== null && found.examples.length < all && (
                  <>
                    {" · "}
                    <a href={withQuery({ kind })}>show all</a>
                  </>
                )}
                {(whole || kind === "interval") && (
                  <>
                    {" · "}
                    <a href={withQuery({ kind: null, low: null, high: null })}>every kind</a>
                  </>
                )}
              </p>
            </div>
            {found.note && <p class="small soft note">{found.note}</p>}
            <ol class="examples">
              {(kind === "range" ? [...found.examples].reverse() : found.examples).map((one) => (
                <Line key={`${one.stimulus}@${one.position}:${one.value}`} one={one} most={most} under={under} />
              ))}
            </ol>
          </>
        )}
      </Awaited>
    </div>
  );
}

function Line({ one, most, under }: { one: Example; most: number; under: Under }): JSX.Element {
  return (
    <li data-testid="example" data-kind={one.kind} data-act={one.value}>
      <span class="gutter">
        <span class={`num ${one.value < 0 ? "against" : ""}`} title={`window ${one.stimulus}, token ${one.position}`}>{number(one.value)}</span>
        {one.reason && <span class="place against">{one.reason}</span>}
      </span>
      <Strip example={one} most={most} under={under} />
    </li>
  );
}
