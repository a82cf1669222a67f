// The next token without and with clamps, each row's numbers and bars readable without hover.
import type { JSX } from "preact";
import type { NextToken } from "../api/types";
import { number } from "../format";
import { Chip } from "./Text";

/** A probability in percent, small ones as powers of ten. */
export function chance(p: number | null): string {
  if (p === null) return "not defined";
  const hundred = p * 100;
  if (hundred === 0) return "0";
  if (hundred < 0.01) return `${hundred.toExponential(0).replace("e-", "e−")}`;
  return hundred.toFixed(hundred < 1 ? 2 : 1);
}

function difference(delta: number | null): string {
  if (delta === null) return "not defined";
  if (delta === 0) return "0";
  const size = Math.abs(delta) * 100;
  const sign = delta < 0 ? "−" : "+";
  return size < 0.01 ? `${sign}${size.toExponential(0).replace("e-", "e−")}` : `${sign}${size.toFixed(size < 1 ? 2 : 1)}`;
}

interface Props {
  rows: NextToken[];
  caption: string;
  /** The token that an effect is measured on. */
  target?: number | null;
  testid?: string;
}

/** Draw the rows; a pair of bars on one scale from 0 to the largest. */
export function Next({ rows, caption, target = null, testid = "next" }: Props): JSX.Element {
  const most = Math.max(...rows.flatMap((row) => [row.baseline ?? 0, row.changed ?? 0]), 1e-12);
  const width = (p: number | null) => ({ width: `${((p ?? 0) / most) * 100}%` });
  return (
    <table class="next" data-testid={testid}>
      <caption class="small soft">{caption}</caption>
      <thead>
        <tr>
          <th scope="col">token</th>
          <th scope="col" class="n">
            without, %
          </th>
          <th scope="col" class="n">
            with, %
          </th>
          <th scope="col" class="n">
            Δ
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => {
          const delta = row.delta ?? 0;
          return (
            <tr
              key={row.id}
              class={row.id === target ? "target" : ""}
              data-testid="next-token"
              data-id={row.id}
              data-text={row.text}
              data-baseline={row.baseline ?? ""}
              data-changed={row.changed ?? ""}
              data-delta={row.delta ?? ""}
            >
              <th scope="row">
                <Chip token={row} />
                <span class="twin" aria-hidden="true">
                  <i class="before" style={width(row.baseline)} />
                  <i class={delta < 0 ? "neg" : "pos"} style={width(row.changed)} />
                </span>
              </th>
              <td class="n" title={`logit ${number(row.baseline_logit)}`}>
                {chance(row.baseline)}
              </td>
              <td class="n" title={`logit ${number(row.changed_logit)}`}>
                {chance(row.changed)}
              </td>
              <td class="n">
                <span class={delta < 0 ? "against" : "carries"} aria-hidden="true">
                  {delta < 0 ? "▼" : delta > 0 ? "▲" : ""}
                </span>{" "}
                {difference(row.delta)}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
