// Where everything stands: tokens from left to right, the network from below to above, several nodes of a cell in lines.
import type { GraphPage, NodeRow } from "../../api/types";
import { seen } from "../../parts/Text";
import { type Item, type Link, first } from "./merge";
import { type Words, broken, called, cut, widthOf } from "./words";

/** Up to so many nodes stand as cards with words; more as signs, so close to one another. */
const MOST_CARDS = 80;
const PITCHES: [number, number][] = [
  [300, 28],
  [Number.POSITIVE_INFINITY, 24],
];
/**
 * What is tried until the picture fits its window: the longest line of a card, cards beside one another at most, how
 * wide a cell is for its height, and how much wider than the window the whole may be: it is then shown a little smaller.
 */
const TRIED: [number, number, number, number][] = [
  [180, 3, 1.3, 1],
  [180, 3, 0.5, 1.2],
  [150, 2, 0.5, 1.2],
  [124, 2, 0.5, 1.2],
  [150, 1, 0.5, 1.2],
  [110, 1, 0.5, 1.2],
];
/** Lines of a long description on a card, at most. */
const WORDY = 4;
export const TEXT = 12;
export const GREY = 10.5;
const LINE = 15;
const PAD = 8;
/** Room for the sign on a card. */
export const SIGN = 17;
const GAP = 12;
const LINES = 6;
/** Room for a token's first letters. */
const NARROWEST = 34;
/** How much wider than the window columns are before tokens without nodes give way. */
const WIDER = 1.2;
const WIDEST = 8;
/** How wide for its height a cell of signs may be: the shape is taken that fills the window best. */
const SHAPES = [1.6, 0.8, 0.35];
const TALL = 740;
const THIN = 7;
/** How tall a picture of few nodes is. */
const FILLED = 420;
const MOST_COLUMNS = 400;
const MOST_BLOCKS = 512;
/** Where a head reads its queries, keys and values: shares of a card's width. */
export const PORTS: Record<string, number> = { q: 0.2, k: 0.5, v: 0.8 };
export const PORT = 10;

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
  /** How wide its token is when it is written. */
  word: number;
}

/** An item around its middle. */
export interface Placed {
  item: Item;
  x: number;
  y: number;
  width: number;
  height: number;
  /** Half the size of its sign. */
  r: number;
  /** What is written on it; null where there is room for a sign alone. */
  words: Words | null;
  /** Whether it has places of their own for queries, keys and values. */
  slots: boolean;
}

/** Items of a cell for which there was no room. */
export interface More {
  cell: string;
  x: number;
  y: number;
  n: number;
}

/** A line of nodes across the picture: edges pass between them. */
export interface Band {
  top: number;
  bottom: number;
  /** From left to right, what is in the way. */
  taken: [number, number][];
}

export interface Spot {
  x: number;
  y: number;
  /** Where edges leave above, and where they come in below. */
  top: number;
  bottom: number;
  width: number;
  slots: boolean;
  /** Which band it stands in, counted from above. */
  band: number;
}

export interface Layout {
  width: number;
  height: number;
  rows: Row[];
  columns: Column[];
  placed: Placed[];
  more: More[];
  bands: Band[];
  /** Whether nodes are cards with words. */
  cards: boolean;
  /** Distance of neighbours that are signs. */
  pitch: number;
  /** Where each item is; those without room are where the cell says how many there are. */
  at: Map<string, Spot>;
}

/** Lanes within a block, from below: what attention reads comes before what the MLP reads. */
const LANES = ["in", "attention", "between", "MLP", "out"];

function lane(site: string): number {
  if (site.endsWith("resid_in")) return 0;
  if (site.includes("attn")) return 1;
  if (site.endsWith("resid_mid")) return 2;
  return site.includes("mlp") ? 3 : 4;
}

const BELOW = -3;
const ERRORS = -2;
const EMBED = -1;
const ELSEWHERE = MOST_BLOCKS;
const ABOVE = MOST_BLOCKS + 1;

function rowOf(node: NodeRow): number {
  if (node.kind === "input") return BELOW * 10;
  if (node.kind === "error" && node.layer === null) return ERRORS * 10;
  if (node.kind === "output") return ABOVE * 10;
  if (node.layer === null || node.layer >= MOST_BLOCKS) return (node.site === "embed" ? EMBED : ELSEWHERE) * 10;
  return node.layer * 10 + lane(node.site);
}

