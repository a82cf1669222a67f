// Verify by ablation: replace what is chosen in the model itself, and compare with random nodes of like size.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { Failure } from "../../api/failure";
import { streamed } from "../../api/stream";
import type { EdgeAsked, EdgeVerified, EdgesVerified, GraphPage, LabPage, Progressed, Verified, VerifyAsked } from "../../api/types";
import { count, number, plural } from "../../format";
import { Sets } from "../../parts/Sets";
import { seen } from "../../parts/Text";
import { Verdict } from "../../parts/Verdict";
import { ENDS, type Item, itemOf, nameOf } from "./merge";
import { called } from "./words";

const MOST = 200;
const SETS = 99;
const MOST_EDGES = 40;

type State =
  | { at: "rest" }
  | { at: "asking"; done: number; total: number }
  | { at: "done"; found: Verified }
  | { at: "edges"; found: EdgesVerified }
  | { at: "failed"; failure: Failure };

/** The nodes that can be replaced: units at a place. */
export function replaceable(chosen: Item[]): string[] {
  return chosen.flatMap((item) => item.members.filter((node) => !ENDS.has(node.kind)).map((node) => node.key));
}

/** The edges that can be replaced one by one: all of a node, or those among several; the strongest first. */
function edgesOf(page: GraphPage, chosen: Item[]): EdgeAsked[] {
  const { edges } = page.about as { edges?: { kind?: string } };
  if (edges?.kind !== "direct") return [];
  const keys = new Set(chosen.flatMap((item) => item.members.map((node) => node.key)));
  const own = (edge: { source: string; target: string }) => (chosen.length === 1 ? keys.has(edge.source) || keys.has(edge.target) : keys.has(edge.source) && keys.has(edge.target));
  const found = page.edges.filter((edge) => own(edge) && !edge.source.startsWith("error@"));
  return found.slice(0, MOST_EDGES).map(({ source, target, slot }) => ({ source, target, slot }));
}

export function Verify({ page, chosen }: { page: GraphPage; chosen: Item[] }): JSX.Element {
  const lab = useAnswer<LabPage>("/api/lab");
  const keys = replaceable(chosen);
  const edges = edgesOf(page, chosen);
  const what = chosen.map((item) => item.id).join("\n");
  const [state, setState] = useState<State>({ at: "rest" });
  const running = useRef<AbortController | null>(null);
  useEffect(() => {
    setState({ at: "rest" });
    return () => running.current?.abort();
  }, [what, page.graph.id]);

  const ask = (part: Pick<VerifyAsked, "nodes" | "edges">) => {
    running.current?.abort();
    const stop = new AbortController();
    running.current = stop;
    setState({ at: "asking", done: 0, total: 0 });
    const set = (next: State) => stop.signal.aborted || setState(next);
    const asked: VerifyAsked = { graph: page.graph.id, ...part, controls: SETS, seed: 0 };
    const hears = {
      progressed: ({ done, total }: Progressed) => set({ at: "asking", done, total }),
      verified: (found: Verified) => set({ at: "done", found }),
      edgesverified: (found: EdgesVerified) => set({ at: "edges", found }),
    };
    streamed("/api/lab/verify", asked, hears, stop.signal).catch((failure: Failure) => set({ at: "failed", failure }));
  };

  const attached = lab.state === "here" && lab.data.attached;
  const remedy = lab.state === "here" ? lab.data.remedy : lab.state === "failed" ? lab.failure.remedy : "";
  const busy = state.at === "asking";
  return (
    <section data-testid="verify" aria-label="verify by ablation">
      <h2>Verify by ablation</h2>
      <p class="small soft">Replaces the chosen nodes in the model, together, and does the same to {SETS} random sets of like nodes.</p>
      {attached ? (
        <p class="row">
          <button type="button" data-testid="verify-button" disabled={!keys.length || keys.length > MOST || busy} onClick={() => ask({ nodes: keys, edges: [] })}>
            {busy ? (state.total ? `${count(state.done)} of ${count(state.total)} …` : "waiting …") : keys.length ? `verify ${plural(keys.length, "node")}` : "verify"}
          </button>
          {edges.length > 0 && (
            <button type="button" data-testid="verify-edges" disabled={busy} onClick={() => ask({ nodes: [], edges })}>
              verify {plural(edges.length, "edge")}
            </button>
          )}
          {!keys.length && <span class="small soft">choose a neuron, a head or a group first</span>}
          {keys.length > MOST && <span class="small soft">at most {count(MOST)} at once</span>}
        </p>
      ) : (
        lab.state !== "waiting" && (
          <p class="small warn" data-testid="unattached">
            No model is attached. {remedy}
          </p>
        )
      )}
      {attached && keys.length > 0 && keys.length <= MOST && <Sets asked={{ graph: page.graph.id, nodes: keys, clamps: [] }} />}
      <div aria-live="polite">
        {state.at === "failed" && (
          <p class="small warn" role="alert" data-testid="verify-failed">
            Expected {state.failure.expected}, got {state.failure.got}. {state.failure.remedy}
          </p>
        )}
        {state.at === "done" && <Shown found={state.found} />}
        {state.at === "edges" && <Edges found={state.found} page={page} />}
      </div>
    </section>
  );
}

/** A p with two digits. */
const two = (p: number) => String(Number(p.toPrecision(2)));

