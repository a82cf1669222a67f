"""Graph: explained answers."""

from dataclasses import dataclass
from typing import Any

from patchclamp.atlas.pages.parts import GraphRow, Source


@dataclass(frozen=True)
class NodeRow:
    """One node of a graph, its ``key`` with a position.

    Args:
        key: its key; ``input@3`` or ``output`` for the ends.
        kind: ``neuron``, ``head``, ``feature``, ``site`` (the whole of one), ``input``, ``output`` or ``error``.
        unit: the atlas's unit, where it has it.
        site: its site; empty for the ends.
        layer: its block; None for what is in none.
        position: where in the prompt; None for what is at none.
        score: predicted effect on the metric.
        measured: what replacing it alone took from the metric, where that was measured.
        value: its activation, where that is known.
    """

    key: str
    kind: str
    unit: str | None
    site: str
    layer: int | None
    position: int | None
    score: float
    measured: float | None
    value: float | None


@dataclass(frozen=True)
class EdgeRow:
    """A directed relation between two shown nodes, by key.

    Args:
        source: where it comes from.
        target: where it goes to.
        weight: how strong it is.
        slot: what the target reads it as: ``q``, ``k`` or ``v`` of a head; empty where it reads one thing.
    """

    source: str
    target: str
    weight: float
    slot: str


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
    source: Source


@dataclass(frozen=True)
class GraphList:
    """All explained answers of the atlas."""

    rows: list[GraphRow]
    total: int
    source: Source