function nameOf(row: number): string {
  const block = Math.floor(row / 10);
  if (block === BELOW) return "inputs";
  if (block === ERRORS) return "errors";
  if (block === EMBED) return "embedding";
  if (block === ELSEWHERE) return "elsewhere";
  if (block === ABOVE) return "output";
  return `Block ${block} ${LANES[row - block * 10]}`;
}

interface Cell {
  row: number;
  position: number | null;
  items: Item[];
}

/** Where a transformer of images answers: before its patches. */
export const CLASS_TOKEN = "class token";

/** How large an item is drawn. */
type Size = Pick<Placed, "width" | "height" | "r" | "words" | "slots">;

export function arrange(items: Item[], links: Link[], page: GraphPage, available: number, open: ReadonlySet<string>): Layout {
  const cells = new Map<string, Cell>();
  const positions = new Set<number | null>();
  // Over many pairs nothing stands at a token: then the output does not either.
  const located = page.tokens.length > 0 || page.nodes.some((node) => node.position !== null);
  const last = Math.max(page.tokens.length - 1, ...page.nodes.map((node) => node.position ?? 0), 0);
  const reads = page.tokens[0] === CLASS_TOKEN ? 0 : last;
  for (const item of items) {
    const node = first(item);
    const position = node.position ?? (node.kind === "output" && located ? reads : null);
    const row = rowOf(node);
    positions.add(position);
    const name = `${row} ${position}`;
    (cells.get(name) ?? cells.set(name, { row, position, items: [] }).get(name)!).items.push(item);
  }
  const everywhere = !located ? [] : last < MOST_COLUMNS ? Array.from({ length: last + 1 }, (_, i) => i) : [...positions].filter((p): p is number => p !== null);
  const tokens: (number | null)[] = everywhere.sort((a, b) => a - b);
  if (positions.has(null)) tokens.unshift(null);
  if (!located) untangle([...cells.values()], links);

  const whole = { cells, tokens, page, available, open, links, tallest: Math.max(page.layers ?? 0, ...page.nodes.map((node) => (node.layer ?? -1) + 1)) };
  if (items.length > MOST_CARDS) return signs(items, whole);
  const readers = new Set(links.filter((link) => Object.keys(link.slots).length > 0).map((link) => link.target));
  let made: Layout | null = null;
  for (const [longest, beside, shape, wider] of TRIED) {
    const sizes = new Map(items.map((item) => [item.id, card(item, page, longest, readers.has(item.id))]));
    made = place(whole, sizes, located ? beside : Math.max(1, Math.floor((available - 20) / (longest * 0.8 + GAP))), null, shape);
    if (made.width <= available * wider) break;
  }
  return made as Layout;
}

function card(item: Item, page: GraphPage, longest: number, slots: boolean): Size {
  const { title, grey } = called(item, page);
  const lines = broken(title, longest, TEXT, WORDY);
  const words = { lines, grey: cut(grey, longest, GREY) };
  const text = Math.max(...lines.map((line) => widthOf(line, TEXT)), widthOf(words.grey, GREY));
  return {
    width: Math.ceil(Math.max(SIGN + text + 2 * PAD, slots ? 66 : 40)),
    height: 2 * 5 + lines.length * LINE + (words.grey ? 13 : 0) + (slots ? PORT : 0),
    r: 6,
    words,
    slots,
  };
}

/** Signs of many nodes, without words. */
function signs(items: Item[], whole: Whole): Layout {
  const [, pitch] = PITCHES.find(([most]) => items.length <= most) as [number, number];
  const largest = Math.max(...items.map((item) => (item.kind === "output" || item.kind === "input" ? 0 : Math.abs(item.score))), 1e-12);
  const size = (item: Item): Size => {
    const r = (pitch / 24) ** 0.6 * (4 + 6 * Math.sqrt(Math.min(Math.abs(item.score) / largest, 1)));
    if (item.group === null) return { width: pitch, height: pitch, r, words: null, slots: false };
    const words = { lines: [cut(called(item, whole.page).title, 150, TEXT)], grey: "" };
    return { width: SIGN + widthOf(words.lines[0] as string, TEXT) + 2 * PAD, height: pitch, r: 6, words, slots: false };
  };
  const sizes = new Map(items.map((item) => [item.id, size(item)]));
  const fitted = (one: Layout) => Math.min(whole.available / one.width, TALL / one.height);
  return SHAPES.map((shape) => place(whole, sizes, WIDEST, pitch, shape)).reduce((best, one) => (fitted(one) > fitted(best) ? one : best));
}

