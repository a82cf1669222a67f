// A map's answer as rows of cells: what is written in each, the number that shades it, and where it leads.
import type { ClampAsked, HeatPage, LensPage, LensRow, Tokens } from "../../api/types";
import { labAddress } from "../../clamps";
import { number } from "../../format";
import { chance } from "../../parts/Next";
import { seen } from "../../parts/Text";
import type { Asked } from "./state";

/** What is below zero by a smaller share of the largest number makes no map a signed one. */
const LEAST = 0.005;

export interface Cell {
  /** What is written: a token, or a number. */
  text: string;
  /** Whether it is a token's text. */
  token: boolean;
  value: number | null;
  /** The cell in words, for who cannot see it. */
  words: string;
  href: string;
  data: Record<string, string | number>;
}

export interface Row {
  name: string;
  short: string;
  layer: number | null;
  cells: Cell[];
}

export interface Drawn {
  cut: Tokens;
  /** From the lowest to the highest. */
  rows: Row[];
  /** The number that gets the darkest fill. */
  most: number;
  signed: boolean;
  quantity: string;
}

/** Return where a cell leads: the lab with its place set to zero, or to the other prompt's values. */
export function clampsOf(asked: Asked, keys: string[], position: number): ClampAsked[] {
  return [...asked.clamps, ...keys.map((key): ClampAsked => ({ key, mode: asked.other ? "patch" : "ablate", value: null, at: String(position) }))];
}

function addressOf(asked: Asked, keys: string[], position: number): string {
  const more: Record<string, string> = asked.other ? { other: asked.other } : {};
  return labAddress(asked.text, clampsOf(asked, keys, position), more);
}

const difference = (before: number | null | undefined, after: number | null | undefined) => (before === null || before === undefined || after === null || after === undefined ? null : after - before);

/** Draw what every depth would answer. */
export function lensCells(page: LensPage, asked: Asked): Drawn {
  const words = new Map(page.words.map((one) => [one.id, one]));
  const side = page.changed.length ? asked.side : "without";
  const rows = side === "with" ? page.changed : page.rows;
  const named = seen(page.target.text);
  const quantity =
    side === "difference"
      ? `probability of ${named} with the clamps less that without, in percentage points`
      : asked.target === null
        ? "likeliest next token, shaded by its probability"
        : `probability of ${named} in percent, with its rank`;
  const cell = (row: LensRow, r: number, position: number): Cell => {
    const id = row.ids[position]?.[0] as number;
    const [top, p] = [words.get(id), row.probabilities[position]?.[0] ?? null];
    const target = row.target_probabilities[position] ?? null;
    const rank = row.ranks[position] as number;
    const moved = side === "difference" ? difference(target, page.changed[r]?.target_probabilities[position]) : null;
    const href = addressOf(asked, [row.key], position);
    const data = { "data-token": top?.text ?? "", "data-probability": p ?? "", "data-rank": rank, "data-target": target ?? "" };
    const place = `${row.name}, at ${seen(page.cut.tokens[position] as string)}`;
    if (side === "difference") return { text: points(moved), token: false, value: moved, words: `${place}: ${points(moved)} points`, href, data };
    if (asked.target !== null)
      return { text: `${chance(target)} #${rank}`, token: false, value: target, words: `${place}: ${chance(target)} percent, rank ${rank}`, href, data };
    return { text: top?.bytes ? `0x${top.text}` : (top?.text ?? ""), token: true, value: p, words: `${place}: ${seen(top?.text ?? "")}, ${chance(p)} percent`, href, data };
  };
  const drawn = rows.map((row, r): Row => ({ name: row.name, short: row.short, layer: row.layer, cells: page.cut.tokens.map((_, i) => cell(row, r, i)) }));
  const signed = side === "difference";
  return { cut: page.cut, rows: drawn, most: signed ? largest(drawn, []) : 1, signed, quantity };
}

/** A change of a probability, in points of a hundred; what one decimal does not show is nothing. */
function points(moved: number | null): string {
  if (moved === null) return "–";
  const digits = Math.abs(moved * 100).toFixed(1);
  return Number(digits) === 0 ? "0" : `${moved < 0 ? "−" : "+"}${digits}`;
}

/** Draw numbers. */
export function heatCells(page: HeatPage, asked: Asked): Drawn {
  const clamped = page.rows.some((row) => row.changed.length > 0);
  const side = clamped ? asked.side : "without";
  const rows = page.rows.map((row): Row => ({
    name: row.name,
    short: row.short,
    layer: row.layer,
    cells: page.cut.tokens.map((token, position) => {
      const [before, after] = [row.values[position] ?? null, row.changed[position] ?? null];
      const value = side === "difference" ? difference(before, after) : side === "with" ? after : before;
      const text = value === null ? "–" : value === 0 ? "0" : number(value, side === "difference");
      return { text, token: false, value, words: `${row.name}, at ${seen(token)}: ${text}`, href: addressOf(asked, row.keys, position), data: {} };
    }),
  }));
  // The first token's norm is often a hundred times that of others: it may not make them pale.
  const most = largest(rows, page.of === "activation" ? page.cut.special : []);
  const signed = rows.some((row) => row.cells.some(({ value }) => (value ?? 0) < -LEAST * most));
  const quantity = side === "difference" ? `${page.quantity}, with the clamps less without` : page.quantity;
  return { cut: page.cut, rows, most, signed, quantity };
}

function largest(rows: Row[], aside: number[]): number {
  const without = new Set(aside);
  const sizes = rows.flatMap((row) => row.cells.filter((_, i) => !without.has(i)).map(({ value }) => Math.abs(value ?? 0)));
  return Math.max(...sizes, 0) || 1;
}
