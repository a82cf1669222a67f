"""Graph: explained answers."""

from dataclasses import dataclass

from patchclamp.atlas.pages.parts import GraphRow, Source


@dataclass(frozen=True)
class NodeRow:
    """One node of a graph, its ``key`` with a position; ``unit`` is the atlas's unit, where it has it."""

    key: str
    kind: str
    unit: str | None
    score: float
    measured: float | None
    value: float | None


@dataclass(frozen=True)
class GraphPage:
    """An explained answer as a list of nodes.

    Args:
        graph: the row.
        nodes: the largest scores first, as many as were asked for.
        total: nodes in all.
        kept: share of the sum of |scores| that the shown nodes carry.
        measures: baseline, completeness and other numbers of the whole.
        source: where this page comes from.
    """

    graph: GraphRow
    nodes: list[NodeRow]
    total: int
    kept: float | None
    measures: dict[str, float]
    source: Source


@dataclass(frozen=True)
class GraphList:
    """All explained answers of the atlas."""

    rows: list[GraphRow]
    total: int
    source: Source
