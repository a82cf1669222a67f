"""Sets of edges: readers see some writers as they are in this run, and others as under the baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int

from patchclamp.ablate.baseline import Baseline
from patchclamp.ablate.cases import Cases, How, Measured
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import EdgeKey
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network
from patchclamp.subjects.residual_edges import (
    Writes,
    edge_map,
    measure_edge_sets,
    require_edges,
    row_bytes,
    rows_at_once,
    writes_of,
)

SETS_MEMORY = 32 * 2**20
"""Bytes that what writers write may take, of edge sets that run together."""


def count_rows_together(model: LanguageModel, n_positions: int) -> int:
    """Return how many rows run together: what writers write in them stays within ``SETS_MEMORY``, or is one row's.

    Args:
        model: a language model whose writers add to one stream.
        n_positions: tokens of the prompt.

    Returns:
        int: rows.

    Example:
        >>> from patchclamp.loaders import load
        >>> count_rows_together(load("organism:mover-gpt2"), 10)
        204
    """
    return max(1, SETS_MEMORY // row_bytes(model, n_positions, each=1))


@checked
@dataclass(frozen=True, eq=False)
class EdgeSets:
    r"""Hold sets of edges.

    The input of reader v is its stream under the baseline plus Σ_u (u_now − u_baseline) over the edges u → v that are
    not replaced, u_now being what u writes in this very run. Edges that are none of the keys stay as they are.

    Args:
        keys: of edges, or writer and reader of each.
        rows: ``(set,)`` marks of its keys, or places of some.
    """

    keys: Sequence[EdgeKey | tuple[str, str] | str]
    rows: Sequence[Bool[np.ndarray, " _"] | Int[np.ndarray, " _"]] | Bool[np.ndarray, "_ _"]

    def __len__(self) -> int:
        return len(self.rows)

    def memory_bytes(self, model: Network, cases: Cases) -> int:
        """Estimate what one batch holds: what writers write, and as much again for what is made of it."""
        return 2 * max(SETS_MEMORY, row_bytes(require_edges(model), max(map(len, cases.shown)), each=1))

    def check(self, model: Network, cases: Cases, baseline: Baseline) -> None:
        """Refuse what cannot be measured; nothing is run.

        Args:
            model: a language model whose writers add to one stream.
            cases: prompts, and m of each.
            baseline: counterparts, or stimuli whose mean is taken.

        Raises:
            PatchclampError: an edge that the model has not, or a baseline that is no run of the model.
            CannotIntervene: a model without edges.
        """
        self.locate(require_edges(model))
        if not baseline.shown:
            raise PatchclampError(
                expected="counterparts, or stimuli whose mean is taken, as the baseline of edges",
                got=f"{baseline.kind} of {'a recording' if baseline.values is not None else 'nothing'}",
                remedy="Baseline('corrupted', shown=…), or Baseline('mean', shown=…).",
            )

    def measure(self, model: Network, cases: Cases, baseline: Baseline, how: How) -> Iterator[Measured]:
        """Yield m of every case with each set replaced, pass by pass; see ``measure_sets``.

        Args:
            model: a language model whose writers add to one stream.
            cases: prompts, and m of each.
            baseline: counterparts, or stimuli whose mean is taken.
            how: which sets, whether all others are replaced, and how many rows at once.

        Yields:
            tuple: case and set of each row, ``(row,)``, and m.

        Cost: per case and set one forward pass in three pieces per block; the first piece, up to queries, keys and
        values, runs once for every set of writers that the block's readers see. Memory of what writers write in rows
        that run together, within ``SETS_MEMORY`` or one row's, whatever the number of cases and sets.
        """
        self.check(model, cases, baseline)
        language = require_edges(model)
        graph = edge_map(language)
        places = self.locate(language)
        means: dict[int, Writes] = {}
        for members in cases.batches(len(cases)):
            n = len(cases.shown[int(members[0])])
            if baseline.kind == "mean" and n not in means:
                means[n] = mean_writes(language, _texts([x for x in baseline.shown if len(x) == n]), n)
            spots = [(int(i), s) for i in members for s in range(len(self)) if how.only is None or how.only[i, s]]
            step = count_rows_together(language, n)
            for part in (spots[k : k + step] for k in range(0, len(spots), step)):
                own = [i for i, _ in part]
                # Masks of a few rows at a time: those of hundreds of sets take more than the writes.
                kept = np.ones((len(part), len(graph)), dtype=bool)
                for row, (_, s) in zip(kept, part, strict=True):
                    row[places] = self._marks(s) if how.keep else ~self._marks(s)
                masks = torch.from_numpy(graph.dense(kept)).to(language.device)
                shown = _texts([cases.shown[i] for i in own])
                # What the baseline writes has no name here: it is given up before the next rows' is made.
                m = measure_edge_sets(
                    language, graph, shown, cases.metric(own), masks, _base(language, baseline, own, means.get(n))
                )
                yield np.array(own), np.array([s for _, s in part]), upcast(m).cpu().double().numpy()

    def locate(self, model: LanguageModel) -> Int[np.ndarray, " key"]:
        """Return the places of the keys among the model's edges.

        Raises:
            PatchclampError: an edge that it has not.
        """
        graph = edge_map(model)
        strange = [key for key in self.keys if isinstance(key, str)]
        if strange:
            raise PatchclampError(
                expected="keys that are all edges",
                got=f"{len(strange)} that are none, such as {strange[0]}",
                remedy="Replace units by UnitSets; find a circuit of edges with --level edge.",
            )
        edges = (key for key in self.keys if not isinstance(key, str))
        ends = ((str(key.source), str(key.target)) if isinstance(key, EdgeKey) else key for key in edges)
        return np.array([graph.index(*one) for one in ends], dtype=np.int64)

    def _marks(self, s: int) -> Bool[np.ndarray, " key"]:
        row = self.rows[s]
        if row.dtype == bool:
            if row.shape != (len(self.keys),):
                raise PatchclampError(
                    expected=f"marks of {len(self.keys):,} edges", got=f"{row.shape}", remedy="Give one per key."
                )
            return row
        marks = np.zeros(len(self.keys), dtype=bool)
        marks[row] = True
        return marks


def _base(model: LanguageModel, baseline: Baseline, own: Sequence[int], mean: Writes | None) -> Writes:
    """Return the baseline's writes, a row for each of some cases; a counterpart runs once however often it is there.

    Nobody else holds ``each``: it may be overwritten.
    """
    if mean is not None:
        streams = {path: x.expand(len(own), -1, -1) for path, x in mean.streams.items()}
        return Writes(mean.each.repeat(len(own), 1, 1, 1), streams)
    once = list(dict.fromkeys(own))
    return writes_of(model, _texts([baseline.shown[i] for i in once]), [once.index(i) for i in own])


def _texts(shown: Sequence[Shown]) -> list[Stimulus]:
    """Return stimuli that are tokens, as a model with edges is shown."""
    return [x for x in shown if isinstance(x, Stimulus)]


def mean_writes(model: LanguageModel, shown: Sequence[Stimulus], n: int) -> Writes:
    """Return the mean of what every writer adds at each position, over stimuli of one length.

    Args:
        model: the subject.
        shown: the stimuli.
        n: their length.

    Returns:
        Writes: one row.

    Raises:
        PatchclampError: none of that length.

    Cost: one forward pass per stimulus.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> writes = mean_writes(cat, cat.stimuli(["the old cat", "the old dog"]), 4)
        >>> writes.each.shape[0], writes.each.shape[2]
        (1, 4)
    """
    if not shown:
        raise PatchclampError(
            expected=f"stimuli of {n} tokens among those whose mean is taken",
            got="none",
            remedy="Take others.",
        )
    total: Writes | None = None
    step = rows_at_once(model, n)
    for some in (shown[k : k + step] for k in range(0, len(shown), step)):
        writes = writes_of(model, some)
        each, streams = writes.each.sum(0, keepdim=True), {p: x.sum(0, keepdim=True) for p, x in writes.streams.items()}
        if total is not None:
            each, streams = total.each + each, {path: total.streams[path] + x for path, x in streams.items()}
        total = Writes(each, streams)
    assert total is not None
    return Writes(total.each / len(shown), {path: x / len(shown) for path, x in total.streams.items()})
