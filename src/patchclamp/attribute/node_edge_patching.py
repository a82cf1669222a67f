"""Measure single edges of a prompt: the target alone reads the stream without what the source wrote."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float

from patchclamp.attribute.node_responses import find_loss, respond
from patchclamp.attribute.node_writes import OUTPUT, Change, Writes
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Edge
from patchclamp.core.metric import Metric
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.memory import run_in_batches
from patchclamp.subjects.residual_edges import measure_stream, set_rows

ROWS = 32
"""Edges that are measured at once."""


@checked
def patch_node_edges(
    writes: Writes, edges: Sequence[Edge], metric: Metric, *, progress: Progress | None = None
) -> Float[np.ndarray, " edge"]:
    """Measure what each edge carries: m(x) − m(x with the target reading the stream without the source’s change).

    The target's own value becomes what it makes of that; everything after the target is computed anew, and every other
    reader of the source reads it as it was.

    Args:
        writes: the prompt and its baseline.
        edges: between units at positions, from inputs, and to the output; an edge into a head names its slot.
        metric: m.
        progress: called with edges measured and edges in all.

    Returns:
        ``(edge,)`` in units of m.

    Raises:
        PatchclampError: an edge from an error, an input or unit that is not there, a target that does not read it, or
            no such slot.
        CannotIntervene: units that do not write to the stream.

    Source: path patching, 2304.05969, over single edges between units at positions.

    Cost: per edge a row of the target's block, and a row from there on.

    Example:
        >>> from patchclamp.ablate import Baseline
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> case = cat.read_case("the old cat", (" sat",), (" ran",))
        >>> writes = Writes(cat, case.clean, None, Baseline("zero"), {"blocks.0.mlp.act": "neurons"})
        >>> edge = Edge("input@3", "cat/blocks.0.mlp.act/neurons/7@3", 0.0)
        >>> patch_node_edges(writes, [edge], case.metric).round(1).tolist()
        [8.0]
    """
    sources = [_source(writes, edge) for edge in edges]
    effects, done = np.zeros(len(edges)), 0
    clean = float(writes.model.measure([writes.shown], metric)[0])

    def where(i: int) -> tuple[str, str]:
        if edges[i].target == OUTPUT:
            return OUTPUT, ""
        node = UnitKey.parse(edges[i].target)
        return node.site, node.basis

    for (path, _), group in groupby(sorted(range(len(edges)), key=where), key=where):
        own = list(group)
        effects[own] = clean - _measure(writes, metric, path, [edges[i] for i in own], [sources[i] for i in own])
        done += len(own)
        if progress is not None:
            progress(done, len(edges))
    return effects


def _measure(writes: Writes, metric: Metric, path: str, edges: Sequence[Edge], sources: Sequence[Change]) -> np.ndarray:
    """Return m without each of some edges into one site, or to the output."""

    def run(first: int, end: int) -> np.ndarray:
        if path == OUTPUT:
            return _without(writes, metric, sources[first:end])
        return _patch(writes, metric, edges[first:end], sources[first:end])

    return np.concatenate(list(run_in_batches(len(edges), ROWS, run)))


def _source(writes: Writes, edge: Edge) -> Change:
    """Return what an edge's source writes, where its target reads it."""
    begin, _, at = edge.source.partition("@")
    if begin == "input" and at.isdigit() and int(at) < len(writes.inputs):
        source = Change(edge.source, int(at), -1.0, writes.inputs[int(at)])
    else:
        source = writes.change_of(_unit(writes, edge.source))
    if edge.target == OUTPUT:
        return source
    node = _unit(writes, edge.target)
    place = writes.place(node)
    if edge.slot not in place.slots or not source.writes < place.reads:
        raise PatchclampError(
            expected="an edge whose target reads its source" + (", with its slot" if len(place.slots) > 1 else ""),
            got=f"{edge.source} → {edge.target} {edge.slot}".strip(),
            remedy="A unit reads what earlier blocks wrote; a head reads it as q, k or v.",
        )
    return source


def _unit(writes: Writes, key: str) -> UnitKey:
    node = UnitKey.parse(key)
    strange = node.subject not in (None, writes.model.name) or node.site not in writes.sites
    if strange or node.position is None or node.position >= len(writes.shown):
        raise PatchclampError(
            expected="units of this answer at positions of its prompt, inputs and the output",
            got=key[:120],
            remedy="Choose among the edges of its graph; an error cannot be replaced.",
        )
    return node


def _without(writes: Writes, metric: Metric, sources: Sequence[Change]) -> np.ndarray:
    streams = _streams(writes, writes.graph.stream(None), sources)
    shown = [writes.shown] * len(sources)
    return measure_stream(writes.model, writes.graph, shown, metric, streams).double().cpu().numpy()


def _streams(writes: Writes, path: str, sources: Sequence[Change]) -> torch.Tensor:
    """Return a stream without one source's change, a row for each."""
    streams = upcast(writes.stream(path)).repeat(len(sources), 1, 1)
    for row, source in zip(streams, sources, strict=True):
        row[source.position] -= source.delta
    return streams


def _patch(writes: Writes, metric: Metric, edges: Sequence[Edge], sources: Sequence[Change]) -> np.ndarray:
    """Return m with each edge's target as it is where it alone reads the changed stream."""
    model, nodes = writes.model, [UnitKey.parse(edge.target) for edge in edges]
    place, path, n = writes.place(nodes[0]), nodes[0].site, len(edges)
    streams = _streams(writes, place.stream, sources)
    there = respond(writes, path, place, streams, [(i, edge.slot) for i, edge in enumerate(edges)])
    values = upcast(writes.clean[path]).repeat(n, 1, 1)
    for row, node, other in zip(values, nodes, there, strict=True):
        row[node.position] -= find_loss(writes, node, other[None, node.position])[0]
    restart = None
    if place.layer:
        entry = writes.stream(writes.graph.stream(place.layer))
        restart = Restart(place.layer, entry.expand(n, -1, -1))
    changes = [set_rows(path, values.to(model.dtype))]
    m = model.measure([writes.shown] * n, metric, interventions=changes, restart=restart)
    return upcast(m).double().cpu().numpy()
