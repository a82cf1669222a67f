// Where everything stands: tokens from left to right, the network from below to above, several nodes of a cell in lines.
import type { GraphPage, NodeRow } from "../../api/types";
import { type Item, first } from "./merge";

// Distance of neighbours in a cell, by how many nodes there are at most; the first has room for names too.
const PITCHES: [number, number][] = [
  [60, 44],
  [300, 28],
  [Number.POSITIVE_INFINITY, 24],
];
const PILL = 24;
const LINES = 5;
/** Room for a token's first letters. */
const NARROWEST = 22;
const WIDEST = 8;
const THIN = 7;
const MOST_COLUMNS = 400;
const MOST_BLOCKS = 512;
export const GUTTER = 84;

export interface Row {
  name: string;
  /** Which block it belongs to; rows of one block have one ground. */
  block: number | null;
  y: number;
  height: number;
}

export interface Column {
  /** null holds what is at no token. */
  position: number | null;
  x: number;
  width: number;
}

export interface Placed {
  item: Item;
  x: number;
  y: number;
  r: number;
  /** Width of a group's sign. */
  pill: number;
}

/** Items of a cell for which there was no room. */
export interface More {
  cell: string;
  x: number;
  y: number;
  n: number;
}

export interface Layout {
  width: number;
  height: number;
  rows: Row[];
  columns: Column[];
  placed: Placed[];
  more: More[];
  /** Distance of neighbours. */
  pitch: number;
  /** Whether there is room for names. */
  roomy: boolean;
  /** Where each item is; those without room are where the cell says how many there are. */
  at: Map<string, { x: number; y: number }>;
}

/** Lanes within a block, from below: what attention reads comes before what the MLP reads. */
const LANES = ["in", "attention", "between", "MLP", "out"];

function lane(site: string): number {
  if (site.endsWith("resid_in")) return 0;
  if (site.includes("attn")) return 1;
  if (site.endsWith("resid_mid")) return 2;
  return site.includes("mlp") ? 3 : 4;
}

const BELOW = -2;
const EMBED = -1;
const ELSEWHERE = MOST_BLOCKS;
const ABOVE = MOST_BLOCKS + 1;

function rowOf(node: NodeRow): number {
  if (node.kind === "input") return BELOW * 10;
  if (node.kind === "output") return ABOVE * 10;
  if (node.layer === null || node.layer >= MOST_BLOCKS) return (node.site === "embed" ? EMBED : ELSEWHERE) * 10;
  return node.layer * 10 + lane(node.site);
}

function nameOf(row: number): string {
  const block = Math.floor(row / 10);
  if (block === BELOW) return "inputs";
  if (block === EMBED) return "embedding";
  if (block === ELSEWHERE) return "elsewhere";
  if (block === ABOVE) return "output";
  return `${block} ${LANES[row - block * 10]}`;
}

