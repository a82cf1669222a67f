"""Conditions of labels, means in them with intervals over trials or blocks of time, and which one a unit tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from patchclamp.atlas.bake.concept_labels import clustered_auroc
from patchclamp.atlas.read.recorded import Over
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import rank

MOST_CONDITIONS, BINS = 12, 8
"""Different values of a label that are conditions each; where a label has more, intervals of equal width."""
N_BLOCKS, FEWEST_TRIALS = 20, 10
"""Blocks of time where there are fewer trials than that."""
N_RESAMPLES, GAP = 1000, 0.05
"""Resamples of blocks; share of the first half, before its end, that conditions are not chosen on."""
PER_UNIT, FEWEST, CHANCE = 3, 3, 0.5
"""Conditions kept per unit; blocks in each half in which one must occur, and be absent; AUROC that it must exceed."""
Scored = tuple[str, str, Estimate]
"""Kind, ``LABEL = CONDITION``, and AUROC."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of one label.

    Args:
        label: its name.
        names: of the conditions.
        which: per trial or sample the number of its condition; −1 where it has none.
    """

    label: str
    names: tuple[str, ...]
    which: Int[np.ndarray, " row"]


def find_conditions(label: str, values: np.ndarray) -> Conditions | None:
    """Return the conditions of a label; None where it has one value only, or is neither text nor numbers.

    Example:
        >>> found = find_conditions("side", np.array([1.0, 2.0, 1.0, np.nan]))
        >>> found.names, found.which.tolist()
        (('1', '2'), [0, 1, 0, -1])
        >>> find_conditions("x", np.arange(100.0)).names[0]
        '0 to 12.38'
    """
    flat = np.asarray(values).ravel()
    if flat.dtype.kind in "biuf":
        numbers = flat.astype(np.float64)
        known = np.isfinite(numbers)
        different = np.unique(numbers[known])
        if len(different) > MOST_CONDITIONS:
            edges = np.linspace(different[0], different[-1], BINS + 1)
            which = np.clip(np.digitize(numbers, edges[1:-1]), 0, BINS - 1)
            names = tuple(f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges))
        else:
            which = np.searchsorted(different, np.where(known, numbers, 0.0))
            names = tuple(f"{one:.6g}" for one in different.tolist())
        which = np.where(known, which, -1)
    elif flat.dtype.kind in "US":
        words = flat.astype(str)
        found, which, n = np.unique(words, return_inverse=True, return_counts=True)
        kept = np.sort(np.argsort(-n, kind="stable")[:MOST_CONDITIONS])
        place = np.full(len(found), -1)
        place[kept] = np.arange(len(kept))
        which, names = place[which], tuple(map(str, found[kept]))
    else:
        return None
    return Conditions(label, names, which.astype(np.int64)) if len(set(which[which >= 0].tolist())) > 1 else None


def cut_blocks(n_trials: int, n_samples: int) -> Int[np.ndarray, " sample"]:
    """Return of every sample, trial after trial, the trial or block of time that it is of.

    Trials are blocks where there are ten or more; else each is cut into as many as give twenty.
    """
    per_trial = 1 if n_trials >= FEWEST_TRIALS else min(-(-N_BLOCKS // n_trials), n_samples)
    place = np.arange(n_samples) * per_trial // n_samples
    return np.asarray((np.arange(n_trials)[:, None] * per_trial + place).ravel())


def cut_runs(which: Int[np.ndarray, " trial"]) -> tuple[Int[np.ndarray, " trial"], Over]:
    """Return the block of every trial: itself, or its run where trials of one condition stand together by design.

    In a block design neighbouring trials are alike whatever the condition does, so that each run counts once.

    Example:
        >>> int(cut_runs(np.repeat([0, 1, 0, 1], 10))[0].max()), cut_runs(np.array([0, 1, 1, 0, 1, 0]))[1]
        (3, 'trials')
    """
    changes = np.diff(which, prepend=which[0]) != 0
    shares = np.unique(which, return_counts=True)[1] / len(which)
    expected = 1 + (len(which) - 1) * (1 - (shares**2).sum())
    if 1 + changes.sum() < expected / 2:
        return np.cumsum(changes), "runs of trials"
    return np.arange(len(which)), "trials"


def ratio_intervals(
    sums: Float[np.ndarray, "block k"], counts: Float[np.ndarray, "block k"], *, seed: int = 0
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return the mean Σ sums / Σ counts of every column, and a percentile bootstrap interval over blocks.

    Where every count is 1 the interval is that of ``core.stats.mean_interval``.

    Returns:
        tuple: means, lower and upper ends; NaN where nothing was counted, and ends also where one block was.

    Cost: O(1,000 · block · k), in one matrix product.
    """
    n = len(sums)
    total, held = sums.sum(0), counts.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(held > 0, total / held, np.nan)
        centre = np.nan_to_num(mean)
        drawn = np.random.default_rng(seed).integers(0, n, size=(N_RESAMPLES, n))
        times = np.zeros((N_RESAMPLES, n))
        np.add.at(times, (np.arange(N_RESAMPLES)[:, None], drawn), 1.0)
        low, high = np.full(len(mean), np.nan), np.full(len(mean), np.nan)
        asked = np.flatnonzero((counts > 0).sum(0) > 1)
        for part in np.array_split(asked, max(1, -(-len(asked) * N_RESAMPLES // 2**21))):
            if len(part):
                moved = sums[:, part] - centre[part] * counts[:, part]
                means = (times @ moved) / (times @ counts[:, part])
                low[part], high[part] = np.nanquantile(means, [0.025, 0.975], axis=0) + centre[part]
    return mean, low, high


def sums_of(
    x: Float[np.ndarray, "row unit"], block: Int[np.ndarray, " row"], which: Int[np.ndarray, " row"], n_conditions: int
) -> tuple[Float[np.ndarray, "block condition unit"], Float[np.ndarray, "block condition unit"]]:
    """Return sum and number of known values of every block in every condition; rows of condition −1 are left out.

    Returns:
        tuple: sums and numbers, 0 where a block has no row of a condition.
    """
    n_blocks = int(block.max()) + 1
    rows = np.flatnonzero(which >= 0)
    place = block[rows] * n_conditions + which[rows]
    rows = rows[np.argsort(place, kind="stable")]
    place = np.sort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    found = [np.zeros((n_blocks * n_conditions, x.shape[1])) for _ in range(2)]
    known = np.isfinite(x[rows])
    for table, values in zip(found, (np.where(known, x[rows], 0.0), known.astype(np.float64)), strict=True):
        table[place[starts]] = np.add.reduceat(values, starts, axis=0)
    sums, counts = (table.reshape(n_blocks, n_conditions, -1) for table in found)
    return sums, counts


def score_conditions(
    x: Float[np.ndarray, "row unit"], conditions: Conditions, block: Int[np.ndarray, " row"]
) -> list[list[tuple[float, Scored]]]:
    """Return, per unit, where it is highest: conditions chosen on the first half of blocks, scored on the second.

    Halves of time share a border only; what is near to it is not chosen on.

    Args:
        x: values; NaN where missing.
        conditions: of every row.
        block: the trial, run of trials or block of time of every row, in the order of time; none is in both halves.

    Returns:
        list[list[tuple[float, Scored]]]: the AUROC that it was chosen by, and what was measured on the other half,
            whose interval takes rows of one block as dependent; the best first.
    """
    which, n = conditions.which, len(conditions.names)
    truth = which[:, None] == np.arange(n)
    scoring = block > block[-1] // 2
    choosing = np.arange(len(block)) < (1 - GAP) * int((~scoring).sum())
    halves = [half & (which >= 0) for half in (choosing, scoring)]
    enough = [
        one
        for one in range(n)
        if all(
            min(len(np.unique(block[half & (truth[:, one] == side)])) for side in (True, False)) >= FEWEST
            for half in halves
        )
    ]
    found: list[list[tuple[float, Scored]]] = [[] for _ in range(x.shape[1])]
    for unit in range(x.shape[1]) if enough else ():
        known = np.isfinite(x[:, unit])
        first, second = (half & known for half in halves)
        held, asked = truth[first][:, enough], truth[second][:, enough]
        n_true, n_first = held.sum(0), int(first.sum())
        if not n_first or x[known, unit].max() <= x[known, unit].min():
            continue
        if np.min([n_true, n_first - n_true, asked.sum(0), (~asked).sum(0)]) < FEWEST:
            continue
        areas = (rank(x[first, unit]) @ held - n_true * (n_true + 1) / 2) / (n_true * (n_first - n_true))
        for k in [k for k in np.argsort(-areas, kind="stable")[:PER_UNIT].tolist() if areas[k] > CHANCE]:
            scored = clustered_auroc(x[second, unit], asked[:, k], block[second])
            named = ("label", f"{conditions.label} = {conditions.names[enough[k]]}", scored)
            found[unit].append((float(areas[k]), named))
    return found


def best_of(scored: Sequence[list[list[tuple[float, Scored]]]], n_units: int) -> list[list[Scored]]:
    """Return each unit's best conditions over all labels, ordered by the AUROC that they were chosen by."""
    found = []
    for unit in range(n_units):
        rows = sorted((row for of in scored for row in of[unit]), key=lambda row: -row[0])
        found.append([row for _, row in rows[:PER_UNIT]])
    return found
