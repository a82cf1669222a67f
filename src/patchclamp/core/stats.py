"""Correlation, discrimination, intervals and randomisation tests.

One rule throughout: malformed input (empty, nan, mismatched lengths) raises, and a statistic that is undefined on
well-formed input (a correlation with a constant) is nan, without a warning.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, SupportsFloat

import numpy as np
from jaxtyping import Bool, Float, Integer, Real

from patchclamp.core.arguments import checked
from patchclamp.core.checks import at_least
from patchclamp.core.errors import PatchclampError

__all__ = [
    "Interval",
    "auroc",
    "bootstrap_interval",
    "mean_interval",
    "pearson",
    "permutation_p",
    "rank",
    "rank_of",
    "sign_flip_p",
    "slope",
    "spearman",
    "wilson_interval",
]

_BLOCK_ELEMENTS = 2**21
"""Resampled values held at once; larger jobs are done in blocks of rows."""

_TIE = 1e-12
"""Slack under which two randomised statistics count as tied despite rounding, relative to the largest of them."""


@checked
@dataclass(frozen=True)
class Interval:
    """Hold a confidence interval, its level, and how it was made.

    Args:
        low: lower end.
        high: upper end.
        level: nominal coverage, in (0, 1).
        method: name of the construction, for example "percentile bootstrap".

    Example:
        >>> Interval(low=0.0, high=1.0, level=0.95, method="wilson").high
        1.0
    """

    low: float
    high: float
    level: float
    method: str


def pearson(x: Real[np.ndarray, "n"], y: Real[np.ndarray, "n"]) -> float:
    """Compute the Pearson product-moment correlation.

    r = sum (x - mean x)(y - mean y) / sqrt(sum (x - mean x)^2 * sum (y - mean y)^2)

    Args:
        x: shape (n,), finite.
        y: shape (n,), finite.

    Returns:
        r in [-1, 1]; nan when x or y is constant (which includes n = 1).

    Raises:
        PatchclampError: empty, not one-dimensional, not finite, or of different lengths.

    Source: Pearson (1895), Proc. R. Soc. Lond. 58, 240-242.

    Cost: O(n) time and memory.

    Example:
        >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
        1.0
    """
    x, y = _finite(x, "x"), _finite(y, "y")
    _same_length(x, y, "x", "y")
    if _is_constant(x) or _is_constant(y):
        return math.nan
    u, v = _unit(_centre(_unit(x)[0]))[0], _unit(_centre(_unit(y)[0]))[0]
    r = float(u @ v) / math.sqrt(float(u @ u) * float(v @ v))
    return min(1.0, max(-1.0, r))


def spearman(x: Real[np.ndarray, "n"], y: Real[np.ndarray, "n"]) -> float:
    """Compute the Spearman rank correlation, with average ranks for ties.

    rho = pearson(rank(x), rank(y))

    Args:
        x: shape (n,); infinities are allowed.
        y: shape (n,); infinities are allowed.

    Returns:
        rho in [-1, 1]; nan when x or y is constant (which includes n = 1).

    Raises:
        PatchclampError: empty, not one-dimensional, holding nan, or of different lengths.

    Source: Spearman (1904), Am. J. Psychol. 15, 72-101.

    Cost: O(n log n) time, O(n) memory.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 27.0]))
        1.0
    """
    x, y = _vector(x, "x"), _vector(y, "y")
    _same_length(x, y, "x", "y")
    return pearson(rank(x), rank(y))


def rank(x: Real[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Rank values from 1, giving tied values the average of the ranks they span.

    rank_i = #{j : x_j < x_i} + (#{j : x_j = x_i} + 1) / 2

    Args:
        x: shape (n,); infinities are allowed.

    Returns:
        Ranks, shape (n,), float64, summing to n (n + 1) / 2.

    Raises:
        PatchclampError: empty, not one-dimensional, or holding nan.

    Cost: O(n log n) time, O(n) memory.

    Example:
        >>> rank(np.array([10.0, 30.0, 10.0])).tolist()
        [1.5, 3.0, 1.5]
    """
    _, which, counts = np.unique(_vector(x, "x"), return_inverse=True, return_counts=True)
    average: np.ndarray = np.cumsum(counts) - (counts - 1) / 2
    return average[which]


