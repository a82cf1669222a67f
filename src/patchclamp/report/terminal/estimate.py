"""An estimate in one sentence."""

from patchclamp.core.estimate import Estimate
from patchclamp.core.plain_numbers import (
    ABSENT,
    format_fixed,
    format_range,
)


def sentence(estimate: Estimate, *, bare: bool = False) -> str:
    """Return what an estimate says: the value beside its null, ceiling and rivals; ``bare`` where it can have none."""
    words = f"{estimate.unit} {format_fixed(estimate.value, 3)}"
    if estimate.interval is not None:
        low, high = estimate.interval.low, estimate.interval.high
        words += f" (95 % interval {format_range(low, high, lambda x: format_fixed(x, 3))}, n = {estimate.n})"
    if estimate.null is not None:
        ends = format_range(estimate.null.low, estimate.null.high, lambda x: format_fixed(x, 3))
        words += f"; by chance {ends}, p = {ABSENT if estimate.p is None else format(estimate.p, '.2g')}"
    if bare:
        return words
    beside = [f"; {name} {format_fixed(value, 3)}" for name, value in estimate.rivals.items()]
    ceiling = "unknown" if estimate.ceiling is None else format_fixed(estimate.ceiling, 3)
    return words + ("".join(beside) or f"; ceiling {ceiling}")
