"""The explained answers of an atlas, and one of them as nodes and edges."""

import json
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import Response

from patchclamp.atlas.lab.asked_graphs import PREFIX, AskedGraph
from patchclamp.atlas.read.graph_picture import GraphPicture, NodePlaceView, graph_picture, graph_png, node_places
from patchclamp.atlas.read.graph_pruning import MOST_NODES, prune
from patchclamp.atlas.read.graph_row import graph_row
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none, page_of
from patchclamp.atlas.read.responses import GraphRow, Source
from patchclamp.atlas.serve.png_response import PngResponse
from patchclamp.atlas.serve.served import Served
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph, Node
from patchclamp.core.plain_names import name_site, name_unit
from patchclamp.core.receipt import RULE
from patchclamp.core.unit import UnitKey

MOST_PINS = 100
_AT = re.compile(r"@([0-9]{1,9})$")
_BLOCK = re.compile(r"(?:^|\.)blocks\.([0-9]{1,6})(?:\.|$)")


@dataclass(frozen=True)
class NodeRow:
    """One node of a graph, its ``key`` with a position.

    Args:
        key: its key; ``input@3`` or ``output`` for the ends.
        name: what it is, in words.
        label: what it is known for, in a few words; empty where nothing is.
        kind: ``neuron``, ``head``, ``feature``, ``site`` (the whole of one), ``input``, ``output`` or ``error``.
        unit: the atlas's unit, where it has it.
        site: its site; empty for the ends.
        layer: its block; None for what is in none.
        position: where in the prompt; None for what is at none.
        score: predicted effect on the metric.
        measured: what replacing it alone took from the metric, where that was measured.
        value: its activation, where that is known.
        baseline: the value that replaced it, where that is known; of a head the norm.
        place: where it lies on the picture that the answer is about; None where it lies nowhere.
    """

    key: str
    name: str
    label: str
    kind: str
    unit: str | None
    site: str
    layer: int | None
    position: int | None
    score: float
    measured: float | None
    value: float | None
    baseline: float | None
    place: NodePlaceView | None


@dataclass(frozen=True)
class EdgeRow:
    """A directed relation between two shown nodes, by key.

    Args:
        source: where it comes from.
        target: where it goes to.
        weight: how strong it is.
        slot: what the target reads it as: ``q``, ``k`` or ``v`` of a head; empty where it reads one thing.
        measured: what replacing it alone took from the metric, where that was measured.
    """

    source: str
    target: str
    weight: float
    slot: str
    measured: float | None


@dataclass(frozen=True)
class GraphPage:
    """An explained answer as nodes and edges.

    Args:
        graph: the row.
        nodes: the largest scores first: the fewest that carry the share asked for, never more than a page holds;
            inputs, outputs and errors always.
        edges: those between shown nodes, the largest weights first, as many as a page holds.
        total: nodes in all.
        total_edges: edges in all.
        kept: share of the sum of |scores| that the shown nodes carry, inputs, outputs and errors left out.
        tokens: the prompt's tokens as text, for the columns; empty where the graph does not say.
        layers: blocks of the model, for the rows; None where not known.
        notice: what was cut because the graph is larger than a page; empty where nothing was.
        measures: baseline, completeness and other numbers of the whole.
        subject: slug and hash of the model.
        explains: the explained number, as ``Metric.to_json`` gives it.
        about: prompt, method, seeds, as the graph has them.
        rule: what the words of its verdict mean; empty without one.
        picture: the picture that it is about; None of a text.
        source: where this page comes from.
    """

    graph: GraphRow
    nodes: list[NodeRow]
    edges: list[EdgeRow]
    total: int
    total_edges: int
    kept: float | None
    tokens: list[str]
    layers: int | None
    notice: str
    measures: dict[str, float]
    subject: dict[str, str]
    explains: dict[str, Any]
    about: dict[str, Any]
    rule: str
    picture: GraphPicture | None
    source: Source


