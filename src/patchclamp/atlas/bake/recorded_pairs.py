"""Which units of a recording go together, and how much of that chance gives."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.subject import Progress
from patchclamp.subjects.neural import NeuralRecording

NEAREST = 10
MOST_SHIFTS, FEWEST_SHIFTS, PRODUCTS = 99, 19, 2e11
"""Circular shifts, fewer where that many would take more multiplications than these."""
SHORTEST = 20
"""Samples from which a recording can be shifted against itself."""
Z95 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Pairs:
    """The correlations of all pairs, and what chance gives.

    Args:
        r: of every pair; NaN where there is none.
        near: per unit the others with the largest correlation of either sign; −1 where there are fewer.
        low: lower end of their 95 % intervals, over trials or blocks left out one by one; NaN where there is none.
        high: upper end.
        p: share of shifts with which the unit reaches that |r| with any other, the value itself counted among them.
        shifts: how many circular shifts were made.
        chance: per unit, the |r| with any other that 95 % of shifts stay below.
        within: per unit, mean r with the other members of its groups; NaN where it is in none.
        outside: per unit, mean r with all who are in no group of its own.
        within_null: ``(2, unit)`` ends of the central 95 % of the mean within groups over shifts.
    """

    r: Float[np.ndarray, "unit unit"]
    near: Int[np.ndarray, "unit rank"]
    low: Float[np.ndarray, "unit rank"]
    high: Float[np.ndarray, "unit rank"]
    p: Float[np.ndarray, "unit rank"]
    shifts: int
    chance: Float[np.ndarray, " unit"]
    within: Float[np.ndarray, " unit"]
    outside: Float[np.ndarray, " unit"]
    within_null: Float[np.ndarray, "two unit"]


def count_shifts(n_units: int, n_samples: int) -> int:
    """Return how many circular shifts a recording is given; none where it is too short.

    Example:
        >>> count_shifts(114, 4245), count_shifts(10_000, 50_000), count_shifts(3, 10)
        (99, 19, 0)
    """
    if n_samples < SHORTEST:
        return 0
    return int(np.clip(PRODUCTS / (2.0 * n_units**2 * n_samples), FEWEST_SHIFTS, MOST_SHIFTS))


def correlate_pairs(
    brain: NeuralRecording, block: Int[np.ndarray, " sample"], *, seed: int = 0, progress: Progress | None = None
) -> Pairs:
    """Correlate all units, and again with each shifted in time against the others, which keeps its own rhythm.

    Args:
        brain: the recording.
        block: of every sample, trial after trial, the trial or block of time that it is of.
        seed: of the shifts, each by 5 to 95 % of all samples.
        progress: called with shifts done and in all.

    Returns:
        Pairs: correlations, the nearest units, and chance.

    Cost: two products of (unit, sample) with (sample, unit) for every shift, in float32.
    """
    n = brain.n_units
    r = brain.correlation()
    x = _standardise(brain)
    apart = ~np.eye(n, dtype=bool)
    same = np.zeros((n, n), dtype=bool)
    for members in brain.groups.values():
        same[np.ix_(members, members)] = True
    same &= apart
    n_shifts = count_shifts(n, len(x))
    draw = np.random.default_rng(seed)
    edge = len(x) // 20
    steps = draw.integers(edge + 1, max(len(x) - edge, edge + 2), size=n_shifts).tolist()
    largest, means = np.zeros((n_shifts, n)), np.full((n_shifts, n), np.nan)
    for shift, step in enumerate(steps):
        moved = np.roll(x, step, axis=0).T @ x
        largest[shift] = np.abs(np.where(apart, moved, 0.0)).max(1)
        means[shift] = _mean_where(moved, same)
        if progress is not None:
            progress(shift + 1, n_shifts)
    size = np.abs(np.where(apart, np.nan_to_num(r), 0.0))
    near = np.argsort(-size, axis=1, kind="stable")[:, : min(NEAREST, n)]
    known = np.isfinite(np.take_along_axis(r, near, 1)) & (near != np.arange(n)[:, None])
    near = np.where(known, near, -1)
    # A column of float32 sums never exactly to its r: what lies within rounding counts as reached.
    reached = largest[:, :, None] >= np.take_along_axis(size, np.maximum(near, 0), 1)[None] - 1e-6
    p = (1 + reached.sum(0)) / (1 + n_shifts) if n_shifts else np.full(near.shape, np.nan)
    low, high = _leave_out(brain, x, near, block)
    null = np.quantile(means, [0.025, 0.975], axis=0) if n_shifts else np.full((2, n), np.nan)
    chance = np.quantile(largest, 0.95, axis=0) if n_shifts else np.full(n, np.nan)
    return Pairs(
        r, near, low, high, p, n_shifts, chance, _mean_where(r, same), _mean_where(r, apart & ~same), null
    )  # fmt: skip


def _standardise(brain: NeuralRecording) -> Float[np.ndarray, "sample unit"]:
    """Return columns of mean 0 and size 1; what is missing stands at the mean, a constant is 0 throughout."""
    flat = brain.values.reshape(-1, brain.n_units).astype(np.float64)
    known = np.isfinite(flat)
    mean = np.where(known, flat, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    flat = np.where(known, flat - mean, 0.0)
    flat[:, brain.constant] = 0.0
    size = np.sqrt((flat**2).sum(0))
    return (flat / np.where(size > 0, size, 1.0)).astype(np.float32)


def _mean_where(r: Float[np.ndarray, "unit unit"], chosen: np.ndarray) -> Float[np.ndarray, " unit"]:
    known = chosen & np.isfinite(r)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, r, 0.0).sum(1) / known.sum(1))


def _leave_out(
    brain: NeuralRecording, x: Float[np.ndarray, "sample unit"], near: np.ndarray, block: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intervals of r by the jackknife over blocks, of Fisher's z; none of units that lack samples."""
    low, high = np.full(near.shape, np.nan), np.full(near.shape, np.nan)
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    n_blocks = len(starts)
    if n_blocks < 3:
        return low, high
    wide = x.astype(np.float64)
    n = np.diff([*starts, len(block)])[:, None].astype(np.float64)
    sums, squares = (np.add.reduceat(each, starts, axis=0) for each in (wide, wide**2))

    def rest(of: np.ndarray) -> np.ndarray:
        return np.asarray(of.sum(0) - of)

    left = rest(n)
    for unit in range(len(near)):
        others = near[unit]
        told = (others >= 0) & ~np.isin(others, list(brain.missing))
        if unit in brain.missing or not told.any():
            continue
        others = others[told]
        products = np.add.reduceat(wide[:, [unit]] * wide[:, others], starts, axis=0)
        mine, theirs = rest(sums[:, [unit]]), rest(sums[:, others])
        spread = rest(squares[:, [unit]]) - mine**2 / left, rest(squares[:, others]) - theirs**2 / left
        with np.errstate(invalid="ignore", divide="ignore"):
            held = (rest(products) - mine * theirs / left) / np.sqrt(spread[0] * spread[1])
        z = np.arctanh(np.clip(held, -1 + 1e-9, 1 - 1e-9))
        error = np.sqrt((n_blocks - 1) / n_blocks * ((z - z.mean(0)) ** 2).sum(0))
        middle = np.arctanh(np.clip((products.sum(0)), -1 + 1e-9, 1 - 1e-9))
        low[unit, told], high[unit, told] = np.tanh(middle - Z95 * error), np.tanh(middle + Z95 * error)
    return low, high