interface Whole {
  cells: Map<string, Cell>;
  tokens: (number | null)[];
  page: GraphPage;
  available: number;
  open: ReadonlySet<string>;
  links: Link[];
  tallest: number;
}

/** Put sizes to places; `pitch` where nodes are signs, null where they are cards. */
function place({ cells, tokens, page, available, open, links, tallest }: Whole, sizes: Map<string, Size>, beside: number, pitch: number | null, shape: number): Layout {
  const sized = (item: Item) => sizes.get(item.id) as Size;
  const gap = pitch === null ? GAP : 0;

  const packed = new Map<string, { lines: Item[][]; rest: Item[] }>();
  for (const [name, { items }] of cells) {
    const one = Math.min(beside, Math.ceil(Math.sqrt(items.length * shape)));
    const across = tokens.length === 1 ? beside : one;
    const lines: Item[][] = [];
    for (let i = 0; i < items.length; i += across) lines.push(items.slice(i, i + across));
    const most = open.has(name) ? lines.length : LINES;
    const rest = lines.length > most ? items.slice(most * across - 1) : [];
    const shown = rest.length ? [...lines.slice(0, most - 1), items.slice((most - 1) * across, most * across - 1)] : lines;
    packed.set(name, { lines: shown, rest });
  }
  const wide = (line: Item[]) => line.reduce((sum, item) => sum + sized(item).width + gap, -gap);
  const MORE = 40;

  const content = new Map<number | null, number>();
  for (const [name, { position }] of cells) {
    const { lines, rest } = packed.get(name) as { lines: Item[][]; rest: Item[] };
    const most = Math.max(...lines.map((line, i) => Math.max(wide(line), 0) + (rest.length && i === lines.length - 1 ? MORE : 0)));
    content.set(position, Math.max(content.get(position) ?? 0, most));
  }
  const columns = columnsOf(tokens, content, page.tokens, available, gap);
  const columnOf = new Map(columns.map((column) => [column.position, column]));

  // Rows from above, each of as many lines as its fullest cell has.
  const rowsUsed = new Map<number, number>();
  for (const [name, { row }] of cells) rowsUsed.set(row, Math.max(rowsUsed.get(row) ?? 0, (packed.get(name) as { lines: Item[][] }).lines.length));
  const order = [...rowsUsed.keys()];
  for (let block = 0; block < Math.min(tallest, MOST_BLOCKS); block++) {
    // A block in which nothing is shown is a thin line: the distance to the next is seen.
    if (!order.some((row) => Math.floor(row / 10) === block)) order.push(block * 10);
  }
  order.sort((a, b) => b - a);
  const inRow = new Map<number, [string, Cell][]>();
  for (const [name, cell] of cells) (inRow.get(cell.row) ?? inRow.set(cell.row, []).get(cell.row)!).push([name, cell]);

  // Between lines edges turn: the more there are, the more room they are given; few lines fill the picture too.
  const nLines = [...rowsUsed.values()].reduce((sum, n) => sum + n, 0);
  const turn = pitch === null ? Math.min(Math.max(24 + links.length / 4, FILLED / nLines - 44), 64) : 0;
  const rows: Row[] = [];
  const bands: Band[] = [];
  const placed: Placed[] = [];
  const more: More[] = [];
  const at = new Map<string, Spot>();
  let y = 0;
  for (const row of order) {
    const block = Math.floor(row / 10);
    const n = rowsUsed.get(row) ?? 0;
    const start = y;
    const here = inRow.get(row) ?? [];
    if (!n) y += THIN;
    else y += pitch === null ? turn / 2 : 8;
    for (let i = 0; i < n; i++) {
      const entries = here.map(([name, cell]) => {
        const { lines, rest } = packed.get(name) as { lines: Item[][]; rest: Item[] };
        const own = i - Math.floor((n - lines.length) / 2);
        return { name, cell, line: lines[own] ?? [], rest: own === lines.length - 1 ? rest : [] };
      });
      const height = Math.max(...entries.flatMap(({ line }) => line.map((item) => sized(item).height)), 20);
      const middle = y + height / 2;
      const band: Band = { top: y, bottom: y + height, taken: [] };
      for (const { name, cell, line, rest } of entries) {
        const column = columnOf.get(cell.position) as Column;
        let x = column.x + column.width / 2 - (Math.max(wide(line), 0) + (rest.length ? MORE : 0)) / 2;
        for (const item of line) {
          const size = sized(item);
          placed.push({ item, x: x + size.width / 2, y: middle, ...size });
          at.set(item.id, { x: x + size.width / 2, y: middle, top: middle - size.height / 2, bottom: middle + size.height / 2, width: size.width, slots: size.slots, band: bands.length });
          band.taken.push([x, x + size.width]);
          x += size.width + gap;
        }
        if (rest.length) {
          const spot = { x: x + MORE / 2 - gap / 2, y: middle };
          more.push({ cell: name, ...spot, n: rest.length });
          band.taken.push([x, x + MORE]);
          for (const item of rest) at.set(item.id, { ...spot, top: middle - 10, bottom: middle + 10, width: MORE, slots: false, band: bands.length });
        }
      }
      band.taken.sort((a, b) => a[0] - b[0]);
      bands.push(band);
      y += height + (i < n - 1 ? turn : 0);
    }
    if (n) y += pitch === null ? turn / 2 : 8;
    rows.push({ name: n ? nameOf(row) : "", block: block >= 0 && block < ELSEWHERE ? block : null, y: start, height: y - start });
  }
  const end = columns.at(-1);
  return { width: end ? end.x + end.width : available, height: y, rows, columns, placed, more, bands, cards: pitch === null, pitch: pitch ?? 60, at };
}

