// The edges on one canvas, which can be many.
import type { Camera } from "./camera";
import type { Layout } from "./layout";
import { type Strand, bent, curved, routed } from "./routes";

const LEVELS = 4;
/** More than so many are texture: straight, thin, not dashed. */
export const CROWD = 1500;

/** Strands that are drawn alike. */
export interface Look {
  path: Path2D;
  level: number;
  against: boolean;
  near: boolean;
}

/** How strong a line is, from 0 to 1, in steps. */
export const levelOf = (weight: number, largest: number) => Math.min(Math.floor(Math.sqrt(Math.abs(weight) / largest) * LEVELS), LEVELS - 1);
export const thickness = (level: number) => 0.7 + 2.6 * ((level + 1) / LEVELS) ** 2;
export const largestOf = (strands: Strand[]) => strands.reduce((most, one) => Math.max(most, Math.abs(one.weight)), 1e-12);

/** Return the line of every strand, by its place in the list. */
export function pathsOf(layout: Layout, strands: Strand[]): string[] {
  if (layout.cards && strands.length <= CROWD) return strands.map((strand) => routed(layout, strand));
  return strands.map((strand) => bent(layout, strand)).map((curve) => (curve ? curved(curve) : ""));
}

/** Put strands that look alike into one path: thousands of strokes would take seconds. */
export function looksOf(layout: Layout, strands: Strand[], near: (strand: Strand) => boolean): Look[] {
  const crowd = strands.length > CROWD;
  const largest = largestOf(strands);
  const looks = new Map<string, Look>();
  const exact = layout.cards && !crowd;
  for (const strand of strands) {
    const against = strand.weight < 0;
    const level = levelOf(strand.weight, largest);
    const close = near(strand);
    const name = `${against} ${level} ${close}`;
    let look = looks.get(name);
    if (!look) looks.set(name, (look = { path: new Path2D(), level, against, near: close }));
    if (crowd && level < 2 && !close) {
      // Drawn in a third of the time.
      const a = layout.at.get(strand.link.source);
      const b = layout.at.get(strand.link.target);
      if (!a || !b) continue;
      look.path.moveTo(a.x, a.y);
      look.path.lineTo(b.x, b.y);
    } else {
      if (exact) {
        const line = routed(layout, strand);
        if (line) look.path.addPath(new Path2D(line));
        continue;
      }
      const curve = bent(layout, strand);
      if (!curve) continue;
      const [x, y, ...handles] = curve;
      look.path.moveTo(x, y);
      look.path.bezierCurveTo(...handles);
    }
  }
  return [...looks.values()].sort((a, b) => Number(a.near) - Number(b.near) || a.level - b.level);
}

/** Draw looks as a camera sees them, thick where they weigh, dashed below zero; those that are near stand out. */
export function drawEdges(canvas: HTMLCanvasElement, looks: Look[], n: number, camera: Camera, width: number, height: number, dim: boolean): void {
  const scale = Math.min(devicePixelRatio || 1, 2);
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, w, h);
  pen.setTransform(scale * camera.k, 0, 0, scale * camera.k, scale * camera.x, scale * camera.y);
  const style = getComputedStyle(canvas);
  const colours = [style.getPropertyValue("--blue"), style.getPropertyValue("--orange")];
  const crowd = n > CROWD;
  const many = Math.min(1, 14 / Math.sqrt(n + 1));
  for (const { path, level, against, near } of looks) {
    const strength = (level + 1) / LEVELS;
    const alpha = near ? 0.45 + 0.5 * strength : (0.3 + 0.5 * strength) * many * (dim ? 0.35 : 1);
    pen.strokeStyle = `rgb(${colours[Number(against)]} / ${alpha.toFixed(3)})`;
    const thin = crowd && level < 2 && !near;
    // However small the picture is, a line can be seen.
    pen.lineWidth = Math.max(thin ? 0.8 : thickness(level) * (near ? 1.2 : 1), 0.5 / camera.k);
    // Among thousands a faint edge is texture; dashes, which double the time to draw, are left to those one can follow.
    pen.setLineDash(against && !thin ? [5, 3] : []);
    pen.stroke(path);
  }
}
