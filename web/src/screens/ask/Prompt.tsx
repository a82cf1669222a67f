// One prompt: its tokens, the next ones, which of them is asked about, and the answer.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { NextTokens, Tokens } from "../../api/types";
import { plural } from "../../format";
import { OtherPrompt } from "../../parts/OtherPrompt";
import { type Start, StartWith } from "../../parts/StartWith";
import { Failed } from "../../parts/States";
import { Chip, seen, Visible } from "../../parts/Text";
import { spelt } from "../../route";
import { Likely } from "./Likely";
import { Press } from "./Press";
import { Result } from "./Result";
import { LONGEST, change, choose, explainAsked, settled, shown } from "./state";
import { useWhy } from "./useWhy";

/** Where a start leads: what was explained is asked again at once. */
const beginning = ({ prompt, row }: Start) => `/ask${spelt(new URLSearchParams({ prompt, ...(row && { target: row.target, ...(row.contrast && { contrast: row.contrast }) }) }))}`;

/** The left column asks, the right one answers. */
export function Prompt({ differentiates }: { differentiates: boolean }): JSX.Element {
  const question = explainAsked(shown.value);
  const { now, why, stop, stale } = useWhy("/api/lab/explain", question, () => (differentiates ? explainAsked(settled.peek()) : null), !settled.value.prompt);
  const { prompt } = settled.value;
  const next = useAnswer<NextTokens>(prompt ? `/api/lab/next?text=${encodeURIComponent(prompt)}` : null);
  const found = prompt && next.state !== "failed" ? next.data : undefined;
  return (
    <div class="asking">
      <div class="question-side">
        <section aria-labelledby="prompt">
          <h2 id="prompt">Prompt</h2>
          <Field />
          {prompt.endsWith(" ") && <p class="warn small" data-testid="space">The prompt ends in a space, which most vocabularies put before the next word instead.</p>}
          {next.state === "failed" && prompt ? <Failed failure={next.failure} /> : found && <Cut cut={found.cut} busy={next.state === "waiting"} />}
          {prompt && next.state === "waiting" && !found && <p class="small soft" aria-busy="true">reading …</p>}
          {!shown.value.prompt && <StartWith to={beginning}>The model's tokens and its likeliest next ones appear here as you write.</StartWith>}
        </section>
        {found && (
          <>
            <section aria-labelledby="next" aria-busy={next.state === "waiting"}>
              <h2 id="next">Next token</h2>
              <p class="small soft">Choose the answer, then, if you like, the one that it is compared with.</p>
              <Rows next={found} />
            </section>
            <Press now={now} ready={question !== null && differentiates} onWhy={why} onStop={stop} cost={found.cost} chosen={question !== null} />
            <details class="more" open={question !== null && !found.rows.some((row) => row.token.text === shown.value.target)} data-testid="own-words">
              <summary>Write the answer yourself</summary>
              <div class="asks">
                <Words name="target" words="answer" />
                <Words name="contrast" words="compared with (optional)" />
              </div>
            </details>
            <OtherPrompt
              cut={found.cut}
              value={shown.value.counterpart}
              settled={settled.value.counterpart}
              onWrite={(text) => change({ counterpart: text }, "counterpart")}
              testid="counterpart"
            >
              A prompt of as many tokens under which another answer is right. Causes are then replaced by their values there; without one they are set to zero.
            </OtherPrompt>
          </>
        )}
      </div>
      <div class="answer-side">
        <Result now={now} stale={stale} />
      </div>
    </div>
  );
}

function Field(): JSX.Element {
  return (
    <label>
      <span class="out-of-sight">the prompt's text</span>
      <textarea
        data-testid="prompt"
        rows={3}
        value={shown.value.prompt}
        maxLength={LONGEST.prompt}
        placeholder="write a text, without a space at its end"
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => change({ prompt: event.currentTarget.value, target: "", contrast: "", counterpart: "" }, "prompt")}
      />
    </label>
  );
}

/** The tokens that the model reads. */
function Cut({ cut, busy }: { cut: Tokens; busy: boolean }): JSX.Element {
  const bytes = new Set(cut.bytes);
  const special = new Set(cut.special);
  return (
    <>
      <p class="cut-tokens" aria-label="tokens of the prompt" aria-busy={busy} data-testid="tokens" data-count={cut.tokens.length}>
        {cut.tokens.map((text, i) => (
          <span key={i} class={`chip ${special.has(i) ? "special" : ""}`} data-text={text} title={`position ${i} · token ${cut.ids[i]}`}>
            <Visible text={text} bytes={bytes.has(i)} />
          </span>
        ))}
      </p>
      <p class="small soft">{plural(cut.tokens.length, "token")}</p>
    </>
  );
}

/** The likeliest next tokens, each a button. */
function Rows({ next }: { next: NextTokens }): JSX.Element {
  const { target, contrast } = shown.value;
  return (
    <Likely
      testid="likely"
      choices={next.rows.map(({ token, probability }) => ({
        value: token.text,
        shown: <Chip token={token} />,
        said: seen(token.text),
        probability,
        role: token.text === target ? "answer" : token.text === contrast ? "against" : "",
        why: token.bytes ? "a part of a character: an answer is written as text" : undefined,
        onChoose: () => choose(token.text),
      }))}
    />
  );
}

/** An answer as text: one that is not among the likeliest can be written. */
function Words({ name, words }: { name: "target" | "contrast"; words: string }): JSX.Element {
  const value = shown.value[name];
  const bare = value !== "" && !/^\s/.test(value);
  return (
    <div class="words-of">
      <label>
        <span>{words}</span>
        <input data-testid={name} value={value} maxLength={LONGEST.answer} autocomplete="off" spellcheck={false} onInput={(event) => change({ [name]: event.currentTarget.value }, name)} />
      </label>
      {value !== "" && (
        <span class="small soft">
          read as <code>{seen(value)}</code>
          {bare && (
            <>
              , without a space before it.{" "}
              <button type="button" class="quiet" data-testid={`space-${name}`} onClick={() => change({ [name]: ` ${value}` }, name)}>
                put one there
              </button>
            </>
          )}
        </span>
      )}
    </div>
  );
}
