"""Score the direct edges among a prompt's causes, from its inputs, and to the output."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.attribute.gradients import mean_gradient
from patchclamp.attribute.node_responses import find_loss, respond
from patchclamp.attribute.node_writes import OUTPUT, Change, Place, Writes, place_of_output
from patchclamp.core.arguments import checked
from patchclamp.core.graph import Edge
from patchclamp.core.metric import Metric
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import ROWS
from patchclamp.subjects.memory import run_in_batches
from patchclamp.subjects.residual_edges import measure_stream

STEPS = 10
"""Gauss-Legendre points of the path, as many as nodes are scored with."""
SMALLEST = 0.01
"""An edge below this share of the strongest is near zero: it is not shown by itself, but counts into the error."""
ROUNDING = 1e-4
"""An error below this share of the strongest edge is rounding."""
MEMORY = 64 * 2**20
"""Bytes that changed streams which run together may take."""
_NONE = Change("", -1, 0.0, torch.zeros(0))
_ALL = (_NONE,)
"""Stands for everything that is read, taken out together."""


@dataclass(frozen=True)
class NodeEdges:
    """Hold the direct edges among some nodes of a prompt.

    Args:
        edges: between nodes, from inputs and to the output, strongest first; then of every target and slot the error:
            what the edges before do not hold of ``totals``.
        totals: target and slot to the weight of everything that it reads there, taken together.
    """

    edges: tuple[Edge, ...]
    totals: Mapping[tuple[str, str], float]


@checked
def attribute_node_edges(
    writes: Writes,
    nodes: Sequence[UnitKey],
    metric: Metric,
    *,
    steps: int = STEPS,
    smallest: float = SMALLEST,
    gradients: Mapping[str, Tensor] | None = None,
    progress: Progress | None = None,
) -> NodeEdges:
    r"""Score every direct edge u@p → v@q among nodes, from every input, and to the output.

    weight(u → v) = (v(s) − v(s − u(x) + u(r))) · ∫₀¹ ∂m/∂v at r + α (v − r) dα. s is the residual stream that v reads,
    u(x) − u(r) what u writes to it at p beyond its baseline. v's response to that is computed; what follows v is
    differentiated along the path of v's whole site from its baseline. Positive weights carry m, as positive scores do.
    A neuron or feature of an MLP reads the stream at its own position; a head reads it in three slots, the others being
    as they are: ``q`` at its own position, ``k`` and ``v`` at every one up to it. What several heads share as one key
    counts for each head by that head's response. An input's baseline is the corrupted prompt's, else the mean word's.

    error@q → v is what is left: of every target and slot the weights, the error's included, sum to the weight of
    everything that is read there together: every unit of ``writes.sites``, and every input. It holds what no node
    explains, and what sources do only together: where v needs both of two, each edge carries all of v.

    Args:
        writes: the prompt, its baseline and everything that was scored.
        nodes: units at positions.
        metric: m.
        steps: Gauss-Legendre points of the path.
        smallest: edges below this share of the strongest count into the error.
        gradients: mean gradients of sites that are known already, as ``attribute_nodes`` gives them.
        progress: called with targets done and targets in all, the output among them.

    Returns:
        NodeEdges: edges, and what the edges into each target sum to.

    Raises:
        CannotIntervene: a model whose stream is not the sum of what its parts write, units that do not write to it, or
            a model without gradients.

    Source: EAP-IG over activations, 2403.17806, between single units at positions. Departs from it in computing the
    reader's response, which a gradient misses where attention is hard or a neuron is off, and in weighing points by
    Gauss and Legendre.

    Cost: per site with targets ``steps`` rows forward and backward, restarted at its block, and per source a row of its
    own block; of heads two, and of an output a row of the unembedding.

    Example:
        >>> from patchclamp.ablate import Baseline
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> case = cat.read_case("the old cat", (" sat",), (" ran",))
        >>> writes = Writes(cat, case.clean, None, Baseline("zero"), {"blocks.0.mlp.act": "neurons"})
        >>> node = UnitKey.parse("cat/blocks.0.mlp.act/neurons/7@3")
        >>> for edge in attribute_node_edges(writes, [node], case.metric).edges[:2]:
        ...     print(edge.source, edge.target, round(edge.weight))
        input@3 cat/blocks.0.mlp.act/neurons/7@3 8
        cat/blocks.0.mlp.act/neurons/7@3 output 8
    """
    writes.model.require("differentiate")
    inputs = writes.inputs
    sources = [writes.change_of(node) for node in nodes]
    sources += [Change(f"input@{i}", i, -1.0, delta) for i, delta in enumerate(inputs)]
    rest = writes.changes_of_sites()
    found: list[_Weight] = []
    done = 0
    known = gradients or {}
    where = {str(node): int(node.position or 0) for node in nodes}
    by_site = sorted(nodes, key=lambda node: (node.site, node.basis))
    for (path, basis), group in groupby(by_site, key=lambda node: (node.site, node.basis)):
        own = list(group)
        place = writes.place(own[0])
        x = writes.clean[path]
        g = known.get(path)
        if g is None:
            g = mean_gradient(writes.model, [writes.shown], metric, path, basis, x, writes.baseline, steps)
        rows = list(_rows(writes, path, place, own, sources, _all_read(place, inputs, rest)))
        for node in own:
            found += _weights(writes, node, rows, g)
            done += 1
            if progress is not None:
                progress(done, len(nodes) + 1)
    found += _to_output(writes, sources, _all_read(place_of_output(writes.graph), inputs, rest), metric)
    if progress is not None:
        progress(len(nodes) + 1, len(nodes) + 1)
    where[OUTPUT] = max(p if p >= 0 else len(inputs) + p for p in metric.positions)
    return _edges(found, where, smallest)


class _Weight(NamedTuple):
    source: str
    """Empty for everything together."""
    target: str
    slot: str
    weight: float


class _Row(NamedTuple):
    """A changed stream: who was taken out of it, by which slot it was read, and what the site then does."""

    taken: Sequence[Change]
    """A change without a key is everything together."""
    slot: str
    values: Float[Tensor, "position width"]


def _all_read(
    place: Place, inputs: Float[Tensor, "position d_model"], rest: Sequence[tuple[float, Tensor]]
) -> Float[Tensor, "position d_model"]:
    """Return the whole change of the stream that is read at a place: every input's and every scored unit's before."""
    whole = inputs.clone()
    for at, delta in rest:
        if at < place.reads:
            whole += delta
    return whole


def _rows(
    writes: Writes,
    path: str,
    place: Place,
    own: Sequence[UnitKey],
    sources: Sequence[Change],
    whole: Float[Tensor, "position d_model"],
) -> Iterator[_Row]:
    """Yield what a site does with every source taken out of what it reads, and with everything taken out."""
    at = {int(node.position or 0) for node in own}
    before = [s for s in sources if s.writes < place.reads and bool(s.delta.any())]
    everyone: list[Sequence[Change]] = [(s,) for s in before if s.position <= max(at)]
    here = _pack([s for s in before if s.position in at])
    split = [(here, [s for s in place.slots if _own_place(path, s)])]
    split += [(everyone, [s for s in place.slots if not _own_place(path, s)])]
    # What is read as key and as value stands side by side: it is projected once.
    plans = [(taken, slot) for rows, slots in split for taken in (*rows, _ALL) for slot in slots]
    stream = upcast(writes.stream(place.stream))
    at_once = max(1, MEMORY // (16 * stream.numel()))

    def run(first: int, end: int) -> list[_Row]:
        some = plans[first:end]
        different = list({id(taken): taken for taken, _ in some}.values())
        streams = stream.repeat(len(different), 1, 1)
        for row, taken in zip(streams, different, strict=True):
            for change in taken:
                if change is _NONE:
                    row -= whole
                else:
                    row[change.position] -= change.delta
        number = {id(taken): i for i, taken in enumerate(different)}
        values = respond(writes, path, place, streams, [(number[id(taken)], slot) for taken, slot in some])
        return [_Row(taken, slot, x) for (taken, slot), x in zip(some, values, strict=True)]

    for rows in run_in_batches(len(plans), at_once, run):
        yield from rows


def _own_place(path: str, slot: str) -> bool:
    """Say whether what stands at a position reads the stream at that position only."""
    return slot == "q" or (not slot and ".attn." not in path)


def _pack(sources: Sequence[Change]) -> list[Sequence[Change]]:
    """Return the sources as rows of at most one at each position: what reads its own position tells them apart."""
    rows: list[list[Change]] = []
    used: dict[int, int] = {}
    for source in sources:
        row = used.get(source.position, 0)
        used[source.position] = row + 1
        if row == len(rows):
            rows.append([])
        rows[row].append(source)
    return [tuple(row) for row in rows]


def _weights(
    writes: Writes, node: UnitKey, rows: Sequence[_Row], g: Float[Tensor, "position width"]
) -> Iterator[_Weight]:
    """Yield the weight of every source into a node."""
    q = int(node.position or 0)
    effects = find_loss(writes, node, torch.stack([row.values[q] for row in rows])) @ upcast(g[q])  # (row,)
    for row, effect in zip(rows, effects.double().cpu().tolist(), strict=True):
        for change in row.taken:
            past = not _own_place(node.site, row.slot) and change.position < q
            if change is _NONE or change.position == q or past:
                yield _Weight(change.key, str(node), row.slot, effect)


def _to_output(
    writes: Writes, sources: Sequence[Change], whole: Float[Tensor, "position d_model"], metric: Metric
) -> Iterator[_Weight]:
    """Yield m(x) − m(x with the logits alone reading the stream without one source), of every source, and of all."""
    reads = {p if p >= 0 else len(whole) + p for p in metric.positions}
    stream = upcast(writes.stream(writes.graph.stream(None)))
    own = [s for s in sources if s.position in reads and bool(s.delta.any())]
    # The stream as it is, and without anything.
    whole_rows = [(slice(None), torch.zeros_like(whole)), (slice(None), whole)]
    taken = [*whole_rows, *((slice(s.position, s.position + 1), s.delta[None]) for s in own)]

    def run(first: int, end: int) -> list[float]:
        streams = stream.repeat(end - first, 1, 1)
        for row, (at, delta) in zip(streams, taken[first:end], strict=True):
            row[at] -= delta
        shown = [writes.shown] * len(streams)
        measured: list[float] = measure_stream(writes.model, writes.graph, shown, metric, streams).double().tolist()
        return measured

    m, without, *each = chain.from_iterable(run_in_batches(len(taken), ROWS, run))
    yield _Weight("", OUTPUT, "", m - without)
    for change, value in zip(own, each, strict=True):
        yield _Weight(change.key, OUTPUT, "", m - value)


def _edges(found: Sequence[_Weight], where: Mapping[str, int], smallest: float) -> NodeEdges:
    """Return the edges that are large enough, strongest first, and the errors."""
    totals = {(w.target, w.slot): w.weight for w in found if not w.source}
    strongest = max((abs(w.weight) for w in found if w.source), default=0.0)
    least = smallest * strongest
    shown = [Edge(w.source, w.target, w.weight, w.slot) for w in found if w.source and abs(w.weight) > least]
    left = dict(totals)
    for edge in shown:
        left[edge.target, edge.slot] -= edge.weight
    errors = [
        Edge(f"error@{where[target]}", target, weight, slot)
        for (target, slot), weight in left.items()
        if abs(weight) > ROUNDING * strongest
    ]
    return NodeEdges((*sorted(shown, key=lambda edge: -abs(edge.weight)), *errors), totals)
