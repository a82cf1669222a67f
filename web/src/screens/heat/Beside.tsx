// Beside the map: the cell that is looked at in words, and what its block attends to.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { AttentionPage, HeadPattern, LensPage } from "../../api/types";
import { draft } from "../../draft";
import { Attention } from "../../parts/Attention";
import { chance } from "../../parts/Next";
import { Failed } from "../../parts/States";
import { Chip, Visible } from "../../parts/Text";
import type { Drawn } from "./cells";
import { settled, shown } from "./state";

interface Props {
  drawn: Drawn;
  lens: LensPage | null;
  at: [row: number, position: number];
}

/** The right column. */
export function Beside({ drawn, lens, at }: Props): JSX.Element | null {
  const [row, position] = at;
  const here = drawn.rows[row];
  const cell = here?.cells[position];
  if (!here || !cell) return null;
  return (
    <div class="heat-beside">
      <section aria-labelledby="place" data-testid="place" data-row={row} data-position={position}>
        <h2 id="place">{here.name}</h2>
        <p class="small soft">
          at{" "}
          <span class="chip">
            <Visible text={drawn.cut.tokens[position] as string} bytes={drawn.cut.bytes.includes(position)} />
          </span>{" "}
          (position {position})
        </p>
        {lens ? <Likely lens={lens} row={row} position={position} /> : <p class="num value">{cell.text}</p>}
        <p class="small">
          <a href={cell.href} data-testid="clamp-here">
            {shown.value.other ? "put the other prompt's value in here, in the lab" : "set it to zero here, in the lab"}
          </a>
        </p>
      </section>
      {here.layer !== null && <Heads layer={here.layer} position={position} />}
    </div>
  );
}

/** The likeliest next tokens at one place; each can be followed through the whole map. */
function Likely({ lens, row, position }: { lens: LensPage; row: number; position: number }): JSX.Element {
  const words = new globalThis.Map(lens.words.map((one) => [one.id, one]));
  const side = shown.value.side !== "without" && lens.changed.length > 0 ? lens.changed : lens.rows;
  const one = side[row];
  const { target } = shown.value;
  return (
    <ol class="likely" data-testid="lens-tokens">
      {(one?.ids[position] ?? []).map((id, k) => {
        const token = words.get(id);
        if (!token) return null;
        const p = one?.probabilities[position]?.[k] ?? null;
        return (
          <li key={id}>
            <button
              type="button"
              class={id === target ? "picked" : ""}
              aria-pressed={id === target}
              title={id === target ? "show the likeliest tokens again" : "follow this token through the map"}
              data-testid="lens-token"
              data-text={token.text}
              data-probability={p ?? ""}
              onClick={() => draft({ target: id === target ? null : String(id) }, "target")}
            >
              <Chip token={token} />
              <i class="bar" aria-hidden="true">
                <i style={{ width: `${(p ?? 0) * 100}%` }} />
              </i>
              <span class="num">{chance(p)}&nbsp;%</span>
            </button>
          </li>
        );
      })}
    </ol>
  );
}

/** The head that reads most at one token from any other than the first. */
function busiest(page: AttentionPage, position: number): HeadPattern | undefined {
  const most = ({ rows }: HeadPattern) => Math.max(...(rows[position] ?? []).slice(1), 0);
  return page.heads.reduce<HeadPattern | undefined>((best, one) => (best && most(best) >= most(one) ? best : one), undefined);
}

/** One head of the block, without any clamp. */
function Heads({ layer, position }: { layer: number; position: number }): JSX.Element {
  const [chosen, choose] = useState<number | null>(null);
  const { text } = settled.value;
  const answer = useAnswer<AttentionPage>(text ? `/api/lab/attention?text=${encodeURIComponent(text)}&layer=${layer}` : null);
  const page = answer.state === "failed" ? undefined : answer.data;
  const pattern = page?.heads.find(({ head }) => head === chosen) ?? (page && busiest(page, position));
  return (
    <section aria-labelledby="heads" data-testid="heat-attention" data-layer={page?.layer ?? ""}>
      <div class="row">
        <h2 id="heads">Attention of block {layer}</h2>
        {page && (
          <label class="inline small soft">
            head
            <select value={String(pattern?.head ?? 0)} onChange={(event) => choose(Number(event.currentTarget.value))} data-testid="heat-head">
              {page.heads.map(({ head }) => (
                <option key={head} value={String(head)}>
                  {head}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {answer.state === "failed" ? <Failed failure={answer.failure} /> : page ? <Attention page={page} pattern={pattern} at={position} /> : <p class="small soft">reading …</p>}
    </section>
  );
}
