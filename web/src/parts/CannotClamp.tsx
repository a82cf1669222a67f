// An atlas of a recorded brain has no model that could be asked or clamped.
import type { JSX } from "preact";
import { Nothing } from "./States";

/** Say so in one line. */
export function CannotClamp(): JSX.Element {
  return (
    <>
      <Nothing>A recording cannot be clamped: it is a record of what happened. Its units can be found, compared and described.</Nothing>
      <p class="small">
        <a href="/units">find units</a>
      </p>
    </>
  );
}
