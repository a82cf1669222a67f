// What is measured of a unit, in a line; its best example; and why it was found.
import type { JSX } from "preact";
import type { ExampleLine, LinePart, Match, UnitRow } from "../api/types";
import { number } from "../format";
import { Spark } from "./Spark";
import { Visible } from "./Text";

/** The measured line: what is clear as ink, what says little in grey; words that were searched are marked. */
export function Line({ parts, words = "" }: { parts: LinePart[]; words?: string }): JSX.Element {
  return (
    <span class="line" data-testid="line">
      {parts.map((part, i) => (
        <span key={part.of} class={part.of === "detects" ? "" : "soft"} data-of={part.of}>
          {i > 0 && <span class="soft"> · </span>}
          <Marked text={part.text} words={words} />
        </span>
      ))}
    </span>
  );
}

/** A few tokens about a unit's peak, which is marked. */
export function Peak({ example }: { example: ExampleLine }): JSX.Element {
  const bytes = new Set(example.bytes);
  const most = Math.max(...example.acts.map((act) => Math.abs(act ?? 0)), 1e-12);
  return (
    <span class="peak" dir="auto" data-testid="peak" data-act={example.value} title={`${number(example.value)} at the marked token`}>
      {example.tokens.map((text, i) => {
        const act = example.acts[i] ?? 0;
        const share = Math.min(Math.abs(act) / most, 1);
        return (
          <span key={i} class={`t ${share < 0.02 ? "" : act < 0 ? "neg" : "pos"} ${i === example.mark ? "mark" : ""}`} style={{ "--a": share.toFixed(2) }} data-text={text}>
            <span class="x">
              <Visible text={text} bytes={bytes.has(i)} />
            </span>
          </span>
        );
      })}
    </span>
  );
}

const REASONS: Record<string, string> = {
  description: "described",
  note: "noted",
  attends: "attends",
  concept: "detects",
  peak: "at its peaks",
  promotes: "promotes",
  weak: "barely detects",
};

/** Why else a unit was found, with what matched marked. */
function Reasons({ row, words }: { row: UnitRow; words: string }): JSX.Element | null {
  // What the line says already is marked there.
  const said = (one: Match) => one.of === "description" || row.line.some((part) => part.text.includes(one.text));
  const rest = row.matched.filter((one) => !said(one));
  if (!rest.length) return null;
  return (
    <span class="reasons small" data-testid="reasons">
      {rest.map((one) => (
        <span key={one.of} data-of={one.of}>
          <span class="soft">{REASONS[one.of]} </span>
          <Marked text={one.text} words={words} />
        </span>
      ))}
    </span>
  );
}

/** Mark where one of the words begins a word of the text. */
function Marked({ text, words }: { text: string; words: string }): JSX.Element {
  const terms = (words.match(/[\p{L}\p{N}_]+/gu) ?? []).map((term) => term.replace(/_/g, " ").toLowerCase());
  const parts: (JSX.Element | string)[] = [];
  let from = 0;
  const lower = text.toLowerCase();
  for (let at = 0; at < text.length; at++) {
    if (at > 0 && /[\p{L}\p{N}]/u.test(text[at - 1] as string)) continue;
    const term = terms.find((one) => lower.startsWith(one, at));
    if (!term) continue;
    parts.push(text.slice(from, at), <mark>{text.slice(at, at + term.length)}</mark>);
    from = at + term.length;
    at = from - 1;
  }
  return (
    <bdi>
      {parts}
      {text.slice(from)}
    </bdi>
  );
}

/** What is known of a unit: its description, the measured line, and the best example. */
export function Known({ row, words = "" }: { row: UnitRow; words?: string }): JSX.Element {
  return (
    <span class="words">
      {row.description !== null && (
        <q>
          <Marked text={row.description} words={words} />
        </q>
      )}
      <span class={row.description === null ? "" : "small"}>
        <Line parts={row.line.filter((part) => part.of !== "fires")} words={words} />
      </span>
      {row.example && <Peak example={row.example} />}
      {row.spark && <Spark of={row.spark} />}
      <Reasons row={row} words={words} />
    </span>
  );
}
