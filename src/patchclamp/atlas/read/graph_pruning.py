"""An explained answer cut down to what a page can show, and what was cut said."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from patchclamp.core.graph import Edge, Graph, Node

MOST_NODES, MOST_EDGES = 1500, 6000
"""What a page draws within a second."""
ENDS = frozenset({"input", "output", "error"})
"""Kinds that stand for what goes in, what comes out and what no unit explains; pruning leaves them."""
# Sums of the same numbers in another order differ in their last digits.
_ROUNDING = 1 - 1e-12


@dataclass(frozen=True)
class Pruned:
    """The part of a graph that is shown.

    Args:
        nodes: the largest |scores| first.
        edges: between them, the largest |weights| first.
        kept: share of Σ |score| that they carry, ends left out; None where there is nothing to share.
        notice: what was cut beyond what was asked; empty where nothing was.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    kept: float | None
    notice: str


def prune(
    graph: Graph,
    keep: float,
    *,
    pinned: Collection[str] = (),
    max_nodes: int = MOST_NODES,
    max_edges: int = MOST_EDGES,
) -> Pruned:
    r"""Keep the fewest nodes whose sizes sum to a share of the whole, and the edges between them.

    The nodes are sorted by size, s₁ ≥ s₂ ≥ …; kept are the first n with Σ_{i ≤ n} |sᵢ| ≥ keep · Σ |s|, so a lower
    share never shows a node that a higher one hides. Inputs, outputs and errors are always shown and count in neither
    sum; they take up to half of ``max_nodes``, and more where the others leave room. Pinned nodes are shown besides the
    n, and count in what is kept.

    Args:
        graph: the graph.
        keep: the share, 0 to 1; 1 shows what has no size too.
        pinned: keys of nodes that are shown whatever their scores.
        max_nodes: most nodes.
        max_edges: most edges.

    Returns:
        Pruned: nodes, edges, the share that they carry, and what was cut because of the limits.

    Cost: sorting nodes and edges: 0.1 s for 20,000 nodes and 100,000 edges.

    Example:
        >>> graph = Graph({}, {}, (Node("a", "neuron", 3.0), Node("b", "neuron", 1.0), Node("output", "output", 9.0)))
        >>> [node.key for node in prune(graph, 0.75).nodes]
        ['output', 'a']
    """
    ranked = sorted(graph.nodes, key=lambda node: -_size(node.score))
    ends = [node for node in ranked if node.kind in ENDS]
    inner = [node for node in ranked if node.kind not in ENDS]
    whole = sum(_size(node.score) for node in inner)
    wanted = len(inner) if keep >= 1 else _fewest(inner, keep * whole * _ROUNDING)
    shown_ends = ends[: max((max_nodes + 1) // 2, max_nodes - len(inner))]
    room = max_nodes - len(shown_ends)
    keys = set(pinned)
    held = [node for node in inner if node.key in keys][:room]
    others = [node for node in inner[:wanted] if node.key not in keys][: room - len(held)]
    shown = [*held, *others]
    kept = sum(_size(node.score) for node in shown) / whole if whole else None
    nodes = sorted([*shown_ends, *shown], key=lambda node: -_size(node.score))
    drawn = {node.key for node in nodes}
    between = [edge for edge in graph.edges if edge.source in drawn and edge.target in drawn]
    between.sort(key=lambda edge: -_size(edge.weight))
    said = []
    if (of_wanted := len(others) + sum(node.key in keys for node in inner[:wanted])) < wanted:
        said.append(f"{wanted:,} nodes carry the share asked for: the {of_wanted:,} largest are shown.")
    if len(shown_ends) < len(ends):
        said.append(f"{len(ends):,} are inputs, outputs or errors: the {len(shown_ends):,} largest are shown.")
    if len(between) > max_edges:
        said.append(f"{len(between):,} edges run between shown nodes: the {max_edges:,} largest are shown.")
    return Pruned(tuple(nodes), tuple(between[:max_edges]), kept, " ".join(said))


def _size(x: float) -> float:
    return abs(x) if math.isfinite(x) else 0.0


def _fewest(nodes: Sequence[Node], least: float) -> int:
    total = 0.0
    for n, node in enumerate(nodes):
        if total >= least:
            return n
        total += _size(node.score)
    return len(nodes)
