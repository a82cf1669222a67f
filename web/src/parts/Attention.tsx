// Where one attention head looks: choose a target token, and its sources are shaded by their weights, in percent.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { AttentionPage, HeadPattern } from "../api/types";
import { seen, Visible } from "./Text";

/** Weights below this get no number under their token. */
const LEAST = 0.015;
/** Smaller shares would stand too close to their neighbours under the text; the sentence beside it names them. */
const NUMBERED = 0.05;
const NAMED = 3;

/** A weight in percent, whole from ten on. */
export function weight(share: number): string {
  const hundred = share * 100;
  return hundred === 0 ? "0" : hundred < 0.1 ? "<0.1" : hundred.toFixed(hundred < 9.95 ? 1 : 0);
}

interface Props {
  page: AttentionPage;
  /** Which of the page's heads. */
  pattern?: HeadPattern | undefined;
  /** The target at first; the marked token, or the last, unless said. */
  at?: number | undefined;
  label?: string;
}

/** Draw the tokens and the pattern; hovering previews a target, a click or the arrow keys choose one. */
export function Attention({ page, pattern = page.heads[0], at, label = "target token" }: Props): JSX.Element | null {
  const start = at ?? page.mark ?? page.tokens.length - 1;
  const [chosen, choose] = useState(start);
  const [hovered, hover] = useState<number | null>(null);
  const group = useRef<HTMLDivElement>(null);
  useEffect(() => choose(start), [page, start]);
  if (!pattern) return null;
  const target = Math.min(hovered ?? chosen, page.tokens.length - 1);
  const row = pattern.rows[target] ?? [];
  const bytes = new Set(page.bytes);
  const special = new Set(page.special);
  const move = (event: KeyboardEvent) => {
    const to = { ArrowLeft: chosen - 1, ArrowUp: chosen - 1, ArrowRight: chosen + 1, ArrowDown: chosen + 1, Home: 0, End: page.tokens.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(page.tokens.length - 1, to));
    hover(null);
    choose(next);
    group.current?.querySelectorAll<HTMLElement>("[role=radio]")[next]?.focus();
  };
  return (
    <figure class="attention" data-testid="attention" data-key={pattern.key} data-target={target} onMouseLeave={() => hover(null)}>
      <div class="sources" role="radiogroup" aria-label={label} ref={group} onKeyDown={move} dir="auto">
        {page.start > 0 && <span class="cut soft">…</span>}
        {page.tokens.map((text, i) => {
          const share = row[i] ?? 0;
          return (
            <button
              type="button"
              key={i}
              role="radio"
              aria-checked={i === chosen}
              aria-label={`${seen(text)}, ${weight(share)} % of the attention at ${seen(page.tokens[target] as string)}`}
              tabIndex={i === chosen ? 0 : -1}
              class={`${i === target ? "target" : ""} ${special.has(i) ? "uncounted" : ""}`}
              style={{ "--a": share.toFixed(3) }}
              data-testid="attention-token"
              data-text={text}
              data-weight={share}
              onClick={() => choose(i)}
              onMouseEnter={() => hover(i)}
            >
              <span class="x">
                <Visible text={text} bytes={bytes.has(i)} />
              </span>
              <span class="v">{share >= NUMBERED ? weight(share) : ""}</span>
            </button>
          );
        })}
      </div>
      <div class="overview">
        <Matrix pattern={pattern} n={page.tokens.length} target={target} choose={choose} />
        <figcaption class="small">
          <Reading page={page} pattern={pattern} target={target} bytes={bytes} />
        </figcaption>
      </div>
    </figure>
  );
}

/** The target's strongest sources in words. */
function Reading({ page, pattern, target, bytes }: { page: AttentionPage; pattern: HeadPattern; target: number; bytes: Set<number> }): JSX.Element {
  const row = pattern.rows[target] ?? [];
  const best = row.map((share, i) => [share, i] as const).filter(([share]) => share >= LEAST).sort((a, b) => b[0] - a[0]).slice(0, NAMED);
  const [first, elsewhere] = [pattern.first[target] ?? 0, pattern.elsewhere[target] ?? 0];
  return (
    <>
      At <Token page={page} i={target} bytes={bytes} />
      <span class="soft"> (position {page.start + target})</span> it attends to{" "}
      {best.map(([share, i], k) => (
        <span key={i} data-testid="attention-source" data-text={page.tokens[i]} data-weight={share}>
          {k > 0 && ", "}
          <Token page={page} i={i} bytes={bytes} /> <b class="num">{weight(share)} %</b>
          {i === target && <span class="soft"> (itself)</span>}
        </span>
      ))}
      {best.length === 0 && "none of these tokens much"}
      {first >= LEAST && (
        <span class="soft">
          ; to the first token of the text <span class="num">{weight(first)} %</span>
        </span>
      )}
      {elsewhere >= LEAST && (
        <span class="soft">
          ; to tokens that are not shown <span class="num">{weight(elsewhere)} %</span>
        </span>
      )}
      . <span class="soft">Point at a token, or press the arrow keys, for another target.</span>
    </>
  );
}

function Token({ page, i, bytes }: { page: AttentionPage; i: number; bytes: Set<number> }): JSX.Element {
  return (
    <span class="chip">
      <Visible text={page.tokens[i] as string} bytes={bytes.has(i)} />
    </span>
  );
}

/** The whole pattern: a row per target, a column per source. */
function Matrix({ pattern, n, target, choose }: { pattern: HeadPattern; n: number; target: number; choose: (i: number) => void }): JSX.Element {
  const cells = pattern.rows.flatMap((row, i) => row.map((share, j) => [i, j, share] as const)).filter(([, , share]) => share >= LEAST);
  return (
    // The same numbers stand under the tokens: this is a picture of them, for who can see it.
    <svg class="matrix" viewBox={`0 0 ${n} ${n}`} aria-hidden="true" onClick={(event) => choose(Math.floor((event.offsetY / event.currentTarget.clientHeight) * n))}>
      <rect class="ground" width={n} height={n} />
      <rect class="row" y={target} width={n} height={1} />
      {cells.map(([i, j, share]) => (
        <rect key={`${i}.${j}`} x={j} y={i} width={1} height={1} style={{ fillOpacity: share }} />
      ))}
    </svg>
  );
}
