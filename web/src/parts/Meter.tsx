// How far a computation of the server is, and how long it takes.
import type { JSX } from "preact";
import type { Job } from "../api/job";
import { duration, plural } from "../format";

/** A bar, and words beside it; `what` is computed. */
export function Meter({ of, what }: { of: Job<unknown>; what: string }): JSX.Element {
  const share = of.progress?.share ?? 0;
  const left = of.progress?.left;
  const words = of.ahead ? `${plural(of.ahead, what)} before this one` : of.progress === null ? "beginning …" : `${Math.round(share * 100)} %${left == null ? "" : `, about ${duration(left)} left`}`;
  return (
    <div class="meter" data-testid="meter" data-share={share}>
      <progress max={1} value={share} aria-label={`how far the ${what} is`} />
      <p class="small soft num" role="status">
        {words}
      </p>
    </div>
  );
}
