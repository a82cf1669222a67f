"""Edges of an explained answer, replaced one by one."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from patchclamp.ablate import Turn
from patchclamp.atlas.lab import messages
from patchclamp.attribute.gradients import make_baseline
from patchclamp.attribute.node_edge_patching import patch_node_edges
from patchclamp.attribute.node_writes import OUTPUT
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import finite
from patchclamp.core.graph import Edge, Graph
from patchclamp.core.unit import UnitKey
from patchclamp.recipes.explained_edges import open_writes
from patchclamp.subjects.cases import ReadCase, ReadTask


def verify_edges(
    model: Any,
    graph: Graph,
    edges: Sequence[messages.EdgeAsked],
    case: ReadCase,
    *,
    turn: Turn = nullcontext,
) -> messages.EdgesVerified:
    """Replace edges of an explained answer one by one: m(x) − m(x with the target reading without the source).

    Args:
        model: the subject that the graph is of.
        graph: the explained answer.
        edges: between its nodes.
        case: what ``case_of`` gives.
        turn: what the forward passes run in.

    Returns:
        messages.EdgesVerified: predicted and measured effect of each.

    Raises:
        PatchclampError: an edge that the graph has not, or one from an error.
        CannotIntervene: a model whose stream is not the sum of what its parts write.

    Source: see ``patch_node_edges``.

    Cost: a row of the target's block and of what follows per edge.
    """
    weights = {(edge.source, edge.target, edge.slot): edge.weight for edge in graph.edges}
    chosen = [Edge(one.source, one.target, 0.0, one.slot) for one in edges]
    for edge in chosen:
        if (edge.source, edge.target, edge.slot) not in weights or edge.source.startswith("error@"):
            raise PatchclampError(
                expected="edges of this answer, from units and inputs",
                got=f"{edge.source} → {edge.target} {edge.slot}".strip()[:200],
                remedy="Choose among its edges; /api/graphs/ID lists them.",
            )
    units = [
        UnitKey.parse(key)
        for edge in chosen
        for key in (edge.source, edge.target)
        if key != OUTPUT and not key.startswith("input@")
    ]
    sites = {unit.site: unit.basis for unit in units}
    with turn():
        baseline = make_baseline(model, list(sites), corrupted=case.counterpart)
        writes = open_writes(model, case, baseline, sites)
        measured = patch_node_edges(writes, chosen, case.metric)
    return messages.EdgesVerified(
        [
            messages.EdgeVerified(e.source, e.target, e.slot, finite(weights[e.source, e.target, e.slot]), finite(m))
            for e, m in zip(chosen, map(float, measured), strict=True)
        ],
        baseline.kind,
    )


def require_one(case: ReadCase | ReadTask) -> ReadCase:
    """Return the one case of an explained answer.

    Raises:
        PatchclampError: cases of a circuit that was found over pairs: its edges have no positions.
    """
    if isinstance(case, ReadTask):
        raise PatchclampError(
            expected="an answer to one prompt, whose edges stand at positions",
            got="a circuit that was found over pairs",
            remedy="`patchclamp circuit find --level edge --method activation_patching` measures its edges.",
        )
    return case
