"""What a unit of a recorded brain did: trace, events, means over trials, tuning, neighbours, and its place."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query

from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none, page_of
from patchclamp.atlas.read.recorded import (
    CANNOT_CLAMP,
    PLACES,
    RECORDING,
    Over,
    course_bins,
    digits,
    groups_of,
    recorded_name,
    scale_of,
)
from patchclamp.atlas.read.responses import Source
from patchclamp.atlas.serve.served import LONGEST, Served

MOST_COURSES, MOST_TUNED = 6, 4


@dataclass(frozen=True)
class RecordedTrace:
    """A trial's samples, down-sampled: the lowest and the highest of every bin.

    Args:
        trial: which trial.
        trials: those whose trace was kept.
        exact: whether every bin is one sample.
        low: lowest sample per bin, to four digits; None where all are missing.
        high: highest.
    """

    trial: int
    trials: list[int]
    exact: bool
    low: list[float | None]
    high: list[float | None]


@dataclass(frozen=True)
class Raster:
    """When a unit fired, where the recording has counts.

    Args:
        trials: whole trials that are shown, from the first; 0 where the first alone has too many events to draw.
        total: events in all trials.
        samples: numbers of the samples, through all trials; one with two events stands twice.
    """

    trials: int
    total: int
    samples: list[int]


@dataclass(frozen=True)
class Course:
    """A mean over trials at every bin of time, with its 95 % interval (bootstrap over trials).

    Args:
        label: the label whose condition it is; empty over all trials.
        condition: the condition.
        n: trials.
        mean: per bin, in the unit of ``RecordedUnit.rate_measure``.
        low: lower end; None where trials are too few.
        high: upper end.
    """

    label: str
    condition: str
    n: int
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]


@dataclass(frozen=True)
class TuningPoint:
    """The mean in one condition, with its 95 % interval over the ``n`` trials or blocks in which it occurs."""

    condition: str
    mean: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Tuning:
    """Means of a unit in the conditions of one label.

    Args:
        label: the label.
        over: what intervals are over: ``trials``, ``runs of trials`` of one condition in a block design, or
            ``blocks of time``.
        points: one per condition.
    """

    label: str
    over: Over
    points: list[TuningPoint]


@dataclass(frozen=True)
class Near:
    """Another unit and its correlation.

    Args:
        key: its key.
        name: its name.
        r: Pearson's r over all samples that both have.
        low: lower end of the 95 % interval (jackknife over trials or blocks); None where samples are missing.
        high: upper end.
        p: share of circular shifts in which this unit reaches that size with any other, the value itself counted.
        groups: groups that both are in.
    """

    key: str
    name: str
    r: float
    low: float | None
    high: float | None
    p: float | None
    groups: list[str]


@dataclass(frozen=True)
class RecordedUnit:
    """What a recorded unit did.

    Args:
        key: the unit.
        measure: unit of measure of its samples.
        rate_measure: unit of measure of its means in time and in conditions: Hz where events are counted.
        rate: samples per second; None where nobody stated it.
        start: seconds of the first sample.
        trials: how many there are.
        samples: of each.
        missing: samples that it lacks.
        constant: it has one value throughout, or none.
        peak: trial and sample of its highest value; None where it has none.
        trace: of one trial.
        raster: of counts; None elsewhere.
        course_starts: first sample of every bin of the means over trials.
        courses: over all trials, then by condition of the label that it tells best; none of a single trial.
        tuning: by label.
        near: the largest correlations.
        chance: the |r| with any other that 95 % of circular shifts stay below; None where it cannot be shifted.
        shifts: how many circular shifts.
        groups: the groups that it is in.
        within: mean r with the other members of them; None where there are none.
        outside: mean r with the rest.
        within_low: the central 95 % of ``within`` over circular shifts.
        within_high: its upper end.
        labels: of the unit, by name.
        place: coordinates by axis.
        cannot: why it cannot be clamped.
        source: where this comes from.
    """

    key: str
    measure: str
    rate_measure: str
    rate: float | None
    start: float
    trials: int
    samples: int
    missing: int
    constant: bool
    peak: list[int] | None
    trace: RecordedTrace
    raster: Raster | None
    course_starts: list[int]
    courses: list[Course]
    tuning: list[Tuning]
    near: list[Near]
    chance: float | None
    shifts: int
    groups: list[str]
    within: float | None
    outside: float | None
    within_low: float | None
    within_high: float | None
    labels: dict[str, str]
    place: dict[str, float]
    cannot: str
    source: Source


@dataclass(frozen=True)
class TissueGroup:
    """A group of units: its name, how many are in it, and those of them on the map."""

    name: str
    n: int
    mapped: list[int]


@dataclass(frozen=True)
class Tissue:
    """Where units lie, and how a unit correlates with each.

    Args:
        prefix: a unit's key is this and its number.
        axes: names of the coordinates.
        units: numbers of the units, at most 2,048, evenly thinned where there are more.
        names: their names.
        x: first coordinate,
        y: second coordinate,
        z: and third, empty where there is none.
        r: correlation of the asked unit with each; empty where none was asked, None where there is none.
        own: place of the asked unit; empty where none was asked or it has none.
        groups: groups of units.
        total: units in all.
        source: where this comes from.
    """

    prefix: str
    axes: list[str]
    units: list[int]
    names: list[str]
    x: list[float]
    y: list[float]
    z: list[float]
    r: list[float | None]
    own: list[float]
    groups: list[TissueGroup]
    total: int
    source: Source


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of recorded units."""

    @app.get("/api/units/{key:path}/recorded", operation_id="readRecorded")
    def read_recorded(key: str, trial: Annotated[int | None, Query(ge=0, lt=2**31)] = None) -> RecordedUnit:
        """Read what a unit of a recorded brain did; ``trial`` chooses the trace."""
        return recorded_unit(served.atlas(), key, trial)

    @app.get("/api/tissue", operation_id="readTissue")
    def read_tissue(unit: Annotated[str, Query(max_length=LONGEST)] = "") -> Tissue:
        """Read where units lie in the tissue, and groups; with a unit's key also its correlation with each."""
        return tissue(served.atlas(), unit)


