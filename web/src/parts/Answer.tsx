// One explained answer in a line: what was asked, and what was measured.
import type { JSX } from "preact";
import type { GraphRow } from "../api/types";
import { number } from "../format";
import { Visible } from "./Text";

/** The prompt, the answer, and the answer that it is compared with. */
export function Asked({ row }: { row: GraphRow }): JSX.Element {
  return (
    <>
      <bdi>{row.prompt}</bdi> → <b><Visible text={row.target} /></b>
      {row.contrast !== null && (
        <span class="soft">
          {" "}
          rather than <Visible text={row.contrast} />
        </span>
      )}
    </>
  );
}

/** What replacing all causes did, beside what was predicted and what random nodes did. */
export function Together({ row }: { row: GraphRow }): JSX.Element {
  if (row.measured_together === null) return <span class="soft">not measured</span>;
  return (
    <span class="num">
      <b>{number(row.measured_together, true)}</b>
      <span class="soft small">
        {row.predicted_together !== null && <> predicted {number(row.predicted_together, true)}</>}
        {row.control_low !== null && row.control_high !== null && (
          <>
            ; random sets' mean, 95&nbsp;%: {number(row.control_low, true)} to {number(row.control_high, true)}
          </>
        )}
        {row.p !== null && <>, p = {number(row.p)}</>}
      </span>
    </span>
  );
}
