// Layers: where along the text, and how deep in the model, does it happen?
import "./heat.css";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { type Answer, useAnswer } from "../../api/ask";
import { type Mapped, useMap } from "../../api/heat";
import type { LabPage, NextTokens, Tokens } from "../../api/types";
import { heatAddress, labAddress, written } from "../../clamps";
import { draft, forget } from "../../draft";
import { count, duration, number, plural } from "../../format";
import { Detached } from "../../parts/Detached";
import { OtherPrompt } from "../../parts/OtherPrompt";
import { CannotClamp } from "../../parts/CannotClamp";
import { StartWith } from "../../parts/StartWith";
import { Awaited, Failed, Nothing } from "../../parts/States";
import { Chip, seen } from "../../parts/Text";
import { Origin, Title, useTitle } from "../../parts/Title";
import { withQuery } from "../../route";
import { Beside } from "./Beside";
import { type Drawn, heatCells, lensCells } from "./cells";
import { Map, Scale } from "./Map";
import { type Asked, MAPS, PARTS, look, lookAway, lookedAt, questionOf, SIDES, settled, shown } from "./state";

const LONGEST = 4000;

/** The maps of blocks against tokens. */
export default function Heat(): JSX.Element {
  useTitle("Layers");
  useEffect(
    () => () => {
      forget();
      lookAway();
    },
    [],
  );
  const answer = useAnswer<LabPage>("/api/lab");
  return (
    <>
      <Title question="Where along the text, and how deep in the model, does it happen?" />
      <Awaited answer={answer}>
        {(lab) =>
          lab.shows === "recording" ? (
            <CannotClamp />
          ) : lab.shows === "pictures" ? (
            <p class="nothing" data-testid="nothing">
              This is an atlas of images; maps of blocks against tokens are of texts.
            </p>
          ) : lab.attached ? (
            <Bench lab={lab} />
          ) : (
            <>
              <Detached remedy={lab.remedy}>to see a text's layers</Detached>
              <Origin source={lab.source} twin="/api/lab" />
            </>
          )
        }
      </Awaited>
    </>
  );
}

function Bench({ lab }: { lab: LabPage }): JSX.Element {
  const now = settled.value;
  const cut = useAnswer<Tokens>(now.text ? `/api/lab/tokens?text=${encodeURIComponent(now.text)}` : null);
  const next = useAnswer<NextTokens>(now.text && now.of !== "activation" ? `/api/lab/next?text=${encodeURIComponent(now.text)}` : null);
  const [mapped, stop] = useMap(questionOf(now));
  const source = mapped.lens?.source ?? mapped.heat?.source ?? lab.source;
  return (
    <div class="heat" data-testid="heat" data-of={now.of} data-side={now.side}>
      <Prompt cut={cut} />
      <nav class="row switch maps" aria-label="which map">
        {MAPS.map(([of, words]) => (
          <a key={of} href={withQuery({ of, part: null, at: null })} aria-current={of === now.of ? "true" : undefined} data-testid={`of-${of}`}>
            {words}
          </a>
        ))}
      </nav>
      <Choices next={next.state === "failed" ? undefined : next.data} />
      <Changes asked={now} />
      <Shown mapped={mapped} stop={stop} asked={now} />
      <Origin source={source} twin="/api/lab" />
    </div>
  );
}

