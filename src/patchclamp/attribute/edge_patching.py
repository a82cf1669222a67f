"""Measure every edge by giving its reader alone the other prompt's value of its writer."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.attribute.direction import check_one_length, orient
from patchclamp.attribute.provenance import scores_over
from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.metric import Metric
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Keep, Progress, keep_nothing
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.pass_memory import count_forward_bytes
from patchclamp.subjects.residual_edges import (
    Writes,
    edge_map,
    measure_stream,
    mlp_writes,
    project_qkv,
    set_rows,
    writes_of,
)

ROWS = 128


def patch_edges(
    model: LanguageModel,
    cases: ReadTask,
    *,
    direction: str = "noise",
    by_position: bool = False,
    batch_size: int = ROWS,
    progress: Progress | None = None,
    keep: Keep = keep_nothing,
) -> Scores:
    """Measure the effect of every edge u → v on m: v alone reads u as it is under the other prompt.

    noise: m(x) − m(x with v reading u(x′)); denoise: m(x′ with v reading u(x)) − m(x′). Everything that follows from v
    is computed anew; u itself, and every other reader of u, stay as they are. A head's u is what ``writes_of`` says.

    Args:
        model: a language model whose writers add to one stream.
        cases: prompts x with counterparts x′, and m of each.
        direction: which run is patched into: ``noise`` x, ``denoise`` x′.
        by_position: measure every position by itself; all pairs must be of one length.
        batch_size: rows of one forward pass.
        progress: called with edges done and edges in all, times positions where these are measured apart.
        keep: where the effects of every pair are kept as soon as they are known, such as ``Bundle.once``.

    Returns:
        Scores: of every edge, ``(edge,)`` means over cases and ``(case, edge)`` in units of m; all positions patched at
            once, or ``(case, edge · position)`` by position.

    Raises:
        PatchclampError: an unknown direction, or pairs of several lengths by position.
        CannotIntervene: a model without such edges.

    Source: path patching, 2304.05969, over single edges as in 2310.10348. Departs from them in patching into the clean
    run by default.

    Cost: per pair and edge a forward pass that begins at the reader's block, and per block its projections (or its
    MLP) once for every writer before; by position all of it for each. Memory of ``batch_size``
    rows.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> scores = patch_edges(cat, cat.read(task))
        >>> str(scores.top(1)[0]), round(float(scores.values.max()), 1)
        ('cat/embed/whole/0->cat/blocks.0.mlp.pre/whole/0', 8.0)
    """
    ends, sign = orient(cases, direction)
    graph = edge_map(model)
    n_places = check_one_length(cases) if by_position else None
    spots: list[int | None] = [None] if n_places is None else list(range(n_places))
    each, total = len(spots) * len(graph), len(cases) * len(spots) * len(graph)
    scores = np.zeros((len(cases), each))

    def patch_case(i: int, done: int) -> dict[str, np.ndarray]:
        into = ends.clean[i]
        one = _Patching(model, graph, into, ends.counterpart[i], ends.metrics[i], batch_size)
        own = []
        for spot in spots:
            own.append(one.measure(spot))
            if progress is not None:
                progress(done + len(own) * len(graph), total)
        return {"change": sign * (ends.m_clean[i] - np.stack(own, axis=1)).ravel()}

    for i in range(len(cases)):
        scores[i] = keep(f"batch-{i + 1:05d}", partial(patch_case, i, i * each))["change"]
    return scores_over(
        model,
        cases,
        graph.keys(model.name, n_places),
        scores.mean(0),
        scores,
        method="attribute/activation_patching",
        options={"level": "edge", "direction": direction},
        measured=True,
    )


def count_patch_rows(model: LanguageModel) -> int:
    """Return how many rows a pair takes that pass the last MLP: both ends, every edge, and what the last MLP writes.

    Args:
        model: a language model whose writers add to one stream.

    Returns:
        int: rows.

    Example:
        >>> from patchclamp.loaders import load
        >>> count_patch_rows(load("organism:cat"))
        122
    """
    graph = edge_map(model)
    return 2 + len(graph) + int(graph.seen[graph.queries(graph.n_layers - 1).stop])


def count_patch_bytes(model: LanguageModel, n_positions: int) -> int:
    """Return what measuring edges holds: writes and projections of one pair, and a pass of all rows with their own.

    Args:
        model: a language model whose writers add to one stream.
        n_positions: length of the prompt.

    Returns:
        int: bytes besides the model's.

    Example:
        >>> from patchclamp.loaders import load
        >>> count_patch_bytes(load("organism:cat"), 4) > 0
        True
    """
    graph = edge_map(model)
    slots = sum(model.site(path).width for path in graph.slots(0))
    each = len(graph.writers) * (3 * model.site("blocks.0.resid_in").width + slots)
    return 4 * n_positions * (each + 2 * ROWS * slots) + ROWS * count_forward_bytes(model, n_positions)


class _Patching:
    """One run, into which another's writes are patched edge by edge."""

    def __init__(
        self, model: LanguageModel, graph: EdgeMap, into: Stimulus, of: Stimulus, metric: Metric, batch_size: int
    ) -> None:
        self.model, self.graph, self.shown, self.metric, self.batch_size = model, graph, into, metric, batch_size
        self.base: Writes = writes_of(model, [into])
        self.change = writes_of(model, [of]).each[0] - self.base.each[0]

    def measure(self, spot: int | None) -> Float[np.ndarray, " edge"]:
        """Return m under each edge's patch, at one position or at all."""
        change = self.change
        if spot is not None:
            change = torch.zeros_like(change)
            change[:, spot] = self.change[:, spot]
        parts = []
        for layer in range(self.graph.n_layers):
            parts.append(self._into_heads(layer, change))
            parts.append(self._into_mlp(layer, change))
        streams = self.base.streams[self.graph.stream(None)] + change
        for part in streams.split(self.batch_size):
            parts.append(measure_stream(self.model, self.graph, [self.shown] * len(part), self.metric, part))
        return torch.cat([upcast(x) for x in parts]).cpu().double().numpy()

    def _into_mlp(self, layer: int, change: Tensor) -> Tensor:
        seen = int(self.graph.seen[self.graph.queries(layer).stop])
        stream = self.base.streams[self.graph.stream(layer, mlp=True)]
        measured = []
        for part in (stream + change[:seen]).split(self.batch_size):
            rows = [self.shown] * len(part)
            written = mlp_writes(self.model, self.graph, rows, layer, part)
            measured.append(self._measure(layer, {f"blocks.{layer}.mlp.write": written}))
        return torch.cat(measured)

    def _into_heads(self, layer: int, change: Tensor) -> Tensor:
        """Return m of every edge into a block's queries, keys and values, reader by reader."""
        block = self.graph.queries(layer)  # readers: queries, keys and values of this block, head by head
        seen = int(self.graph.seen[block.start])
        stream = self.base.streams[self.graph.stream(layer)]  # (1, position, d_model)
        # Row 0 is the stream as it is; row 1 + w the stream with writer w's value of the other prompt.
        parts = list((torch.cat([stream, stream + change[:seen]])).split(self.batch_size))
        made = [project_qkv(self.model, self.graph, [self.shown] * len(x), layer, x) for x in parts]
        variants = {path: torch.cat([one[path] for one in made]) for path in self.graph.slots(layer)}
        measured = []
        for cells in self._chunks((block.stop - block.start) * seen):
            given = {path: x[:1].expand(len(cells), -1, -1, -1).clone() for path, x in variants.items()}
            for row, cell in enumerate(cells):
                reader, writer = block.start + cell // seen, cell % seen  # cells: reader by reader, writers within
                path, place = next(item for item in self.graph.slots(layer).items() if reader < item[1].stop)
                head = reader - place.start
                given[path][row, :, head] = variants[path][1 + writer, :, head]  # this reader alone sees it
            measured.append(self._measure(layer, {path: x.flatten(2) for path, x in given.items()}))
        return torch.cat(measured)

    def _chunks(self, n: int) -> Iterator[range]:
        return (range(k, min(k + self.batch_size, n)) for k in range(0, n, self.batch_size))

    def _measure(self, layer: int, given: dict[str, Tensor]) -> Tensor:
        """Return m of rows that are given values of their own within a block."""
        n = len(next(iter(given.values())))
        stream = self.base.streams[self.graph.stream(layer)].to(self.model.dtype)
        restart = Restart(layer, stream.expand(n, *stream.shape[1:]))
        changes = [set_rows(path, x) for path, x in given.items()]
        return self.model.measure([self.shown] * n, self.metric, interventions=changes, restart=restart)
