// The prompt and its tokens; one of them is chosen.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Answer } from "../../api/ask";
import type { Tokens } from "../../api/types";
import { draft } from "../../draft";
import { heatAddress } from "../../clamps";
import { spelt } from "../../route";
import { plural } from "../../format";
import { OtherPrompt } from "../../parts/OtherPrompt";
import { StartWith } from "../../parts/StartWith";
import { Failed } from "../../parts/States";
import { seen, Visible } from "../../parts/Text";
import { asked, shown } from "./state";

const LONGEST = 4000;

/** A field for the text, and the tokens that the model reads. */
export function Prompt({ cut, chosen }: { cut: Answer<Tokens>; chosen: number }): JSX.Element {
  const { text } = shown.value;
  return (
    <section aria-labelledby="prompt">
      <h2 id="prompt">Prompt</h2>
      <label>
        <span class="out-of-sight">the prompt's text</span>
        <textarea
          data-testid="text"
          rows={3}
          value={text}
          maxLength={LONGEST}
          placeholder="write a text"
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => draft({ text: event.currentTarget.value, controls: null }, "text")}
        />
      </label>
      {!text ? <StartWith to={({ prompt }) => `/lab${spelt(new URLSearchParams({ text: prompt }))}`}>The units that do most at each token appear here as you write.</StartWith> : cut.state === "failed" ? <Failed failure={cut.failure} /> : cut.data && <Row cut={cut.data} chosen={chosen} busy={cut.state === "waiting"} />}
      {text && cut.state !== "failed" && cut.data && (
        <OtherPrompt cut={cut.data} value={shown.value.other} settled={asked.value.other} onWrite={(other) => draft({ other, controls: null }, "other")} testid="other-text">
          A prompt of as many tokens: clamps can take a unit's value from it.
        </OtherPrompt>
      )}
    </section>
  );
}

function Row({ cut, chosen, busy }: { cut: Tokens; chosen: number; busy: boolean }): JSX.Element {
  const row = useRef<HTMLDivElement>(null);
  const bytes = new Set(cut.bytes);
  const special = new Set(cut.special);
  const choose = (i: number) => draft({ token: String(i) }, "token");
  // One stop for the tab key; arrows walk.
  const walk = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -cut.tokens.length, End: cut.tokens.length };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const to = Math.min(Math.max(chosen + step, 0), cut.tokens.length - 1);
    choose(to);
    (row.current?.children[to] as HTMLElement | undefined)?.focus();
  };
  return (
    <>
      <div ref={row} class="tokens" role="radiogroup" aria-label="tokens of the prompt" aria-busy={busy} onKeyDown={walk}>
        {cut.tokens.map((text, i) => (
          <button
            key={i}
            type="button"
            role="radio"
            aria-checked={i === chosen}
            tabIndex={i === chosen ? 0 : -1}
            class={special.has(i) ? "special" : ""}
            data-testid="token"
            data-position={i}
            data-text={text}
            aria-label={`token ${i}: ${seen(text)}`}
            title={`position ${i} · token ${cut.ids[i]}${special.has(i) ? " · special" : ""}`}
            onClick={() => choose(i)}
          >
            <Visible text={text} bytes={bytes.has(i)} />
          </button>
        ))}
      </div>
      <p class="small soft" data-testid="n-tokens" data-value={cut.tokens.length}>
        {plural(cut.tokens.length, "token")}
        {cut.special.length > 0 && `, ${cut.special.length} of them special`}; choose one to see what is active there, or see <a href={heatAddress(shown.value.text, shown.value.clamps, { other: shown.value.other })} data-testid="layers">all layers × tokens</a>
      </p>
    </>
  );
}
