"""Stimuli, and the metric of each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.stimulus import Shown
from patchclamp.subjects.cases import ROWS, batches_by_length


@dataclass(frozen=True, eq=False)
class How:
    """Hold how sets are measured.

    Args:
        keep: replace all keys but those of a set.
        only: which sets are measured of which case; None for all.
        batch_size: rows of a forward pass.
    """

    keep: bool = False
    only: Bool[np.ndarray, "case set"] | None = None
    batch_size: int = ROWS


Turn = Callable[[], AbstractContextManager[object]]
"""What forward passes run in: where others use the subject too, they have their turn between."""
Measured = tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"], Float[np.ndarray, " row"]]
"""What one pass measured: the case and the set of each row, and m."""


@checked
@dataclass(frozen=True, eq=False)
class Cases:
    """Hold stimuli, and the metric of each.

    Args:
        shown: the stimuli.
        metrics: m of each.

    Raises:
        PatchclampError: no stimulus, or not one metric each.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> len(Cases.of(cat.stimuli(["the cat", "the old cat"]), Metric("logit", (3,))))
        2
    """

    shown: Sequence[Shown]
    metrics: Sequence[Metric]

    def __post_init__(self) -> None:
        if len(self.shown) != len(self.metrics) or not len(self.shown):
            raise PatchclampError(
                expected="at least one stimulus, and a metric for each",
                got=f"{len(self.shown)} stimuli, {len(self.metrics)} metrics",
                remedy="Cases.of(stimuli, metric) reads one metric of all.",
            )

    def __len__(self) -> int:
        return len(self.shown)

    @classmethod
    def of(cls, shown: Sequence[Shown], metric: Metric) -> "Cases":
        """Return cases that share one metric."""
        return cls(tuple(shown), (metric,) * len(shown))

    def batches(self, most: int = ROWS) -> Iterator[Int[np.ndarray, " some"]]:
        """Yield the places of cases that fit one pass: of one length, read at the same positions, at most ``most``."""
        return batches_by_length(self.shown, self.metrics, most)

    def metric(self, rows: Sequence[int] | Int[np.ndarray, " row"]) -> Metric | EachMetric:
        """Return the metric of rows that are cases: one Metric if all have the same."""
        own = [self.metrics[int(i)] for i in rows]
        return own[0] if all(one is own[0] for one in own) else EachMetric(tuple(own))
