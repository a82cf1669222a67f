"""Where a change acts, decided in the run by a unit's activation or by a score along a direction."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import read_number, read_numbers, read_whole, read_word
from patchclamp.core.recording import as_numpy


@checked
@dataclass(frozen=True, eq=False)
class When:
    """Let a change act only at the vectors whose score lies above, or below, a threshold.

    The score is read in the run that is changed: a unit's activation f, or x · direction, at the same stimulus and
    position.

    Args:
        unit: index in the basis; instead of a direction.
        direction: ``(width,)``, such as a probe's; instead of a unit.
        above: the score must be greater.
        below: the score must be less; with ``above`` it must lie between.
        site: where it is read (default: the changed site itself), as it is when the change is due. Another site
            must come before the changed one in the forward pass.
        basis: of the unit.

    Raises:
        PatchclampError: not one of unit and direction, no threshold, or numbers that are not finite.

    Example:
        >>> When(7, above=0.5).to_json()
        {'basis': 'neurons', 'unit': 7, 'above': 0.5}
    """

    unit: Natural | None = None
    direction: Any = None
    above: float | None = None
    below: float | None = None
    site: str | None = None
    basis: str = "neurons"

    def __post_init__(self) -> None:
        thresholds = [x for x in (self.above, self.below) if x is not None]
        direction = None if self.direction is None else _vector(self.direction)
        fits = (self.unit is None) != (direction is None) and (
            direction is None or (direction.ndim == 1 and direction.dtype.kind in "biuf" and direction.size > 0)
        )
        finite = all(map(math.isfinite, thresholds)) and (not fits or direction is None or np.isfinite(direction).all())
        if not fits or not thresholds or not finite:
            raise PatchclampError(
                expected="a unit or a direction (one vector), and above=, below= or both, all of them finite",
                got=f"unit {self.unit}, {'a' if direction is not None else 'no'} direction, above {self.above}, "
                f"below {self.below}",
                remedy="For example When(7, above=0.5), or When(direction=probe, above=0).",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the condition as JSON-ready data."""
        data: dict[str, Any] = {}
        if self.site is not None:
            data["site"] = self.site
        if self.unit is not None:
            data |= {"basis": self.basis, "unit": int(self.unit)}
        if self.direction is not None:
            data["direction"] = _vector(self.direction).astype(np.float64).tolist()
        return data | {name: x for name, x in (("above", self.above), ("below", self.below)) if x is not None}

    @classmethod
    def from_json(cls, data: Any) -> "When":
        """Read a condition; the inverse of ``to_json``.

        Raises:
            PatchclampError: something else.
        """
        kinds: dict[str, Callable[[Any], Any]] = {
            "site": read_word,
            "basis": read_word,
            "unit": read_whole,
            "direction": read_numbers,
            "above": read_number,
            "below": read_number,
        }
        try:
            given = {name: kinds[name](value) for name, value in data.items()}
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as problem:
            raise PatchclampError(
                expected="a condition as `to_json` writes it", got=f"{data!r:.120}", remedy="Send what it returned."
            ) from problem
        return cls(**given)


def _vector(direction: Any) -> np.ndarray:
    """Return a direction as float32 or wider numbers."""
    try:
        array = np.asarray(as_numpy(direction) if hasattr(direction, "detach") else direction)
    except ValueError:  # a ragged list
        return np.zeros(0, dtype=object)
    # Kind V is ml_dtypes' bfloat16.
    return array.astype(np.float32) if array.dtype.kind == "V" else array
