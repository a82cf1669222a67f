// Circuit: how did it get from prompt to answer?
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { GraphPage, GraphPicture } from "../../api/types";
import { count, number, percent, plural } from "../../format";
import { useKeys } from "../../keys";
import { Asked } from "../../parts/Answer";
import { AnswerPicture } from "../../parts/AnswerPicture";
import { ClampCauses } from "../../parts/ClampCauses";
import { KeepIt } from "../../parts/KeepIt";
import { Awaited, Nothing } from "../../parts/States";
import { Visible } from "../../parts/Text";
import { Origin, Title, useTitle } from "../../parts/Title";
import { Verdict } from "../../parts/Verdict";
import { changed, go, query, spelt, withQuery } from "../../route";
import { Compare } from "./Compare";
import { exported, save } from "./exported";
import { Grid } from "./Grid";
import { List } from "./List";
import { type Item, type Merged, first, merge } from "./merge";
import { Panel, groupChosen, pinChosen } from "./Panel";
import { pictureOf } from "./picture";
import { Hatch, Sign } from "./Sign";
import { KEEP, choose, groups, keep, near, onlyPinned, pins, selected, view } from "./state";
import { Verify } from "./Verify";

const KINDS = ["neuron", "head", "feature", "channel", "site", "input", "output", "error"];
/** What a kind is called, where that is not its name. */
const CALLED: Record<string, string> = { site: "embedding or MLP", error: "error: what no unit explains" };
const SMALL = "(max-width: 44rem)";

/** Where m has lost everything, by what values were replaced with. */
const FLOORS: Record<string, string> = {
  zero: "With every unit set to zero",
  mean: "With every unit at its mean",
  corrupted: "On the other prompt",
};

/** Whether every edge leads straight to the output. */
const star = (page: GraphPage) => page.edges.length > 0 && page.edges.every((edge) => edge.target === "output");

/** Over how many pairs a circuit was found; 0 for an answer to one prompt. */
const pairsOf = (page: GraphPage) => (typeof page.about.n_pairs === "number" ? page.about.n_pairs : 0);

/** One explained answer as a graph. */
export default function Circuit({ id }: { id: string }): JSX.Element {
  const url = `/api/graphs/${encodeURIComponent(id)}${spelt(changed(new URLSearchParams(), { keep: String(keep.value), pin: pins.value }))}`;
  const answer = useAnswer<GraphPage>(url);
  useTitle(answer.state === "here" ? `${answer.data.graph.prompt} →${answer.data.graph.target}` : "Circuit");
  return <Awaited answer={answer}>{(page) => <Whole page={page} url={url} />}</Awaited>;
}

function Whole({ page, url }: { page: GraphPage; url: string }): JSX.Element {
  const pinned = useMemo(() => new Set(pins.value), [pins.value.join("\n")]);
  const merged = useMemo(() => merge(page, groups.value, onlyPinned.value ? pinned : null), [page, groups.value, onlyPinned.value, pinned]);
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
  useKeys({
    g: () => groupChosen(itemsNow()),
    p: () => pinChosen(itemsNow()),
    Escape: () => choose([]),
  });
  return (
    <article data-testid="circuit" data-id={page.graph.id} class="circuit">
      <Hatch />
      <Title question="How did it get from prompt to answer?">
        <Asked row={page.graph} />
      </Title>
      <Verdict of={page.graph} rule={page.rule} />
      <Lead page={page} />
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
      <ClampCauses page={page} />
      <Details page={page} />
      <Controls page={page} merged={merged} shown={shown} />
      {page.notice && (
        <p class="warn small" role="status" data-testid="notice">
          {page.notice}
        </p>
      )}
      <div class="stage">
        <div class="drawn">
          {page.nodes.length === 0 ? (
            <Nothing>This graph has no nodes.</Nothing>
          ) : shown === "grid" ? (
            <Grid page={page} merged={merged} chosen={chosenIds} pinned={pinned} onChoose={onChoose} />
          ) : (
            <List page={page} merged={merged} chosen={chosenIds} onChoose={onChoose} />
          )}
          <Legend page={page} />
          {star(page) && <p class="small soft" data-testid="star">Each unit is scored by itself. Lines only go to the output; crossing a node means nothing.</p>}
          <Compare graph={page.graph} />
        </div>
        {page.picture && (
          <div class="where">
            <Where page={page} merged={merged} chosen={chosen} />
          </div>
        )}
        <div class="aside">
          <Panel page={page} merged={merged} chosen={chosen}>
            <Verify page={page} chosen={chosen} />
          </Panel>
        </div>
      </div>
      {!page.graph.kept && <KeepIt id={page.graph.id} command={page.source.command} />}
      <Origin source={page.source} twin={url} itself />
    </article>
  );
}

