// Circuit: how did it get from prompt to answer?
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { GraphPage } from "../../api/types";
import { count, number, percent, plural } from "../../format";
import { useKeys } from "../../keys";
import { Asked, Together } from "../../parts/Answer";
import { Awaited, Nothing } from "../../parts/States";
import { Visible } from "../../parts/Text";
import { Origin, Title, useTitle } from "../../parts/Title";
import { Verdict } from "../../parts/Verdict";
import { go, withQuery } from "../../route";
import { Compare } from "./Compare";
import { exported, save } from "./exported";
import { Grid } from "./Grid";
import { List } from "./List";
import { type Item, merge } from "./merge";
import { Panel, groupChosen } from "./Panel";
import { Hatch, Sign } from "./Sign";
import { KEEP, choose, groups, keep, selected, view } from "./state";
import { Verify } from "./Verify";


const KINDS = ["neuron", "head", "feature", "channel", "site", "input", "output", "error"];
/** What a kind is called, where that is not its name. */
const CALLED: Record<string, string> = { site: "embedding or MLP" };
const SMALL = "(max-width: 44rem)";

/** Methods as people call them. */
/** Where m has lost everything, by what values were replaced with. */
const FLOORS: Record<string, string> = {
  zero: "With every unit set to zero",
  mean: "With every unit at its mean",
  corrupted: "On the corrupted prompt",
};

/** Whether every edge leads straight to the output. */
const star = (page: GraphPage) => page.edges.length > 0 && page.edges.every((edge) => edge.target === "output");

/** Over how many pairs a circuit was found; 0 for an answer to one prompt. */
const pairsOf = (page: GraphPage) => (typeof page.about.n_pairs === "number" ? page.about.n_pairs : 0);

/** One explained answer as a graph. */
export default function Circuit({ id }: { id: string }): JSX.Element {
  const url = `/api/graphs/${encodeURIComponent(id)}?keep=${keep.value}`;
  const answer = useAnswer<GraphPage>(url);
  useTitle(answer.state === "here" ? `${answer.data.graph.prompt} →${answer.data.graph.target}` : "Circuit");
  return <Awaited answer={answer}>{(page) => <Whole page={page} url={url} />}</Awaited>;
}

