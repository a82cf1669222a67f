// Another prompt of as many tokens, whose values are put in: its tokens, and where they differ.
import type { ComponentChildren, JSX } from "preact";
import { useAnswer } from "../api/ask";
import type { Tokens } from "../api/types";
import { count, plural } from "../format";
import { Failed } from "./States";
import { Visible } from "./Text";

const LONGEST = 4000;

interface Props {
  /** The prompt's tokens. */
  cut: Tokens;
  value: string;
  /** What is asked of the server: the value after a pause. */
  settled: string;
  onWrite: (text: string) => void;
  testid: string;
  children: ComponentChildren;
}

/** A field that opens; `children` say what it is for. */
export function OtherPrompt({ cut, value, settled, onWrite, testid, children }: Props): JSX.Element {
  const answer = useAnswer<Tokens>(settled ? `/api/lab/tokens?text=${encodeURIComponent(settled)}` : null);
  const other = settled && answer.state !== "failed" ? answer.data : undefined;
  const [n, wanted] = [other?.tokens.length ?? 0, cut.tokens.length];
  return (
    <details class="more" open={value !== ""}>
      <summary class="small">Other prompt{value ? "" : " (optional)"}</summary>
      <p class="small soft">{children}</p>
      <label>
        <span class="out-of-sight">the other prompt's text</span>
        <textarea
          data-testid={testid}
          rows={2}
          value={value}
          maxLength={LONGEST}
          placeholder="the same, with what decides the answer changed"
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => onWrite(event.currentTarget.value)}
        />
      </label>
      {answer.state === "failed" && settled !== "" && <Failed failure={answer.failure} />}
      {other && n !== wanted && (
        <p class="small warn" data-testid="other-tokens" data-count={n}>
          {plural(n, "token")}; the prompt has {count(wanted)}
        </p>
      )}
      {other && n === wanted && (
        <p class="cut-tokens" data-testid="other-tokens" data-count={n}>
          {other.tokens.map((text, i) => (
            <span key={i} class={`chip ${text === cut.tokens[i] ? "" : "differs"}`}>
              <Visible text={text} bytes={other.bytes.includes(i)} />
            </span>
          ))}
        </p>
      )}
    </details>
  );
}
