"""A number with its interval, what it rests on, and what it stands between."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError, report_damage
from patchclamp.core.json_text import read_number, read_whole, read_word
from patchclamp.core.stats import Interval


@checked
@dataclass(frozen=True)
class Estimate:
    """Hold one measured number, its interval, and where a split exists its null and its ceiling.

    Args:
        value: the number; nan where it is undefined.
        interval: its interval; None where nothing can be said of its spread, as with one case.
        n: how many independent things it rests on (cases, stimuli, people).
        unit: unit of measure, in words: ``m``, ``share of m``, ``Pearson r``, ``AUROC``.
        null: what chance gives: the interval of the same number with the whole pipeline refitted on data in which
            there is nothing to find.
        p: share of those that reach the value, the value itself counted among them; None without a null.
        ceiling: the largest value that the noise of the data allows; None where that cannot be known.
        rivals: name → the same number of something that knows more than a method may, such as a greedy order that was
            chosen on what is measured. It is strong, and no bound.

    Raises:
        PatchclampError: a p outside (0, 1], or a p without a null.

    Example:
        >>> Estimate(0.4, Interval(0.3, 0.5, 0.95, "percentile bootstrap"), 20, "Pearson r").to_json()["low"]
        0.3
    """

    value: float
    interval: Interval | None
    n: Natural
    unit: str
    null: Interval | None = None
    p: float | None = None
    ceiling: float | None = None
    rivals: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.p is not None and (self.null is None or not 0 < self.p <= 1):
            raise PatchclampError(
                expected="p above 0 and at most 1, of a null that is given",
                got=f"p = {self.p!r}, null = {self.null!r}",
                remedy="Count the value itself among the null's: p = (1 + #{null ≥ value}) / (1 + n).",
            )

    @property
    def low(self) -> float:
        """Lower end of the interval; nan without one."""
        return math.nan if self.interval is None else self.interval.low

    @property
    def high(self) -> float:
        """Upper end of the interval; nan without one."""
        return math.nan if self.interval is None else self.interval.high

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON-ready data; what is absent or not finite is null, no rivals are left out."""
        return {
            "value": finite(self.value),
            "low": finite(self.low),
            "high": finite(self.high),
            "level": None if self.interval is None else self.interval.level,
            "interval": None if self.interval is None else self.interval.method,
            "n": self.n,
            "unit": self.unit,
            "null_low": None if self.null is None else finite(self.null.low),
            "null_high": None if self.null is None else finite(self.null.high),
            "null": None if self.null is None else self.null.method,
            "p": self.p,
            "ceiling": finite(self.ceiling),
            **({"rivals": {name: finite(value) for name, value in self.rivals.items()}} if self.rivals else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Estimate":
        """Read an estimate; the inverse of ``to_json``.

        Raises:
            Damaged: a part that is missing or of another type.
        """

        def number(name: str) -> float | None:
            return None if data[name] is None else read_number(data[name])

        def number_or_nan(name: str) -> float:
            return math.nan if data[name] is None else read_number(data[name])

        def interval(low: str, high: str, method: str) -> Interval | None:
            if data[method] is None:
                if data[low] is not None or data[high] is not None:
                    raise ValueError(f"{low} and {high} of no {method}")
                return None
            level = 0.95 if data["level"] is None and data["interval"] is None else read_number(data["level"])
            return Interval(number_or_nan(low), number_or_nan(high), level, read_word(data[method]))

        with report_damage("an estimate", "Measure it again."):
            return cls(
                number_or_nan("value"),
                interval("low", "high", "interval"),
                read_whole(data["n"]),
                read_word(data["unit"]),
                interval("null_low", "null_high", "null"),
                number("p"),
                number("ceiling"),
                {name: math.nan if x is None else read_number(x) for name, x in data.get("rivals", {}).items()},
            )

    def __str__(self) -> str:
        """Return the number as people read it: ``0.40 (95 % CI 0.30 to 0.50, n = 20)``."""
        if self.interval is None or not math.isfinite(self.interval.low):
            return f"{self.value:.3g} {self.unit} (n = {self.n})"
        i = self.interval
        return f"{self.value:.3g} {self.unit} ({100 * i.level:g} % CI {i.low:.3g} to {i.high:.3g}, n = {self.n})"


def finite(value: float | None) -> float | None:
    """Return a number that JSON can hold, or None."""
    return None if value is None or not math.isfinite(value) else float(value)


def to_plain(data: Any) -> Any:
    """Return dataclasses, mappings and sequences as JSON-ready data, estimates by their own ``to_json``."""
    if isinstance(data, Estimate):
        return data.to_json()
    if is_dataclass(data) and not isinstance(data, type):
        return {one.name: to_plain(getattr(data, one.name)) for one in fields(data)}
    if isinstance(data, Mapping):
        return {name: to_plain(value) for name, value in data.items()}
    return [to_plain(one) for one in data] if isinstance(data, list | tuple) else data
