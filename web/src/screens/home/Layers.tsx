// What was added to the base since it was baked.
import type { JSX } from "preact";
import type { LayerRow } from "../../api/types";
import { bytes, plural } from "../../format";
import { graphAddress } from "../../route";

/** The layers, each a link to what it holds. */
export function Layers({ layers }: { layers: LayerRow[] }): JSX.Element {
  const kinds: Record<string, string> = { graph: "node", basis: "feature", descriptions: "description" };
  return (
    <ul class="layers" data-testid="layers">
      {layers.map((layer) => (
        <li key={layer.id}>
          <a href={layer.kind === "graph" ? graphAddress(layer.id) : `/runs/${encodeURIComponent(layer.id)}`}>{layer.title || layer.id}</a>
          <br />
          <span class="soft small">
            {layer.kind === "graph" && "an explained answer: "}
            {plural(layer.rows, kinds[layer.kind] ?? "row")}, {bytes(layer.bytes)} ·{" "}
            <a href={`/runs/${encodeURIComponent(layer.id)}`}>its run</a>
          </span>
        </li>
      ))}
    </ul>
  );
}
