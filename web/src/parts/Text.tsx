// A token's text, honestly: a faint dot for a space, a sign for what cannot be seen, hexadecimal for part of a character.
import type { JSX } from "preact";

const SIGNS: Record<string, string> = { "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" };
// Control, format (bidirectional overrides among them), unassigned, private, and separators other than the space.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;
const RUNS = /( +)|((?:[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs})+)|([^ \p{C}\p{Z}]+)/gu;

/** Write out a character that would not be seen. */
function sign(character: string): string {
  const code = character.codePointAt(0) as number;
  return SIGNS[character] ?? `\\u${code.toString(16).padStart(4, "0")}`;
}

/** Return text as one can see it: for labels and titles, where there is no markup. */
export function seen(text: string): string {
  return [...text].map((c) => (c === " " ? "␣" : UNSEEN.test(c) ? sign(c) : c)).join("");
}

/** Show a token's text; never as markup, whatever it holds. */
export function Visible({ text, bytes = false }: { text: string; bytes?: boolean }): JSX.Element {
  if (bytes) return <span class="code" title="bytes of a part of a character">{text}</span>;
  if (!text) return <span class="code">empty</span>;
  const parts: JSX.Element[] = [];
  for (const [run, spaces, unseen] of text.matchAll(RUNS)) {
    if (spaces) for (let i = 0; i < run.length; i++) parts.push(<span class="space"> </span>);
    else if (unseen) parts.push(<span class="code">{[...run].map(sign).join("")}</span>);
    // A mark that combines with the character before has none here.
    else parts.push(<>{/^\p{M}/u.test(run) ? `◌${run}` : run}</>);
  }
  return <bdi>{parts}</bdi>;
}

/** A token in a box of its own. */
export function Chip({ token }: { token: { text: string; bytes: boolean; id: number } }): JSX.Element {
  return (
    <span class="chip" title={`token ${token.id}`} data-token={token.text}>
      <Visible text={token.text} bytes={token.bytes} />
    </span>
  );
}
