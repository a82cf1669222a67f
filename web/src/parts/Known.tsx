// What is known of a unit, in a line or two.
import type { JSX } from "preact";
import type { UnitRow } from "../api/types";

/** What is known of a unit in a line or two: its description, and the concept that it detects best. */
export function Known({ row }: { row: UnitRow }): JSX.Element {
  return (
    <span class="words">
      {row.description !== null && <q>{row.description}</q>}
      {row.description === null && <span class="soft small">not described yet</span>}
    </span>
  );
}
