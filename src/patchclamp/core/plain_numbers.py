"""Numbers, intervals, counts and sizes as words, for tables and messages."""

import math
from collections.abc import Callable, Iterable
from typing import TypeGuard

ABSENT = "–"
"""What stands in place of a number that is not there."""
SHARE_SLACK = 0.01
"""By how much a share may leave 0 to 1 by rounding."""


def is_known(value: float | None) -> TypeGuard[float]:
    """Return whether a number is there and finite."""
    return value is not None and math.isfinite(value)


def format_signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign; what rounds to zero has none, and what is absent or not finite is a dash."""
    if not is_known(value):
        return ABSENT
    text = f"{value:+.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


def format_fixed(value: float | None, digits: int = 2) -> str:
    """Return a number without a plus sign; a dash where it is absent or not finite."""
    return format_signed(value, digits).removeprefix("+")


def format_general(value: float | None, digits: int = 3, *, sign: str = "-") -> str:
    """Return a number with some significant digits, a plus sign too where asked; a dash where it is not known.

    Returns:
        str: ``0.0123``, or a dash.

    Example:
        >>> format_general(1234.5, sign="+"), format_general(None)
        ('+1.23e+03', '–')
    """
    return f"{value:{sign}.{digits}g}" if is_known(value) else ABSENT


def format_percent(share: float | None, digits: int = 0) -> str:
    """Return a share in percent; a dash where it is absent or not finite."""
    return f"{format_fixed(100 * share, digits)}%" if is_known(share) else ABSENT


def is_share(value: float | None) -> bool:
    """Return whether a number is a share of a whole, but for a hundredth at its ends.

    Example:
        >>> [is_share(value) for value in (0.5, 1.005, 1.6, -0.3, None)]
        [True, True, False, False, False]
    """
    return value is not None and -SHARE_SLACK <= value <= 1 + SHARE_SLACK


def format_share(value: float | None) -> str:
    """Return a share in percent, from 0 to 100; a dash where it is none, as of an effect of the opposite sign.

    Example:
        >>> format_share(0.25), format_share(1.004), format_share(-0.2), format_share(3.0)
        ('25%', '100%', '–', '–')
    """
    return format_percent(min(max(value, 0.0), 1.0)) if value is not None and is_share(value) else ABSENT


def format_thousandths(value: float | None) -> str:
    """Return a number to three places; a dash where it is absent or not finite."""
    return format_fixed(value, 3)


def format_range(low: float | None, high: float | None, show: Callable[[float | None], str] = format_signed) -> str:
    """Return both ends of an interval; a dash where one of them is absent or not finite.

    Returns:
        str: ``0.25 to 0.50``, or a dash.

    Example:
        >>> format_range(-0.5, 1.0), format_range(None, 1.0)
        ('-0.500 to +1.000', '–')
    """
    return f"{show(low)} to {show(high)}" if is_known(low) and is_known(high) else ABSENT


def find_largest(values: Iterable[float | None]) -> float:
    """Return the largest magnitude among the numbers that are known; 0 without any."""
    return max((abs(value) for value in values if is_known(value)), default=0.0)


def known_or_least(value: float | None) -> float:
    """Return a number to sort by: what is not known comes below everything."""
    return value if is_known(value) else -math.inf


def format_token(token: str) -> str:
    """Return a token with its spaces and breaks visible."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def random_sets(n: int) -> str:
    """Return how many random sets there are, in words."""
    return f"{n} random set" + "s" * (n != 1)


def different_sets(n: int) -> str:
    """Return how many sets p rests on, in words."""
    return f"{n} different set" + "s" * (n != 1)


def human_bytes(n: float | int) -> str:
    """Return bytes as people write them: ``1.3 GB``.

    Example:
        >>> human_bytes(1.3e9)
        '1.3 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit in ("B", "kB") or n >= 100 else f"{n:.1f} {unit}"


def human_s(seconds: float) -> str:
    """Return seconds as people say them: ``2 min 5 s``.

    Example:
        >>> human_s(125.0)
        '2 min 5 s'
    """
    if seconds < 1:
        return "under 1 s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, s = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {s} s" if minutes else f"{s} s"
