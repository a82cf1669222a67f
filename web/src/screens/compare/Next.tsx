// What two networks say next: the tokens whose probability differs most, and the difference along a text.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { ComparisonPage, TextShift, TokenShift } from "../../api/types";
import { number, percent, plural } from "../../format";
import { Nothing } from "../../parts/States";
import { seen, Visible } from "../../parts/Text";
import { go, query, withQuery } from "../../route";

/** Both probabilities as bars, and as numbers. */
function Shift({ shift }: { shift: TokenShift }): JSX.Element {
  return (
    <span class="shift">
      <span class="bar" aria-hidden="true">
        <i class="before" style={{ width: `${100 * shift.first}%` }} />
        <i class={shift.second >= shift.first ? "after" : "after less"} style={{ width: `${100 * shift.second}%` }} />
      </span>
      <span class="num tight">
        {percent(shift.first)} → {percent(shift.second)}
      </span>
    </span>
  );
}

/** Everything about the next token. */
export function Next({ page }: { page: ComparisonPage }): JSX.Element {
  if (!page.shifts.length)
    return (
      <section>
        <h2>What they say next</h2>
        <Nothing>Every next token has the same probability in both.</Nothing>
      </section>
    );
  return (
    <section>
      <h2>What they say next</h2>
      <p class="small soft">
        The {plural(page.shifts.length, "next token")} whose probability differs most, {page.comparison.first} → {page.comparison.second}; of one token after the same other token the largest difference.
      </p>
      <table class="runs shifts" data-testid="shifts">
        <thead>
          <tr>
            <th scope="col">next token</th>
            <th scope="col">probability</th>
            <th scope="col">after</th>
          </tr>
        </thead>
        <tbody>
          {page.shifts.map((one, i) => (
            <tr key={i} data-testid="shift" data-token={one.token} data-first={one.first} data-second={one.second}>
              <th scope="row">
                <span class="chip">
                  <Visible text={one.token} />
                </span>
              </th>
              <td data-label="probability">
                <Shift shift={one} />
              </td>
              <td data-label="after" class="context" dir="auto">
                <Visible text={one.context} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Along texts={page.texts} />
    </section>
  );
}

/** A stretch of the text, each token shaded by the divergence after it. */
function Along({ texts }: { texts: TextShift[] }): JSX.Element | null {
  const group = useRef<HTMLDivElement>(null);
  const whole = (name: string, most: number) => {
    const given = Number(query.value.get(name) ?? "NaN");
    return Number.isInteger(given) && given >= 0 && given < most ? given : -1;
  };
  const which = Math.max(0, whole("text", texts.length));
  const text = texts[which];
  if (!text) return null;
  const most = Math.max(1e-12, ...texts.flatMap((one) => one.divergence));
  const largest = text.divergence.indexOf(Math.max(...text.divergence));
  const given = whole("at", text.tokens.length);
  const at = given < 0 ? largest : given;
  const choose = (to: number) => go(withQuery({ at: String(to) }), true);
  const move = (event: KeyboardEvent) => {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: text.tokens.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(text.tokens.length - 1, to));
    choose(next);
    group.current?.querySelectorAll<HTMLElement>("[role=radio]")[next]?.focus();
  };
  return (
    <div class="along-text">
      <h3>Along the text</h3>
      <p class="row small">
        {texts.map((one, i) => (
          <a key={i} href={withQuery({ text: String(i), at: null })} aria-current={i === which ? "true" : undefined}>
            stretch {one.stimulus + 1}
            {one.start > 0 && `, from token ${one.start}`} <span class="soft">up to {number(Math.max(...one.divergence))} nats</span>
          </a>
        ))}
      </p>
      <div class="shaded" role="radiogroup" aria-label="token after which the two differ" ref={group} onKeyDown={move} dir="auto" data-testid="along">
        {text.tokens.map((token, i) => (
          <button
            type="button"
            key={i}
            role="radio"
            aria-checked={i === at}
            aria-label={`after ${seen(token)}: ${number(text.divergence[i])} nats`}
            tabIndex={i === at ? 0 : -1}
            style={{ "--a": ((text.divergence[i] ?? 0) / most).toFixed(3) }}
            data-testid="along-token"
            data-text={token}
            data-divergence={text.divergence[i]}
            onClick={() => choose(i)}
          >
            <Visible text={token} />
          </button>
        ))}
      </div>
      <div class="after-token" data-testid="after-token" data-at={at} aria-live="polite">
        <p class="small">
          After <strong class="chip"><Visible text={text.tokens[at] ?? ""} /></strong> the KL divergence is <strong>{number(text.divergence[at])}</strong> nats.
        </p>
        <ul class="plain-list">
          {(text.shifts[at] ?? []).map((shift, i) => (
            <li key={i} data-token={shift.token}>
              <span class="chip">
                <Visible text={shift.token} />
              </span>
              <Shift shift={shift} />
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}
