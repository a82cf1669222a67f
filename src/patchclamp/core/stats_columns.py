"""Intervals and p-values of many means over the same sample at once, such as every place of a map over pairs.

Each column's numbers are those of ``core.stats``, drawn by the same seed; one matrix product makes them together.
"""

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval

N_DRAWS = 2000
_AT_ONCE = 2**21
_TIE = 1e-12


def mean_intervals(
    values: Float[np.ndarray, "n k"], *, n_resamples: int = N_DRAWS, level: float = 0.95, seed: int = 0
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Compute a percentile bootstrap interval for the mean of every column.

    [Q((1 - level) / 2), Q((1 + level) / 2)] of mean(values[i]), i n row numbers drawn with replacement, the same for
    all columns

    Args:
        values: shape (n, k), finite.
        n_resamples: number of resamples.
        level: nominal coverage.
        seed: of the resampling.

    Returns:
        tuple: lower and upper ends, shape (k,); nan where n is 1.

    Raises:
        PatchclampError: no rows, or values that are not finite.

    Source: as ``core.stats.mean_interval``; the interval covers too rarely where n is small.

    Cost: O(n_resamples · n · k) time in one matrix product; memory is bounded by blocks of 2 million values.

    Example:
        >>> low, high = mean_intervals(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]))
        >>> bool(low[0] < 2.0 < high[0]), float(low[1]), float(high[1])
        (True, 5.0, 5.0)
    """
    n, k = _check_values(values)
    if n == 1:
        return np.full(k, np.nan), np.full(k, np.nan)
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // n)
    times = np.zeros((n_resamples, n))
    for start in range(0, n_resamples, step):
        drawn = rng.integers(0, n, size=(min(step, n_resamples - start), n))
        for row, chosen in enumerate(drawn, start):
            times[row] = np.bincount(chosen, minlength=n)
    low, high = np.empty(k), np.empty(k)
    wide = max(1, _AT_ONCE // n_resamples)
    for start in range(0, k, wide):
        part = slice(start, start + wide)
        # Around a value of the column itself: a column of equal values has an interval of no width, whatever rounds.
        block = values[:, part].astype(np.float64)
        centre = block[:1]
        means = times @ (block - centre) / n
        low[part], high[part] = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0) + centre
    return low, high


def columns_bytes(k: int) -> int:
    """Return what intervals and p of so many columns hold at most: sums under random signs, and their sizes or a sort.

    Args:
        k: columns.

    Returns:
        int: bytes.

    Example:
        >>> columns_bytes(10)
        320000
    """
    return 2 * 8 * N_DRAWS * min(k, _AT_ONCE // N_DRAWS)


def estimate_means(values: Float[np.ndarray, "n k"], unit: str) -> list[Estimate]:
    """Return the mean of every column with its interval, what it is where signs are random, and p.

    Args:
        values: ``(n, k)``, a row for each case; nan where a case has no such value.
        unit: unit of measure.

    Returns:
        list: an estimate a column, over the rows that have it; without interval where one has, nan where none has.

    Cost: as ``mean_intervals`` and ``sign_flips``, once for every set of rows that have the same columns.

    Example:
        >>> one, two = estimate_means(np.array([[1.0, 2.0], [3.0, np.nan]]), "m")
        >>> (one.value, one.n, round(one.p, 2)), (two.value, two.n, two.interval)
        ((2.0, 2, 0.48), (2.0, 1, None))
    """
    here = ~np.isnan(values)
    means, counts = mean_columns(values)
    low, high, p, null_low, null_high = np.full((5, len(means)), np.nan)
    # Columns that the same rows have go together.
    patterns, which = np.unique(here, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        columns = np.flatnonzero(which.ravel() == number)
        rows = values[np.ix_(patterns[:, number], columns)]
        if len(rows):
            low[columns], high[columns] = mean_intervals(rows)
            p[columns], null_low[columns], null_high[columns] = sign_flips(rows)
    return [
        Estimate(
            value,
            None if n < 2 else Interval(a, b, 0.95, "percentile bootstrap"),
            n,
            unit,
            None if n < 1 else Interval(c, d, 0.95, "signs flipped"),
            None if n < 1 else chance,
        )
        for value, n, a, b, chance, c, d in zip(
            *(column.tolist() for column in (means, counts, low, high, p, null_low, null_high)), strict=True
        )
    ]


def mean_columns(values: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Return the mean of every column over the rows that have it, nan where none has, and how many have it.

    Cost: one pass, a row at a time; memory of two rows.

    Example:
        >>> means, counts = mean_columns(np.array([[1.0, np.nan], [3.0, np.nan]]))
        >>> means.tolist(), counts.tolist()
        ([2.0, nan], [2, 0])
    """
    sums, counts = np.zeros(values.shape[1]), np.zeros(values.shape[1], dtype=np.int64)
    for row in values:
        here = ~np.isnan(row)
        sums += np.where(here, row, 0.0)
        counts += here
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), counts


