// Five steps for a first visit; whoever closes them does not see them again.
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import type { AtlasPage } from "../../api/types";
import { graphAddress } from "../../route";

const KEPT = "patchclamp-first-visit";

interface State {
  closed: boolean;
  done: number[];
}

function kept(): State {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "{}") as Partial<State>;
    return { closed: found.closed === true, done: Array.isArray(found.done) ? found.done : [] };
  } catch {
    return { closed: false, done: [] };
  }
}

const state = signal<State>(kept());

function change(next: Partial<State>): void {
  state.value = { ...state.value, ...next };
  try {
    localStorage.setItem(KEPT, JSON.stringify(state.value));
  } catch {
    // The choice then lasts as long as the page.
  }
}

/** The five steps: explain, node, verify, clamp, random control. */
export function Path({ page, attached }: { page: AtlasPage; attached: boolean }): JSX.Element | null {
  const { closed, done } = state.value;
  if (closed) {
    return (
      <p class="small">
        <button type="button" class="quiet" data-testid="path-open" onClick={() => change({ closed: false })}>
          show the five steps of a first visit
        </button>
      </p>
    );
  }
  const graph = page.explained[page.explained.length - 1];
  const circuit = graph ? graphAddress(graph.id) : "/graphs";
  const lab = graph ? `/lab?text=${encodeURIComponent(graph.prompt)}` : "/lab";
  const steps: [name: string, words: string, to: string][] = [
    ["Explain", "which units gave an answer", attached && !graph ? "/ask" : circuit],
    ["Node", "open one: its text, what it writes and reads", circuit],
    ["Verify", "replace it, and see what the answer loses", circuit],
    ["Clamp", "set it to a value, and see the words change", lab],
    ["Random control", "do the same to other units: is it special?", lab],
  ];
  const mark = (i: number) => change({ done: done.includes(i) ? done.filter((one) => one !== i) : [...done, i] });
  return (
    <section class="five-steps" aria-labelledby="path" data-testid="path">
      <div class="row between">
        <h2 id="path">A first visit in five steps</h2>
        <button type="button" class="quiet" data-testid="path-close" onClick={() => change({ closed: true })}>
          close
        </button>
      </div>
      <ol>
        {steps.map(([name, words, to], i) => (
          <li key={name} class={done.includes(i) ? "done" : ""} data-step={i + 1}>
            <label>
              <input type="checkbox" checked={done.includes(i)} onChange={() => mark(i)} aria-label={`step ${i + 1}, ${name}: done`} />
            </label>
            <a href={to} onClick={() => !done.includes(i) && mark(i)}>
              {name}
            </a>
            <span class="small soft">{words}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
