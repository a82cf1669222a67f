// The next token without and with clamps, each row's numbers and bars readable without hover.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { NextToken } from "../api/types";
import { number } from "../format";
import { Chip } from "./Text";

/** A probability in percent, small ones as powers of ten. */
export function chance(p: number | null): string {
  if (p === null) return "not defined";
  const hundred = p * 100;
  if (hundred === 0) return "0";
  return points(hundred);
}

function points(size: number): string {
  if (size < 5e-4) return size.toExponential(0).replace("e-", "e−");
  return size.toFixed(size < 0.1 ? 3 : size < 1 ? 2 : 1);
}

/** Differences of probability below this are nothing to a reader. */
const LEAST = 5e-6;

function difference(delta: number | null): string {
  if (delta === null) return "not defined";
  if (Math.abs(delta) < LEAST) return "0";
  return `${delta < 0 ? "−" : "+"}${points(Math.abs(delta) * 100)}`;
}

interface Props {
  rows: NextToken[];
  caption: string;
  /** The token that an effect is measured on. */
  target?: number | null;
  /** How many rows to show at first; all of them unless said. */
  first?: number;
  testid?: string;
  /** Whether nothing is clamped, and there is one side only. */
  alone?: boolean;
}

/** Draw the rows; a pair of bars on one scale from 0 to the largest. */
export function Next({ rows: all, caption, target = null, first = all.length, testid = "next", alone = false }: Props): JSX.Element {
  const [whole, showWhole] = useState(false);
  const rows = whole || all.length <= first + 1 ? all : likeliest(all, first, target);
  const most = Math.max(...rows.flatMap((row) => [row.unclamped ?? 0, row.changed ?? 0]), 1e-12);
  const width = (p: number | null) => ({ width: `${((p ?? 0) / most) * 100}%` });
  return (
    <>
      <table class="next" data-testid={testid} data-rows={all.length}>
        <caption class="small soft">{caption}</caption>
        <thead>
          <tr>
            <th scope="col" colSpan={2}>
              token
            </th>
            <th scope="col" class="n">
              {alone ? "probability, %" : "without, %"}
            </th>
            {!alone && (
              <>
                <th scope="col" class="n">
                  with, %
                </th>
                <th scope="col" class="n">
                  Δ
                </th>
              </>
            )}
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
                data-unclamped={row.unclamped ?? ""}
                data-changed={row.changed ?? ""}
                data-delta={row.delta ?? ""}
              >
                <th scope="row">
                  <Chip token={row} />
                </th>
                <td class="twin" aria-hidden="true">
                  {!alone && <i class="before" style={width(row.unclamped)} />}
                  <i class={delta < 0 ? "neg" : "pos"} style={width(row.changed)} />
                </td>
                <td class="n" title={`logit ${number(row.unclamped_logit)}`}>
                  {chance(row.unclamped)}
                </td>
                {!alone && (
                  <>
                    <td class="n" title={`logit ${number(row.changed_logit)}`}>
                      {chance(row.changed)}
                    </td>
                    <td class="n">
                      <span class={delta < 0 ? "against" : "carries"} aria-hidden="true">
                        {delta < 0 ? "▼" : delta > 0 ? "▲" : ""}
                      </span>{" "}
                      {difference(row.delta)}
                    </td>
                  </>
                )}
              </tr>
            );
          })}
        </tbody>
      </table>
      {all.length > first + 1 && (
        <p class="small soft row between">
          <span>
            showing {rows.length} of {all.length} tokens, the likeliest{alone ? "" : " of both sides"}
          </span>
          <button type="button" class="quiet" onClick={() => showWhole(!whole)} data-testid="all-rows">
            {whole ? `show ${first}` : `show all ${all.length}`}
          </button>
        </p>
      )}
    </>
  );
}

/** The rows that are likeliest on either side, and the target, in the order in which they came. */
function likeliest(rows: NextToken[], n: number, target: number | null): NextToken[] {
  const size = (row: NextToken) => (row.id === target ? 2 : Math.max(row.unclamped ?? 0, row.changed ?? 0));
  const kept = new Set([...rows].sort((a, b) => size(b) - size(a)).slice(0, n));
  return rows.filter((row) => kept.has(row));
}
