// What nodes are called in the picture, and how that is laid in lines.
import type { GraphPage } from "../../api/types";
import { count, plural } from "../../format";
import { seen } from "../../parts/Text";
import { type Item, first } from "./merge";

/** What is written on a card. */
export interface Words {
  lines: string[];
  /** In grey below: number and place, or what is said more. */
  grey: string;
}

/** A name without the block, which the row says. */
const inRow = (name: string) => name.replace(/^Block \d+ · /, "");

/** Return what a node is called: what it is known for, or else its name; and what stands in grey. */
export function called(item: Item, page: GraphPage): { title: string; grey: string } {
  const node = first(item);
  if (item.group !== null) return { title: seen(item.label).replaceAll("␣", " "), grey: plural(item.members.length + item.hidden, "node") };
  if (node.kind === "output") {
    const { target, contrast } = page.graph;
    return { title: target ? seen(target) : "output", grey: contrast === null ? "output" : `rather than ${seen(contrast)}` };
  }
  if (node.kind === "input") {
    const token = node.position === null ? undefined : page.tokens[node.position];
    return { title: token === undefined ? "input" : seen(token), grey: "input" };
  }
  const name = sentence(inRow(node.name));
  if (node.kind === "error") return { title: "error", grey: node.site ? name : "no node explains it" };
  return node.label ? { title: seen(node.label).replaceAll("␣", " "), grey: name } : { title: name, grey: "" };
}

const sentence = (text: string) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** What an item is, for those who listen and for those who point at it. */
export function said(item: Item, page: GraphPage, score: string): string {
  const node = first(item);
  const token = node.position === null ? undefined : page.tokens[node.position];
  const where = token === undefined ? "" : `, at ${seen(token)}`;
  if (item.group !== null) return `${item.label}, group of ${count(item.members.length)}${where}, predicted ${score}`;
  const { title, grey } = called(item, page);
  const block = node.layer === null ? "" : `Block ${node.layer} · `;
  return `${block}${[title, grey].filter(Boolean).join(", ")}${where}, predicted ${score}`;
}

let pen: CanvasRenderingContext2D | null | undefined;
const widths = new Map<string, number>();

/** How wide text is, in pixels. */
export function widthOf(text: string, size: number): number {
  const known = widths.get(size + text);
  if (known !== undefined) return known;
  pen ??= document.createElement("canvas").getContext("2d");
  if (!pen) return text.length * size * 0.55;
  pen.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  const { width } = pen.measureText(text);
  if (widths.size > 5000) widths.clear();
  widths.set(size + text, width);
  return width;
}

/** Return text cut to a width, with an ellipsis where something is cut. */
export function cut(text: string, most: number, size: number): string {
  if (widthOf(text, size) <= most) return text;
  const all = [...text];
  while (all.length > 1 && widthOf(`${all.join("")}…`, size) > most) all.pop();
  return `${all.join("")}…`;
}

/** Break text into lines at its spaces; the last line takes what is left, cut where it must be. */
export function broken(text: string, most: number, size: number, lines: number): string[] {
  const made: string[] = [];
  let line = "";
  const words = text.split(/\s+/).filter(Boolean);
  for (let i = 0; i < words.length; i++) {
    const longer = line ? `${line} ${words[i]}` : (words[i] as string);
    if (line && widthOf(longer, size) > most && made.length < lines - 1) {
      made.push(line);
      line = words[i] as string;
    } else line = longer;
  }
  return [...made, line].map((one) => cut(one, most, size));
}
