"""Interchange: what measures pairs with some parts of a circuit kept, and everything else as in another run."""

from collections.abc import Mapping
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.core.circuit import Circuit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.subject import Progress
from patchclamp.subjects.cases import ROWS, Cases
from patchclamp.subjects.edges import SETS_MEMORY, edge_map, mean_writes, measure_edges, row_bytes, with_edges
from patchclamp.subjects.interchange import measure_interchanged, members_of
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import model_of

COPIES = 6
"""Values of the widest site that one forward pass holds at a time, as the memory estimate counts them."""


@runtime_checkable
class Interchange(Protocol):
    """What measures pairs with only some parts kept."""

    def measure(
        self, kept: Bool[np.ndarray, "subset part"], *, progress: Progress | None = None
    ) -> Float[np.ndarray, "subset pair"]:
        """Return m of every pair with only some parts kept."""

    @property
    def memory_bytes(self) -> int:
        """Estimate of what one batch holds."""


class UnitInterchange:
    """Keep some units (nodes, neurons, heads, features), and replace the others at every position at once.

    In one forward pass from the first block to the last, what is not kept takes its value of the baseline run and what
    is kept computes its own from what reaches it. Of features the part along their direction is replaced and the error
    x − x̂ stays.

    Args:
        model: the subject.
        circuit: whose parts they are; whatever the model has beside them is never replaced.
        cases: whom it is measured on.
        means: pairs over whose clean and corrupted prompts the baseline is the mean, position by position; the
            corrupted prompt of each pair where left out.

    Raises:
        PatchclampError: a part that the model has not, or means of features.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = cat.read(task)
        >>> circuit = Circuit("neuron", "by hand", ("blocks.0.mlp.act/neurons/7",), np.ones(1), {"slug": "cat"})
        >>> UnitInterchange(cat, circuit, cases).measure(np.array([[True], [False]])).round(1).tolist()
        [[4.0], [-4.0]]
    """

    def __init__(self, model: Network, circuit: Circuit, cases: Cases, *, means: Cases | None = None) -> None:
        self.model = model = model_of(model, cases)
        self.parts = [str(part) for part in circuit.parts]
        self.cases = cases
        self.members = members_of(model, self.parts)
        featured = [member.path for member in self.members if member.basis.kind == "directions"]
        if featured and means is not None:
            raise PatchclampError(
                expected="the corrupted prompts as the baseline of features",
                got=f"a mean, and features at {featured[0]}",
                remedy="What a basis reads in a mean is not its features' mean: leave --baseline out.",
            )
        self.means = means

    @property
    def memory_bytes(self) -> int:
        """Estimate of what one batch holds: the baseline's values, and the widest site a few times over."""
        longest = max(len(x) for x in self.cases.clean)
        widths = [max(member.n_units, self.model.site(member.path).width) for member in self.members]
        values = min(len(self.cases), ROWS) * longest * (sum(widths) + COPIES * max(widths))
        return int(values * torch.finfo(self.model.dtype).bits // 8)

    def measure(
        self, kept: Bool[np.ndarray, "subset part"], *, progress: Progress | None = None
    ) -> Float[np.ndarray, "subset pair"]:
        """Return m of every pair with only some parts kept.

        Args:
            kept: subsets of the parts.
            progress: called with passes done and passes in all.

        Cost: one forward pass per subset and pair, those of one length together.
        """
        baseline = None if self.means is None else self._mean_of
        return measure_interchanged(self.model, self.cases, self.parts, ~kept, baseline=baseline, progress=progress)

    def _mean_of(self, some: Int[np.ndarray, " pair"]) -> Mapping[str, Tensor]:
        own = self._averages[len(self.cases.clean[int(some[0])])]
        return {path: mean.repeat(len(some), 1) for path, mean in own.items()}

    @cached_property
    def _averages(self) -> dict[int, dict[str, Float[Tensor, "position width"]]]:
        """Means by length, over clean and corrupted prompts; only one batch is held at a time.

        They are taken at the first measurement: what the constructor refuses costs no pass.
        """
        means = self.means
        assert means is not None
        sums: dict[int, dict[str, Tensor]] = {}
        counts: dict[int, int] = {}
        paths = [member.path for member in self.members]
        for some in means.batches_by_length(ROWS // 2):
            shown = [x for i in some for x in (means.clean[i], means.counterpart[i])]
            recording = self.model.run(shown, record=paths, logits=False).recording
            own = sums.setdefault(len(shown[0]), {})
            for path in paths:
                total = recording[path].unflatten(0, (len(shown), -1)).double().sum(0)
                own[path] = own[path] + total if path in own else total
            counts[len(shown[0])] = counts.get(len(shown[0]), 0) + len(shown)
        return {
            length: {path: (total / counts[length]).to(self.model.dtype) for path, total in own.items()}
            for length, own in sums.items()
        }


class EdgeInterchange:
    """Keep some edges: every reader sees the writers of its kept edges as they are now, the others as the baseline.

    Args:
        model: the subject.
        circuit: whose parts they are; edges of the model that are none of its parts are kept.
        cases: whom it is measured on.
        means: pairs over which the baseline is the mean of what writers write, by length and position, over clean and
            corrupted prompts; the corrupted prompt of each pair where left out.

    Raises:
        PatchclampError: an edge that the model has not.
        CannotIntervene: a model without such edges.
    """

    def __init__(self, model: LanguageModel, circuit: Circuit, cases: Cases, *, means: Cases | None = None) -> None:
        self.model = model
        self.cases = cases
        self.means = means
        self.graph = edge_map(model)
        self.places = np.array([self.graph.index(*part) for part in circuit.parts if not isinstance(part, str)])
        if len(self.places) != len(circuit):
            raise PatchclampError(
                expected="a circuit whose parts are all edges",
                got=f"{len(circuit) - len(self.places)} parts that are none",
                remedy="Find it again with --level edge.",
            )

    @property
    def memory_bytes(self) -> int:
        """Estimate of what one batch holds: what writers write, and as much again for what is made of it."""
        return 2 * max(SETS_MEMORY, row_bytes(self.model, max(map(len, self.cases.clean)), each=1))

    def measure(
        self, kept: Bool[np.ndarray, "subset part"], *, progress: Progress | None = None
    ) -> Float[np.ndarray, "subset pair"]:
        """Return m of every pair with only some parts kept.

        Args:
            kept: subsets of the parts.
            progress: called with rows done and rows in all.

        Cost: a few forward passes per subset and pair; see ``measure_edges``.
        """
        marks = np.ones((len(kept), len(self.graph)), dtype=bool)
        marks[:, self.places] = kept
        if self.means is None:
            return measure_edges(self.model, self.cases, marks, progress=progress)
        found = np.zeros((len(kept), len(self.cases)))
        lengths, of_means = (np.array([len(x) for x in one.clean]) for one in (self.cases, self.means))
        for length in np.unique(lengths):
            own = lengths == length
            baseline = mean_writes(self.model, self.means.subset(of_means == length))
            done = int((lengths < length).sum())
            then = None if progress is None else _shifted(progress, done * len(kept), found.size)
            found[:, own] = measure_edges(self.model, self.cases.subset(own), marks, baseline=baseline, progress=then)
        return found


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def interchange(model: Network, circuit: Circuit, cases: Cases, *, means: Cases | None = None) -> Interchange:
    """Return what measures pairs with only some of a circuit's parts kept.

    Args:
        model: the subject.
        circuit: of units or of edges.
        cases: whom it is measured on.
        means: pairs over which the baseline is the mean; each pair's corrupted prompt where left out.

    Raises:
        PatchclampError: parts that the model has not, or a mean where there can be none.
    """
    if circuit.level == "edge":
        return EdgeInterchange(with_edges(model), circuit, cases, means=means)
    return UnitInterchange(model, circuit, cases, means=means)
