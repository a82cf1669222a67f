// What a unit did at each token of the prompt, before and after: two bars under each, numbers where they differ.
import type { JSX } from "preact";
import type { Tokens } from "../../api/types";
import { number } from "../../format";
import { Visible } from "../../parts/Text";

interface Props {
  tokens: Tokens;
  before: (number | null)[];
  after: (number | null)[] | null;
  /** The unit's highest activation in the atlas. */
  most: number | null;
}

// Below this share of the scale a number would say nothing that the bar does not.
const SAID = 0.02;

/** Draw the strip. */
export function Along({ tokens, before, after, most }: Props): JSX.Element {
  const bytes = new Set(tokens.bytes);
  const scale = Math.max(...[...before, ...(after ?? []), most].map((x) => Math.abs(x ?? 0)), 1e-12);
  return (
    <div class="along" data-testid="along" data-before={before.join(" ")} data-after={after?.join(" ") ?? ""}>
      {tokens.tokens.map((text, i) => {
        const [was, is] = [before[i] ?? null, after?.[i] ?? null];
        const moved = after !== null && was !== is;
        const large = Math.max(Math.abs(was ?? 0), Math.abs(is ?? 0)) >= scale * SAID;
        return (
          <span key={i} class="t" data-position={i} data-before={was ?? ""} data-after={is ?? ""} title={`${number(was)}${after ? ` → ${number(is)}` : ""}`}>
            <span class="x">
              <Visible text={text} bytes={bytes.has(i)} />
            </span>
            <Level value={was} scale={scale} kind="was" />
            {after && <Level value={is} scale={scale} kind="is" />}
            {large && <span class="v">{moved ? `${short(was)} → ${short(is)}` : short(was)}</span>}
          </span>
        );
      })}
    </div>
  );
}

function short(value: number | null): string {
  return value === 0 ? "0" : number(value);
}

function Level({ value, scale, kind }: { value: number | null; scale: number; kind: string }): JSX.Element {
  const sign = (value ?? 0) < 0 ? "neg" : "pos";
  return (
    <i class={`level ${kind}`} aria-hidden="true">
      <i class={sign} style={{ width: `${(Math.abs(value ?? 0) / scale) * 100}%` }} />
    </i>
  );
}