function Prompt({ cut }: { cut: Answer<Tokens> }): JSX.Element {
  const { text, other } = shown.value;
  return (
    <section aria-labelledby="prompt" class="heat-prompt">
      <h2 id="prompt">Prompt</h2>
      <label>
        <span class="out-of-sight">the prompt's text</span>
        <textarea
          data-testid="text"
          rows={2}
          value={text}
          maxLength={LONGEST}
          placeholder="write a text"
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => draft({ text: event.currentTarget.value, target: null, contrast: null, at: null }, "text")}
        />
      </label>
      {!text && <StartWith to={({ prompt }) => heatAddress(prompt, [])}>Each block of the model has a row, each token a column.</StartWith>}
      {text && cut.state === "failed" && <Failed failure={cut.failure} />}
      {text && cut.state !== "failed" && cut.data && (
        <OtherPrompt cut={cut.data} value={other} settled={settled.value.other} onWrite={(to) => draft({ other: to }, "other")} testid="other-text">
          A prompt of as many tokens, with what decides the answer changed: its values are put in, by patching and where a cell is chosen.
        </OtherPrompt>
      )}
    </section>
  );
}

/** What of each block, and which answer. */
function Choices({ next }: { next: NextTokens | undefined }): JSX.Element | null {
  const { text, of, part, unit, target, contrast } = shown.value;
  if (!text) return null;
  const parts = PARTS[of];
  const rows = next?.rows ?? [];
  const Answers = ({ name, value, none, words }: { name: string; value: number | null; none: string; words: string }) => (
    <label>
      <span>{words}</span>
      <select value={value === null ? "" : String(value)} data-testid={name} onChange={(event) => draft({ [name]: event.currentTarget.value || null }, name)}>
        <option value="">{none}</option>
        {value !== null && !rows.some((row) => row.token.id === value) && <option value={String(value)}>token {value}</option>}
        {rows.map(({ token }) => (
          <option key={token.id} value={String(token.id)}>
            {token.bytes ? `0x${token.text}` : seen(token.text)}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <div class="asks">
      {parts.length > 0 && !unit && (
        <label>
          <span>of each block</span>
          <select value={part} data-testid="part" onChange={(event) => draft({ part: event.currentTarget.value }, "part")}>
            {parts.map(([name, words]) => (
              <option key={name} value={name}>
                {words}
              </option>
            ))}
          </select>
        </label>
      )}
      {of === "activation" && (
        <label>
          <span>or a unit, or a site</span>
          <input data-testid="unit" value={unit} placeholder="blocks.0.mlp.act/neurons/7" spellcheck={false} autocomplete="off" onInput={(event) => draft({ unit: event.currentTarget.value.trim(), at: null }, "unit")} />
        </label>
      )}
      {of === "lens" && <Answers name="target" value={target} none="likeliest of each place" words="token" />}
      {(of === "attribution" || of === "patching") && (
        <>
          <Answers name="target" value={target} none="likeliest" words="answer" />
          <Answers name="contrast" value={contrast} none={of === "patching" ? "the other prompt's likeliest" : "nothing"} words="compared with" />
        </>
      )}
    </div>
  );
}

/** The clamps of the address, and which side of them is drawn. */
function Changes({ asked }: { asked: Asked }): JSX.Element | null {
  if (!asked.clamps.length) return null;
  const taken = asked.of === "lens" || asked.of === "activation";
  return (
    <div class="row small" data-testid="changes" data-clamps={asked.clamps.length}>
      <span class="soft">
        {plural(asked.clamps.length, "clamp")}:{" "}
        <a href={labAddress(asked.text, asked.clamps, asked.other ? { other: asked.other } : {})}>
          <code>{written(asked.clamps).join(" · ")}</code>
        </a>
      </span>
      {taken ? (
        <nav class="row switch" aria-label="which side of the clamps">
          {SIDES.map((side) => (
            <a key={side} href={withQuery({ side: side === "with" ? null : side })} aria-current={side === asked.side ? "true" : undefined} data-testid={`side-${side}`}>
              {side}
            </a>
          ))}
        </nav>
      ) : (
        <span class="soft">This map is of the text without them.</span>
      )}
    </div>
  );
}

function Shown({ mapped, stop, asked }: { mapped: Mapped; stop: () => void; asked: Asked }): JSX.Element {
  if (!asked.text) return <Nothing>What each block would answer, how active it is, and what it carries, token by token.</Nothing>;
  if (asked.of === "patching" && !asked.other) return <Nothing>Patching puts another prompt's values in, place by place: write that prompt above.</Nothing>;
  const drawn: Drawn | null = mapped.lens ? lensCells(mapped.lens, asked) : mapped.heat ? heatCells(mapped.heat, asked) : null;
  return (
    <>
      {mapped.failure && <Failed failure={mapped.failure} />}
      {mapped.busy && asked.of === "patching" && <Running mapped={mapped} stop={stop} />}
      {mapped.stopped && (
        <p class="small soft" data-testid="stopped">
          Stopped. Change the question to ask again.
        </p>
      )}
      {drawn ? (
        <div class={`awaited ${mapped.failure || mapped.stopped ? "old" : ""}`} aria-busy={mapped.busy}>
          <Drawing drawn={drawn} mapped={mapped} asked={asked} />
        </div>
      ) : (
        mapped.busy && asked.of !== "patching" && <p class="small soft" aria-busy="true">computing …</p>
      )}
    </>
  );
}

function Running({ mapped, stop }: { mapped: Mapped; stop: () => void }): JSX.Element {
  const { progress, ahead } = mapped;
  return (
    <div class="running" role="status" aria-busy="true" data-testid="progress" data-done={progress?.done ?? ""}>
      <progress max={progress?.total ?? 1} value={progress?.done ?? 0} />
      <p class="small soft row between">
        <span>
          {ahead ? `${plural(ahead, "question")} before this one` : progress ? `${count(progress.done)} of ${count(progress.total)} places patched` : "patching …"}
          {progress?.left !== null && progress?.left !== undefined && `, about ${duration(progress.left)} left`}
        </span>
        <button type="button" class="quiet" onClick={stop} data-testid="stop">
          stop
        </button>
      </p>
    </div>
  );
}

function Drawing({ drawn, mapped, asked }: { drawn: Drawn; mapped: Mapped; asked: Asked }): JSX.Element {
  const [rows, columns] = [drawn.rows.length, drawn.cut.tokens.length];
  const [row, position] = lookedAt.value ?? [rows - 1, columns - 1];
  const at: [number, number] = [Math.min(row, rows - 1), Math.min(position, columns - 1)];
  return (
    <div class="heat-drawn">
      <section aria-labelledby="map">
        <h2 id="map" class="out-of-sight">
          Map
        </h2>
        <About mapped={mapped} />
        <Scale drawn={drawn} percent={mapped.lens !== null} />
        <Map drawn={drawn} at={at} choose={look} label={drawn.quantity} />
        <p class="small soft">
          A row is {asked.unit ? "a unit, the largest" : "a block, the last"} on top; a column is a token. Arrow keys move the cell; a click, or Enter, {asked.other ? "puts the other prompt's value in there" : "sets it to zero there"}, in the lab.
        </p>
      </section>
      <Beside drawn={drawn} lens={mapped.lens} at={at} />
    </div>
  );
}

/** What is explained. */
function About({ mapped }: { mapped: Mapped }): JSX.Element | null {
  const { heat } = mapped;
  if (!heat?.target) {
    if (heat && heat.total > heat.rows.length)
      return (
        <p class="small soft">
          the {heat.rows.length} largest of {count(heat.total)} units
        </p>
      );
    return null;
  }
  return (
    <p class="small" data-testid="explains" data-metric={heat.metric ?? ""} data-other={heat.other_metric ?? ""}>
      logit of <Chip token={heat.target} />
      {heat.contrast && (
        <>
          {" "}
          less that of <Chip token={heat.contrast} />
        </>
      )}
      : <b class="num">{number(heat.metric, true)}</b>
      {heat.other_metric !== null && (
        <>
          {" "}
          on this prompt, <b class="num">{number(heat.other_metric, true)}</b> on the other
        </>
      )}
      <span class="soft">; {heat.method}</span>
    </p>
  );
}
