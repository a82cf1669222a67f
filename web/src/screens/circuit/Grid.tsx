// The circuit as a picture: nodes in SVG, which can have the focus; edges on one canvas, which can be many.
import type { JSX } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { GraphPage } from "../../api/types";
import { count, number } from "../../format";
import { Visible, seen } from "../../parts/Text";
import { theme } from "../../theme";
import { type Layout, type Placed, arrange } from "./layout";
import { type Item, type Merged, first } from "./merge";
import { fill, outline } from "./Sign";

interface Props {
  page: GraphPage;
  merged: Merged;
  chosen: ReadonlySet<string>;
  /** Choose one item alone, or let it join or leave those that are chosen. */
  onChoose: (id: string, join: boolean) => void;
}

const LEVELS = 4;
const DASHED = 1500;
let painted = false;

/** What an item is, for those who listen and for those who point at it. */
export function said(item: Item, tokens: string[]): string {
  const { position } = first(item);
  const token = position === null ? undefined : tokens[position];
  const where = token === undefined ? "" : `, at ${seen(token)}`;
  const what = item.group === null ? item.kind : `group of ${count(item.members.length)}`;
  return `${item.label}, ${what}${where}, predicted ${number(item.score, true)}`;
}

export function Grid({ page, merged, chosen, onChoose }: Props): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [available, setAvailable] = useState(0);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const [at, setAt] = useState("");
  useLayoutEffect(() => {
    const element = box.current as HTMLDivElement;
    const measure = () => setAvailable(element.clientWidth);
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  const layout = useMemo(() => (available ? arrange(merged.items, page, available, open) : null), [merged, page, available, open]);

  // What is too wide begins where the answer comes out.
  const wide = layout !== null && layout.width > available;
  useLayoutEffect(() => {
    if (wide && box.current) box.current.scrollLeft = box.current.scrollWidth;
  }, [wide, page.graph.id]);

  useLayoutEffect(() => {
    if (!layout || !canvas.current) return;
    const redraw = () => drawEdges(canvas.current as HTMLCanvasElement, layout, merged, chosen);
    redraw();
    if (!painted) {
      painted = true;
      // After the next frame it is on the screen; a benchmark reads the mark.
      requestAnimationFrame(() => setTimeout(() => performance.mark("circuit-painted")));
    }
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", redraw);
    return () => dark.removeEventListener("change", redraw);
  }, [layout, merged, chosen, theme.value]);

  const here = layout?.at.has(at) ? at : (layout?.placed[0]?.item.id ?? "");
  const pressed = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !layout || !here) return;
    if (event.key === " ") onChoose(here, true);
    else if (event.key === "Enter") onChoose(here, false);
    else if (event.key.startsWith("Arrow")) {
      const next = nearest(layout, here, event.key);
      if (next) {
        setAt(next);
        const node = box.current?.querySelector<SVGGElement>(`[data-id="${CSS.escape(next)}"]`);
        node?.focus();
      }
    } else return;
    event.preventDefault();
  };
  const sum = merged.links.reduce((total, link) => total + link.weight, 0);
  return (
    <div class="grid" ref={box} data-testid="grid">
      {layout && (
        <div class="plane" style={{ width: `${layout.width}px` }}>
          <div class="field" style={{ height: `${layout.height}px` }}>
            <Ground layout={layout} />
            <canvas ref={canvas} data-testid="edges" data-edges={`${merged.links.length} ${Number(sum.toPrecision(9))}`} role="img" aria-label={`${count(merged.links.length)} edges`} />
            <svg
              class="items"
              width={layout.width}
              height={layout.height}
              role="listbox"
              aria-multiselectable="true"
              aria-label="nodes: arrows go to the next, space chooses, Enter chooses alone"
              onKeyDown={pressed}
            >
              {layout.placed.map((one) => (
                <Mark
                  key={one.item.id}
                  placed={one}
                  reach={layout.pitch * 0.48}
                  name={layout.roomy ? short(named(one.item), 7) : ""}
                  words={said(one.item, page.tokens)}
                  chosen={chosen.has(one.item.id)}
                  here={one.item.id === here}
                  onFocus={() => setAt(one.item.id)}
                  onClick={(event) => onChoose(one.item.id, event.shiftKey || event.ctrlKey || event.metaKey)}
                />
              ))}
            </svg>
            {layout.more.map((one) => (
              <button
                key={one.cell}
                type="button"
                class="more"
                data-testid="more"
                style={{ left: `${one.x}px`, top: `${one.y}px` }}
                aria-label={`show ${count(one.n)} more nodes here`}
                onClick={() => setOpen(new Set([...open, one.cell]))}
              >
                +{count(one.n)}
              </button>
            ))}
            <div class="names" aria-hidden="true">
              {layout.rows.map((row) => row.name && <span style={{ top: `${row.y}px`, height: `${row.height}px` }}>{row.name}</span>)}
            </div>
          </div>
          <div class="tokens" data-testid="tokens">
            {layout.columns.map(({ position, x, width }) => (
              <span key={position} style={{ left: `${x}px`, width: `${width}px` }} title={position === null ? "at no token" : `${seen(page.tokens[position] ?? "")} at ${position}`}>
                {position === null ? <i class="soft">{layout.columns.length > 1 ? "anywhere" : "at all positions"}</i> : page.tokens[position] === undefined ? <span class="soft">@{position}</span> : <Visible text={page.tokens[position]} />}
              </span>
            ))}
          </div>
        </div>
      )}
    </div>
  );
}

