// A unit's highest example on a picture, small, dimmed outside of what the place reads.
import type { JSX } from "preact";
import { unitAddress } from "../route";

/** The picture of one unit; what it shows is said beside it. */
export function Thumbnail({ of }: { of: string }): JSX.Element {
  return <img class="thumb" src={`/api${unitAddress(of)}/top.png`} alt="" loading="lazy" data-testid="thumb" />;
}
