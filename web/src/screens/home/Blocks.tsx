// A small picture of the network: embedding, blocks, output, with how many units of each the atlas has.
import type { JSX } from "preact";
import type { SiteRow } from "../../api/types";
import { count } from "../../format";
import { placesOf } from "../../route";

/** One column per block, its sites in the order in which the network computes them; a click finds their units. */
export function Blocks({ sites }: { sites: SiteRow[] }): JSX.Element {
  const places = placesOf(sites);
  const rows = sites.map((site, i) => ({ ...site, place: places[i] as string }));
  const layers = [...new Set(rows.flatMap((row) => (row.layer === null ? [] : [row.layer])))].sort((a, b) => a - b);
  const rank = (kind: string) => (kind.startsWith("attn") ? 0 : kind.startsWith("mlp") ? 1 : 2);
  const inside = (layer: number) => rows.filter((row) => row.layer === layer).sort((a, b) => rank(a.kind) - rank(b.kind));
  const apart = (test: (kind: string) => boolean) => rows.filter((row) => row.layer === null && test(row.kind));
  const before = (kind: string) => kind === "embed" || kind === "input";
  return (
    <nav class="network" aria-label="the network: choose where to find units" data-testid="network">
      <div class="block end">
        <span class="small soft">embedding</span>
        {apart(before).map((row) => (
          <Box key={row.place} row={row} />
        ))}
      </div>
      {layers.map((layer) => (
        <div class="block" key={layer}>
          <span class="small soft">block {layer}</span>
          {inside(layer).map((row) => (
            <Box key={row.place} row={row} />
          ))}
        </div>
      ))}
      {apart((kind) => !before(kind)).length > 0 && (
        <div class="block">
          {apart((kind) => !before(kind)).map((row) => (
            <Box key={row.place} row={row} />
          ))}
        </div>
      )}
      <div class="block end">
        <span class="small soft">output</span>
      </div>
    </nav>
  );
}

function Box({ row }: { row: SiteRow & { place: string } }): JSX.Element {
  const words = row.name.replace(/^Block \d+ · /, "");
  return (
    <a href={`/units?site=${encodeURIComponent(row.place)}`} title={`${row.site}/${row.basis}`} data-site={row.place} data-units={row.units}>
      <b class="num">{count(row.units)}</b> <span>{words}</span>
    </a>
  );
}