def slope(x: Real[np.ndarray, "n"], y: Real[np.ndarray, "n"]) -> float:
    """Compute the least-squares slope of y on x, with an intercept.

    b = sum (x - mean x)(y - mean y) / sum (x - mean x)^2

    Args:
        x: shape (n,), finite.
        y: shape (n,), finite.

    Returns:
        b, in units of y per unit of x; nan when x is constant (which includes n = 1), 0 when only y is, infinite when
        it is too large for a float.

    Raises:
        PatchclampError: empty, not one-dimensional, not finite, or of different lengths.

    Cost: O(n) time and memory.

    Example:
        >>> slope(np.array([0.0, 1.0, 2.0]), np.array([5.0, 7.0, 9.0]))
        2.0
    """
    x, y = _finite(x, "x"), _finite(y, "y")
    _same_length(x, y, "x", "y")
    if _is_constant(x):
        return math.nan
    if _is_constant(y):
        return 0.0
    x, x_power = _unit(x)
    y, y_power = _unit(y)
    u, u_power = _unit(_centre(x))
    v, v_power = _unit(_centre(y))
    with np.errstate(over="ignore", under="ignore"):
        ratio = float(u @ v) / float(u @ u)
        return float(np.ldexp(ratio, y_power + v_power - x_power - u_power))


