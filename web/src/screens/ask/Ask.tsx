// Ask: why did the model give this answer?
import "./ask.css";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { useAnswer } from "../../api/ask";
import type { LabPage } from "../../api/types";
import { forget } from "../../draft";
import { CannotClamp } from "../../parts/CannotClamp";
import { Detached } from "../../parts/Detached";
import { Awaited } from "../../parts/States";
import { Title, useTitle } from "../../parts/Title";
import { Pairs } from "./Pairs";
import { PictureAsk } from "./PictureAsk";
import { Prompt } from "./Prompt";
import { overPairs } from "./state";

/** One prompt, or a file of pairs; of a model of images one picture. */
export default function Ask(): JSX.Element {
  useTitle("Ask");
  useEffect(() => forget, []);
  const answer = useAnswer<LabPage>("/api/lab");
  return (
    <>
      <Title question="Why this answer?" />
      <Awaited answer={answer}>
        {(lab) => (lab.shows === "recording" ? <CannotClamp /> : lab.attached ? <Asking lab={lab} /> : <Detached remedy={lab.remedy}>to have answers explained</Detached>)}
      </Awaited>
    </>
  );
}

function Asking({ lab }: { lab: LabPage }): JSX.Element {
  const over = overPairs.value;
  if (lab.shows === "pictures") {
    return (
      <div class="ask" data-testid="ask">
        <p class="soft">Choose a picture and one of its classes, and see which units carry it, and from where on the picture, beside random ones.</p>
        <PictureAsk differentiates={lab.differentiates} />
      </div>
    );
  }
  return (
    <div class="ask" data-testid="ask">
      <div class="row between">
        <span class="soft">Write a prompt, choose the answer, and see which units carry it, beside random ones.</span>
        <nav class="row switch small" aria-label="what is asked">
          <a href="/ask" aria-current={over ? undefined : "true"} data-testid="over-prompt">
            one prompt
          </a>
          <a href="/ask?over=pairs" aria-current={over ? "true" : undefined} data-testid="over-pairs">
            a file of pairs
          </a>
        </nav>
      </div>
      {over ? <Pairs /> : <Prompt differentiates={lab.differentiates} />}
    </div>
  );
}