def sign_flips(
    values: Float[np.ndarray, "n k"], *, n_permutations: int = N_DRAWS, seed: int = 0
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Test whether every column is centred on zero by flipping the signs of rows, two-sided.

    p = (1 + #{|mean(s · d)| >= |mean(d)|}) / (1 + n_permutations), each s_i = ±1 at random, the same for all columns

    Args:
        values: shape (n, k), finite, each column symmetric about zero under the null hypothesis.
        n_permutations: number of random sign vectors.
        seed: of the signs.

    Returns:
        tuple: p of every column, not corrected for their number, and the middle 95 % of its means under random signs;
            each of shape (k,).

    Raises:
        PatchclampError: no rows, or values that are not finite.

    Source: as ``core.stats.sign_flip_p``.

    Cost: O(n_permutations · n · k) time; memory is bounded by blocks of 2 million values.

    Example:
        >>> p, low, high = sign_flips(np.array([[-1.0], [1.0], [-2.0], [2.0]]), n_permutations=99)
        >>> float(p[0]), bool(low[0] < 0 < high[0])
        (1.0, True)
    """
    n, k = _check_values(values)
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // n)
    signs = np.concatenate(
        [
            2 * rng.integers(0, 2, size=(min(step, n_permutations - start), n)) - 1
            for start in range(0, n_permutations, step)
        ]
    ).astype(np.float64)
    p, low, high = np.empty((3, k))
    wide = max(1, _AT_ONCE // n_permutations)
    for start in range(0, k, wide):
        part = slice(start, start + wide)
        # In single precision the observed sum rounds past the slack, and does not tie with its own sign vector.
        block = values[:, part].astype(np.float64)
        largest = np.abs(block).max(0)
        scaled = block / np.where(largest > 0, largest, 1.0)
        slack = _TIE * np.abs(scaled).sum(0)
        sums = signs @ scaled
        as_far = np.abs(sums) >= np.abs(scaled.sum(0)) - slack
        p[part] = (1 + as_far.sum(0)) / (1 + n_permutations)
        low[part], high[part] = np.quantile(sums, [0.025, 0.975], axis=0) * largest / n
    return p, low, high


def least_p(n: int, *, n_permutations: int = N_DRAWS) -> float:
    """Return the least p that sign flips of ``n`` values can show: two of 2ⁿ sign vectors are always as extreme.

    Example:
        >>> least_p(4), round(least_p(64), 5)
        (0.125, 0.0005)
    """
    return max(1 / (1 + n_permutations), 2.0 ** (1 - n))


def _check_values(values: np.ndarray) -> tuple[int, int]:
    if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
        raise PatchclampError(
            expected="finite values, a row for each case and a column for each mean",
            got=f"shape {values.shape}" + ("" if np.isfinite(values).all() else " with values that are not finite"),
            remedy="Leave out what has no value, and say how many were left out.",
        )
    return values.shape[0], values.shape[1]
