// One prompt: its tokens, the next ones, which of them is asked about, and the answer.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import { useExplaining } from "../../api/explain";
import type { ExplainCost, GraphList, NextTokens, Tokens } from "../../api/types";
import { spelt } from "../../route";
import { count, plural } from "../../format";
import { chance } from "../../parts/Next";
import { OtherPrompt } from "../../parts/OtherPrompt";
import { Failed, Nothing } from "../../parts/States";
import { Chip, seen, Visible } from "../../parts/Text";
import { Result } from "./Result";
import { LONGEST, SETS, change, choose, explainAsked, settled, shown } from "./state";

const EXAMPLES = 3;

/** The left column asks, the right one answers. */
export function Prompt({ differentiates }: { differentiates: boolean }): JSX.Element {
  const [now, ask, stop] = useExplaining("/api/lab/explain");
  const pressed = useRef("");
  const question = explainAsked(shown.value);
  const written = JSON.stringify(question);
  const why = () => {
    if (!question) return;
    pressed.current = written;
    ask(question);
  };
  // A link holds the question: what it asks is answered at once.
  const again = () => {
    const linked = explainAsked(settled.peek());
    if (!linked || !differentiates) return;
    pressed.current = JSON.stringify(linked);
    ask(linked);
  };
  useEffect(() => {
    again();
    addEventListener("popstate", again);
    return () => removeEventListener("popstate", again);
  }, []);
  const { prompt } = settled.value;
  const next = useAnswer<NextTokens>(prompt ? `/api/lab/next?text=${encodeURIComponent(prompt)}` : null);
  const found = prompt && next.state !== "failed" ? next.data : undefined;
  const stale = pressed.current !== "" && pressed.current !== written;
  return (
    <div class="asking">
      <div class="question-side">
        <section aria-labelledby="prompt">
          <h2 id="prompt">Prompt</h2>
          <Field />
          {prompt.endsWith(" ") && <p class="warn small" data-testid="space">The prompt ends in a space, which most vocabularies put before the next word instead.</p>}
          {next.state === "failed" && prompt ? <Failed failure={next.failure} /> : found && <Cut cut={found.cut} busy={next.state === "waiting"} />}
          {!shown.value.prompt && <Begin />}
        </section>
        {found && (
          <>
            <section aria-labelledby="next" aria-busy={next.state === "waiting"}>
              <h2 id="next">Next token</h2>
              <p class="small soft">Choose the answer, then, if you like, the one that it is compared with.</p>
              <Rows next={found} />
            </section>
            <p class="row press">
              <button type="button" class="primary" data-testid="why" disabled={!question || !differentiates || now.busy} onClick={why}>
                Why?
              </button>
              {now.busy && (
                <button type="button" class="quiet" onClick={stop} data-testid="stop">
                  stop
                </button>
              )}
              <span class="small soft" data-testid="cost">
                <Takes cost={found.cost} chosen={question !== null} />
              </span>
            </p>
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
  const most = Math.max(...next.rows.map((row) => row.probability), 1e-12);
  return (
    <ol class="likely" data-testid="likely">
      {next.rows.map(({ token, probability }) => {
        const role = token.text === target ? "answer" : token.text === contrast ? "against" : "";
        return (
          <li key={token.id}>
            <button
              type="button"
              class={role ? "picked" : ""}
              aria-pressed={role !== ""}
              disabled={token.bytes}
              data-testid="likely-token"
              data-text={token.text}
              data-probability={probability}
              data-role={role}
              aria-label={`${seen(token.text)}, ${chance(probability)} percent${role && `: ${role}`}`}
              title={token.bytes ? "a part of a character: an answer is written as text" : undefined}
              onClick={() => choose(token.text)}
            >
              <Chip token={token} />
              <i class="bar" aria-hidden="true">
                <i style={{ width: `${(probability / most) * 100}%` }} />
              </i>
              <span class="num">{chance(probability)}&nbsp;%</span>
              <span class="small role">{role}</span>
            </button>
          </li>
        );
      })}
    </ol>
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

/** Prompts whose answers were explained, to begin with. */
function Begin(): JSX.Element | null {
  const answer = useAnswer<GraphList>("/api/graphs");
  if (answer.state !== "here") return null;
  const rows = answer.data.rows.filter((row) => row.target && row.prompt);
  const prompts = [...new Map(rows.map((row) => [row.prompt, row])).values()].slice(0, EXAMPLES);
  if (!prompts.length) return <Nothing>The model's tokens and its likeliest next ones appear here as you write.</Nothing>;
  return (
    <div class="begin">
      <p class="small soft">or begin with one whose answer was explained:</p>
      <ul>
        {prompts.map((row) => (
          <li key={row.prompt}>
            <a href={`/ask${spelt(new URLSearchParams({ prompt: row.prompt }))}`} data-testid="begin-with">
              <q>{row.prompt}</q>
            </a>
          </li>
        ))}
      </ul>
    </div>
  );
}