/** Blocks in turns on two grounds, and a line where a token with nodes stands. */
function Ground({ layout }: { layout: Layout }): JSX.Element {
  return (
    <svg class="ground" width={layout.width} height={layout.height} aria-hidden="true">
      {layout.rows.map((row) => (
        <rect class={row.block === null ? "end" : row.block % 2 ? "odd" : "even"} x="0" y={row.y} width={layout.width} height={row.height} />
      ))}
      {layout.columns.map((column) => (
        <line x1={column.x} x2={column.x} y1="0" y2={layout.height} />
      ))}
    </svg>
  );
}

interface MarkProps {
  placed: Placed;
  /** How far around it a pointer finds it. */
  reach: number;
  /** What is written below it. */
  name: string;
  words: string;
  chosen: boolean;
  here: boolean;
  onFocus: () => void;
  onClick: (event: MouseEvent) => void;
}

function Mark({ placed: { item, x, y, r, pill }, reach, name, words, chosen, here, onFocus, onClick }: MarkProps): JSX.Element {
  const sign = item.score < 0 ? "against" : "carries";
  return (
    <g
      transform={`translate(${x.toFixed(1)} ${y.toFixed(1)})`}
      role="option"
      aria-selected={chosen}
      tabIndex={here ? 0 : -1}
      class={`item ${chosen ? "chosen" : ""}`}
      data-testid="item"
      data-id={item.id}
      data-kind={item.kind}
      data-score={item.score}
      onFocus={onFocus}
      onClick={onClick}
    >
      <title>{words}</title>
      {item.group === null ? (
        <>
          <circle class="reach" r={Math.min(reach, r + 6)} />
          <path class={`shape ${item.kind} ${sign}`} d={outline(item.kind, r)} style={fill(item.score)} />
          {name && (
            <text text-anchor="middle" y={r + 13}>
              {name}
            </text>
          )}
        </>
      ) : (
        <>
          <rect class={`shape group ${sign}`} x={-pill / 2} y="-8.5" width={pill} height="17" rx="8.5" />
          <text text-anchor="middle" y="3.8">
            {short(`${item.score < 0 ? "▼" : "▲"} ${seen(item.label).replaceAll("␣", " ")}`, Math.floor((pill - 14) / 6.2))}
          </text>
        </>
      )}
    </g>
  );
}

/** A unit's number, which its row's name goes with. */
function named(item: Item): string {
  const index = /\/(\d+)(?:@|$)/.exec(item.id)?.[1];
  if (item.kind === "error" || index === undefined) return "";
  if (item.kind === "site") return item.id.startsWith("embed") ? "embed" : "MLP";
  return item.kind === "head" ? `head ${index}` : index;
}

function short(text: string, most: number): string {
  const all = [...text];
  return all.length <= most ? text : `${all.slice(0, Math.max(most - 1, 1)).join("")}…`;
}

