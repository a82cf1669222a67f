// Units where they lie in the tissue: with one unit, each filled by its correlation with it.
import type { JSX } from "preact";
import type { Tissue } from "../api/types";
import { count, number } from "../format";
import { unitAddress } from "../route";

const WIDE = 300;

/** The map; `own` is the unit that the page is of, `marked` are units of a chosen group. */
export function TissueMap({ tissue, own, marked }: { tissue: Tissue; own?: string; marked?: readonly number[] }): JSX.Element | null {
  const { x, y, units } = tissue;
  if (!units.length) return null;
  const [left, right, low, high] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
  const size = Math.max(right - left, high - low) || 1;
  const dot = units.length > 400 ? 2.5 : 4;
  const scale = (WIDE - 20) / size;
  const at = (one: number, other: number): [number, number] => [10 + (one - left) * scale, 10 + (high - other) * scale];
  const height = 20 + (high - low) * scale;
  const chosen = new Set(marked ?? []);
  return (
    <figure class="tissue" data-testid="tissue">
      <svg viewBox={`0 0 ${WIDE} ${height.toFixed(1)}`} role="group" aria-label={`${count(units.length)} units where they lie`}>
        {units.map((unit, i) => {
          const key = `${tissue.prefix}${unit}`;
          const r = tissue.r[i] ?? null;
          const [cx, cy] = at(x[i] as number, y[i] as number);
          const kind = tissue.r.length ? (r === null ? "none" : r < 0 ? "neg" : "pos") : chosen.has(unit) ? "chosen" : "";
          if (key === own) return null;
          return (
            <a key={unit} href={unitAddress(key)} tabIndex={-1} data-unit={key} data-r={tissue.r.length ? (r ?? "") : undefined} data-marked={chosen.has(unit) || undefined}>
              <title>{`${nameOf(tissue.names[i] as string)}${tissue.r.length ? `, r ${number(r, true)}` : ""}`}</title>
              <circle class={kind} cx={cx.toFixed(1)} cy={cy.toFixed(1)} r={dot} style={r === null ? undefined : { fillOpacity: Math.min(Math.abs(r) * 1.2, 1).toFixed(2) }} />
            </a>
          );
        })}
        {tissue.own.length > 1 && <circle class="own" cx={at(tissue.own[0] as number, tissue.own[1] as number)[0]} cy={at(tissue.own[0] as number, tissue.own[1] as number)[1]} r={dot + 3} data-testid="own" />}
      </svg>
      <figcaption class="small soft">
        {tissue.axes[0]} to the right, {tissue.axes[1]} upwards
        {tissue.axes[2] ? `, ${tissue.axes[2]} not drawn` : ""}
        {units.length < tissue.total && `; ${count(units.length)} of ${count(tissue.total)} units`}
        {tissue.r.length > 0 && "; blue goes with this unit, orange with a broken rim against it; the ring is this unit"}
      </figcaption>
    </figure>
  );
}

/** A name that is a number is called a unit. */
function nameOf(name: string): string {
  return /^\s*\d+\s*$/.test(name) ? `unit ${name}` : name;
}
