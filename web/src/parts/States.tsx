// What stands where the data would: they are coming, they are not there, or asking went wrong.
import type { ComponentChildren, JSX } from "preact";
import type { Answer } from "../api/ask";
import type { Failure } from "../api/failure";

/** A failure in the server's three parts. */
export function Failed({ failure }: { failure: Failure }): JSX.Element {
  return (
    <section class="failed" role="alert" data-testid="failure" data-status={failure.status}>
      <h2>{failure.status === 404 ? "This is not in the atlas" : "This could not be shown"}</h2>
      <dl class="pairs">
        <dt>expected</dt>
        <dd>{failure.expected}</dd>
        <dt>got</dt>
        <dd>{failure.got}</dd>
        <dt>what to do</dt>
        <dd>
          <strong>{failure.remedy}</strong>
        </dd>
      </dl>
      <p class="row small">
        <a href="/">Home</a> <a href="/units">Find</a> <a href="/runs">Runs</a>
      </p>
    </section>
  );
}

/** An empty state in words. */
export function Nothing({ children }: { children: ComponentChildren }): JSX.Element {
  return (
    <p class="nothing" data-testid="nothing">
      {children}
    </p>
  );
}

/** Show an answer as soon as it is there, the one before it (dimmed) meanwhile, and a failure as such. */
export function Awaited<T>({ answer, children }: { answer: Answer<T>; children: (data: T) => JSX.Element }): JSX.Element {
  if (answer.state === "failed") return <Failed failure={answer.failure} />;
  if (answer.data === undefined) return <p class="waiting soft">asking …</p>;
  return (
    <div class="awaited" aria-busy={answer.state === "waiting"}>
      {children(answer.data)}
    </div>
  );
}
