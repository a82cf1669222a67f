// An answer's causes as clamps: links to the lab that set all of them to zero, or to the other prompt's values.
import type { JSX } from "preact";
import { useAnswer } from "../api/ask";
import type { ClampAsked, GraphPage, NodeRow } from "../api/types";
import { labAddress } from "../clamps";
import { count, plural } from "../format";

/** As many as the lab takes. */
export const MOST_CLAMPS = 32;
const CLAMPED = new Set(["neuron", "head", "feature", "channel"]);

/** Whether a node is a unit that the lab clamps: not the whole of a site, no end, no error. */
export const isClamped = (node: NodeRow) => CLAMPED.has(node.kind) && node.site !== "";

/** The text whose tokens were scored: the prompt, and what of the answer is shown after it; null where no text has them. */
export function shownText(page: GraphPage): string | null {
  const { text } = page.about;
  return text === null || typeof text === "string" ? text : page.graph.prompt;
}

/** The explained tokens, as the lab's address names them. */
function answerOf(page: GraphPage): Record<string, string> {
  const named = (end: string) => {
    const ids = page.explains[end];
    return Array.isArray(ids) && ids.length === 1 ? String(ids[0]) : "";
  };
  const target = named("target");
  return target ? { by: "effect", target, contrast: named("contrast") } : {};
}

/** The address of the lab with nodes set to zero, or to what each was replaced with. */
export function clampAddress(page: GraphPage, nodes: NodeRow[], to: "zero" | "baseline"): string {
  const clamps = nodes.map(({ key, position, baseline }): ClampAsked => {
    const place = { key: key.replace(/@.*$/, ""), at: position === null ? "" : String(position) };
    return to === "zero" ? { ...place, mode: "ablate", value: null } : { ...place, mode: "set", value: Number((baseline as number).toPrecision(6)) };
  });
  return labAddress(shownText(page) ?? "", clamps, answerOf(page));
}

const causesOf = (page: GraphPage) => page.nodes.filter((node) => node.score > 0 && isClamped(node));

/** Two links; nothing where no text has the tokens that were scored, or nothing can be clamped. */
export function ClampCauses({ page }: { page: GraphPage }): JSX.Element | null {
  // Causes that pruning hides are causes too; a page has the largest first.
  const hides = page.nodes.length < page.total && causesOf(page).length < MOST_CLAMPS;
  const rest = useAnswer<GraphPage>(hides ? `/api/graphs/${encodeURIComponent(page.graph.id)}?keep=1&max_nodes=${8 * MOST_CLAMPS}` : null);
  const all = causesOf(hides && rest.state === "here" ? rest.data : page);
  if (!all.length || !shownText(page) || (hides && rest.state !== "here")) return null;
  const causes = all.slice(0, MOST_CLAMPS);
  // A head's value is the norm of a vector: no one number puts the other prompt's in its place.
  const known = causes.filter((node) => node.baseline !== null && node.kind !== "head");
  const left = causes.length - known.length;
  return (
    <p class="row small" data-testid="clamp-causes" data-causes={all.length}>
      <a href={clampAddress(page, causes, "zero")} data-testid="clamp-zero">
        {all.length === 1 ? "set the cause to zero" : `set ${all.length > causes.length ? `the ${causes.length} largest causes` : `all ${count(causes.length)} causes`} to zero`} in the lab
      </a>
      {page.about.baseline === "corrupted" && known.length > 0 && (
        <span>
          <a href={clampAddress(page, known, "baseline")} data-testid="clamp-other">
            put the other prompt's values in
          </a>
          {left > 0 && <span class="soft">, without {plural(left, "head")}: a head holds a vector, not one value</span>}
        </span>
      )}
    </p>
  );
}