/** Give each column the room that its widest cell and its token need, and share out what is left over. */
function columnsOf(positions: (number | null)[], content: Map<number | null, number>, tokens: string[], available: number, gap: number): Column[] {
  const words = positions.map((position) => (position === null ? 90 : widthOf(seen(tokens[position] ?? `@${position}`).replaceAll("␣", " "), 13) + 12));
  const widths = positions.map((position, i) => {
    const inside = content.get(position);
    const word = Math.min(words[i] as number, 110);
    return Math.max(inside ? inside + gap + 14 : 0, word, 22);
  });
  const total = widths.reduce((sum, width) => sum + width, 0);
  const spare = Math.max(available - total, 0) / Math.max(positions.length, 1);
  // Tokens without nodes give way before the picture is made smaller.
  const bare = positions.map((position) => !content.has(position));
  const given = widths.reduce((sum, width, i) => sum + (bare[i] ? Math.max(width - NARROWEST, 0) : 0), 0);
  const share = given > 0 ? Math.min(Math.max(total - available * WIDER, 0) / given, 1) : 0;
  let x = 0;
  return positions.map((position, i) => {
    const width = widths[i] as number;
    const column = { position, x, word: words[i] as number, width: width + spare - (bare[i] ? Math.max(width - NARROWEST, 0) * share : 0) };
    x += column.width;
    return column;
  });
}

const SWEEPS = 4;

/** Order the nodes of each row by where the nodes stand with which they share edges, so that fewer edges cross. */
function untangle(cells: Cell[], links: Link[]): void {
  const beside = new Map<string, [string, number][]>();
  for (const { source, target, weight } of links) {
    const size = Math.abs(weight);
    (beside.get(source) ?? beside.set(source, []).get(source)!).push([target, size]);
    (beside.get(target) ?? beside.set(target, []).get(target)!).push([source, size]);
  }
  const rows = [...cells].sort((a, b) => a.row - b.row);
  for (const { items } of rows) items.sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }));
  const at = new Map<string, number>();
  const number = ({ items }: Cell) => items.forEach((item, i) => at.set(item.id, (i + 0.5) / items.length));
  rows.forEach(number);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const cell of sweep % 2 ? [...rows].reverse() : rows) {
      const wanted = new Map(
        cell.items.map((item) => {
          const all = beside.get(item.id) ?? [];
          const total = all.reduce((sum, [, size]) => sum + size, 0);
          return [item.id, total ? all.reduce((sum, [id, size]) => sum + size * (at.get(id) ?? 0.5), 0) / total : (at.get(item.id) as number)];
        }),
      );
      cell.items.sort((a, b) => (wanted.get(a.id) as number) - (wanted.get(b.id) as number));
      number(cell);
    }
  }
}
