// What was added to the base since it was baked, and what made it.
import type { JSX } from "preact";
import type { AtlasPage, LayerRow } from "../../api/types";
import { bytes, plural } from "../../format";
import { Command } from "../../parts/Command";
import { Origin } from "../../parts/Title";
import { graphAddress } from "../../route";

/** The layers, each a link to what it holds. */
function Layers({ layers }: { layers: LayerRow[] }): JSX.Element {
  const kinds: Record<string, string> = { graph: "node", basis: "feature", descriptions: "description" };
  const address = ({ kind, id }: LayerRow) => (kind === "graph" ? graphAddress(id) : `/${kind === "comparison" ? "compare" : "runs"}/${encodeURIComponent(id)}`);
  return (
    <ul class="layers" data-testid="layers">
      {layers.map((layer) => (
        <li key={layer.id}>
          <a href={address(layer)}>{layer.title || layer.id}</a>
          <br />
          <span class="soft small">
            {layer.kind === "graph" && "an explained answer: "}
            {layer.kind === "comparison" && "a comparison: "}
            {plural(layer.rows, kinds[layer.kind] ?? "row")}, {bytes(layer.bytes)} ·{" "}
            <a href={`/runs/${encodeURIComponent(layer.id)}`}>its run</a>
          </span>
        </li>
      ))}
    </ul>
  );
}

/** The layers under their title; nothing where there are none. */
export function Added({ layers }: { layers: LayerRow[] }): JSX.Element | null {
  if (!layers.length) return null;
  return (
    <div>
      <h2>What was added</h2>
      <Layers layers={layers} />
    </div>
  );
}

/** The command that baked the atlas, and where the page comes from. */
export function Made({ page }: { page: AtlasPage }): JSX.Element {
  return (
    <>
      {page.baked !== page.source.command && <Command command={page.baked}>Baked by</Command>}
      <Origin source={page.source} twin="/api/atlas" />
    </>
  );
}
