"""Scores of one unit from its windows, each with a bootstrap interval over windows that needs few draws."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

N_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class WindowScore:
    """Hold the score of one unit.

    Args:
        value: the score; nan where it is undefined.
        low: lower end of its interval.
        high: upper end.
        n: windows that were answered.
        missing: windows that were not.
        deciles: ``(10,)`` the score within tenths of the active windows; None of a scorer without such.
    """

    value: float
    low: float
    high: float
    n: int
    missing: int = 0
    deciles: Float[np.ndarray, " decile"] | None = None


def balanced_accuracy(
    active: Bool[np.ndarray, " a"], silent: Bool[np.ndarray, " b"], draw: np.random.Generator
) -> tuple[float, float, float]:
    """Return (TPR + TNR) / 2 and its interval; nan without answers of both sorts.

    Args:
        active: whether each window in which the unit fires was said to fit.
        silent: whether each one in which it does not was.
        draw: of the resamples: within each sort the number of hits is binomial, so that none is drawn by windows.

    Returns:
        tuple[float, float, float]: value, low, high.

    Source: 2410.13928, detection scoring; the binomial resamples are ours.

    Example:
        >>> balanced_accuracy(np.array([True, True]), np.array([False, False]), np.random.default_rng(0))
        (1.0, 1.0, 1.0)
    """
    if not len(active) or not len(silent):
        return np.nan, np.nan, np.nan
    hits, rests = active.mean(), 1 - silent.mean()
    drawn = draw.binomial(len(active), hits, N_DRAWS) / len(active)
    drawn = (drawn + draw.binomial(len(silent), rests, N_DRAWS) / len(silent)) / 2
    return float((hits + rests) / 2), *_ends(drawn)


def area(
    active: Float[np.ndarray, " a"], silent: Float[np.ndarray, " b"], draw: np.random.Generator
) -> tuple[float, float, float]:
    """Return the area under the ROC curve and its interval; nan without answers of both sorts.

    Args:
        active: what each window in which the unit fires was given.
        silent: what each one in which it does not was given.
        draw: of the resamples: how often each distinct value is drawn within each sort.

    Returns:
        tuple[float, float, float]: value, low, high.

    Source: as ``core.stats.auroc``.

    Example:
        >>> area(np.array([2.0, 3.0]), np.array([0.0, 1.0]), np.random.default_rng(0))
        (1.0, 1.0, 1.0)
    """
    if not len(active) or not len(silent):
        return np.nan, np.nan, np.nan
    values, places = np.unique(np.concatenate([active, silent]), return_inverse=True)
    counts = np.zeros((2, len(values)))
    np.add.at(counts[0], places[: len(active)], 1)
    np.add.at(counts[1], places[len(active) :], 1)
    n = counts.sum(1)

    def areas(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        """Return P(s₊ > s₋) + P(s₊ = s₋) / 2 of counts by value, ``(draw, value)``."""
        lower = np.cumsum(below, axis=1) - below / 2
        shares: np.ndarray = (above * lower).sum(1) / (n[0] * n[1])
        return shares

    drawn = [draw.multinomial(int(n[i]), counts[i] / n[i], N_DRAWS) for i in (0, 1)]
    return float(areas(counts[:1], counts[1:])[0]), *_ends(areas(*drawn))


def correlation(
    true: list[np.ndarray], predicted: list[np.ndarray], draw: np.random.Generator
) -> tuple[float, float, float]:
    """Return Pearson's r over the tokens of all windows end to end, and its interval over windows.

    Args:
        true: ``(token,)`` activations of each window.
        predicted: ``(token,)`` the predictions. Where all are the same, r is 0: they explain nothing.
        draw: of how often each window is drawn.

    Returns:
        tuple[float, float, float]: value, low, high.

    Source: as ``core.stats.pearson``.

    Example:
        >>> true, predicted = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 6.0])
        >>> round(correlation([true], [predicted], np.random.default_rng(0))[0], 6)
        1.0
    """
    if not true or np.ptp(np.concatenate(true)) == 0:
        return np.nan, np.nan, np.nan
    sums = _sums(true, predicted)
    drawn = draw.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), N_DRAWS) @ sums
    return float(_pearson(sums.sum(0, keepdims=True))[0]), *_ends(_pearson(drawn))


def pearson_of(true: list[np.ndarray], predicted: list[np.ndarray]) -> float:
    """Return r over the tokens of some windows end to end; 0 where the predictions are constant, nan of no windows."""
    return float(_pearson(_sums(true, predicted).sum(0, keepdims=True))[0]) if true else np.nan


def mean(values: Float[np.ndarray, " n"], draw: np.random.Generator) -> tuple[float, float, float]:
    """Return the mean and its interval; nan of no values."""
    if not len(values):
        return np.nan, np.nan, np.nan
    drawn = values[draw.integers(0, len(values), (N_DRAWS, len(values)))].mean(1)
    return float(values.mean()), *_ends(drawn)


def _sums(true: list[np.ndarray], predicted: list[np.ndarray]) -> Float[np.ndarray, "window 6"]:
    """Return n, Σx, Σy, Σx², Σy², Σxy of each window; x less its mean over all, so that sums keep their digits."""
    shift = float(np.concatenate(true).mean())
    pairs = [(x - shift, y.astype(np.float64)) for x, y in zip(true, predicted, strict=True)]
    return np.array([(len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y) for x, y in pairs])


def _pearson(sums: Float[np.ndarray, "draw 6"]) -> Float[np.ndarray, " draw"]:
    """Return r from n, Σx, Σy, Σx², Σy², Σxy; 0 where x or y is constant."""
    n, x, y, xx, yy, xy = sums.T
    spread_x, spread_y = xx - x * x / n, yy - y * y / n
    flat = (spread_x <= 1e-12 * xx) | (spread_y <= 1e-12 * yy)
    r = (xy - x * y / n) / np.sqrt(np.where(flat, 1.0, spread_x * spread_y))
    return np.where(flat, 0.0, np.clip(r, -1, 1))


def _ends(drawn: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
