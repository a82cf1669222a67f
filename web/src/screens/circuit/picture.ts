// The whole picture as one SVG file: nodes, edges, tokens and legend, in colours and fonts of its own.
import type { GraphPage } from "../../api/types";
import { number } from "../../format";
import { seen } from "../../parts/Text";
import { levelOf, largestOf, pathsOf, thickness } from "./edges";
import { GREY, PORTS, SIGN, TEXT, arrange } from "./layout";
import type { Merged } from "./merge";
import { strandsOf } from "./routes";
import { outline } from "./Sign";
import { said } from "./words";

const WIDTH = 1200;
const LEFT = 118;
const TOP = 64;
const BELOW = 78;
const BLUE = "#0062ac";
const ORANGE = "#b85000";
const INK = "#1c2127";
const SOFT = "#5a636e";
const PAPER = "#fdfdfb";

const ESCAPED: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
// Characters that no XML file holds are left out.
const safe = (text: string) => text.replace(/[&<>"]/g, (c) => ESCAPED[c] as string).replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "");

const n = (x: number) => Number(x.toFixed(1));

function words(x: number, y: number, text: string, more = ""): string {
  return `<text x="${n(x)}" y="${n(y)}"${more}>${safe(text)}</text>`;
}

/** Return the picture of a graph as an SVG document without outside references. */
export function pictureOf(page: GraphPage, merged: Merged): string {
  // Nothing is left out for want of room.
  const every = { has: () => true } as unknown as ReadonlySet<string>;
  const layout = arrange(merged.items, merged.links, page, WIDTH, every);
  const strands = strandsOf(merged.links);
  const largest = largestOf(strands);
  const most = merged.items.reduce((size, item) => (item.kind === "output" || item.kind === "input" ? size : Math.max(size, Math.abs(item.score))), 1e-12);
  const colour = (score: number) => (score < 0 ? ORANGE : BLUE);
  const opacity = Math.min(1, 14 / Math.sqrt(strands.length + 1));

  const rows = layout.rows.map((row) => {
    const ground = row.block !== null && row.block % 2 ? `<rect x="0" y="${n(row.y)}" width="${n(layout.width)}" height="${n(row.height)}" fill="#f4f5f1"/>` : "";
    return ground + (row.name ? words(-8, row.y + row.height / 2 + 4, row.name, ` text-anchor="end" font-size="11" fill="${SOFT}"`) : "");
  });
  const lines = pathsOf(layout, strands).map((path, i) => {
    const { weight, link, slot } = strands[i] as (typeof strands)[number];
    if (!path) return "";
    const level = levelOf(weight, largest);
    const title = `${merged.byId.get(link.source)?.label} → ${merged.byId.get(link.target)?.label}${slot ? ` (${slot})` : ""}: ${number(weight, true)}`;
    return `<path class="edge" d="${path}" stroke="${colour(weight)}" stroke-width="${thickness(level)}" stroke-opacity="${((0.3 + 0.125 * (level + 1)) * opacity).toFixed(3)}"${weight < 0 ? ' stroke-dasharray="5 3"' : ""}><title>${safe(title)}</title></path>`;
  });
  const nodes = layout.placed.map(({ item, x, y, width, height, r, words: text, slots }) => {
    const against = item.score < 0;
    const ends = item.kind === "input" || item.kind === "output" || item.kind === "error";
    const fill = against ? "url(#against)" : ends ? INK : BLUE;
    const title = `<title>${safe(said(item, page, number(item.score, true)))}</title>`;
    const sign = (dx: number, dy: number) => `<path d="${outline(item.kind === "group" ? "neuron" : item.kind, r)}" transform="translate(${n(dx)} ${n(dy)})" fill="${fill}" stroke="${against ? ORANGE : PAPER}"/>`;
    const open = `<g class="node" data-id="${safe(item.id)}" transform="translate(${n(x)} ${n(y)})">${title}`;
    if (!text) return `${open}${sign(0, 0)}</g>`;
    const [left, top] = [-width / 2, -height / 2];
    const box = `x="${n(left)}" y="${n(top)}" width="${n(width)}" height="${n(height)}" rx="6"`;
    const deep = (0.05 + 0.22 * Math.min(Math.abs(item.score) / most, 1)).toFixed(3);
    return [
      open,
      `<rect ${box} fill="${PAPER}"/><rect ${box} fill="${ends ? SOFT : colour(item.score)}" fill-opacity="${deep}" stroke="${ends ? SOFT : colour(item.score)}"${against ? ' stroke-dasharray="4 2"' : ""}/>`,
      sign(left + 8 + r, top + 13),
      ...text.lines.map((line, i) => words(left + 7 + SIGN, top + 17 + i * 15, line, ` font-size="${TEXT}"`)),
      text.grey ? words(left + 7 + SIGN, top + 15 + text.lines.length * 15, text.grey, ` font-size="${GREY}" fill="${SOFT}"`) : "",
      ...(slots ? Object.entries(PORTS).map(([slot, at]) => words(left + at * width, -top - 3, slot, ` font-size="9" text-anchor="middle" fill="${SOFT}"`)) : []),
      "</g>",
    ].join("");
  });
  const aslant = layout.columns.some(({ word, width }) => word - 8 > width);
  const tokens = layout.columns.map(({ position, x, width }) =>
    words(x + width / 2, layout.height + 20, position === null ? (layout.columns.length > 1 ? "anywhere" : "at all positions") : seen(page.tokens[position] ?? `@${position}`), aslant ? ` font-size="13" transform="rotate(42 ${n(x + width / 2)} ${n(layout.height + 20)})"` : ' text-anchor="middle" font-size="13"'),
  );
  const kinds = [...new Set(merged.items.map((item) => item.kind))];
  let at = 0;
  const legend = kinds.map((kind) => {
    const start = at;
    at += 34 + kind.length * 7;
    return `<path d="${outline(kind, 6)}" transform="translate(${start + 6} 0)" fill="${kind === "input" || kind === "output" || kind === "error" ? INK : BLUE}"/>${words(start + 18, 4, kind, ' font-size="12"')}`;
  });
  legend.push(`<path d="${outline("neuron", 6)}" transform="translate(${at + 6} 0)" fill="url(#against)" stroke="${ORANGE}"/>${words(at + 18, 4, "hatched, dashed: against the answer", ' font-size="12"')}`);

  const [width, height] = [layout.width + LEFT + 16, layout.height + TOP + BELOW];
  const { prompt, target, contrast, sentence } = page.graph;
  const asked = `${prompt} → ${seen(target)}${contrast === null ? "" : ` rather than ${seen(contrast)}`}`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="${n(width)}" height="${n(height)}" viewBox="0 0 ${n(width)} ${n(height)}" font-family="sans-serif" fill="${INK}">
<title>${safe(asked)}</title>
<defs><pattern id="against" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="5" height="5" fill="${ORANGE}"/><rect width="1.8" height="5" fill="${PAPER}" fill-opacity=".75"/></pattern></defs>
<rect width="100%" height="100%" fill="${PAPER}"/>
${words(16, 26, asked, ' font-size="16" font-weight="600"')}
${sentence ? words(16, 46, sentence, ` font-size="12" fill="${SOFT}"`) : ""}
<g transform="translate(${LEFT} ${TOP})">
${rows.join("\n")}
<g fill="none">
${lines.join("\n")}
</g>
${nodes.join("\n")}
<line x1="0" x2="${n(layout.width)}" y1="${n(layout.height)}" y2="${n(layout.height)}" stroke="#c3c8c4"/>
${tokens.join("\n")}
</g>
<g transform="translate(${LEFT} ${n(height - 22)})">${legend.join("")}</g>
</svg>
`;
}
