// A map: a row for each depth, the last on top, a column for each token; arrow keys move the cell, Enter clamps it.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { number } from "../../format";
import { Visible } from "../../parts/Text";
import type { Cell, Drawn } from "./cells";

interface Props {
  drawn: Drawn;
  at: [row: number, position: number];
  choose: (row: number, position: number) => void;
  label: string;
}

/** Draw the map; it scrolls inside its own box. */
export function Map({ drawn, at, choose, label }: Props): JSX.Element {
  const box = useRef<HTMLTableElement>(null);
  const { rows, cut } = drawn;
  const special = new Set(cut.special);
  const bytes = new Set(cut.bytes);
  const walk = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [row, position] = at;
    const to: Record<string, [number, number]> = {
      ArrowUp: [row + 1, position],
      ArrowDown: [row - 1, position],
      ArrowLeft: [row, position - 1],
      ArrowRight: [row, position + 1],
      Home: [row, 0],
      End: [row, cut.tokens.length - 1],
      PageUp: [rows.length - 1, position],
      PageDown: [0, position],
    };
    const next = to[event.key];
    if (!next) return;
    event.preventDefault();
    const r = Math.min(Math.max(next[0], 0), rows.length - 1);
    const p = Math.min(Math.max(next[1], 0), cut.tokens.length - 1);
    choose(r, p);
    box.current?.querySelector<HTMLElement>(`[data-row="${r}"][data-position="${p}"]`)?.focus();
  };
  return (
    <div class="heat-box" data-testid="heat-box">
      <table class="heat-map" role="grid" aria-label={label} ref={box} onKeyDown={walk} data-testid="heat-map" data-rows={rows.length} data-columns={cut.tokens.length} data-most={drawn.most}>
        <thead>
          <tr>
            <th class="corner">
              <span class="out-of-sight">depth</span>
            </th>
            {cut.tokens.map((text, i) => (
              <th key={i} scope="col" class={`${special.has(i) ? "special" : ""} ${i === at[1] ? "here" : ""}`} title={`position ${i}`}>
                <Visible text={text} bytes={bytes.has(i)} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((_, down) => {
            const r = rows.length - 1 - down;
            const row = rows[r] as (typeof rows)[number];
            return (
              <tr key={r}>
                <th scope="row" class={r === at[0] ? "here" : ""} title={row.name}>
                  <span aria-hidden="true">{row.short}</span>
                  <span class="out-of-sight">{row.name}</span>
                </th>
                {row.cells.map((cell, p) => (
                  <Place key={p} cell={cell} row={r} position={p} most={drawn.most} here={r === at[0] && p === at[1]} choose={choose} />
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

interface PlaceProps {
  cell: Cell;
  row: number;
  position: number;
  most: number;
  here: boolean;
  choose: (row: number, position: number) => void;
}

function Place({ cell, row, position, most, here, choose }: PlaceProps): JSX.Element {
  const value = cell.value ?? 0;
  const share = Math.min(Math.abs(value) / most, 1);
  return (
    <td role="gridcell">
      <a
        href={cell.href}
        class={`${value < 0 ? "neg" : ""} ${here ? "here" : ""}`}
        style={{ "--a": share.toFixed(3) }}
        tabIndex={here ? 0 : -1}
        aria-label={cell.words}
        title={cell.words}
        data-testid="cell"
        data-row={row}
        data-position={position}
        data-value={cell.value ?? ""}
        {...cell.data}
        onFocus={() => choose(row, position)}
        onMouseEnter={() => choose(row, position)}
      >
        {cell.token ? <Visible text={cell.text} /> : cell.text}
      </a>
    </td>
  );
}

/** What the shades mean. */
export function Scale({ drawn, percent }: { drawn: Drawn; percent: boolean }): JSX.Element {
  const end = percent ? `${(drawn.most * 100).toFixed(drawn.most < 0.1 ? 1 : 0)} %` : number(drawn.most);
  return (
    <p class="heat-scale small soft" data-testid="scale">
      {drawn.signed && (
        <>
          <span class="num">−{end}</span>
          <i class="neg" aria-hidden="true" />
        </>
      )}
      <span class="num">0</span>
      <i aria-hidden="true" />
      <span class="num">{end}</span>
      <span>{drawn.quantity}</span>
    </p>
  );
}
