"""An explained answer as a file for other viewers."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse

from patchclamp.atlas.lab.asked_graphs import AskedGraph
from patchclamp.atlas.read.graph_json import graph_to_json
from patchclamp.atlas.read.graph_pruning import prune
from patchclamp.atlas.read.reader import Reading
from patchclamp.atlas.serve.screens.graphs.page import MOST_PINS, asked_graph, find_graph, full_keys, read_node
from patchclamp.atlas.serve.served import Served
from patchclamp.core.errors import PatchclampError

MOST_GROUPS = 100
NAMED = " : "


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the address of an explained answer as a file."""

    @app.get("/api/graphs/{id}/export", operation_id="exportGraph")
    def export_graph(
        id: str,
        format: str = "circuit-tracer",
        keep: Annotated[float, Query(ge=0, le=1)] = 1.0,
        pin: Annotated[list[str] | None, Query(max_length=MOST_PINS)] = None,
        group: Annotated[list[str] | None, Query(max_length=MOST_GROUPS)] = None,
    ) -> JSONResponse:
        """Read an explained answer as circuit-tracer's or Neuronpedia's graph; a group is ``KEY KEY : NAME``."""
        asked = asked_graph(served, id)
        data = graph_file(served.atlas(), id, format, keep=keep, pins=pin or (), groups=group or (), asked=asked)
        name = f"{data['metadata']['slug']}-{format}.json"
        return JSONResponse(data, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def graph_file(
    atlas: Reading,
    id: str,
    format: str,
    *,
    keep: float = 1.0,
    pins: Collection[str] = (),
    groups: Sequence[str] = (),
    asked: AskedGraph | None = None,
) -> dict[str, Any]:
    """Return an explained answer as another viewer's JSON, labels and groups included.

    Args:
        atlas: the atlas.
        id: of the graph.
        format: ``circuit-tracer`` or ``neuronpedia``.
        keep: share of the sum of sizes that its nodes carry.
        pins: keys of nodes that are kept besides, with or without the subject.
        groups: ``KEY KEY : NAME`` each, as a page's address has them.
        asked: the answer, where it is not a layer yet.

    Returns:
        dict: ``metadata``, ``qParams``, ``nodes`` and ``links``.

    Raises:
        NotFound: there is no such graph.
        PatchclampError: no such format, or a group without a name or of nodes that the graph has not.
    """
    graph = find_graph(atlas, id, asked)
    named = [_read_group(group) for group in groups]
    members = [key for _, keys in named for key in keys]
    held = full_keys(graph, [*pins, *members])
    pruned = prune(graph, keep, pinned=held)
    full = {node.key.partition("/")[2]: node.key for node in graph.nodes if "/" in node.key}
    rows = [read_node(atlas, node) for node in pruned.nodes]
    shown = replace(graph, nodes=pruned.nodes, edges=pruned.edges)
    return graph_to_json(
        shown,
        format=format,  # type: ignore[arg-type]
        slug=id,
        labels={row.key: row.label for row in rows if row.label},
        groups=[(name, [full.get(key, key) for key in keys]) for name, keys in named],
        pinned=[full.get(key, key) for key in pins],
    )


def _read_group(text: str) -> tuple[str, list[str]]:
    keys, found, name = text.partition(NAMED)
    if not found or not name.strip() or not keys.split():
        raise PatchclampError(
            expected="a group as KEY KEY : NAME", got=repr(text[:80]), remedy="Name its nodes, then the group."
        )
    return name.strip(), [unquote(key) for key in keys.split()]
