// Rows and columns of numbers, each cell filled by its size: blue above zero, orange and hatched below.
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import type { LayerGrid } from "../../api/types";
import { number } from "../../format";

interface Props {
  grid: LayerGrid;
  label: string;
  chosen?: { row: number; column: number } | undefined;
  choose?: (row: number, column: number) => void;
}

/** Two digits, as short as they can be. */
const short = (value: number | null): string => (value === null ? "–" : value.toFixed(2).replace(/^-0\.00$/, "0.00").replace("-", "−"));

/** "Block 3 · residual stream after" is a 3 where all rows are of one kind. */
function names(all: string[]): string[] {
  const parts = all.map((name) => /^Block (\d+) · (.*)$/.exec(name));
  const kind = parts[0]?.[2];
  return parts.every((part) => part && part[2] === kind) ? parts.map((part) => `block ${(part as RegExpExecArray)[1]}`) : all;
}

/** Draw the numbers; where cells can be chosen one of them takes the focus, and arrow keys go on. */
export function Grid({ grid, label, chosen, choose }: Props): JSX.Element {
  const table = useRef<HTMLTableElement>(null);
  const [at, setAt] = useState(chosen ?? { row: 0, column: 0 });
  const most = Math.max(1e-12, ...grid.value.flat().map((value) => Math.abs(value ?? 0)));
  const rows = names(grid.rows);
  const columns = names(grid.columns);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !choose) return;
    event.preventDefault();
    const row = Math.max(0, Math.min(rows.length - 1, at.row + (step[0] as number)));
    const column = Math.max(0, Math.min(columns.length - 1, at.column + (step[1] as number)));
    setAt({ row, column });
    table.current?.querySelector<HTMLElement>(`[data-row="${row}"][data-column="${column}"]`)?.focus();
  };
  return (
    <div class="cells" tabIndex={choose ? -1 : 0} role="group" aria-label={label}>
      <table ref={table} onKeyDown={move} data-testid="grid">
        <thead>
          <tr>
            <td />
            {columns.map((name, column) => (
              <th scope="col" key={column} title={grid.columns[column]}>
                <span>{name}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {grid.value.map((line, row) => (
            <tr key={row}>
              <th scope="row" title={grid.rows[row]}>
                {rows[row]}
              </th>
              {line.map((value, column) => {
                const size = value === null ? 0 : Math.abs(value) / (choose ? 1 : most);
                const sign = size < 0.005 ? "" : (value as number) < 0 ? "neg" : "pos";
                const look = { class: `cell ${sign}`, style: { "--a": Math.min(size, 1).toFixed(3) }, "data-testid": "cell", "data-row": row, "data-column": column, "data-value": value ?? "" };
                const here = chosen?.row === row && chosen.column === column;
                return (
                  <td key={column}>
                    {choose ? (
                      <button
                        type="button"
                        {...look}
                        tabIndex={at.row === row && at.column === column ? 0 : -1}
                        aria-pressed={here}
                        aria-label={`${grid.rows[row]} and ${grid.columns[column]}: ${number(value)}`}
                        onFocus={() => setAt({ row, column })}
                        onClick={() => choose(row, column)}
                      >
                        {short(value)}
                      </button>
                    ) : (
                      <span {...look}>{short(value)}</span>
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