/** The picture, with the place of the node that is pointed at, or else of the one that is chosen. */
function Where({ page, merged, chosen }: { page: GraphPage; merged: Merged; chosen: Item[] }): JSX.Element {
  const item = merged.byId.get(near.value) ?? chosen[0];
  const node = item?.group === null ? first(item) : undefined;
  return <AnswerPicture picture={page.picture as GraphPicture} alt={page.graph.prompt} place={node?.place ?? null} name={node?.name ?? ""} />;
}

/** What m is, and what is left of it with the causes replaced. */
function Lead({ page }: { page: GraphPage }): JSX.Element | null {
  const { metric, measured_together: taken, quantity } = page.graph;
  const pairs = pairsOf(page) > 0;
  if (metric === null) return null;
  return (
    <p data-testid="lead">
      m, {quantity || (page.graph.contrast === null ? "the answer's logit" : "by how much the answer's logit leads")}: <b class="num">{number(metric, true)}</b>
      {taken !== null && (
        <>
          ; with {pairs ? "the first parts" : "all causes"} replaced: <b class="num" data-testid="left">{number(metric - taken, true)}</b>
        </>
      )}
    </p>
  );
}

/** Every other number of the whole, for those who ask. */
function Details({ page }: { page: GraphPage }): JSX.Element {
  const { metric, measured_together: taken, control_low: low, control_high: high, p, method } = page.graph;
  const { metric_baseline: floor } = page.measures;
  const corrupted = pairsOf(page) > 0;
  return (
    <details class="small" data-testid="details">
      <summary>Details</summary>
      <dl class="pairs" data-testid="reading">
        <dt>scored by</dt>
        <dd>{method || "a method that is not named"}</dd>
        {floor !== undefined && (
          <>
            <dt>{corrupted ? "on the corrupted prompts" : (FLOORS[String(page.about.baseline)] ?? "With every unit replaced").toLowerCase()}</dt>
            <dd class="num" data-testid="floor">m is {number(floor, true)}</dd>
          </>
        )}
        {taken === null ? (
          <>
            <dt>measured</dt>
            <dd>no unit was replaced: these are predictions</dd>
          </>
        ) : (
          <>
            <dt>taken from m, measured</dt>
            <dd class="num">{number(taken, true)}</dd>
          </>
        )}
        {low !== null && high !== null && (
          <>
            <dt>random sets' mean, 95&nbsp;%</dt>
            <dd class="num">
              {number(low, true)} to {number(high, true)}
            </dd>
          </>
        )}
        {p !== null && (
          <>
            <dt>p</dt>
            <dd class="num">{Number(p.toPrecision(2))}</dd>
          </>
        )}
        <Edges page={page} />
      </dl>
      {metric !== null && taken !== null && taken > metric && metric > 0 && <p class="soft">Removing all of them can even reverse the answer.</p>}
    </details>
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

/** What the lines are. */
function Edges({ page }: { page: GraphPage }): JSX.Element | null {
  const { edges } = page.about as { edges?: { kind?: string; why?: string; measured?: number } };
  if (!edges) return null;
  return (
    <>
      <dt>lines</dt>
      <dd data-testid="lines">
        {edges.kind === "direct"
          ? `what a node adds directly to what another reads, predicted; ${count(edges.measured ?? 0)} were also measured`
          : `a node's whole effect on the answer${edges.why ? `: ${edges.why}` : ""}`}
      </dd>
    </>
  );
}

function Controls({ page, merged, shown }: { page: GraphPage; merged: Merged; shown: string }): JSX.Element {
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
        <button type="button" class="small" data-testid="export" onClick={() => save(`${page.graph.id}.json`, `${JSON.stringify(exported(page, keep.value, groups.value), null, 1)}\n`, "application/json")}>
          JSON
        </button>
        {(["circuit-tracer", "neuronpedia"] as const).map((format) => (
          <a
            key={format}
            class="small"
            data-testid={`export-${format}`}
            download
            href={`/api/graphs/${encodeURIComponent(page.graph.id)}/export${spelt(changed(new URLSearchParams(), { format, keep: String(keep.value), pin: pins.value, group: query.value.getAll("group") }))}`}
          >
            {format === "neuronpedia" ? "Neuronpedia" : format}
          </a>
        ))}
        <button type="button" class="small" data-testid="export-svg" onClick={() => save(`${page.graph.id}.svg`, pictureOf(page, merged), "image/svg+xml")}>
          SVG
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
      <span>larger or deeper: more of m</span>
    </p>
  );
}
