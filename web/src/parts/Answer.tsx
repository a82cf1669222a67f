// One explained answer in a line: what was asked, and what was measured.
import type { JSX } from "preact";
import type { GraphRow } from "../api/types";
import { number } from "../format";
import { Visible } from "./Text";
import { Grade } from "./Verdict";

/** The prompt, the answer, and the answer that it is compared with. */
export function Asked({ row }: { row: GraphRow }): JSX.Element {
  return (
    <>
      <bdi>{row.prompt}</bdi> → <b><Visible text={row.target} /></b>
      <Read at={row.target_read} />
      {row.contrast !== null && (
        <span class="soft">
          {" "}
          rather than <Visible text={row.contrast} />
          <Read at={row.contrast_read} />
        </span>
      )}
    </>
  );
}

/** The token at which an answer of several is read. */
function Read({ at }: { at: string }): JSX.Element | null {
  if (!at) return null;
  return (
    <span class="soft">
      {" "}
      (read at <Visible text={at} />)
    </span>
  );
}

/** The verdict of an answer in a row of a list. */
export function Stated({ row }: { row: GraphRow }): JSX.Element {
  if (!row.grade) return <Together row={row} />;
  return (
    <span class="small" data-testid="stated">
      <Grade of={row.grade} />
      {row.sentence.slice(row.sentence.indexOf(":"))}
    </span>
  );
}

/** What replacing all causes did, beside what random nodes did. */
export function Together({ row }: { row: GraphRow }): JSX.Element {
  if (row.measured_together === null) return <span class="soft">not measured</span>;
  return (
    <span class="num">
      <b>{number(row.measured_together, true)}</b>
      <span class="soft small">
        {row.control_low !== null && row.control_high !== null && (
          <>
            {" "}random sets' mean, 95&nbsp;%: {number(row.control_low, true)} to {number(row.control_high, true)}
          </>
        )}
        {row.p !== null && <>, p = {number(row.p)}</>}
      </span>
    </span>
  );
}
