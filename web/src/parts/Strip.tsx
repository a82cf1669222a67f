// A stretch of text with what the unit did at each token.
import type { JSX } from "preact";
import type { Example } from "../api/types";
import { number } from "../format";
import { Visible } from "./Text";

/** What stands under each token. */
export type Under = "peak" | "values" | "ids";

interface Props {
  example: Example;
  /** The unit's largest size anywhere, which gets the darkest fill. */
  most: number;
  under: Under;
}

/** Under unmarked tokens there is no room for powers of ten. */
function small(value: number | null): string {
  return value !== null && Math.abs(value) < 5e-4 ? "0" : number(value);
}

/** Fill grows with size: blue and whole above zero, orange and hatched below. */
export function Strip({ example, most, under }: Props): JSX.Element {
  const bytes = new Set(example.bytes);
  const special = new Set(example.special);
  return (
    <div class={`strip under-${under}`} dir="auto" data-testid="strip" data-act={example.value}>
      {example.before && <span class="cut soft">…</span>}
      {example.tokens.map((text, i) => {
        const marked = i === example.mark;
        // Activations around the mark are rounded to half precision; the marked one is not.
        const value = marked ? example.value : (example.acts[i] ?? null);
        const id = example.ids[i] as number;
        const uncounted = special.has(i);
        const share = value === null || most === 0 || uncounted ? 0 : Math.min(Math.abs(value) / most, 1);
        const sign = share < 0.005 ? "" : (value ?? 0) < 0 ? "neg" : "pos";
        const said = under === "ids" ? String(id) : marked ? number(value) : under === "values" ? small(value) : "";
        return (
          <span
            key={i}
            class={`t ${sign} ${marked ? "mark" : ""} ${uncounted ? "uncounted" : ""}`}
            style={{ "--a": share.toFixed(3) }}
            data-act={value ?? ""}
            data-fill={share.toFixed(3)}
            data-text={text}
            title={`${number(value)} · token ${id}${uncounted ? " · special, not counted" : ""}`}
          >
            <span class="x">
              <Visible text={text} bytes={bytes.has(i)} />
            </span>
            {said && <span class="v">{said}</span>}
          </span>
        );
      })}
      {example.after && <span class="cut soft">…</span>}
    </div>
  );
}