/** Return what lies next in the direction of an arrow: the nearest, what is off to the side counting more. */
function nearest(layout: Layout, from: string, key: string): string | null {
  const { x, y } = layout.at.get(from) as { x: number; y: number };
  const along = key === "ArrowLeft" || key === "ArrowRight";
  const sign = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
  let best: string | null = null;
  let least = Number.POSITIVE_INFINITY;
  for (const one of layout.placed) {
    const ahead = sign * (along ? one.x - x : one.y - y);
    const aside = Math.abs(along ? one.y - y : one.x - x);
    if (ahead < 1) continue;
    const distance = ahead + 2.5 * aside;
    if (distance < least) [best, least] = [one.item.id, distance];
  }
  return best;
}

/** Draw the edges, thick where they weigh; dashed below zero. Those of what is chosen stand out. */
function drawEdges(canvas: HTMLCanvasElement, layout: Layout, merged: Merged, chosen: ReadonlySet<string>): void {
  const scale = Math.min(devicePixelRatio || 1, 2, Math.sqrt(16e6 / (layout.width * layout.height)));
  canvas.width = Math.round(layout.width * scale);
  canvas.height = Math.round(layout.height * scale);
  canvas.style.width = `${layout.width}px`;
  canvas.style.height = `${layout.height}px`;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colours = { carries: style.getPropertyValue("--blue"), against: style.getPropertyValue("--orange") };
  const largest = Math.max(...merged.links.slice(0, 1).map((link) => Math.abs(link.weight)), 1e-12);
  // A path per look, not per edge: thousands of strokes would take seconds.
  const crowd = merged.links.length > DASHED;
  const looks = new Map<string, { path: Path2D; level: number; sign: "carries" | "against"; near: boolean }>();
  for (const link of merged.links) {
    const a = layout.at.get(link.source);
    const b = layout.at.get(link.target);
    if (!a || !b) continue;
    const sign = link.weight < 0 ? "against" : "carries";
    const level = Math.min(Math.floor(Math.sqrt(Math.abs(link.weight) / largest) * LEVELS), LEVELS - 1);
    const near = chosen.has(link.source) || chosen.has(link.target);
    const name = `${sign} ${level} ${near}`;
    let look = looks.get(name);
    if (!look) looks.set(name, (look = { path: new Path2D(), level, sign, near }));
    look.path.moveTo(a.x, a.y);
    const rise = b.y - a.y;
    // Faint ones among thousands are texture: straight and thin, they are drawn in a third of the time.
    if (crowd && level < 2 && !near) look.path.lineTo(b.x, b.y);
    else if (Math.abs(rise) < 4) look.path.bezierCurveTo(a.x, a.y - 26, b.x, b.y - 26, b.x, b.y);
    else {
      // Straight up a column it would run through what stands between.
      const bow = Math.abs(b.x - a.x) < 4 && Math.abs(rise) > 1.5 * layout.pitch ? Math.min(Math.abs(rise) * 0.16, 46) : 0;
      look.path.bezierCurveTo(a.x + bow, a.y + rise / 2, b.x + bow, b.y - rise / 2, b.x, b.y);
    }
  }
  const many = Math.min(1, 14 / Math.sqrt(merged.links.length + 1));
  const ordered = [...looks.values()].sort((a, b) => Number(a.near) - Number(b.near) || a.level - b.level);
  for (const { path, level, sign, near } of ordered) {
    const strength = (level + 1) / LEVELS;
    const alpha = near ? 0.45 + 0.5 * strength : (0.22 + 0.5 * strength) * many * (chosen.size ? 0.35 : 1);
    pen.strokeStyle = `rgb(${colours[sign]} / ${alpha.toFixed(3)})`;
    pen.lineWidth = crowd && level < 2 && !near ? 0.8 : (0.6 + 3 * strength * strength) * (near ? 1.15 : 1);
    // Among thousands a faint edge is texture; dashes, which double the time to draw, are left to those one can follow.
    const dashed = sign === "against" && (near || level >= 2 || merged.links.length <= DASHED);
    pen.setLineDash(dashed ? [5, 3] : []);
    pen.stroke(path);
  }
}

