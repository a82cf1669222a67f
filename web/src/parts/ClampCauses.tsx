// An answer's causes as clamps: links to the lab that set all of them to zero, or to the other prompt's values.
import type { JSX } from "preact";
import { useAnswer } from "../api/ask";
import type { ClampAsked, GraphPage, NodeRow } from "../api/types";
import { heatAddress, labAddress } from "../clamps";
import { count } from "../format";

/** Random sets that are clamped too, so that what is seen stands beside chance at once. */
const SETS = 99;
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

/** The text of the other prompt, as its tokens were scored; empty without one. */
export function otherText(page: GraphPage): string {
  const { corrupt, beginning } = page.about;
  return typeof corrupt === "string" ? corrupt + (typeof beginning === "string" ? beginning : "") : "";
}

/** The address of the lab with nodes set to zero, or to what they are on the other prompt. */
export function clampAddress(page: GraphPage, nodes: NodeRow[], to: "zero" | "other"): string {
  const clamps = nodes.map(({ key, position }): ClampAsked => ({ key: key.replace(/@.*$/, ""), at: position === null ? "" : String(position), mode: to === "zero" ? "ablate" : "patch", value: null }));
  return labAddress(shownText(page) ?? "", clamps, { ...answerOf(page), ...(page.picture?.picture && { picture: page.picture.picture }), ...(to === "other" && { other: otherText(page) }), controls: String(SETS) });
}

const causesOf = (page: GraphPage) => page.nodes.filter((node) => node.score > 0 && isClamped(node));

/** The address of the maps of blocks against tokens, of the answer that is explained. */
export function heatOfAnswer(page: GraphPage): string {
  const { target = "", contrast = "" } = answerOf(page);
  const other = page.about.baseline === "corrupted" ? otherText(page) : "";
  return heatAddress(shownText(page) ?? "", [], { of: other ? "patching" : "attribution", target, contrast, other });
}

/** Three links; nothing where no text has the tokens that were scored, or nothing can be clamped. */
export function ClampCauses({ page }: { page: GraphPage }): JSX.Element | null {
  // Causes that pruning hides are causes too; a page has the largest first.
  const hides = page.nodes.length < page.total && causesOf(page).length < MOST_CLAMPS;
  const rest = useAnswer<GraphPage>(hides ? `/api/graphs/${encodeURIComponent(page.graph.id)}?keep=1&max_nodes=${8 * MOST_CLAMPS}` : null);
  const all = causesOf(hides && rest.state === "here" ? rest.data : page);
  if (!all.length || !shownText(page) || (hides && rest.state !== "here")) return null;
  const causes = all.slice(0, MOST_CLAMPS);
  return (
    <p class="row small" data-testid="clamp-causes" data-causes={all.length}>
      <a href={clampAddress(page, causes, "zero")} data-testid="clamp-zero">
        {all.length === 1 ? "set the cause to zero" : `set ${all.length > causes.length ? `the ${causes.length} largest causes` : `all ${count(causes.length)} causes`} to zero`} in the lab
      </a>
      {page.about.baseline === "corrupted" && otherText(page) && (
        <a href={clampAddress(page, causes, "other")} data-testid="clamp-other">
          put the other prompt's values in
        </a>
      )}
      {page.picture === null && (
        <a href={heatOfAnswer(page)} data-testid="layers">
          layers × tokens
        </a>
      )}
    </p>
  );
}
