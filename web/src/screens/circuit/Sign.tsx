// What stands for a node: its kind by shape, its sign by fill, blue and whole or orange and hatched.
import type { JSX } from "preact";

const HATCH = "against-hatch";

function polygon(r: number, ...turns: number[]): string {
  return `M${turns.map((turn) => `${(r * Math.sin(turn * 2 * Math.PI)).toFixed(2)} ${(-r * Math.cos(turn * 2 * Math.PI)).toFixed(2)}`).join("L")}Z`;
}

/** Outlines of about the same area. */
export function outline(kind: string, r: number): string {
  const side = r * 0.88;
  switch (kind) {
    case "neuron":
      return `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
    case "head":
      return `M${-side} ${-side}h${2 * side}v${2 * side}h${-2 * side}Z`;
    case "feature":
      return polygon(r * 1.22, 0, 0.25, 0.5, 0.75);
    case "input":
      return polygon(r * 1.25, 0, 1 / 3, 2 / 3);
    case "output":
      return polygon(r * 1.25, 1 / 6, 1 / 2, 5 / 6);
    case "error": {
      const [a, b] = [r * 0.36, r * 1.05];
      return `M${-b} ${-a}h${b - a}v${a - b}h${2 * a}v${b - a}h${b - a}v${2 * a}h${a - b}v${b - a}h${-2 * a}v${a - b}h${a - b}Z`;
    }
    default:
      return polygon(r * 1.08, 0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6);
  }
}

/** The style that fills a sign; a rule of the sheet would win over an attribute. */
export const fill = (score: number) => (score < 0 ? { fill: `url(#${HATCH})` } : {});

/** The pattern that the signs below zero are filled with. */
export function Hatch(): JSX.Element {
  return (
    <svg width="0" height="0" class="patterns" aria-hidden="true">
      <pattern id={HATCH} width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect class="ground" width="5" height="5" />
        <rect class="stripe" width="1.8" height="5" />
      </pattern>
    </svg>
  );
}

/** A sign beside words. */
export function Sign({ kind, score = 1 }: { kind: string; score?: number }): JSX.Element {
  return (
    <svg class="sign" viewBox="-9 -9 18 18" width="18" height="18" aria-hidden="true">
      {kind === "group" ? (
        <rect class={`shape ${score < 0 ? "against" : "carries"}`} x="-8" y="-5" width="16" height="10" rx="5" style={fill(score)} />
      ) : (
        <path class={`shape ${kind} ${score < 0 ? "against" : "carries"}`} d={outline(kind, 6)} style={fill(score)} />
      )}
    </svg>
  );
}
