// The circuit as a picture: nodes in SVG, which can have the focus; edges on one canvas, which can be many.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { GraphPage } from "../../api/types";
import { count, number } from "../../format";
import { Visible, seen } from "../../parts/Text";
import { theme } from "../../theme";
import { useCamera } from "./camera";
import { CROWD, drawEdges, looksOf } from "./edges";
import { CLASS_TOKEN, GREY, type Layout, PORTS, type Placed, SIGN, TEXT, arrange } from "./layout";
import { ENDS, type Item, type Merged, first } from "./merge";
import { Preview } from "./Preview";
import { strandsOf } from "./routes";
import { fill, outline } from "./Sign";
import { near } from "./state";
import { said } from "./words";

interface Props {
  page: GraphPage;
  merged: Merged;
  chosen: ReadonlySet<string>;
  pinned: ReadonlySet<string>;
  /** Choose one item alone, or let it join or leave those that are chosen. */
  onChoose: (id: string, join: boolean) => void;
}

const SETTLED_MS = 140;
const ARROW_PX = 60;
let painted = false;

const point = (id: string) => {
  near.value = id;
};

export function Grid({ page, merged, chosen, pinned, onChoose }: Props): JSX.Element {
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
  const layout = useMemo(() => (available ? arrange(merged.items, merged.links, page, available, open) : null), [merged, page, available, open]);
  const view = useCamera(box, layout, available, page.graph.id, page.tokens[0] === CLASS_TOKEN);
  const { camera, height } = view;

  const strands = useMemo(() => strandsOf(merged.links), [merged]);
  // Among thousands a pointer that passes redraws nothing.
  const pointed = strands.length > CROWD ? "" : near.value;
  const stands = pointed !== "" || chosen.size > 0;
  const looks = useMemo(
    () => layout && looksOf(layout, strands, ({ link }) => (pointed ? link.source === pointed || link.target === pointed : chosen.has(link.source) || chosen.has(link.target))),
    [layout, strands, pointed, chosen],
  );

  const largestItem = merged.items.find((item) => !ENDS.has(item.kind));
  const drawn = useRef({ looks, camera, later: 0 });
  useLayoutEffect(() => {
    const element = canvas.current;
    if (!layout || !looks || !element) return;
    const redraw = () => {
      drawEdges(element, looks, strands.length, camera, available, height, stands);
      element.style.transform = "";
      drawn.current = { looks, camera, later: 0 };
    };
    clearTimeout(drawn.current.later);
    const before = drawn.current.camera;
    if (strands.length > CROWD && drawn.current.looks === looks && before !== camera && element.width) {
      // While thousands move, what was drawn moves with them, and is drawn again when it rests.
      const k = camera.k / before.k;
      element.style.transform = `matrix(${k}, 0, 0, ${k}, ${camera.x - before.x * k}, ${camera.y - before.y * k})`;
      drawn.current.later = window.setTimeout(redraw, SETTLED_MS);
    } else redraw();
    if (!painted) {
      painted = true;
      // After the next frame it is on the screen; a benchmark reads the mark.
      requestAnimationFrame(() => setTimeout(() => performance.mark("circuit-painted")));
    }
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", redraw);
    return () => dark.removeEventListener("change", redraw);
  }, [layout, looks, camera, available, height, theme.value]);
  useEffect(() => () => clearTimeout(drawn.current.later), []);

  // One begins at the largest.
  const here = layout?.at.has(at) ? at : ((layout?.placed.some(({ item }) => item.id === largestItem?.id) ? largestItem?.id : layout?.placed[0]?.item.id) ?? "");
  const go = (next: string | null) => {
    const spot = next === null ? undefined : layout?.at.get(next);
    if (next === null || !spot) return;
    setAt(next);
    view.show(spot);
    box.current?.querySelector<SVGGElement>(`[data-id="${CSS.escape(next)}"]`)?.focus({ preventScroll: true });
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !layout || !here || !under(event)) return;
    const arrow = /^Arrow(Left|Right|Up|Down)$/.exec(event.key)?.[1];
    if (event.key === " ") onChoose(here, true);
    else if (event.key === "Enter") onChoose(here, false);
    else if (event.key === "+" || event.key === "=") view.zoom(1);
    else if (event.key === "-") view.zoom(-1);
    else if (event.key === "0") view.fit();
    else if (arrow && event.shiftKey) view.move(arrow === "Left" ? ARROW_PX : arrow === "Right" ? -ARROW_PX : 0, arrow === "Up" ? ARROW_PX : arrow === "Down" ? -ARROW_PX : 0);
    else if (arrow) go(nearest(layout, here, event.key));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const largest = useMemo(() => merged.items.reduce((most, item) => (item.kind === "output" || item.kind === "input" ? most : Math.max(most, Math.abs(item.score))), 1e-12), [merged]);
  const marks = useMemo(
    () =>
      layout?.placed.map((one) => (
        <Mark
          key={one.item.id}
          placed={one}
          share={Math.min(Math.abs(one.item.score) / largest, 1)}
          words={said(one.item, page, number(one.item.score, true))}
          chosen={chosen.has(one.item.id)}
          pinned={pinned.has(one.item.id)}
          here={one.item.id === here}
        />
      )),
    [layout, largest, page, chosen, pinned, here],
  );
  // Tokens that have no room beside one another are written aslant.
  const slanted = layout?.columns.some((column) => column.word - 8 > column.width * camera.k) ?? false;
  const sum = merged.links.reduce((total, link) => total + link.weight, 0);
  const nearItem = merged.byId.get(near.value);
  const nearSpot = layout?.at.get(near.value);
  const x = (value: number) => `${value * camera.k + camera.x}px`;
  const y = (value: number) => `${value * camera.k + camera.y}px`;
  const size = (value: number) => `${value * camera.k}px`;
  return (
    <div class="grid" data-testid="grid" onMouseLeave={() => point("")}>
      <div class="names" aria-hidden="true">
        {layout?.rows.map((row) => row.name && <span style={{ top: y(row.y), height: size(row.height) }}>{row.name}</span>)}
      </div>
      <div
        class="view"
        ref={box}
        style={{ height: `${height}px` }}
        data-k={camera.k.toFixed(3)}
        onKeyDown={pressed}
        onFocusIn={(event) => {
          const id = under(event);
          if (id) setAt(id);
          point(id);
        }}
        onFocusOut={() => point("")}
        onMouseOver={(event) => point(under(event))}
        onClick={(event) => {
          const id = under(event);
          if (id && !view.dragged()) onChoose(id, event.shiftKey || event.ctrlKey || event.metaKey);
        }}
      >
        {layout && (
          <>
            <Ground layout={layout} camera={camera} height={height} />
            <canvas
              ref={canvas}
              style={{ width: `${available}px`, height: `${height}px` }}
              data-testid="edges"
              data-edges={`${merged.links.length} ${Number(sum.toPrecision(9))}`}
              role="img"
              aria-label={`${count(merged.links.length)} edges`}
            />
            <svg
              class="items"
              width={available}
              height={height}
              role="listbox"
              aria-multiselectable="true"
              aria-label="nodes: arrows go to the next, space chooses, Enter chooses alone; plus, minus and 0 zoom"
            >
              <g transform={`translate(${camera.x.toFixed(2)} ${camera.y.toFixed(2)}) scale(${camera.k.toFixed(4)})`}>{marks}</g>
            </svg>
            {layout.more.map((one) => (
              <button
                key={one.cell}
                type="button"
                class="more"
                data-testid="more"
                style={{ left: x(one.x), top: y(one.y) }}
                aria-label={`show ${count(one.n)} more nodes here`}
                onClick={() => setOpen(new Set([...open, one.cell]))}
              >
                +{count(one.n)}
              </button>
            ))}
            {nearItem && nearSpot && <Preview item={nearItem} spot={nearSpot} page={page} camera={camera} width={available} height={height} />}
          </>
        )}
      </div>
      <div class={slanted ? "tokens slanted" : "tokens"} data-testid="tokens">
        <div>
          {layout?.columns.map(({ position, x: left, width }) => (
            <span key={position} style={slanted ? { left: x(left + width / 2) } : { left: x(left), width: size(width) }} title={position === null ? "at no token" : `${seen(page.tokens[position] ?? "")} at ${position}`}>
              {position === null ? (
                <i class="soft">{layout.columns.length > 1 ? "anywhere" : "at all positions"}</i>
              ) : page.tokens[position] === undefined ? (
                <span class="soft">@{position}</span>
              ) : (
                <Visible text={page.tokens[position]} />
              )}
            </span>
          ))}
        </div>
      </div>
      <div class="zoom small soft">
        <span>drag moves the picture; a wheel zooms once it has the focus, or with Ctrl</span>
        <button type="button" data-testid="zoom-in" aria-label="larger" title="larger: + or wheel" onClick={() => view.zoom(1)}>
          +
        </button>
        <button type="button" data-testid="zoom-out" aria-label="smaller" title="smaller: − or wheel" onClick={() => view.zoom(-1)}>
          −
        </button>
        <button type="button" data-testid="fit" title="the whole picture: 0" onClick={() => view.fit()}>
          fit
        </button>
      </div>
    </div>
  );
}

