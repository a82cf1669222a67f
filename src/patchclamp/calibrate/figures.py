"""What is measured of a method on an organism: a number beside its random row and its oracle row."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.recording import Recording
from patchclamp.core.stats import Interval, auroc, bootstrap_interval, mean_interval, wilson_interval


@dataclass(frozen=True)
class Figure:
    """Hold one number, which is larger where the method does better, between two others.

    Args:
        name: what is measured.
        own: of the method.
        random: of what knows nothing; None where chance would do as well.
        oracle: of what knows the truth; None where nobody knows more than the method.
        least: what the method must reach as well.
    """

    name: str
    own: Estimate
    random: Estimate | None = None
    oracle: Estimate | None = None
    least: float = -math.inf

    @property
    def failure(self) -> str:
        """What is lacking; empty where it lies above its random row and what it must reach, not above its oracle."""
        if not self.own.value >= self.least:
            return f"{self.name}: {self.own} is below {self.least:.3g}"
        low = _low(self.own)
        if self.random is not None and not (self.own.value > _high(self.random) and low > self.random.value):
            return f"{self.name}: {self.own} does not lie above chance, {self.random}"
        if self.oracle is not None and not low <= _high(self.oracle) + 1e-9:
            return f"{self.name}: {self.own} lies above what knows the truth, {self.oracle}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Return the figure as it is stored: each number with the ends of its interval and what it rests on."""
        return {
            "name": self.name,
            "unit": self.own.unit,
            "own": _row(self.own),
            "random": _row(self.random),
            "oracle": _row(self.oracle),
            "least": finite(self.least),
            "failure": self.failure,
        }


def share_of(successes: int, n: int, unit: str) -> Estimate:
    """Return a share with Wilson's interval.

    Returns:
        Estimate: in [0, 1].

    Source: as ``core.stats.wilson_interval``.

    Example:
        >>> str(share_of(3, 4, "planted units"))
        '0.75 planted units (95 % CI 0.301 to 0.954, n = 4)'
    """
    return Estimate(successes / n, wilson_interval(successes, n), n, unit)


def mean_of(values: Float[np.ndarray, " n"], unit: str, seed: int = 0) -> Estimate:
    """Return a mean with its interval; without one where there is a single value.

    Returns:
        Estimate: with n values.

    Source: as ``core.stats.mean_interval``.

    Example:
        >>> round(mean_of(np.array([1.0, 2.0, 3.0]), "m").value, 3)
        2.0
    """
    interval = mean_interval(values, seed=seed) if len(values) > 1 else None
    return Estimate(float(values.mean()), interval, len(values), unit)


def chance_of(values: Float[np.ndarray, " n"], unit: str) -> Estimate:
    """Return the mean of draws by chance, with the interval in which 95 % of them lie."""
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(float(values.mean()), Interval(float(low), float(high), 0.95, "draws"), len(values), unit)


def null_of(estimate: Estimate) -> Estimate | None:
    """Return an estimate's own null as a random row; None where it has none."""
    if estimate.null is None:
        return None
    middle = (estimate.null.low + estimate.null.high) / 2
    return Estimate(middle, estimate.null, estimate.n, estimate.unit)


def auroc_of(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], seed: int = 0) -> Estimate:
    """Return how far the positive ones stand above the others, with an interval over both.

    Returns:
        Estimate: in [0, 1]; 0.5 is chance.

    Source: as ``core.stats.auroc`` and ``bootstrap_interval``.

    Example:
        >>> auroc_of(np.array([0.1, 0.9, 0.4]), np.array([False, True, False])).value
        1.0
    """

    def area(rows: Float[np.ndarray, "n 2"]) -> float:
        among = rows[:, 1] > 0
        return auroc(rows[:, 0], among) if among.any() and not among.all() else 0.5

    both = np.stack([scores, positive.astype(float)], 1)
    return Estimate(area(both), bootstrap_interval(both, area, n_resamples=500, seed=seed), len(both), "AUROC")


def noise_like(recording: Recording, seed: int) -> Recording:
    """Return a recording of the same stimuli and shapes in which there is nothing to find."""
    draw = np.random.default_rng(seed)
    return replace(recording, values={site: draw.standard_normal(np.shape(x)) for site, x in recording.values.items()})


def exact_figure(value: float | None, like: Estimate) -> Estimate | None:
    """Return a number that is known exactly as an oracle row; None where it is not."""
    return None if value is None else Estimate(value, None, like.n, like.unit)


def top_of(estimate: Estimate) -> Estimate | None:
    """Return an estimate's ceiling as an oracle row, or its strongest rival where it has none; None without either."""
    return exact_figure(
        max(estimate.rivals.values(), default=None) if estimate.ceiling is None else estimate.ceiling, estimate
    )


def _low(estimate: Estimate) -> float:
    return estimate.low if math.isfinite(estimate.low) else estimate.value


def _high(estimate: Estimate) -> float:
    return estimate.high if math.isfinite(estimate.high) else estimate.value


def _row(estimate: Estimate | None) -> list[float | int | None] | None:
    """Return value, both ends and n; six digits, so that the last bits of another machine change no file."""
    if estimate is None:
        return None
    return [*(_six(x) for x in (estimate.value, estimate.low, estimate.high)), estimate.n]


def _six(x: float) -> float | None:
    return float(f"{x:.6g}") if math.isfinite(x) else None
