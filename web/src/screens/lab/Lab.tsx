// Lab: what is active here, and what happens if it is clamped?
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import { useRun } from "../../api/run";
import type { LabPage, Tokens } from "../../api/types";
import { forget } from "../../draft";
import { useKeys } from "../../keys";
import { CannotClamp } from "../../parts/CannotClamp";
import { Detached } from "../../parts/Detached";
import { Awaited } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";
import { Clamps } from "./Clamps";
import { PictureLab } from "./PictureLab";
import { Prompt } from "./Prompt";
import { Ranked } from "./Ranked";
import { Result } from "./Result";
import { asked, beginAnew, redo, runAsked, shown, undo } from "./state";

/** The prompt lab. */
export default function Lab(): JSX.Element {
  useTitle("Lab");
  const answer = useAnswer<LabPage>("/api/lab");
  return (
    <>
      <Title question="What is active here, and what happens if it is clamped?" />
      <Awaited answer={answer}>
        {(lab) => (
          <>
            {lab.shows === "recording" ? <CannotClamp /> : lab.attached ? lab.shows === "pictures" ? <PictureLab lab={lab} /> : <Bench lab={lab} /> : <Detached remedy={lab.remedy}>to write prompts and clamp units</Detached>}
            <Origin source={lab.source} twin="/api/lab" />
          </>
        )}
      </Awaited>
    </>
  );
}

function Bench({ lab }: { lab: LabPage }): JSX.Element {
  useEffect(() => {
    beginAnew();
    return forget;
  }, []);
  useKeys({ u: undo, U: redo });
  const now = asked.value;
  const cut = useAnswer<Tokens>(now.text ? `/api/lab/tokens?text=${encodeURIComponent(now.text)}` : null);
  const ran = useRun(runAsked(now, lab.generates));
  const tokens = now.text && cut.state !== "failed" ? cut.data : undefined;
  const last = (tokens?.tokens.length ?? 0) - 1;
  const token = Math.min(shown.value.token ?? last, last);
  return (
    <div class="lab" data-testid="lab">
      <div class="column">
        <Prompt cut={cut} chosen={token} />
        {tokens && token >= 0 && <Ranked lab={lab} tokens={tokens} token={token} rows={ran.table?.rows ?? []} />}
      </div>
      <div class="column">
        <Clamps lab={lab} tokens={tokens} token={token} ran={ran} />
      </div>
      <div class="column">
        <Result lab={lab} ran={ran} />
      </div>
    </div>
  );
}
