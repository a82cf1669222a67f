// How the logit lenses of two networks differ: a bar for each depth, and the tokens where they differ most there.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { ComparisonPage, LensView, LikelyToken } from "../../api/types";
import { number, percent, plural } from "../../format";
import { Visible } from "../../parts/Text";
import { go, query, withQuery } from "../../route";

/** "Block 2 · residual stream after" is after block 2: every depth is one of the stream. */
const short = (name: string): string => name.replace(/^Block (\d+) · residual stream (before|after)$/, "$2 block $1");

/** The depths as bars; the one that is chosen shows its places. */
export function Lens({ lens, page }: { lens: LensView; page: ComparisonPage }): JSX.Element {
  const group = useRef<HTMLTableSectionElement>(null);
  const given = Number(query.value.get("depth") ?? "NaN");
  const at = Number.isInteger(given) && given >= 0 && given < lens.layers.length ? given : (lens.part ?? 0);
  const layer = lens.layers[at];
  const most = Math.max(1e-12, ...lens.layers.map((one) => one.value));
  const choose = (to: number) => go(withQuery({ depth: String(to) }), true);
  const move = (event: KeyboardEvent) => {
    const to = { ArrowUp: at - 1, ArrowLeft: at - 1, ArrowDown: at + 1, ArrowRight: at + 1, Home: 0, End: lens.layers.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(lens.layers.length - 1, to));
    choose(next);
    group.current?.querySelectorAll<HTMLElement>("[role=radio]")[next]?.focus();
  };
  return (
    <section data-testid="lens" data-part={lens.part ?? ""}>
      <h2>Logit lens</h2>
      <p data-testid="lens-sentence">{lens.sentence}</p>
      {lens.part !== null && layer && (
        <>
          <p class="small soft">
            What the residual stream says through the last norm and the unembedding, at {plural(lens.n_tokens, "token")}: mean KL divergence of the next token, nats. Choose a depth to see where they differ most.
          </p>
          <div class="lens-and-places">
            <table class="depths">
              <tbody role="radiogroup" aria-label="depth" ref={group} onKeyDown={move}>
                {lens.layers.map((one, i) => (
                  <tr
                    key={i}
                    role="radio"
                    aria-checked={i === at}
                    aria-label={`${one.first}: ${number(one.value)} nats`}
                    tabIndex={i === at ? 0 : -1}
                    onClick={() => choose(i)}
                    data-testid="lens-depth"
                    data-value={one.value}
                    data-low={one.low ?? ""}
                    data-high={one.high ?? ""}
                  >
                    <td class="where">
                      {short(one.first)}
                      {one.second !== one.first && <small class="soft"> and {short(one.second)}</small>}
                    </td>
                    <td class="bar" aria-hidden="true">
                      <i style={{ width: `${(100 * one.value) / most}%` }} />
                    </td>
                    <td class="num tight">
                      {number(one.value)}
                      {one.low !== null && one.high !== null && one.high > 0 && (
                        <small class="soft">
                          {" "}
                          [{number(one.low)}, {number(one.high)}]
                        </small>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            <div data-testid="lens-places" data-depth={at} aria-live="polite">
              <h3>{layer.first}</h3>
              <p class="small soft">{layer.places.length ? `same likeliest token at ${percent(layer.agreement)}; they differ most after` : "the same at every token"}</p>
              {layer.places.map((place, i) => (
                <div class="lens-place" key={i} data-testid="lens-place" data-divergence={place.divergence}>
                  <p class="context" dir="auto">
                    <Visible text={place.context} /> <small class="soft tight">{number(place.divergence)} nats</small>
                  </p>
                  <dl>
                    <Said name={page.comparison.first} tokens={place.first} />
                    <Said name={page.comparison.second} tokens={place.second} />
                  </dl>
                </div>
              ))}
            </div>
          </div>
        </>
      )}
    </section>
  );
}

/** What one lens finds likeliest; less likely tokens that would print as 0 % are left out. */
function Said({ name, tokens }: { name: string; tokens: LikelyToken[] }): JSX.Element {
  return (
    <div>
      <dt class="small soft">
        <bdi>{name}</bdi>
      </dt>
      <dd>
        {tokens
          .filter((one, i) => i === 0 || one.probability >= 0.005)
          .map((one, i) => (
            <span class="said" key={i} data-token={one.token}>
              <span class="chip">
                <Visible text={one.token} />
              </span>{" "}
              <small class="num">{percent(one.probability)}</small>
            </span>
          ))}
      </dd>
    </div>
  );
}
