"""Columns: intervals and p-values of many means over the same sample at once, such as every cell of a map over pairs.

Each column's numbers are those of ``core.stats``, drawn by the same seed; one matrix product makes them together.
"""

import numpy as np
from jaxtyping import Float

from patchclamp.core.errors import PatchclampError

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
    n, k = _checked(values)
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
        centre = values[:1, part]
        means = times @ (values[:, part] - centre) / n
        low[part], high[part] = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0) + centre
    return low, high


def sign_flip_ps(
    values: Float[np.ndarray, "n k"], *, n_permutations: int = N_DRAWS, seed: int = 0
) -> Float[np.ndarray, " k"]:
    """Test whether every column is centred on zero by flipping the signs of rows, two-sided.

    p = (1 + #{|mean(s · d)| >= |mean(d)|}) / (1 + n_permutations), each s_i = ±1 at random, the same for all columns

    Args:
        values: shape (n, k), finite, each column symmetric about zero under the null hypothesis.
        n_permutations: number of random sign vectors.
        seed: of the signs.

    Returns:
        p of every column, shape (k,); not corrected for their number.

    Raises:
        PatchclampError: no rows, or values that are not finite.

    Source: as ``core.stats.sign_flip_p``.

    Cost: O(n_permutations · n · k) time; memory is bounded by blocks of 2 million values.

    Example:
        >>> sign_flip_ps(np.array([[-1.0], [1.0], [-2.0], [2.0]]), n_permutations=99)
        array([1.])
    """
    n, k = _checked(values)
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // n)
    signs = np.concatenate([
        2 * rng.integers(0, 2, size=(min(step, n_permutations - start), n)) - 1
        for start in range(0, n_permutations, step)
    ]).astype(np.float64)  # fmt: skip
    p = np.empty(k)
    wide = max(1, _AT_ONCE // n_permutations)
    for start in range(0, k, wide):
        part = slice(start, start + wide)
        largest = np.abs(values[:, part]).max(0)
        scaled = values[:, part] / np.where(largest > 0, largest, 1.0)
        slack = _TIE * np.abs(scaled).sum(0)
        as_far = np.abs(signs @ scaled) >= np.abs(scaled.sum(0)) - slack
        p[part] = (1 + as_far.sum(0)) / (1 + n_permutations)
    return p


def least_p(n: int, *, n_permutations: int = N_DRAWS) -> float:
    """Return the least p that sign flips of ``n`` values can show: two of 2ⁿ sign vectors are always as extreme.

    Example:
        >>> least_p(4), round(least_p(64), 5)
        (0.125, 0.0005)
    """
    return max(1 / (1 + n_permutations), 2.0 ** (1 - n))


def _checked(values: np.ndarray) -> tuple[int, int]:
    if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
        raise PatchclampError(
            expected="finite values, a row for each case and a column for each mean",
            got=f"shape {values.shape}" + ("" if np.isfinite(values).all() else " with values that are not finite"),
            remedy="Leave out what has no value, and say how many were left out.",
        )
    return values.shape[0], values.shape[1]
