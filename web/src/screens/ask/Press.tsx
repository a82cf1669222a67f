// The button that asks, and what pressing it takes.
import type { JSX } from "preact";
import type { Explaining } from "../../api/explain";
import type { ExplainCost } from "../../api/types";
import { count, plural } from "../../format";
import { SETS } from "./state";

interface Props {
  now: Explaining;
  ready: boolean;
  onWhy: () => void;
  onStop: () => void;
  cost: ExplainCost | null;
  /** Whether an answer is chosen. */
  chosen: boolean;
}

/** Why?, stop, and the cost. */
export function Press({ now, ready, onWhy, onStop, cost, chosen }: Props): JSX.Element {
  return (
    <p class="row press">
      <button type="button" class="primary" data-testid="why" disabled={!ready || now.busy} onClick={onWhy}>
        Why?
      </button>
      {now.busy && (
        <button type="button" class="quiet" onClick={onStop} data-testid="stop">
          stop
        </button>
      )}
      <span class="small soft" data-testid="cost">
        <Takes cost={cost} chosen={chosen} />
      </span>
    </p>
  );
}

/** What pressing the button takes, and what it can show at best. */
function Takes({ cost, chosen }: { cost: ExplainCost | null; chosen: boolean }): JSX.Element {
  if (cost === null) return <>This model gives no gradients, so no answer can be explained here.</>;
  return (
    <>
      {!chosen && "Choose an answer first. "}
      {count(cost.units)} units are scored by {plural(cost.backward, "backward pass", "backward passes")}, then about {count(cost.forward)} replacements; {SETS} random sets can show p = {cost.least_p.toFixed(2)} at best
    </>
  );
}
