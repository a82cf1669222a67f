// A score with its interval: the numbers, and where they lie between 0 and 1.
import type { JSX } from "preact";
import type { EstimateView } from "../api/types";
import { number } from "../format";

interface Props {
  estimate: EstimateView;
  /** What chance would give, marked on the track. */
  chance?: number;
  /** Numbers beside the track; the table may have them in a column of their own. */
  words?: boolean;
}

/** Draw value and interval on a track from 0 to 1. */
export function Interval({ estimate, chance, words = true }: Props): JSX.Element {
  const { value, low, high } = estimate;
  const at = (x: number) => `${Math.min(Math.max(x, 0), 1) * 100}%`;
  const both = low !== null && high !== null;
  return (
    <span class="interval">
      <span class="track" aria-hidden="true">
        {chance !== undefined && <i class="chance" style={{ left: at(chance) }} />}
        {both && <i class="span" style={{ left: at(low), right: `calc(100% - ${at(high)})` }} />}
        {value !== null && <i class="dot" style={{ left: at(value) }} />}
      </span>
      {words && (
        <span class="num">
          {number(value)}
          {both && <span class="soft small"> {`${number(low)}–${number(high)}`}</span>}
        </span>
      )}
    </span>
  );
}
