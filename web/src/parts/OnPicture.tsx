// A picture with what a unit does all over it, and the place that is looked at.
import type { JSX } from "preact";
import { number } from "../format";
import "./pictures.css";

export interface Heat {
  /** Values row after row; as many as rows times columns. */
  values: readonly (number | null)[];
  rows: number;
  columns: number;
  /** The size that gets the darkest fill. */
  most: number;
}

interface Props {
  src: string;
  alt: string;
  /** Height and width in pixels: few of them are drawn as squares. */
  size: readonly number[];
  heat: Heat | null;
  /** Left, top, right and bottom as shares. */
  box?: readonly number[] | null;
  cell?: readonly number[] | null;
}

const SQUARES = 64;

/** Draw the picture; blue above zero and orange with a bar below, and a frame around what the place reads. */
export function OnPicture({ src, alt, size, heat, box = null, cell = null }: Props): JSX.Element {
  const [height = 1, width = 1] = size;
  return (
    <span class={`picture ${Math.max(height, width) <= SQUARES ? "squares" : ""}`} style={{ aspectRatio: `${width} / ${height}` }}>
      <img src={src} alt={alt} loading="lazy" />
      {heat && heat.rows > 0 && <Cells {...heat} />}
      {box && <i class="frame" data-testid="box" data-box={box.join(" ")} style={inside(box)} />}
      {cell && box && cell.join() !== box.join() && <i class="frame cell" style={inside(cell)} />}
    </span>
  );
}

function inside([left = 0, top = 0, right = 1, bottom = 1]: readonly number[]): Record<string, string> {
  const share = (x: number) => `${x * 100}%`;
  return { left: share(left), top: share(top), width: share(right - left), height: share(bottom - top) };
}

function Cells({ values, rows, columns, most }: Heat): JSX.Element {
  return (
    <svg class="heat" viewBox={`0 0 ${columns} ${rows}`} preserveAspectRatio="none" aria-hidden="true" data-testid="heat" data-values={values.map((v) => v ?? "").join(" ")}>
      {values.map((value, i) => {
        const share = value === null || most === 0 ? 0 : Math.min(Math.abs(value) / most, 1);
        if (share < 0.02 || value === null) return null;
        const [x, y] = [i % columns, Math.floor(i / columns)];
        return (
          <g key={i} class={value < 0 ? "neg" : "pos"}>
            <title>{number(value)}</title>
            <rect x={x} y={y} width="1" height="1" opacity={(0.1 + 0.75 * share).toFixed(3)} />
            {value < 0 && share > 0.1 && <rect class="bar" x={x + 0.25} y={y + 0.45} width="0.5" height="0.1" />}
          </g>
        );
      })}
    </svg>
  );
}

/** What a place reads, cut out and enlarged. */
export function CutOut({ src, size, box }: { src: string; size: readonly number[]; box: readonly number[] }): JSX.Element {
  const [left = 0, top = 0, right = 1, bottom = 1] = box;
  const [height = 1, width = 1] = size;
  const [w, h] = [right - left, bottom - top];
  const place = (from: number, part: number) => (part < 1 ? `${(from / (1 - part)) * 100}%` : "0%");
  return (
    <span
      class={`cut-out ${Math.max(height, width) <= SQUARES ? "squares" : ""}`}
      aria-hidden="true"
      style={{
        aspectRatio: `${Math.max(w * width, 1e-3)} / ${Math.max(h * height, 1e-3)}`,
        backgroundImage: `url("${src}")`,
        backgroundSize: `${100 / w}% ${100 / h}%`,
        backgroundPosition: `${place(left, w)} ${place(top, h)}`,
      }}
    />
  );
}
