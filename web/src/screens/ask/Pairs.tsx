// A file of pairs: what is in it, what finding its circuit takes, and the circuit.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { fetched, posting } from "../../api/ask";
import { useExplaining } from "../../api/explain";
import type { Failure } from "../../api/failure";
import type { CircuitAsked, PairsRead } from "../../api/types";
import { bytes, count, duration, number, plural } from "../../format";
import { Failed } from "../../parts/States";
import { Result } from "./Result";
import { LONGEST, SETS } from "./state";

const PAUSE_MS = 400;
const LEVELS: [CircuitAsked["level"], string][] = [
  ["node", "heads and MLPs"],
  ["neuron", "heads and neurons"],
  ["edge", "edges between them"],
];
const LINE = '{"clean": "the old cat", "corrupted": "the old dog", "answer": " sat", "wrong": " ran"}';

type Read = { state: "none" } | { state: "waiting" } | { state: "here"; read: PairsRead } | { state: "failed"; failure: Failure };

/** The left column takes the pairs, the right one answers. */
export function Pairs(): JSX.Element {
  const [text, write] = useState("");
  const [level, setLevel] = useState<CircuitAsked["level"]>("node");
  const [read, setRead] = useState<Read>({ state: "none" });
  const [pressed, press] = useState("");
  const [now, ask, stop] = useExplaining("/api/lab/circuit");
  const question: CircuitAsked = { pairs: text, level, controls: SETS, seed: 0 };
  const written = text + level;
  useEffect(() => {
    if (!text.trim() || text.length > LONGEST.pairs) return setRead({ state: "none" });
    const leave = new AbortController();
    const set = (next: Read) => leave.signal.aborted || setRead(next);
    set({ state: "waiting" });
    const later = setTimeout(() => {
      fetched<PairsRead>("/api/lab/pairs", leave.signal, posting(question))
        .then((found) => set({ state: "here", read: found }))
        .catch((failure: Failure) => set({ state: "failed", failure }));
    }, PAUSE_MS);
    return () => {
      clearTimeout(later);
      leave.abort();
    };
  }, [text, level]);
  const open = async (file: File | undefined) => {
    if (file) write(await file.slice(0, 4 * LONGEST.pairs).text());
  };
  const tooLong = text.length > LONGEST.pairs;
  const tooSlow = read.state === "here" && read.read.seconds > read.read.most_seconds;
  const go = () => {
    press(written);
    ask(question);
  };
  return (
    <div class="asking">
      <section class="question-side" aria-labelledby="pairs">
        <h2 id="pairs">Pairs</h2>
        <p class="small soft">
          A line for each pair of prompts of as many tokens: JSON as below, or CSV with the same columns. At most 64 pairs and {bytes(LONGEST.pairs)}.
        </p>
        <label>
          <span class="out-of-sight">the pairs</span>
          <textarea class="mono lines" data-testid="pairs-text" rows={9} value={text} placeholder={LINE} spellcheck={false} autocomplete="off" wrap="off" onInput={(event) => write(event.currentTarget.value)} />
        </label>
        <div class="asks">
          <label>
            <span>or a file</span>
            <input type="file" data-testid="pairs-file" accept=".jsonl,.csv,.json,.txt" onChange={(event) => open(event.currentTarget.files?.[0])} />
          </label>
          <label>
            <span>parts</span>
            <select data-testid="pairs-level" value={level} onChange={(event) => setLevel(event.currentTarget.value as CircuitAsked["level"])}>
              {LEVELS.map(([one, words]) => (
                <option key={one} value={one}>
                  {words}
                </option>
              ))}
            </select>
          </label>
        </div>
        {tooLong && <p class="warn small">That is more than {bytes(LONGEST.pairs)}: use `patchclamp circuit find` for it.</p>}
        {read.state === "failed" && <Failed failure={read.failure} />}
        {read.state === "waiting" && <p class="small soft" aria-busy="true">reading …</p>}
        {read.state === "here" && <About read={read.read} />}
        <p class="row press">
          <button type="button" class="primary" data-testid="find" disabled={read.state !== "here" || now.busy || tooSlow} onClick={go}>
            Find the circuit
          </button>
          {now.busy && (
            <button type="button" class="quiet" onClick={stop} data-testid="stop">
              stop
            </button>
          )}
          {tooSlow && <span class="small warn">That is longer than a page may take: use the command line.</span>}
        </p>
      </section>
      <div class="answer-side">
        <Result now={now} stale={pressed !== "" && pressed !== written} />
      </div>
    </div>
  );
}

/** What the pairs are, and what finding their circuit takes. */
function About({ read }: { read: PairsRead }): JSX.Element {
  return (
    <div data-testid="pairs-read" data-pairs={read.pairs} data-parts={read.parts} data-seconds={read.seconds}>
      <p class="small">
        {plural(read.pairs, "pair")} used{read.aside.length > 0 && `, set aside: ${read.aside.map((one) => `${count(one.pairs)} with ${one.reason}`).join(", ")}`}. Measured
        is {read.quantity}: {number(read.metric_clean, true)} on the clean prompts, {number(read.metric_corrupted, true)} on the corrupted ones.
      </p>
      {read.reversed > 0 && <p class="small warn">In {plural(read.reversed, "pair")} the model prefers the wrong answer more on the clean prompt than on the corrupted one.</p>}
      <p class="small soft" data-testid="pairs-cost">
        {plural(read.parts, "part")}, by {read.method.replaceAll("_", " ")}: {count(read.forward)} rows of forward passes{read.backward > 0 && ` and ${count(read.backward)} of backward passes`}, about {duration(read.seconds)}
      </p>
    </div>
  );
}