def auroc(scores: Real[np.ndarray, "n"], labels: Bool[np.ndarray, "n"] | Integer[np.ndarray, "n"]) -> float:
    """Compute the area under the ROC curve, with ties counted half.

    AUROC = P(s+ > s-) + P(s+ = s-) / 2 = (sum of positive ranks - n1 (n1 + 1) / 2) / (n1 n0)

    Args:
        scores: shape (n,), higher meaning more positive; infinities are allowed.
        labels: shape (n,), boolean or 0 and 1; both classes must occur.

    Returns:
        Area in [0, 1]; 0.5 is chance.

    Raises:
        PatchclampError: empty, not one-dimensional, holding nan, of different lengths, a label other than 0 or 1, or
            only one class.

    Source: Mann & Whitney (1947), Ann. Math. Stat. 18, 50-60; Hanley & McNeil (1982), Radiology 143.

    Cost: O(n log n) time, O(n) memory.

    Example:
        >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        0.75
    """
    scores, labels = _vector(scores, "scores"), _vector(labels, "labels")
    _same_length(scores, labels, "scores", "labels")
    positive = labels == 1
    n_other = int(np.count_nonzero(~positive & (labels != 0)))
    if n_other:
        raise PatchclampError(
            expected="labels that are boolean, or 0 and 1",
            got=f"{n_other} of {labels.size} labels that are neither",
            remedy="Turn the labels into booleans, for example labels == positive_class.",
        )
    n_positive = int(np.count_nonzero(positive))
    n_negative = labels.size - n_positive
    if not n_positive or not n_negative:
        raise PatchclampError(
            expected="labels of both classes",
            got=f"{n_positive} positive and {n_negative} negative labels",
            remedy="Add examples of the missing class; AUROC compares the two.",
        )
    rank_sum = float(rank(scores)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def bootstrap_interval(
    values: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"],
    statistic: Callable[..., SupportsFloat] = np.mean,
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute a percentile bootstrap interval for a statistic of independent rows.

    [Q((1 - level) / 2), Q((1 + level) / 2)], Q the quantiles of statistic(values[i]) over draws of n row numbers i with
    replacement

    Args:
        values: shape (n,), or (n, k) for paired data, whose rows are resampled whole; finite.
        statistic: takes a resample shaped like values and returns a number. For one-dimensional values a statistic
            with an `axis` parameter (np.mean, np.median) is called on many resamples at once; any other is called once
            per resample.
        n_resamples: number of resamples, at least 1.
        level: nominal coverage, in (0, 1).
        seed: seed of the resampling; the same seed gives the same interval.

    Returns:
        Interval with method "percentile bootstrap". Both ends are nan when n = 1, where resampling says nothing about
        spread, or when the statistic is nan on any resample.

    Raises:
        PatchclampError: empty, not one- or two-dimensional, not finite, level or n_resamples out of range, or a
            statistic that does not return one number.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13. The interval covers too rarely when
        n is small: at level 0.95 and n = 10, about 0.90 for the mean of normal values and 0.85 of exponential ones.

    Cost: O(n_resamples * n) time and n_resamples calls of the statistic (a few when it takes `axis`); memory is
        bounded by blocks of about 2 million values.

    Example:
        >>> interval = bootstrap_interval(np.arange(20.0), np.median)
        >>> interval.low < 9.5 < interval.high
        True
    """
    values = _finite(values, "values", dimensions=(1, 2))
    _check_level(level)
    _check_count(n_resamples, "n_resamples")
    if len(values) == 1:
        return Interval(math.nan, math.nan, level, "percentile bootstrap")
    at_once = values.ndim == 1 and _takes_axis(statistic)
    rng = np.random.default_rng(seed)
    draws = np.empty(n_resamples)
    for block in _blocks(n_resamples, values.size):
        n_rows = block.stop - block.start
        resamples = values[
            rng.integers(0, len(values), size=(n_rows, len(values)))
        ]  # (resample, n) or (resample, n, k)
        if at_once:
            draws[block] = _numbers(statistic(resamples, axis=1), n_rows)
        else:
            draws[block] = [_numbers(statistic(resample), 1)[0] for resample in resamples]
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, "percentile bootstrap")


def mean_interval(
    values: Real[np.ndarray, "n"], *, n_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Compute a percentile bootstrap interval for the mean.

    bootstrap_interval(values, np.mean)

    Args:
        values: shape (n,), finite.
        n_resamples: number of resamples, at least 1.
        level: nominal coverage, in (0, 1).
        seed: seed of the resampling.

    Returns:
        Interval with method "percentile bootstrap"; both ends nan when n = 1.

    Raises:
        PatchclampError: empty, not one-dimensional, not finite, or level or n_resamples out of range.

    Source: As `bootstrap_interval`.

    Cost: O(n_resamples * n) time; memory is bounded by blocks of about 2 million values.

    Example:
        >>> interval = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))
        >>> interval.low < 2.5 < interval.high
        True
    """
    values = _finite(values, "values")
    return bootstrap_interval(values, np.mean, n_resamples=n_resamples, level=level, seed=seed)


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Compute the Wilson score interval for a proportion.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), p = successes / n, z the standard normal
    quantile at (1 + level) / 2

    Args:
        successes: number of successes, 0 to n.
        n: number of trials, at least 1.
        level: nominal coverage, in (0, 1).

    Returns:
        Interval within [0, 1] with method "wilson".

    Raises:
        PatchclampError: n below 1, successes outside 0 to n, or level out of range.

    Source: Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.

    Cost: O(1).

    Example:
        >>> interval = wilson_interval(8, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)
    """
    _check_level(level)
    _check_count(n, "n")
    if not 0 <= successes <= n:
        raise PatchclampError(
            expected=f"successes between 0 and n = {n}",
            got=f"{successes}",
            remedy="Pass a count of successes, not a proportion, and the number of trials.",
        )
    p = successes / n
    z = -NormalDist().inv_cdf((1 - level) / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # The ends are exactly 0 and 1 there; rounding would leave them a little inside or outside.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high, level, "wilson")


def permutation_p(
    x: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    y: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    *,
    statistic: Callable[..., SupportsFloat],
    n_permutations: int = 2000,
    seed: int = 0,
) -> float:
    """Test association by shuffling y against x, two-sided about zero.

    p = (1 + #{|statistic(x, shuffled y)| >= |statistic(x, y)|}) / (1 + n_permutations)

    Args:
        x: shape (n,); infinities are allowed.
        y: shape (n,), exchangeable under the null hypothesis; infinities are allowed.
        statistic: takes (x, y) and returns a number that is centred on zero under the null hypothesis, such as
            `pearson`, or auroc - 0.5.
        n_permutations: number of shuffles, at least 1.
        seed: seed of the shuffles.

    Returns:
        p in (0, 1], at least 1 / (1 + n_permutations); nan when the statistic is nan on the data or on any shuffle.
        Values equal up to rounding count as ties.

    Raises:
        PatchclampError: empty, not one-dimensional, holding nan, of different lengths, n_permutations below 1, or a
            statistic that does not return one number.

    Source: Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9, 39, for the +1.

    Cost: n_permutations + 1 calls of the statistic.

    Example:
        >>> x = np.arange(8.0)
        >>> permutation_p(x, x**2, statistic=pearson, n_permutations=99)
        0.01
    """
    x, y = _vector(x, "x"), _vector(y, "y")
    _same_length(x, y, "x", "y")
    _check_count(n_permutations, "n_permutations")
    rng = np.random.default_rng(seed)
    observed = _numbers(statistic(x, y), 1)[0]
    shuffles = (rng.permutation(y) for _ in range(n_permutations))
    null = np.array([_numbers(statistic(x, shuffled), 1)[0] for shuffled in shuffles])
    if np.isnan(observed) or np.isnan(null).any():
        return math.nan
    slack = _TIE * float(np.abs(null[np.isfinite(null)]).max(initial=0.0))
    return _p_value(np.abs(null) >= abs(observed) - slack)


def sign_flip_p(differences: Real[np.ndarray, "n"], *, n_permutations: int = 2000, seed: int = 0) -> float:
    """Test whether paired differences are centred on zero by flipping their signs, two-sided.

    p = (1 + #{|mean(s * d)| >= |mean(d)|}) / (1 + n_permutations), each s_i = +-1 at random

    Args:
        differences: shape (n,), finite, symmetric about zero under the null hypothesis.
        n_permutations: number of random sign vectors, at least 1.
        seed: seed of the signs.

    Returns:
        p in (0, 1], at least 1 / (1 + n_permutations). Means equal up to rounding count as ties.

    Raises:
        PatchclampError: empty, not one-dimensional, not finite, or n_permutations below 1.

    Source: Fisher (1935), The Design of Experiments, section 21; Phipson & Smyth (2010), Stat. Appl. Genet. Mol.
        Biol. 9, 39, for the +1.

    Cost: O(n_permutations * n) time; memory is bounded by blocks of about 2 million values.

    Example:
        >>> sign_flip_p(np.array([-1.0, 1.0, -2.0, 2.0]), n_permutations=99)
        1.0
    """
    differences = _unit(_finite(differences, "differences"))[0]
    _check_count(n_permutations, "n_permutations")
    rng = np.random.default_rng(seed)
    null = np.empty(n_permutations)
    for block in _blocks(n_permutations, differences.size):
        signs = 2 * rng.integers(0, 2, size=(block.stop - block.start, differences.size)) - 1  # (permutation, n)
        null[block] = signs @ differences  # sums: all share one divisor, which decides nothing
    slack = _TIE * float(np.abs(differences).sum())
    return _p_value(np.abs(null) >= abs(float(differences.sum())) - slack)


def rank_of(value: float, controls: Real[np.ndarray, "n"]) -> float:
    """Compute the share of controls at least as extreme as a value, in magnitude.

    p = (1 + #{|control| >= |value|}) / (1 + n)

    Args:
        value: the effect to place; infinities are allowed.
        controls: shape (n,), the same effect for control interventions; infinities are allowed.

    Returns:
        p in (0, 1], at least 1 / (1 + n): a one-sided p-value for |value|.

    Raises:
        PatchclampError: empty or not one-dimensional controls, or a nan in either.

    Source: Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9, 39, for the +1.

    Cost: O(n).

    Example:
        >>> rank_of(-3.0, np.array([1.0, -2.0, 0.5, 4.0]))
        0.4
    """
    controls = _vector(controls, "controls")
    if math.isnan(value):
        raise PatchclampError(
            expected="a value that is a number",
            got="nan",
            remedy="Find out why the effect is undefined before ranking it.",
        )
    return _p_value(np.abs(controls.astype(np.float64)) >= abs(value))


def _vector(values: Any, name: str, dimensions: tuple[int, ...] = (1,)) -> np.ndarray:
    """Return values as a non-empty numeric array without nan, keeping its dtype."""
    array = np.asarray(values)
    if array.ndim not in dimensions or not array.size or array.dtype.kind not in "biuf":
        raise PatchclampError(
            expected=f"{name} to be a non-empty array of real numbers with ndim {' or '.join(map(str, dimensions))}",
            got=f"shape {array.shape} and dtype {array.dtype}",
            remedy="Check the selection that produced it; ravel it, or pick the axis to analyse.",
        )
    n_nan = int(np.count_nonzero(np.isnan(array)))
    if n_nan:
        raise PatchclampError(
            expected=f"{name} without nan",
            got=f"{n_nan} nan among {array.size} values",
            remedy="Drop those entries, and say how many were dropped.",
        )
    return array


def _finite(values: Any, name: str, dimensions: tuple[int, ...] = (1,)) -> np.ndarray:
    """Return values as a non-empty finite float64 array."""
    array = _vector(values, name, dimensions).astype(np.float64)
    n_infinite = int(np.count_nonzero(np.isinf(array)))
    if n_infinite:
        raise PatchclampError(
            expected=f"{name} to be finite",
            got=f"{n_infinite} infinite among {array.size} values",
            remedy="Drop or clip those entries, or use a rank statistic.",
        )
    return array


def _same_length(x: np.ndarray, y: np.ndarray, x_name: str, y_name: str) -> None:
    if len(x) != len(y):
        raise PatchclampError(
            expected=f"{x_name} and {y_name} of the same length",
            got=f"{len(x)} and {len(y)}",
            remedy="Pass one entry of each per observation.",
        )


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise PatchclampError(
            expected="a level strictly between 0 and 1", got=f"{level}", remedy="Use 0.95 for a 95% interval."
        )


def _check_count(count: int, name: str) -> None:
    at_least(name, count, 1)


def _is_constant(x: np.ndarray) -> bool:
    return bool(x.min() == x.max())


def _unit(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Return x / 2**power, largest magnitude in [0.5, 1), and power: exact, and safe to square."""
    power = int(np.frexp(np.abs(x).max())[1])
    return np.ldexp(x, -power), power


def _centre(x: np.ndarray) -> np.ndarray:
    """Return x minus its mean, twice: the second pass removes the rounding of the first mean."""
    once: np.ndarray = x - x.mean()
    twice: np.ndarray = once - once.mean()
    return twice


def _takes_axis(statistic: Callable[..., SupportsFloat]) -> bool:
    try:
        return "axis" in inspect.signature(statistic).parameters
    except ValueError:
        return False


def _numbers(result: Any, n: int) -> np.ndarray:
    """Return a statistic's result as n floats, or say that it is not."""
    array = np.asarray(result)
    if array.dtype.kind not in "biuf" or (array.shape != (n,) and (array.shape, n) != ((), 1)):
        raise PatchclampError(
            expected="a statistic that returns one number for each sample",
            got=f"shape {array.shape} and dtype {array.dtype} for {n} sample{'s' if n > 1 else ''}",
            remedy="Return a float; wrap the statistic in a lambda if its `axis` is unusual.",
        )
    return array.astype(np.float64).reshape(n)


def _blocks(n_rows: int, row_size: int) -> Iterator[slice]:
    """Yield slices over n_rows that keep each block to about _BLOCK_ELEMENTS values."""
    step = max(1, _BLOCK_ELEMENTS // row_size)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _p_value(at_least_as_extreme: np.ndarray) -> float:
    return (1 + int(np.count_nonzero(at_least_as_extreme))) / (1 + at_least_as_extreme.size)
