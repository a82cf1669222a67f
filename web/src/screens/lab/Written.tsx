// What the model writes after the prompt, without and with the clamps, token by token as it comes.
import type { JSX } from "preact";
import type { Step } from "../../api/types";
import { Visible } from "../../parts/Text";

/** Return the first step at which the two sides differ; -1 where they do not. */
export function firstDifference(steps: Step[]): number {
  return steps.findIndex(({ unclamped, changed }) => unclamped?.id !== changed?.id);
}

/** Draw both sides; the first difference is marked, and what follows it is darker. */
export function Written({ steps, alone, busy, wanted }: { steps: Step[]; alone: boolean; busy: boolean; wanted: number }): JSX.Element {
  const from = firstDifference(steps);
  const both = [
    ["without", "unclamped"],
    ["with", "changed"],
  ] as const;
  const sides = alone ? ([["writes", "unclamped"]] as const) : both;
  return (
    <div class="written" aria-busy={busy} data-testid="written" data-first={from} data-steps={steps.length}>
      {sides.map(([words, side]) => (
        <div key={side} data-testid={`written-${side}`}>
          <span class="small soft">{words}</span>
          <p>
            {steps.map((step, i) => {
              const token = step[side];
              if (token === null) return i === from ? <span key={i} class="differs ended">ends</span> : null;
              return (
                <span key={i} class={`w ${i === from ? "differs" : ""} ${from >= 0 && i >= from ? "after" : ""}`} data-id={token.id} data-text={token.text}>
                  <Visible text={token.text} bytes={token.bytes} />
                </span>
              );
            })}
            {!steps.length && <span class="soft">{busy ? "…" : wanted ? "it ends here" : "none was asked for"}</span>}
          </p>
        </div>
      ))}
      {!alone && steps.length > 0 && !busy && (
        <p class="small soft" data-testid="difference">
          {from < 0 ? "The same tokens on both sides." : `They differ from the ${from ? ordinal(from + 1) : "first"} token on.`}
        </p>
      )}
    </div>
  );
}

function ordinal(n: number): string {
  const tens = n % 100;
  const end = tens > 10 && tens < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${end}`;
}