def require_recording(atlas: Reading) -> dict[str, Any]:
    """Refuse an atlas of a model; return what is known of the recording.

    Raises:
        NotFound: it is one.
    """
    if atlas.about["modality"] != RECORDING:
        raise NotFound(expected="an atlas of a recorded brain", got="one of a model", remedy="Read its examples.")
    facts: dict[str, Any] = atlas.about["recording"]
    return facts


@page_of
def recorded_unit(atlas: Reading, key: str, trial: int | None = None) -> RecordedUnit:
    """Return what a unit of a recorded brain did.

    Args:
        atlas: the atlas.
        key: the unit's key.
        trial: the trial whose trace is shown (default: the first).

    Returns:
        RecordedUnit: all that its page shows, but for what ``unit_page`` says.

    Raises:
        NotFound: an atlas of a model, no such unit, or no trace of that trial.
    """
    facts = require_recording(atlas)
    unit = atlas.index_of(key)
    scale, rate_measure = scale_of(facts)
    [row] = atlas.rows(
        "SELECT missing, peak, x, y, z, chance, within, outside, within_low, within_high FROM recorded WHERE unit = ?",
        [unit],
    )
    missing, peak, *rest = row
    place = {axis: float(value) for axis, value in zip(PLACES, rest[:3], strict=True) if value is not None}
    chance, within, outside, low, high = (number_or_none(value, 4) for value in rest[3:])
    minimum, maximum, concept = atlas.row(unit, "minimum", "maximum", "concept")
    named = str(atlas.key(unit))
    n_samples = int(facts["samples"])
    groups = groups_of(atlas, unit)
    return RecordedUnit(
        key=named,
        measure=str(facts["measure"]),
        rate_measure=rate_measure,
        rate=facts["rate"],
        start=float(facts["start"]),
        trials=int(facts["trials"]),
        samples=n_samples,
        missing=missing,
        constant=minimum is None or minimum == maximum,
        peak=None if peak is None else list(divmod(peak, n_samples)),
        trace=_trace(atlas, unit, trial, n_samples),
        raster=_raster(atlas, unit),
        course_starts=course_bins(n_samples).tolist(),
        courses=_courses(atlas, unit, facts, concept, scale),
        tuning=_tuning(atlas, unit, facts, scale),
        near=[_near(atlas, groups, *one) for one in _nearest(atlas, unit)],
        chance=chance,
        shifts=int(facts["shifts"]),
        groups=groups,
        within=within,
        outside=outside,
        within_low=low,
        within_high=high,
        labels=dict(atlas.rows("SELECT name, value FROM unit_labels WHERE unit = ? ORDER BY name LIMIT 20", [unit])),
        place=place,
        cannot=CANNOT_CLAMP,
        source=atlas.source(f".recorded_unit({named!r})"),
    )


def _trace(atlas: Reading, unit: int, trial: int | None, n_samples: int) -> RecordedTrace:
    trials = [one for (one,) in atlas.rows("SELECT trial FROM traces WHERE unit = ? ORDER BY trial", [unit])]
    chosen = trials[0] if trial is None else trial
    rows = atlas.rows("SELECT low, high FROM traces WHERE unit = ? AND trial = ?", [unit, chosen])
    if not rows:
        raise NotFound(
            expected=f"one of the trials whose trace is kept: {', '.join(map(str, trials))}",
            got=str(trial),
            remedy="Choose one of them.",
        )
    low, high = (digits(np.frombuffer(packed, "<f4").astype(np.float64)) for packed in rows[0])
    return RecordedTrace(chosen, trials, len(low) == n_samples, low, high)