/** The node that an event is on; empty where it is on none. */
const under = (event: Event) => (event.target as Element).closest<SVGElement>(".item")?.dataset.id ?? "";

/** Blocks in turns on two grounds, and a line where a token with nodes stands. */
function Ground({ layout, camera: { k, x, y }, height }: { layout: Layout; camera: { k: number; x: number; y: number }; height: number }): JSX.Element {
  return (
    <svg class="ground" width="100%" height={height} aria-hidden="true">
      {layout.rows.map((row) => (
        <rect class={row.block === null ? "end" : row.block % 2 ? "odd" : "even"} x="0" y={row.y * k + y} width="100%" height={row.height * k} />
      ))}
      {layout.columns.slice(1).map((column) => (
        <line x1={column.x * k + x} x2={column.x * k + x} y1={y} y2={layout.height * k + y} />
      ))}
    </svg>
  );
}

interface MarkProps {
  placed: Placed;
  /** Its size beside the largest, from 0 to 1. */
  share: number;
  words: string;
  chosen: boolean;
  pinned: boolean;
  here: boolean;
}

function Mark({ placed, share, words, chosen, pinned, here }: MarkProps): JSX.Element {
  const { item, x, y, width, height, r, words: text, slots } = placed;
  const sign = item.score < 0 ? "against" : "carries";
  const [left, top] = [-width / 2, -height / 2];
  return (
    <g
      transform={`translate(${x.toFixed(1)} ${y.toFixed(1)})`}
      role="option"
      aria-label={words}
      aria-selected={chosen}
      tabindex={here ? 0 : -1}
      class={`item ${text ? "card" : ""} ${item.group === null ? "" : "group"} ${chosen ? "chosen" : ""}`}
      data-testid="item"
      data-id={item.id}
      data-kind={item.kind}
      data-score={item.score}
      data-layer={first(item).layer ?? ""}
      data-pinned={pinned ? "true" : undefined}
    >
      {text ? (
        <>
          <rect class="under" x={left} y={top} width={width} height={height} rx="6" />
          <rect class={`face ${sign} ${item.kind}`} x={left} y={top} width={width} height={height} rx={item.group === null ? 6 : height / 2} style={{ fillOpacity: (0.05 + 0.22 * share).toFixed(3) }} />
          <path class={`shape ${item.kind} ${sign}`} d={outline(item.kind, r)} transform={`translate(${(left + 8 + r).toFixed(1)} ${(top + 13).toFixed(1)})`} style={fill(item.score)} />
          <text class="said" style={{ fontSize: `${TEXT}px` }}>
            {text.lines.map((line, i) => (
              <tspan x={left + 7 + SIGN} y={top + 17 + i * 15}>
                {line}
              </tspan>
            ))}
          </text>
          {text.grey && (
            <text class="grey" style={{ fontSize: `${GREY}px` }} x={left + 7 + SIGN} y={top + 15 + text.lines.length * 15}>
              {text.grey}
            </text>
          )}
          {slots &&
            Object.entries(PORTS).map(([slot, at]) => (
              <text class="port" x={left + at * width} y={-top - 3} text-anchor="middle">
                {slot}
              </text>
            ))}
        </>
      ) : (
        <>
          <circle class="reach" r={Math.min(width * 0.48, r + 6)} />
          <path class={`shape ${item.kind} ${sign}`} d={outline(item.kind, r)} style={fill(item.score)} />
        </>
      )}
      {pinned && <path class="pin" d="M0 -5L1.5 -1.6L5 -1.5L2.3 .8L3.2 4.4L0 2.4L-3.2 4.4L-2.3 .8L-5 -1.5L-1.5 -1.6Z" transform={`translate(${(text ? -left - 2 : r).toFixed(1)} ${(text ? top + 2 : -r).toFixed(1)})`} />}
    </g>
  );
}

/** Return what lies next in the direction of an arrow: the nearest, what is off to the side counting more. */
function nearest(layout: Layout, from: string, key: string): string | null {
  const { x, y } = layout.at.get(from) as { x: number; y: number };
  const along = key === "ArrowLeft" || key === "ArrowRight";
  const sign = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
  let best: Item["id"] | null = null;
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
