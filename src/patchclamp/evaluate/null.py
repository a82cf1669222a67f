"""An estimate beside its null distribution, as benchmarks report it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval


def estimate_beside_null(
    value: float,
    interval: Interval | None,
    n: int,
    unit: str,
    null: Float[np.ndarray, " draw"],
    draws: str,
    *,
    ceiling: float | None = 1.0,
    rivals: Mapping[str, float] | None = None,
    lower: bool = False,
) -> Estimate:
    """Build an Estimate from a value and the same value under random draws.

    p = (1 + number of draws that reach the value) / (1 + number of draws).

    Args:
        value: what was measured.
        interval: its 95 % interval; None where it has none.
        n: number of things that it is a mean over.
        unit: of the value.
        null: ``(draw,)`` the value of every random draw.
        draws: what was drawn, in words.
        ceiling: the best value there is; None where it is not known.
        rivals: name → value of something that knows more than a method may.
        lower: whether low values are good.

    Returns:
        Estimate: with the middle 95 % of the null, p and the ceiling.

    Source: Phipson & Smyth (2010), Permutation p-values should never be zero.

    Example:
        >>> estimate_beside_null(0.9, None, 3, "mean AUROC", np.linspace(0.4, 0.6, 19), "19 random rotations").p
        0.05
    """
    low, high = np.quantile(null, [0.025, 0.975])
    reached = null <= value if lower else null >= value
    around = Interval(float(low), float(high), 0.95, draws)
    p = float((1 + reached.sum()) / (1 + len(null)))
    return Estimate(value, interval, n, unit, around, p, ceiling, rivals or {})