@dataclass(frozen=True)
class GraphList:
    """All explained answers of the atlas."""

    rows: list[GraphRow]
    total: int
    source: Source


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of the explained answers."""

    @app.get("/api/graphs", operation_id="listGraphs")
    def list_graphs() -> GraphList:
        """List the explained answers."""
        return graph_list(served.atlas(), served.list_asked())

    @app.get("/api/graphs/{id}", operation_id="readGraph")
    def read_graph(
        id: str,
        keep: Annotated[float, Query(ge=0, le=1)] = 1.0,
        max_nodes: Annotated[int, Query(ge=1, le=MOST_NODES)] = MOST_NODES,
        pin: Annotated[list[str] | None, Query(max_length=MOST_PINS)] = None,
    ) -> GraphPage:
        """Read an explained answer, its largest nodes first: the fewest that carry ``keep`` of the sum of sizes."""
        return graph_page(served.atlas(), id, keep, max_nodes, pin or (), asked_graph(served, id))

    @app.get("/api/graphs/{id}/picture.png", operation_id="readGraphPicture", response_class=PngResponse)
    def read_graph_picture(id: str) -> Response:
        """Read the picture that an answer is about, as its graph holds it."""
        return PngResponse(graph_png(id, find_graph(served.atlas(), id, asked_graph(served, id))))


def asked_graph(served: Served, id: str) -> AskedGraph | None:
    """Return the answer that was explained on this server, where an id is one's; None of a layer's.

    Raises:
        NotFound: it was made too long ago.
    """
    return served.lab.asked.find(id) if id.startswith(PREFIX) and served.lab is not None else None


@page_of
def graph_list(atlas: Reading, asked: Sequence[AskedGraph] = ()) -> GraphList:
    """Return the explained answers, first those that were explained from the page and are not kept yet."""
    rows = [graph_row(one.id, one.graph, kept=False) for one in asked]
    rows += [graph_row(layer.id, layer.graph) for layer in atlas.layers if layer.graph]
    return GraphList(rows, len(rows), atlas.source(".graphs()"))


@page_of
def graph_page(
    atlas: Reading,
    id: str,
    keep: float,
    max_nodes: int,
    pins: Collection[str] = (),
    asked: AskedGraph | None = None,
) -> GraphPage:
    """Return an explained answer, its largest nodes first: the fewest that carry ``keep`` of the sum of sizes.

    Nodes that are pinned, by key with or without the subject, are shown besides.

    Returns:
        GraphPage: nodes, edges and measures, and how many nodes pruning hides.

    Raises:
        NotFound: there is no such layer.
    """
    graph = find_graph(atlas, id, asked)
    pruned = prune(graph, keep, pinned=full_keys(graph, pins), max_nodes=max_nodes)
    about = _as_json({name: value for name, value in graph.about.items() if name != "picture"})
    places = node_places(graph)
    tokens, layers = about.get("tokens"), about.get("layers")
    return GraphPage(
        graph=graph_row(id, graph, kept=asked is None),
        nodes=[read_node(atlas, node, places.get(node.key)) for node in pruned.nodes],
        edges=[
            EdgeRow(e.source, e.target, _number(e.weight), e.slot, number_or_none(e.measured)) for e in pruned.edges
        ],
        total=len(graph.nodes),
        total_edges=len(graph.edges),
        kept=number_or_none(pruned.kept),
        tokens=tokens if isinstance(tokens, list) and all(isinstance(t, str) for t in tokens) else [],
        layers=layers if type(layers) is int and layers > 0 else None,
        notice=pruned.notice,
        measures={name: x for name, value in graph.measures.items() if (x := number_or_none(value)) is not None},
        subject={str(name): str(value) for name, value in graph.subject.items()},
        explains=_as_json(graph.metric),
        about=about,
        rule=RULE if about.get("grade") else "",
        picture=graph_picture(atlas, id, graph),
        source=atlas.source(f".graph({id!r}, keep={keep:g})", id)
        if asked is None
        else Source("", asked.run.command, asked.python),
    )


def find_graph(atlas: Reading, id: str, asked: AskedGraph | None = None) -> Graph:
    """Return an explained answer whole.

    Returns:
        Graph: of a layer, or one that was explained from the page.

    Raises:
        NotFound: there is no such layer.
    """
    kept = next((layer.graph for layer in atlas.layers if layer.id == id and layer.graph), None)
    graph = kept if asked is None else asked.graph
    if graph is None:
        raise NotFound(expected="a graph of this atlas", got=repr(id[:80]), remedy=_name_graphs(atlas))
    return graph


def _name_graphs(atlas: Reading) -> str:
    """Return which graphs there are, in a sentence."""
    ids = [layer.id for layer in atlas.layers if layer.graph]
    if not ids:
        return "It has none yet: `patchclamp explain … --atlas ATLAS` adds one."
    return f"It has {', '.join(ids[:3])}{f' and {len(ids) - 3} more' if len(ids) > 3 else ''}."


def full_keys(graph: Graph, keys: Collection[str]) -> list[str]:
    """Return the keys of the nodes that are named with or without their subject, in the graph's order."""
    return [node.key for node in graph.nodes if node.key in keys or node.key.partition("/")[2] in keys]


def read_node(atlas: Reading, node: Node, place: NodePlaceView | None = None) -> NodeRow:
    """Return a node as a row, with what the atlas knows of its unit.

    Args:
        atlas: the atlas.
        node: the node.
        place: where it lies on a picture, if it does.

    Returns:
        NodeRow: the row.
    """
    unit, site, layer = None, "", None
    at = _AT.search(node.key)
    try:
        parsed = UnitKey.parse(node.key)
    except PatchclampError:  # an input or an output
        pass
    else:
        site = parsed.site
        block = _BLOCK.search(site)
        layer = int(block[1]) if block else None
        with suppress(NotFound):  # a head, an error, or a site that was not baked
            unit = str(atlas.key(atlas.index_of(str(parsed.without_place()))))
    return NodeRow(
        key=node.key,
        name=_name(node, site),
        label=atlas.label(unit, node.measures.get("activation")) if unit else "",
        kind=node.kind,
        unit=unit,
        site=site,
        layer=layer,
        position=int(at[1]) if at else None,
        score=_number(node.score),
        measured=number_or_none(node.measures.get("measured")),
        value=number_or_none(node.measures.get("activation")),
        baseline=number_or_none(node.measures.get("baseline")),
        place=place,
    )


def _name(node: Node, site: str) -> str:
    if node.kind == "error":
        return f"{name_site(site)}, error" if site else "Error"
    return name_unit(node.key)


def _number(x: float) -> float:
    return number_or_none(x) or 0.0


def _as_json(data: Any) -> Any:
    """Return data as JSON has it: what is no number in it is None."""
    return json.loads(json.dumps(dict(data)), parse_constant=lambda _: None)
