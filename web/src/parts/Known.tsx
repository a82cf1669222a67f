// What is known of a unit, in a line or two.
import type { JSX } from "preact";
import type { UnitRow } from "../api/types";
import { number } from "../format";

/** What is known of a unit in a line or two: its description, and the concept that it detects best. */
export function Known({ row }: { row: UnitRow }): JSX.Element {
  return (
    <span class="words">
      {row.description !== null && <q>{row.description}</q>}
      {row.concept && (
        <span class="soft small">
          detects <i>{row.concept.concept}</i>, AUROC <span class="num">{number(row.concept.auroc.value)}</span>
        </span>
      )}
      {row.description === null && !row.concept && <span class="soft small">not described yet</span>}
    </span>
  );
}
