"""Refuse splits that leak, and move targets for the null: what every method of this room shares."""

from collections.abc import Sequence

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.split import Split
from patchclamp.core.stats import Interval


def refuse_leaks(ids: Sequence[str], split: Split) -> None:
    """Refuse a split that fits on one showing of a stimulus and scores another: the stimulus itself would be learnt.

    Raises:
        PatchclampError: names the stimulus and both folds.
    """
    if len(set(ids)) == len(ids):
        return
    fold_of: dict[str, int] = {}
    for one, fold in zip(ids, split.fold, strict=True):
        if fold >= 0 and fold_of.setdefault(one, int(fold)) != fold:
            raise PatchclampError(
                expected="all showings of a stimulus in one fold",
                got=f"stimulus {one[:12]} in folds {fold_of[one]} and {fold}",
                remedy="Use Split.leave_out(labels) with one label per group of stimuli, as in "
                "[i % 5 for i in stimulus numbers].",
            )


def move(targets: np.ndarray, split: Split, draw: np.random.Generator) -> np.ndarray:
    """Return targets that do not fit their rows: rolled, or shuffled if the split says that rows are apart.

    They are rolled by at least a tenth of the rows, so that slow targets stay slow.

    Args:
        targets: ``(row, …)`` targets or labels.
        split: folds; its course says whether rows are apart.
        draw: the random generator.

    Returns:
        ``(row, …)`` the same targets in another order.

    Source: circular shifts as null of time series: Harris (2020), bioRxiv 2020.11.29.402719.
    """
    n = len(targets)
    if split.course is not None:
        moved: np.ndarray = targets[draw.permutation(n)]
        return moved
    least = max(1, n // 10)
    return np.roll(targets, int(draw.integers(least, max(n - least, least + 1))), axis=0)


def middle_of(null: np.ndarray) -> Interval:
    """Return the interval that holds 95 % of the refits on moved targets."""
    low, high = np.nanquantile(null, [0.025, 0.975])
    return Interval(float(low), float(high), 0.95, f"{len(null)} refits on moved targets")
