"""What an atlas of a recorded brain knows of its units: names, a measured line, and units to begin with."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from patchclamp.atlas.read.responses import ConceptScore
from patchclamp.atlas.read.unit_line import CHANCE, CLEAR, LinePart, UnitLine, area_words, name_concept, weakness_of
from patchclamp.core.plain_numbers import format_fixed, format_general

RECORDING = "recording"
CANNOT_CLAMP = "A recording cannot be clamped: it is a record of what happened."
SPARK_BINS, COURSE_BINS = 48, 80
"""Bins of a small trace, and of a mean over trials."""
COUNTS, PLACES = "counts", ("x", "y", "z")
Over = Literal["trials", "runs of trials", "blocks of time"]
"""What intervals are over."""


class Opened(Protocol):
    """What is asked of an atlas here: rows of its tables, columns of a unit, and what it is about."""

    about: dict[str, Any]

    def rows(self, query: str, values: Sequence[Any] = (), /) -> list[tuple[Any, ...]]:
        """Return the rows that a query gives."""
        ...

    def row(self, unit: int, /, *columns: str) -> tuple[Any, ...]:
        """Return some columns of a unit."""
        ...


@dataclass(frozen=True)
class Spark:
    """A small trace of a unit: the lowest and the highest sample of every bin, to three digits; None where missing."""

    low: list[float | None]
    high: list[float | None]


def recorded_name(atlas: Opened, unit: int) -> str:
    """Return a unit's name in its recording; one that is a number is called a unit.

    Args:
        atlas: an atlas of a recording.
        unit: its number.
    """
    [(name,)] = atlas.rows("SELECT name FROM recorded WHERE unit = ?", [unit])
    return f"unit {name}" if name.strip().isdecimal() else name


def scale_of(facts: dict[str, Any]) -> tuple[float, str]:
    """Return what means are multiplied by, and their unit of measure: counts of a known rate become Hz.

    Example:
        >>> scale_of({"measure": "counts", "rate": 20.0}), scale_of({"measure": "µV", "rate": 20.0})
        ((20.0, 'Hz'), (1.0, 'µV'))
    """
    if facts["measure"] == COUNTS and facts["rate"] is not None:
        return float(facts["rate"]), "Hz"
    return 1.0, str(facts["measure"])


def recorded_line(atlas: Opened, unit: int, concepts: Sequence[ConceptScore]) -> UnitLine:
    """Return what is measured of a recorded unit in one line: its best condition, nearest unit, mean, and groups.

    Args:
        atlas: an atlas of a recording.
        unit: its number.
        concepts: the conditions that it tells, the best first.

    Returns:
        UnitLine: as of other units; nothing of tokens.
    """
    facts = atlas.about["recording"]
    frequency, mean, minimum, maximum = atlas.row(unit, "frequency", "mean", "minimum", "maximum")
    best = concepts[0] if concepts else None
    weak = weakness_of(best)
    parts = []
    if best is not None:
        words = f"{name_concept(best)}, AUROC {area_words(best)}"
        chance_too = best.auroc.low is None or best.auroc.low <= CHANCE
        little = f"no condition stands out ({words})" if chance_too else f"a little higher in {words}"
        parts.append(LinePart("weak", little) if weak else LinePart("detects", f"strongest in {words}"))
    near = atlas.rows("SELECT other, r FROM near WHERE unit = ? AND rank = 0", [unit])
    chance = atlas.rows("SELECT chance FROM recorded WHERE unit = ?", [unit])[0][0]
    if near:
        [(other, r)] = near
        beside = "" if chance is None else f" (chance up to {_r(chance)})"
        above = "r" if chance is None or abs(r) > chance else "no r above chance: the largest"
        parts.append(LinePart("together", f"{above} = {_r(r)} with {recorded_name(atlas, other)}{beside}"))
    scale, measure = scale_of(facts)
    if mean is None:
        parts.append(LinePart("mean", "every sample is missing"))
    elif minimum == maximum:
        parts.append(LinePart("mean", f"constant at {format_general(mean, 4)} {facts['measure']}"))
    else:
        what = "mean rate" if measure == "Hz" else "mean"
        parts.append(LinePart("mean", f"{what} {_three_digits(mean * scale)} {measure}"))
    groups = groups_of(atlas, unit)
    if groups:
        parts.append(LinePart("group", f"in {', '.join(groups)}"))
    return UnitLine(
        text=" · ".join(part.text for part in parts),
        parts=parts,
        detects=best,
        weak=weak,
        strongest=None,
        promotes=[],
        frequency=frequency,
        silent=maximum is None or maximum <= 0,
        minimum=minimum if minimum is not None and minimum < 0 else None,
        attends="",
    )


def recorded_label(line: UnitLine) -> str:
    """Return a few words for a recorded unit: the condition in which it is strongest, else its groups."""
    if line.detects is not None and not line.weak:
        return f"strongest in {name_concept(line.detects)}"
    return next((part.text for part in line.parts if part.of == "group"), "")


def course_bins(n_samples: int) -> np.ndarray:
    """Return the first sample of every bin of a mean over trials.

    Example:
        >>> course_bins(3).tolist(), len(course_bins(1000))
        ([0, 1, 2], 80)
    """
    n = min(n_samples, COURSE_BINS)
    return np.arange(n) * n_samples // n


def groups_of(atlas: Opened, unit: int) -> list[str]:
    """Return the groups that a recorded unit is in."""
    return [name for (name,) in atlas.rows("SELECT name FROM groups WHERE unit = ? ORDER BY rank", [unit])]


def spark_of(atlas: Opened, unit: int) -> Spark | None:
    """Return a unit's trace in few bins; None where there is none."""
    rows = atlas.rows("SELECT low, high FROM traces WHERE unit = ? ORDER BY trial LIMIT 1", [unit])
    if not rows:
        return None
    low, high = (np.frombuffer(packed, "<f4").astype(np.float64) for packed in rows[0])
    n = min(len(low), SPARK_BINS)
    starts = np.arange(n) * len(low) // n
    return Spark(*(digits(one.reduceat(x, starts), 3) for one, x in ((np.fmin, low), (np.fmax, high))))


