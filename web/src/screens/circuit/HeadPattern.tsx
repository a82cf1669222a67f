// Where a chosen head attends on the answer's own prompt.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { AttentionPage, GraphPage, LabPage, NodeRow } from "../../api/types";
import { Attention } from "../../parts/Attention";
import { shownText } from "../../parts/ClampCauses";
import { Awaited } from "../../parts/States";

/** The pattern at the head's own token; without a model, how to have one. */
export function HeadPattern({ page, node }: { page: GraphPage; node: NodeRow }): JSX.Element | null {
  const lab = useAnswer<LabPage>("/api/lab");
  const text = shownText(page);
  const head = /\/(\d+)(?:@|$)/.exec(node.key)?.[1];
  const live = lab.state === "here" && lab.data.attached && lab.data.shows === "texts" && text;
  const answer = useAnswer<AttentionPage>(live ? `/api/lab/attention?text=${encodeURIComponent(text)}&layer=${node.layer}&head=${head}` : null);
  if (lab.state === "waiting" || head === undefined || node.layer === null) return null;
  return (
    <section data-testid="head-pattern" aria-label="where it attends">
      <h3>Where it attends on this prompt</h3>
      {live ? (
        <Awaited answer={answer}>{(found) => <Attention page={found} at={node.position ?? undefined} />}</Awaited>
      ) : (
        <p class="small warn">
          {lab.state === "here" && lab.data.attached ? "No text has just the tokens that were scored." : `No model is attached. ${lab.state === "here" ? lab.data.remedy : ""}`}
        </p>
      )}
    </section>
  );
}