export function arrange(items: Item[], page: GraphPage, available: number, open: ReadonlySet<string>): Layout {
  const [, pitch] = PITCHES.find(([most]) => items.length <= most) as [number, number];
  const cells = new Map<string, Item[]>();
  const positions = new Set<number | null>();
  const used = new Set<number>();
  // Over many pairs nothing stands at a token: then the output does not either.
  const located = page.tokens.length > 0 || page.nodes.some((node) => node.position !== null);
  const last = Math.max(page.tokens.length - 1, ...page.nodes.map((node) => node.position ?? 0), 0);
  for (const item of items) {
    const node = first(item);
    const position = node.position ?? (node.kind === "output" && located ? last : null);
    const row = rowOf(node);
    positions.add(position);
    used.add(row);
    const cell = `${row} ${position}`;
    (cells.get(cell) ?? cells.set(cell, []).get(cell)!).push(item);
  }
  const everywhere = !located ? [] : last < MOST_COLUMNS ? Array.from({ length: last + 1 }, (_, i) => i) : [...positions].filter((p): p is number => p !== null);
  const tokens: (number | null)[] = everywhere.sort((a, b) => a - b);
  if (positions.has(null)) tokens.unshift(null);

  const columns = columnsOf(tokens, cells, page.tokens, available, pitch);
  const perLine = columns.map((column) => Math.max(1, Math.floor((column.width - 12) / pitch)));
  const byPosition = new Map(columns.map((column, i) => [column.position, i]));

  const linesOf = (cell: string, one: Item[], column: number) => {
    const pills = one.filter((item) => item.group !== null).length;
    const lines = Math.ceil((one.length - pills) / (perLine[column] as number));
    return { pills, lines: open.has(cell) ? lines : Math.min(lines, LINES) };
  };
  const heights = new Map<number, number>();
  for (const [cell, one] of cells) {
    const [row, position] = cell.split(" ") as [string, string];
    const column = byPosition.get(position === "null" ? null : Number(position)) as number;
    const { pills, lines } = linesOf(cell, one, column);
    const height = pills * PILL + lines * pitch + 16;
    heights.set(Number(row), Math.max(heights.get(Number(row)) ?? 0, height));
  }

  const blocks = Math.min(Math.max(page.layers ?? 0, ...page.nodes.map((node) => (node.layer ?? -1) + 1)), MOST_BLOCKS);
  const order: number[] = [...used];
  for (let block = 0; block < blocks; block++) {
    // A block in which nothing is shown is a thin line: the distance to the next is seen.
    if (!order.some((row) => Math.floor(row / 10) === block)) order.push(block * 10);
  }
  order.sort((a, b) => b - a);
  const rows: Row[] = [];
  const yOf = new Map<number, number>();
  let y = 0;
  for (const row of order) {
    const block = Math.floor(row / 10);
    const height = heights.get(row) ?? THIN;
    rows.push({ name: used.has(row) ? nameOf(row) : "", block: block >= 0 && block < ELSEWHERE ? block : null, y, height });
    yOf.set(row, y);
    y += height;
  }

  const largest = Math.max(...items.map((item) => (item.kind === "output" || item.kind === "input" ? 0 : Math.abs(item.score))), 1e-12);
  const radius = (item: Item) => (pitch / 24) ** 0.6 * (4 + 6 * Math.sqrt(Math.min(Math.abs(item.score) / largest, 1)));
  const placed: Placed[] = [];
  const more: More[] = [];
  const at = new Map<string, { x: number; y: number }>();
  for (const [cell, one] of cells) {
    const [row, position] = cell.split(" ") as [string, string];
    const index = byPosition.get(position === "null" ? null : Number(position)) as number;
    const column = columns[index] as Column;
    const line = perLine[index] as number;
    const { pills, lines } = linesOf(cell, one, index);
    const middle = column.x + column.width / 2;
    const slack = ((heights.get(Number(row)) as number) - 16 - pills * PILL - lines * pitch) / 2;
    let top = (yOf.get(Number(row)) as number) + 8 + slack;
    const put = (item: Item, x: number, y: number, pill = 0) => {
      placed.push({ item, x, y, r: radius(item), pill });
      at.set(item.id, { x, y });
    };
    for (const item of one) {
      if (item.group === null) continue;
      put(item, middle, top + PILL / 2, Math.min(column.width - 8, 180));
      top += PILL;
    }
    const nodes = one.filter((item) => item.group === null);
    const room = line * lines;
    const shown = nodes.length > room ? nodes.slice(0, room - 1) : nodes;
    const slots = shown.length + (shown.length < nodes.length ? 1 : 0);
    const spot = (i: number) => {
      const inLine = Math.min(line, slots - Math.floor(i / line) * line);
      return { x: middle + ((i % line) - (inLine - 1) / 2) * pitch, y: top + Math.floor(i / line) * pitch + pitch / 2 };
    };
    shown.forEach((item, i) => put(item, spot(i).x, spot(i).y));
    if (shown.length < nodes.length) {
      const rest = spot(shown.length);
      more.push({ cell, ...rest, n: nodes.length - shown.length });
      for (const item of nodes.slice(shown.length)) at.set(item.id, rest);
    }
  }
  const end = columns.at(-1);
  return { width: end ? end.x + end.width : available, height: y, rows, columns, placed, more, pitch, roomy: pitch === PITCHES[0]?.[1], at };
}

/** Give each column the room that its fullest cell and its token need, and share out what is left over. */
function columnsOf(positions: (number | null)[], cells: Map<string, Item[]>, tokens: string[], available: number, pitch: number): Column[] {
  const fullest = new Map<string, number>();
  const grouped = new Set<string>();
  for (const [cell, one] of cells) {
    const position = cell.split(" ")[1] as string;
    fullest.set(position, Math.max(fullest.get(position) ?? 0, one.length));
    if (one.some((item) => item.group !== null)) grouped.add(position);
  }
  const widths = positions.map((position) => {
    const most = fullest.get(String(position)) ?? 0;
    const line = Math.min(WIDEST, Math.ceil(Math.sqrt(most * 1.6)));
    const word = Math.min((position === null ? 6 : (tokens[position]?.length ?? 3)) * 8 + 18, 100);
    return Math.max(most ? line * pitch + 14 : 0, grouped.has(String(position)) ? 112 : 0, most ? word : Math.min(word, 60), 34);
  });
  const total = widths.reduce((sum, width) => sum + width, 0);
  const spare = Math.max(available - GUTTER - total, 0) / Math.max(positions.length, 1);
  // Tokens without nodes give way before the picture has to be scrolled.
  const bare = positions.map((position) => !fullest.get(String(position)));
  const given = widths.reduce((sum, width, i) => sum + (bare[i] ? width - NARROWEST : 0), 0);
  const share = given > 0 ? Math.min(Math.max(GUTTER + total - available, 0) / given, 1) : 0;
  let x = GUTTER;
  return positions.map((position, i) => {
    const width = widths[i] as number;
    const column = { position, x, width: width + spare - (bare[i] ? (width - NARROWEST) * share : 0) };
    x += column.width;
    return column;
  });
}