def digits(values: np.ndarray, n: int = 4) -> list[float | None]:
    """Return numbers to so many digits; None where one is not finite."""
    return [float(f"{x:.{n}g}") if np.isfinite(x) else None for x in values.tolist()]


def suggest_recorded(atlas: Opened) -> Iterator[tuple[int, str]]:
    """Yield units with the reason: those that tell a condition, then the nearest pairs, then the most active."""
    seen: set[str] = set()
    for unit, concept, area in atlas.rows(
        "SELECT u.id, u.concept, u.auroc FROM units u JOIN concepts c ON c.unit = u.id AND c.rank = 0 "
        "WHERE c.low > 0.5 ORDER BY u.auroc DESC, u.id LIMIT 200"
    ):
        if concept not in seen:
            seen.add(concept)
            yield unit, "clear" if area >= CLEAR else "tuned"
    taken: set[int] = set()
    for unit, other in atlas.rows(
        "SELECT n.unit, n.other FROM near n JOIN recorded r ON r.unit = n.unit "
        "WHERE n.rank = 0 AND abs(n.r) > coalesce(r.chance, 0) ORDER BY abs(n.r) DESC, n.unit LIMIT 200"
    ):
        if other not in taken:
            taken |= {unit, other}
            yield unit, "goes with another"
    for (unit,) in atlas.rows("SELECT id FROM units WHERE maximum > 0 ORDER BY mean DESC, id LIMIT 20"):
        yield unit, "most active"


def _three_digits(value: float) -> str:
    """Return a number to three digits, without a power of ten where a reader needs none."""
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return format_general(value, 3)
    return f"{value:,.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"


def _r(value: float) -> str:
    text = format_fixed(value)
    return text.replace("0.", ".", 1) if text.lstrip("-−").startswith("0.") else text
