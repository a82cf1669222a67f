"""Edges of an explained answer: among its causes, from its inputs and to the output; the strongest are measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from patchclamp.ablate import Baseline
from patchclamp.attribute.node_edge_patching import ROWS, patch_node_edges
from patchclamp.attribute.node_edges import SMALLEST, STEPS, attribute_node_edges
from patchclamp.attribute.node_writes import COUNTERPART, MEAN_WORD, OUTPUT, Writes
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Edge, Node
from patchclamp.core.metric import Metric
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.memory import run_in_batches
from patchclamp.subjects.model import Model
from patchclamp.subjects.residual_edges import edge_map, require_edges

N_MEASURED = 10
"""Edges that are measured by default, the strongest first."""
NOT_ASKED = "none were asked for"


@dataclass(frozen=True)
class ExplainedEdges:
    """Hold the edges of an explained answer.

    Args:
        edges: between its nodes; without a residual stream from every node to the output alone.
        ends: nodes of inputs and errors that they name.
        about: ``kind``: ``direct``, what the source adds to what the target reads; or ``total``, a node's whole effect,
            with the reason ``why`` nothing else is known. Of direct ones how they were scored, and how many measured.
    """

    edges: tuple[Edge, ...]
    ends: tuple[Node, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def find_edges(
    model: Model,
    case: ReadCase,
    scores: Scores,
    nodes: Sequence[UnitKey],
    baseline: Baseline,
    n_measured: int,
    gradients: Mapping[str, Tensor] | None = None,
    progress: Progress | None = None,
) -> ExplainedEdges:
    """Find the edges among an answer's causes and opponents, and measure the strongest.

    Nodes whose score is near zero, below one hundredth of the largest, have no edges.

    Args:
        model: the subject.
        case: the prompt, its counterpart and m.
        scores: of every unit.
        nodes: causes and opponents.
        baseline: r of every site.
        n_measured: how many edges are measured; none at all are sought for 0.
        gradients: mean gradients of sites that are known already.
        progress: called with nodes and measured edges done, and those in all.

    Returns:
        ExplainedEdges: direct edges; or total ones with the reason.

    Source: see ``attribute_node_edges``, and ``patch_node_edges`` for what is measured.

    Cost: theirs, and a row of a forward pass per input that has an edge.
    """
    sites = {block.site: block.basis for block in scores.units.blocks}
    why = "" if n_measured else NOT_ASKED
    writes = None
    if n_measured:
        try:
            writes = open_writes(model, case, baseline, sites)
            for node in nodes:
                writes.place(node)
        except PatchclampError as problem:
            why = f"{problem.got}: {problem.remedy}"
    if writes is None or why:
        edges = tuple(Edge(str(node), OUTPUT, scores.score(node)) for node in nodes)
        return ExplainedEdges(edges, about={"kind": "total", "why": why})
    least = SMALLEST * max(abs(scores.score(node)) for node in nodes)
    own = [node for node in nodes if abs(scores.score(node)) >= least]
    total = len(own) + 1 + n_measured  # fewer edges than asked for are measured where there are no more
    found = attribute_node_edges(
        writes, own, case.metric, gradients=gradients, progress=progress and (lambda done, _: progress(done, total))
    )
    edges = measure_edges(
        writes, found.edges, case.metric, n_measured,
        progress=progress and (lambda done, of: progress(total - of + done, total)),
    )  # fmt: skip
    return ExplainedEdges(
        edges,
        (*_inputs(writes, edges, case.metric), *_errors(edges)),
        {
            "kind": "direct",
            "method": "eap_ig",
            "steps": STEPS,
            "smallest": SMALLEST,
            "inputs": MEAN_WORD if case.counterpart is None else COUNTERPART,
            "measured": sum(edge.measured is not None for edge in edges),
        },
    )


def open_writes(model: Any, case: ReadCase, baseline: Baseline, sites: Mapping[str, str]) -> Writes:
    """Return one prompt's units as writers to the residual stream.

    Args:
        model: the subject.
        case: the prompt and its counterpart.
        baseline: r of every site.
        sites: site to basis of the units.

    Returns:
        Writes: nothing is run yet.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat, site = load("organism:cat"), "blocks.0.mlp.act"
        >>> case = cat.read_case("the old cat", (" sat",), (" ran",))
        >>> writes = open_writes(cat, case, Baseline("zero"), {site: "neurons"})
        >>> edge = Edge("input@3", f"cat/{site}/neurons/7@3", 8.0)
        >>> [round(one.measured or 0.0, 1) for one in measure_edges(writes, [edge], case.metric, 1)]
        [8.0]

    Raises:
        PatchclampError: no language model, or one whose stream is not the sum of what its parts write.
    """
    language = require_edges(model)
    edge_map(language)
    language.require("differentiate")
    shown: Any = case.clean
    other: Any = case.counterpart
    return Writes(language, shown, other, baseline, sites)


@checked
def measure_edges(
    writes: Writes, edges: Sequence[Edge], metric: Metric, most: int, *, progress: Progress | None = None
) -> tuple[Edge, ...]:
    """Return edges with the measured effect of the strongest; see ``patch_node_edges``.

    Args:
        writes: the prompt.
        edges: of which those from an error cannot be measured.
        metric: m.
        most: how many.
        progress: called with edges measured and edges in all.

    Returns:
        tuple[Edge, ...]: in the same order.

    Example:
        See ``open_writes``.
    """
    real = [i for i, edge in enumerate(edges) if not edge.source.startswith("error@")]
    strongest = sorted(real, key=lambda i: -abs(edges[i].weight))[:most]
    effects = patch_node_edges(writes, [edges[i] for i in strongest], metric, progress=progress)
    measured = dict(zip(strongest, map(float, effects), strict=True))
    return tuple(replace(edge, measured=measured.get(i)) for i, edge in enumerate(edges))


def _inputs(writes: Writes, edges: Sequence[Edge], metric: Metric) -> list[Node]:
    """Return the inputs that have edges; their score is measured: m(x) − m(x with the reference in their place)."""
    named = sorted({int(e.source.partition("@")[2]) for e in edges if e.source.startswith("input@")})
    model, first = writes.model, writes.stream(writes.graph.stream(0))
    clean = float(model.measure([writes.shown], metric)[0])

    def run(start: int, end: int) -> list[float]:
        some = named[start:end]
        rows = first.repeat(len(some), 1, 1)
        rows[torch.arange(len(some)), some] = writes.reference[some].to(rows)
        m = model.measure([writes.shown] * len(some), metric, restart=Restart(0, rows))
        measured: list[float] = (clean - upcast(m).double()).tolist()
        return measured

    effects = list(chain.from_iterable(run_in_batches(len(named), ROWS, run)))
    return [Node(f"input@{i}", "input", effect, {"measured": effect}) for i, effect in zip(named, effects, strict=True)]


def _errors(edges: Sequence[Edge]) -> list[Node]:
    """Return the errors; the score of one is the sum of its edges."""
    sums: dict[str, float] = {}
    for edge in edges:
        if edge.source.startswith("error@"):
            sums[edge.source] = sums.get(edge.source, 0.0) + edge.weight
    return [Node(key, "error", score) for key, score in sums.items()]
