// Units of two networks: which do the same, and which that both have moved apart.
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { ComparedUnit, ComparisonPage, LayerGrid, PairList } from "../../api/types";
import { count, number, percent, plural } from "../../format";
import { Awaited } from "../../parts/States";
import { unitAddress } from "../../route";

/** A unit: a link where this atlas has it, else its name. */
export function Named({ unit }: { unit: ComparedUnit }): JSX.Element {
  return (
    <span class="compared" data-unit={unit.key}>
      {unit.unit ? <a href={unitAddress(unit.unit)}>{unit.name}</a> : unit.name}
      {unit.label && <q class="small soft">{unit.label}</q>}
      <span class="place mono soft">{unit.key}</span>
    </span>
  );
}

/** Pairs of units, the highest correlation first. */
export function Pairs({ pairs, page }: { pairs: PairList; page: ComparisonPage }): JSX.Element {
  return (
    <>
      <p class="small soft" data-testid="pairs-shown">
        showing {count(pairs.rows.length)} of {plural(pairs.total, "unit")} that ever change; {count(pairs.above)} have a partner above chance, which is r = {number(pairs.threshold)}: 97.5 % of best partners lie below it when
        tokens are shuffled
      </p>
      <table class="runs pairs-of-units" data-testid="pairs">
        <thead>
          <tr>
            <th scope="col">{page.comparison.first}</th>
            <th scope="col">{page.comparison.second}</th>
            <th scope="col" class="n">
              r
            </th>
            <th scope="col">each the other's best</th>
          </tr>
        </thead>
        <tbody>
          {pairs.rows.map((pair) => (
            <tr key={pair.first.key} data-testid="pair" data-first={pair.first.key} data-second={pair.second.key} data-r={pair.r}>
              <th scope="row">
                <Named unit={pair.first} />
              </th>
              <td data-label={page.comparison.second}>
                <Named unit={pair.second} />
              </td>
              <td class="n" data-label="r">
                {number(pair.r)}
              </td>
              <td data-label="each the other's best">{pair.mutual ? "yes" : "no"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

interface Cell {
  page: ComparisonPage;
  grid: LayerGrid;
  url: string;
  row: number;
  column: number;
}

/** The chosen pair of layers, and its best unit pairs. */
export function CellPairs({ page, grid, url, row, column }: Cell): JSX.Element {
  const answer = useAnswer<PairList>(`${url}/pairs/${row}/${column}`);
  return (
    <div class="pair-of-layers" data-testid="layer-pair" data-row={row} data-column={column} aria-live="polite">
      <h3>
        {grid.rows[row]} <span class="soft">and</span> {grid.columns[column]}
      </h3>
      <p>
        similarity <strong>{number(grid.value[row]?.[column])}</strong>{" "}
        <span class="soft">
          [{number(grid.low[row]?.[column])}, {number(grid.high[row]?.[column])}]
        </span>
      </p>
      <Awaited answer={answer}>{(pairs) => (pairs.rows.length ? <Pairs pairs={pairs} page={page} /> : <p class="soft small">No units of these layers were compared, or none of them ever changes.</p>)}</Awaited>
    </div>
  );
}

/** Units that both have, by how far what they write moved. */
export function Moved({ page }: { page: ComparisonPage }): JSX.Element {
  const moved = page.moved.filter((one) => one.change > 0);
  return (
    <section>
      <h2>Units that moved</h2>
      <p class="small soft" data-testid="moved-shown">
        {moved.length === 0
          ? `None of ${plural(page.n_moved, "unit")} that both have: each writes the same at every token.`
          : `showing ${count(moved.length)} of ${plural(page.n_moved, "unit")} that both have, by the change in what they write to the residual stream (root mean square over tokens)`}
      </p>
      {moved.length > 0 && (
        <table class="runs" data-testid="moved">
          <thead>
            <tr>
              <th scope="col">unit</th>
              <th scope="col" class="n">
                change
              </th>
              <th scope="col" class="n">
                of what it writes
              </th>
              <th scope="col" class="n">
                r
              </th>
              <th scope="col" class="n">
                mean
              </th>
              <th scope="col" class="n">
                largest
              </th>
              <th scope="col" class="n">
                cosine of writes
              </th>
            </tr>
          </thead>
          <tbody>
            {moved.map((one) => (
              <tr key={one.unit.key} data-testid="moved-unit" data-unit={one.unit.key} data-change={one.change}>
                <th scope="row">
                  <Named unit={one.unit} />
                </th>
                <td class="n" data-label="change">
                  {number(one.change)}
                </td>
                <td class="n" data-label="of what it writes">
                  {percent(Math.min(one.share, 1))}
                </td>
                <td class="n" data-label="r">
                  {number(one.r)}
                </td>
                <td class="n" data-label="mean">
                  {number(one.mean_first)} → {number(one.mean_second)}
                </td>
                <td class="n" data-label="largest">
                  {number(one.max_first)} → {number(one.max_second)}
                </td>
                <td class="n" data-label="cosine of writes">
                  {number(one.cosine)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