/** What replacing each edge alone did. */
function Edges({ found, page }: { found: EdgesVerified; page: GraphPage }): JSX.Element {
  const byKey = new Map(page.nodes.map((node) => [node.key, node]));
  const name = (key: string) => {
    const node = byKey.get(key);
    if (!node) return { short: key, whole: key };
    const { title } = called(itemOf(node), page);
    const token = node.position === null ? undefined : page.tokens[node.position];
    return { short: `${title}${token === undefined || node.kind === "input" ? "" : ` at ${seen(token)}`}`, whole: nameOf(node, page.tokens) };
  };
  const ends = (edge: EdgeVerified) => [name(edge.source), name(edge.target)] as const;
  return (
    <table class="small" data-testid="edges-verified">
      <caption class="small soft">each edge replaced by itself: the target reads what the source would write {found.baseline === "zero" ? "at zero" : "on the other prompt"}</caption>
      <thead>
        <tr>
          <th scope="col">edge</th>
          <th scope="col" class="n">
            predicted
          </th>
          <th scope="col" class="n">
            measured
          </th>
        </tr>
      </thead>
      <tbody>
        {found.edges.map((edge) => (
          <tr key={`${edge.source} ${edge.target} ${edge.slot}`} data-source={edge.source} data-target={edge.target} data-slot={edge.slot} data-predicted={edge.predicted ?? ""} data-measured={edge.measured ?? ""}>
            <th scope="row" title={ends(edge).map((end) => end.whole).join(" → ")}>
              <bdi>{ends(edge)[0].short}</bdi> → <bdi>{ends(edge)[1].short}</bdi>
              {edge.slot && <span class="soft"> as {edge.slot}</span>}
            </th>
            <td class="n">{number(edge.predicted, true)}</td>
            <td class="n">{number(edge.measured, true)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Shown({ found }: { found: Verified }): JSX.Element {
  return (
    <div
      data-testid="verified"
      data-predicted={found.predicted ?? ""}
      data-measured={found.measured ?? ""}
      data-low={found.mean.low ?? ""}
      data-high={found.mean.high ?? ""}
      data-p={found.p ?? ""}
    >
      <dl class="numbers">
        <div>
          <dt>predicted</dt>
          <dd class="num">{number(found.predicted, true)}</dd>
        </div>
        <div>
          <dt>measured</dt>
          <dd class="num">
            <b>{number(found.measured, true)}</b>
          </dd>
        </div>
        <div>
          <dt>random sets' mean, 95&nbsp;%</dt>
          <dd class="num">
            {number(found.mean.low, true)} to {number(found.mean.high, true)}
          </dd>
        </div>
      </dl>
      <Scale found={found} />
      <Verdict of={found} rule={found.rule} />
      <p class="small soft">
        What {plural(found.nodes, "node")} {found.nodes === 1 ? "takes" : "take"} from m = {number(found.metric_clean, true)}, with{" "}
        {found.baseline === "zero" ? "zero" : found.baseline === "mean" ? "the mean" : "the corrupted prompt's values"} in place. The filled mark is measured, the
        ring around it or beside it predicted, each small circle a random set, the bar the interval of their mean, {number(found.mean.value, true)}.
      </p>
      <p class="small" data-testid="verified-p">
        {found.p === null ? (
          <>No p: random sets have only {plural(found.size, "node")}, for so few others of these kinds are left.</>
        ) : (
          <>
            p = {two(found.p)}, from {plural(found.different, "different set")}
            {found.p <= 1.5 / (found.different + 1) && (
              <>: the least that {count(found.different)} can give{found.different < 19 && <>, too few to tell chance</>}</>
            )}
            .
          </>
        )}
      </p>
    </div>
  );
}

/** All numbers on one line: rings are random sets, the open sign predicted, the full one measured. */
function Scale({ found }: { found: Verified }): JSX.Element {
  const all = [0, found.predicted, found.measured, found.mean.low, found.mean.high, ...found.randoms].filter((x): x is number => x !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const at = (x: number) => 4 + ((x - low) / (high - low || 1)) * 92;
  const percent = (x: number) => `${at(x)}%`;
  return (
    <svg class="scale" width="100%" height="54" role="img" aria-label={`predicted ${number(found.predicted, true)}, measured ${number(found.measured, true)}, random sets' mean ${number(found.mean.low, true)} to ${number(found.mean.high, true)}`}>
      <line class="axis" x1="0" x2="100%" y1="34" y2="34" />
      <line class="zero" x1={percent(0)} x2={percent(0)} y1="22" y2="46" />
      <text class="small" x={percent(0)} y="53" text-anchor="middle">
        0
      </text>
      {found.mean.low !== null && found.mean.high !== null && <rect class="band" x={percent(found.mean.low)} width={`${Math.max(at(found.mean.high) - at(found.mean.low), 0.6)}%`} y="29" height="10" rx="3" />}
      {found.randoms.map((x) => x !== null && <circle class="random" cx={percent(x)} cy="34" r="3" />)}
      {found.predicted !== null && <circle class="predicted" cx={percent(found.predicted)} cy="34" r="6.5" />}
      {found.measured !== null && <circle class={`measured ${found.measured < 0 ? "against" : "carries"}`} cx={percent(found.measured)} cy="34" r="4.5" />}
      {found.measured !== null && (
        <text x={percent(found.measured)} y="18" text-anchor={at(found.measured) > 70 ? "end" : at(found.measured) < 30 ? "start" : "middle"}>
          measured
        </text>
      )}
    </svg>
  );
}
