// The likeliest answers, each a button: the first that is chosen is the answer, the next what it is compared with.
import type { JSX } from "preact";
import { chance } from "../../parts/Next";

export interface Choice {
  /** What is chosen: a token's text, or a class's number. */
  value: string;
  shown: JSX.Element;
  said: string;
  probability: number;
  role: "" | "answer" | "against";
  /** Why it cannot be chosen. */
  why?: string | undefined;
  onChoose: () => void;
}

/** A row for each, with a bar. */
export function Likely({ choices, testid }: { choices: Choice[]; testid: string }): JSX.Element {
  const most = Math.max(...choices.map((one) => one.probability), 1e-12);
  return (
    <ol class="likely" data-testid={testid}>
      {choices.map(({ value, shown, said, probability, role, why, onChoose }) => (
        <li key={value}>
          <button
            type="button"
            class={role ? "picked" : ""}
            aria-pressed={role !== ""}
            disabled={why !== undefined}
            data-testid="likely-token"
            data-text={value}
            data-probability={probability}
            data-role={role}
            aria-label={`${said}, ${chance(probability)} percent${role && `: ${role}`}`}
            title={why}
            onClick={onChoose}
          >
            {shown}
            <i class="bar" aria-hidden="true">
              <i style={{ width: `${(probability / most) * 100}%` }} />
            </i>
            <span class="num">{chance(probability)}&nbsp;%</span>
            <span class="small role">{role === "answer" ? "answer" : role === "against" ? "against" : ""}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}