function Whole({ page, url }: { page: GraphPage; url: string }): JSX.Element {
  const merged = useMemo(() => merge(page, groups.value), [page, groups.value]);
  const small = useSmall();
  const shown = (view.value ?? (small ? "list" : "grid")) === "list" ? "list" : "grid";
  const latest = useRef(merged);
  latest.current = merged;
  // Keys and clicks come faster than renders: what they start from is asked for when they come.
  const idsNow = () => selected.value.filter((id) => latest.current.byId.has(id));
  const itemsNow = () => idsNow().map((id) => latest.current.byId.get(id) as Item);
  const ids = idsNow();
  const chosenIds = useMemo(() => new Set(ids), [ids.join("\n")]);
  const chosen = itemsNow();
  const onChoose = (id: string, join: boolean) => {
    const now = idsNow();
    choose(!join ? [id] : now.includes(id) ? now.filter((one) => one !== id) : [...now, id]);
  };
  useKeys({ g: () => groupChosen(itemsNow()), Escape: () => choose([]) });
  return (
    <article data-testid="circuit" data-id={page.graph.id} class="circuit">
      <Hatch />
      <Title question="How did it get from prompt to answer?">
        <Asked row={page.graph} />
      </Title>
      {pairsOf(page) > 0 && (
        <p class="small" data-testid="over-pairs">
          {pairsOf(page) > 1 ? <>Over {count(pairsOf(page))} pairs of prompts; above stands the first. Every figure is a mean over them. </> : <>Found on one pair of prompts. </>}
          A node is replaced by what it is under the corrupted prompt{page.tokens.length ? "" : ", at all positions"}.
          {page.about.level === "edge" && <> Lines were scored; a node's score is the sum of all lines out of it, those that are not drawn included.</>}
        </p>
      )}
      {typeof page.about.beginning === "string" && page.about.beginning !== "" && (
        <p class="small" data-testid="beginning">
          The answer's beginning <b><Visible text={page.about.beginning} /></b> is shown after the prompt: positions count it too.
        </p>
      )}
      <p class="lead">
        m = <strong class="num">{number(page.graph.metric, true)}</strong>
        <span class="soft">
          {page.graph.contrast !== null && <>, by how much the answer's logit leads</>}; scored by {page.graph.method || "a method that is not named"};{" "}
          {page.graph.measured_together === null ? "no unit was replaced, and these are predictions" : <>{pairsOf(page) ? "the first parts" : "all causes"} replaced together take away{" "}</>}
        </span>
        {page.graph.measured_together !== null && <Together row={page.graph} />}
      </p>
      <Verdict of={page.graph} rule={page.rule} />
      <p class="small soft" data-testid="reading">
        {page.measures.metric_baseline !== undefined && <>{pairsOf(page) ? <>On the corrupted prompts m is {number(page.measures.metric_baseline, true)}. </> : null}</>}
        {!pairsOf(page) && <Left page={page} />}
        {(page.measures.predicted ?? 0) > 1.2 * (page.measures.measured ?? Number.POSITIVE_INFINITY) && <>Predictions are summed, and units in series count the same effect more than once. </>}
        {star(page) && <>Each unit is scored by itself, for its effect on the answer: no effects between units were computed. Lines only go to the output; that one crosses a node means nothing.</>}
      </p>
      <Controls page={page} shown={shown} />
      {page.notice && (
        <p class="warn small" role="status" data-testid="notice">
          {page.notice}
        </p>
      )}
      <div class="stage">
        <div class="picture">
          {page.nodes.length === 0 ? (
            <Nothing>This graph has no nodes.</Nothing>
          ) : shown === "grid" ? (
            <Grid page={page} merged={merged} chosen={chosenIds} onChoose={onChoose} />
          ) : (
            <List page={page} merged={merged} chosen={chosenIds} onChoose={onChoose} />
          )}
          <Legend page={page} />
          <Compare graph={page.graph} />
        </div>
        <div class="aside">
          <Panel page={page} merged={merged} chosen={chosen}>
            <Verify page={page} chosen={chosen} />
          </Panel>
        </div>
      </div>
      <Origin source={page.source} twin={url} itself />
    </article>
  );
}

/** What is left of m: with the causes replaced together, and at the end to which shares are taken. */
function Left({ page }: { page: GraphPage }): JSX.Element {
  const { metric, measured_together: taken } = page.graph;
  const { metric_baseline: floor } = page.measures;
  return (
    <>
      {metric !== null && taken !== null && <>With all causes replaced together m is {number(metric - taken, true)}. </>}
      {floor !== undefined && <>{FLOORS[String(page.about.baseline)] ?? "With every unit replaced"} m is {number(floor, true)}. </>}
      {metric !== null && taken !== null && taken > metric && metric > 0 && <>Removing all of them can even reverse the answer. </>}
    </>
  );
}

/** Whether there is room for a picture; the list is the default where there is none. */
function useSmall(): boolean {
  const [small, setSmall] = useState(() => matchMedia(SMALL).matches);
  useEffect(() => {
    const media = matchMedia(SMALL);
    const changed = () => setSmall(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return small;
}

function Controls({ page, shown }: { page: GraphPage; shown: string }): JSX.Element {
  const [draft, setDraft] = useState<number | null>(null);
  const later = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const slide = (value: number) => {
    setDraft(value);
    clearTimeout(later.current);
    // A drag passes many values: the one at which it rests is asked for.
    later.current = setTimeout(() => {
      go(withQuery({ keep: value === KEEP.usual ? null : String(value) }), true);
      setDraft(null);
    }, 120);
  };
  useEffect(() => () => clearTimeout(later.current), []);
  const asked = draft ?? keep.value;
  const nodes = page.total - page.nodes.length;
  const edges = page.total_edges - page.edges.length;
  return (
    <div class="controls">
      <label class="pruning">
        <span class="small soft">keep at least {Math.round(asked * 100)}&nbsp;% of the scores</span>
        <input
          type="range"
          data-testid="keep"
          min={KEEP.least}
          max={KEEP.most}
          step={KEEP.step}
          value={asked}
          aria-valuetext={`at least ${Math.round(asked * 100)} percent`}
          onInput={(event) => slide(Number(event.currentTarget.value))}
        />
      </label>
      <p class="small kept" data-testid="shown" data-nodes={page.nodes.length} data-edges={page.edges.length} data-hidden-nodes={nodes} data-hidden-edges={edges}>
        kept{" "}
        <strong class="num" data-testid="kept" data-kept={page.kept ?? ""}>
          {percent(page.kept)}
        </strong>
        : {count(page.nodes.length)} of {plural(page.total, "node")}, {count(page.edges.length)} of {plural(page.total_edges, "edge")};{" "}
        <span class="soft">
          {nodes || edges ? `hidden: ${plural(nodes, "node")} and ${plural(edges, "edge")}` : "nothing is hidden"}
        </span>
      </p>
      <div class="row choices">
        <nav class="row switch small" aria-label="view">
          {(["grid", "list"] as const).map((one) => (
            <a key={one} href={withQuery({ view: one })} aria-current={shown === one ? "true" : undefined} data-testid={`view-${one}`}>
              {one === "grid" ? "picture" : "list"}
            </a>
          ))}
        </nav>
        <button type="button" class="small" data-testid="export" onClick={() => save(`${page.graph.id}.json`, exported(page, keep.value, groups.value))}>
          export JSON
        </button>
      </div>
    </div>
  );
}

/** The signs that stand in this picture. */
function Legend({ page }: { page: GraphPage }): JSX.Element {
  const kinds = new Set(page.nodes.map((node) => node.kind));
  return (
    <p class="legend small soft" data-testid="legend">
      {[...kinds].sort((a, b) => KINDS.indexOf(a) - KINDS.indexOf(b)).map((kind) => (
        <span key={kind}>
          <Sign kind={kind} /> {CALLED[kind] ?? kind}
        </span>
      ))}
      <span>
        <Sign kind="neuron" score={-1} /> hatched, dashed: against the answer
      </span>
      <span>larger: more of m</span>
    </p>
  );
}