def _raster(atlas: Reading, unit: int) -> Raster | None:
    rows = atlas.rows("SELECT trials, total, samples FROM events WHERE unit = ?", [unit])
    return Raster(rows[0][0], rows[0][1], np.frombuffer(rows[0][2], "<i4").tolist()) if rows else None


def _courses(atlas: Reading, unit: int, facts: dict[str, Any], concept: str | None, scale: float) -> list[Course]:
    """Return the mean over all trials, and those of the label that the unit tells best, else of the first."""
    labels = [one for (one,) in atlas.rows("SELECT DISTINCT label FROM courses WHERE unit = ? AND label != ''", [unit])]
    best = [one for one in labels if concept is not None and concept.startswith(f"{one} = ")]
    listed = [one for one in facts["trial_labels"] if one in labels]
    chosen = (best or listed or [""])[0]
    rows = atlas.rows(
        "SELECT label, condition, n, mean, low, high FROM courses WHERE unit = ? AND label IN ('', ?) "
        "ORDER BY label, rank LIMIT ?",
        [unit, chosen, 1 + MOST_COURSES],
    )
    return [
        Course(label, condition, n, *(digits(np.frombuffer(one, "<f4").astype(np.float64) * scale) for one in packed))
        for label, condition, n, *packed in rows
    ]


def _tuning(atlas: Reading, unit: int, facts: dict[str, Any], scale: float) -> list[Tuning]:
    found: dict[str, list[TuningPoint]] = {str(label): [] for label in facts["tuned"]}
    rows = atlas.rows(
        "SELECT label, condition, mean, low, high, n FROM tuning WHERE unit = ? ORDER BY label, rank", [unit]
    )
    for label, condition, mean, low, high, n in rows:
        mean, low, high = (number_or_none(None if value is None else value * scale) for value in (mean, low, high))
        found[label].append(TuningPoint(condition, mean, low, high, n))
    return [Tuning(label, facts["over"][label], points) for label, points in list(found.items())[:MOST_TUNED]]


def _nearest(atlas: Reading, unit: int) -> list[tuple[Any, ...]]:
    return atlas.rows("SELECT other, r, low, high, p FROM near WHERE unit = ? ORDER BY rank", [unit])


def _near(
    atlas: Reading, groups: list[str], other: int, r: float, low: float | None, high: float | None, p: float | None
) -> Near:
    shared = [name for name in groups_of(atlas, other) if name in groups]
    low, high, p = (number_or_none(value, 4) for value in (low, high, p))
    return Near(str(atlas.key(other)), recorded_name(atlas, other), float(f"{r:.4g}"), low, high, p, shared)


@page_of
def tissue(atlas: Reading, key: str = "") -> Tissue:
    """Return where units lie, with a unit's correlation with each, and groups.

    Raises:
        NotFound: an atlas of a model, or no such unit.
    """
    facts = require_recording(atlas)
    unit = atlas.index_of(key) if key else None
    mapped = [int(one) for one in facts["mapped"]]
    where = {
        one: (name, x, y, z)
        for one, name, x, y, z in atlas.rows("SELECT unit, name, x, y, z FROM recorded WHERE x IS NOT NULL")
    }
    columns = [where[one] for one in mapped]
    packed = [] if unit is None else atlas.rows("SELECT r FROM together WHERE unit = ?", [unit])
    r = digits(np.frombuffer(packed[0][0], "<f2").astype(np.float64), 3) if packed else []
    if packed and len(r) != len(mapped):
        raise ValueError("correlations of other units than those of the map")
    members: dict[str, list[int]] = {}
    for name, one in atlas.rows("SELECT name, unit FROM groups ORDER BY rank, unit"):
        members.setdefault(name, []).append(one)
    there = set(mapped)
    own = where.get(unit) if unit is not None else None
    return Tissue(
        prefix=str(atlas.key(0))[:-1],
        axes=[str(axis) for axis in facts["axes"]],
        units=mapped,
        names=[str(one[0]) for one in columns],
        x=[float(one[1]) for one in columns],
        y=[float(one[2]) for one in columns],
        z=[float(one[3]) for one in columns] if "z" in facts["axes"] else [],
        r=r,
        own=[float(value) for value in own[1:] if value is not None] if own else [],
        groups=[TissueGroup(name, len(of), [one for one in of if one in there]) for name, of in members.items()],
        total=atlas.n_units,
        source=atlas.source(f".tissue({key!r})" if key else ".tissue()"),
    )
