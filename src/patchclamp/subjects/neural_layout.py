"""Which array of a file is the recording, which of its axes is time, and what the others label."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.neural import UNKNOWN, NeuralRecording
from patchclamp.subjects.neural_files import TABLE, Contents, list_suffixes, read
from patchclamp.subjects.readers.csv_table import number, rows_of

CLOCKS = {"t", "time", "times", "time_s", "seconds"}
STATES = {"class", "label", "state", "target", "stimulus", "condition"}
COUNTS = "counts"
MOST_BINS = 10**8
_MATRIX, _ASSEMBLIES, _COORDINATES = "_activity_matrix", "_assembly_assignments", "_cell_coordinates"
UNEVEN = 0.01
"""How far steps of a clock may differ from their mean, as a share of it."""


def is_recording(path: str | Path) -> bool:
    """Return whether a name ends as files of recordings do."""
    return Path(path).suffix.lower() in list_suffixes()


@checked
def load_recording(
    path: str | Path,
    *,
    variable: str | Sequence[str] | None = None,
    axes: str | None = None,
    rate: float | None = None,
    duration: float | None = None,
    bin: float | None = None,
    measure: str | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
) -> NeuralRecording:
    """Load a recorded brain from a CSV, MATLAB, NWB or NumPy file.

    What the file leaves no doubt about is found: a clock (``t``, ``time``), the axis as long as it, columns with
    names, event times with a clock to count them on, vectors as long as trials, samples or units (labels), and beside
    ``NAME_activity_matrix.csv`` the cells' coordinates and assemblies. What it leaves open is asked for.

    Args:
        path: the file, ending in .csv, .mat, .nwb, .npy or .npz.
        variable: which array of the file, or several of one shape, each then a unit.
        axes: names of its axes among ``trial``, ``time`` and ``unit``, such as ``"trial,time"``.
        rate: samples per second, where the file does not state it.
        duration: length of a trial in seconds, instead of a rate.
        bin: seconds per bin, to count event times in.
        measure: unit of measure, where the file does not state it.
        labels: columns or arrays that label samples or trials (default: found by length and name).
        name: what to call it in keys (default: the file's name).

    Returns:
        NeuralRecording: ``(trial, time, unit)`` with what is known of rate, measure and labels.

    Raises:
        PatchclampError: the file is unreadable or leaves something open; the message names its variables.

    Cost: the file in memory once or twice.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "two-cells.csv"
        >>> _ = file.write_text("t,left,right\\n0.0,1,5\\n0.5,2,6\\n1.0,3,7\\n")
        >>> brain = load_recording(file)
        >>> brain.rate, brain.names, brain.values.shape
        (2.0, ('left', 'right'), (1, 3, 2))
    """
    file = Path(path)
    contents = read(file)
    asked = _Asked(variable, axes, rate, duration, bin, measure, labels)
    beside: dict[str, Any] = {}
    if contents.is_table:
        beside = _labels_beside(file)
        recording = _table(file, contents, asked, beside)
    else:
        recording = _variables(file, contents, asked)
    values = recording.values
    stated = _rate(values.shape[1], recording, asked)
    return NeuralRecording(
        values,
        name=name or file.stem.removesuffix(_MATRIX),
        rate=stated,
        start=recording.start / (stated or 1.0) if recording.ticks else recording.start,
        measure=measure or recording.measure or UNKNOWN,
        names=recording.names,
        groups=beside.get("groups", {}),
        unit_labels={**recording.unit_labels, **beside.get("labels", {})},
        trial_labels=recording.trial_labels,
        time_labels=recording.time_labels,
    )


def count_events(
    times: Float[np.ndarray, " event"], *, bin: float, start: float = 0.0, n_bins: int
) -> Int[np.ndarray, " bin"]:
    """Count events in bins: bin k holds start + k·bin ≤ t < start + (k + 1)·bin.

    Args:
        times: ``(event,)`` seconds, in any order.
        bin: width in seconds.
        start: where the first bin begins.
        n_bins: how many.

    Returns:
        ``(bin,)`` counts, their sum the number of events.

    Raises:
        PatchclampError: a width that is none, or events outside the bins.

    Cost: one pass over the events.

    Example:
        >>> count_events(np.array([0.05, 0.11, 0.19]), bin=0.1, n_bins=2).tolist()
        [1, 2]
    """
    if not (np.isfinite(bin) and bin > 0):
        raise PatchclampError(
            expected="a bin wider than 0 seconds", got=f"{bin}", remedy="Give bin= in seconds, for example 0.001."
        )
    # Times on a clock are multiples of the bin up to rounding, and belong to the bin that they open.
    place = np.floor((times - start) / bin + 1e-6)
    outside = ~((place >= 0) & (place < n_bins))
    if outside.any():
        raise PatchclampError(
            expected=f"events from {start:g} to {start + n_bins * bin:g} s",
            got=f"{int(outside.sum())} of {len(times)} outside, such as {times[outside][0]:g}",
            remedy="Event times are in seconds; give duration= as long as the recording was.",
        )
    return np.bincount(place.astype(np.int64), minlength=n_bins)


@dataclass(frozen=True)
class _Asked:
    variable: str | Sequence[str] | None
    axes: str | None
    rate: float | None
    duration: float | None
    bin: float | None
    measure: str | None
    labels: Sequence[str] | None

    @property
    def variables(self) -> list[str]:
        if self.variable is None:
            return []
        return [self.variable] if isinstance(self.variable, str) else list(self.variable)


@dataclass(frozen=True, eq=False)
class _Found:
    values: np.ndarray
    rate: float | None = None
    start: float = 0.0
    ticks: bool = False  # the clock counts samples, or milliseconds: start is in its steps
    measure: str | None = None
    names: tuple[str, ...] = ()
    unit_labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    trial_labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    time_labels: Mapping[str, np.ndarray] = field(default_factory=dict)


def _rate(n: int, found: _Found, asked: _Asked) -> float | None:
    """Return the rate that the file and the call agree on."""
    given = asked.rate
    for option, value in (("rate", asked.rate), ("duration", asked.duration), ("bin", asked.bin)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise PatchclampError(
                expected=f"{option} above 0", got=str(value), remedy="Rates are in Hz, durations and bins in seconds."
            )
    if asked.duration is not None and asked.bin is None and found.rate is None:
        given = n / asked.duration if given is None else given
        if abs(given * asked.duration - n) > UNEVEN * n:
            raise PatchclampError(
                expected=f"a rate and a duration that agree on {n} samples",
                got=f"{given:g} Hz for {asked.duration:g} s",
                remedy="Give only one of them.",
            )
    if found.rate is not None and given is not None and abs(given / found.rate - 1) > UNEVEN:
        raise PatchclampError(
            expected=f"the rate of the file's own clock, {found.rate:g} Hz",
            got=f"{given:g} Hz",
            remedy="Leave rate= out, or mend the clock in the file.",
        )
    return given if found.rate is None else found.rate


def _clock(t: np.ndarray, name: str) -> tuple[float | None, float, bool]:
    """Return rate, start and whether the clock counts ticks of unknown length."""
    t = t.ravel().astype(np.float64)
    steps = np.diff(t)
    mean = float(steps.mean()) if len(steps) else float("nan")
    if not mean > 0 or not (np.abs(steps - mean) <= UNEVEN * mean).all():
        raise PatchclampError(
            expected=f"a clock {name!r} that rises in equal steps",
            got=f"steps from {steps.min():g} to {steps.max():g}" if len(steps) else "a single time",
            remedy="Resample the recording to one rate, or take the clock out and give rate=.",
        )
    # Whole steps of 1 are sample numbers or milliseconds more often than seconds: which, nobody can tell.
    ticks = bool(np.all(t == np.round(t)) and round(mean) == mean == 1.0)
    return (None if ticks else 1 / mean), float(t[0]), ticks


def _asked_axes(axes: str | None, n: int) -> tuple[str, ...] | None:
    if axes is None:
        return None
    named = tuple(part.strip() for part in axes.split(","))
    known = {"trial", "time", "unit"}
    if len(named) != n or len(set(named)) != n or not set(named) <= known or "time" not in named:
        raise PatchclampError(
            expected=f"{n} different axes among trial, time and unit, time being one",
            got=repr(axes),
            remedy="For example trial,time or time,unit.",
        )
    return named


def _arrange(array: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    """Return an array as (trial, time, unit)."""
    order = [axes.index(axis) for axis in ("trial", "time", "unit") if axis in axes]
    missing = [i for i, axis in enumerate(("trial", "time", "unit")) if axis not in axes]
    return np.expand_dims(array.transpose(order), tuple(missing))


# -- tables -----------------------------------------------------------------------------------------------------------


def _table(file: Path, contents: Contents, asked: _Asked, beside: Mapping[str, Any]) -> _Found:
    table = contents.arrays[TABLE]
    header = contents.columns.get(TABLE)
    if header is None:
        axes = _asked_axes(asked.axes, 2)
        n_cells = {len(label) for label in beside.get("labels", {}).values()}
        if axes is None and n_cells and (table.shape[0] in n_cells) != (table.shape[1] in n_cells):
            axes = ("unit", "time") if table.shape[0] in n_cells else ("time", "unit")
        axes = axes or (("time", "unit") if table.shape[1] == 1 else None)
        if axes is None:
            raise _open(contents, f"{file.name} has no header, so rows may be units or samples", "axes=unit,time")
        return _Found(_arrange(table, axes))
    if len(set(header)) != len(header):
        raise PatchclampError(
            expected="columns with different names", got=", ".join(header[:8]), remedy="Rename those that repeat."
        )
    marks = [h for h in header if h.lower() in STATES] if asked.labels is None else list(asked.labels)
    clocks = [h for h in header if h.lower() in CLOCKS and h not in marks]
    units = asked.variables or [h for h in header if h not in marks and h not in clocks]
    strangers = [h for h in (*units, *marks) if h not in header]
    if strangers or not units or len(clocks) > 1:
        raise PatchclampError(
            expected="columns of the file, at most one of them a clock",
            got=", ".join(strangers or clocks or ["no column with values"]),
            remedy=f"It has {', '.join(header[:16])}; name values with variable=, labels with labels=.",
        )
    column = {h: table[:, i] for i, h in enumerate(header)}
    rate, start, ticks = _clock(column[clocks[0]], clocks[0]) if clocks else (None, 0.0, False)
    values = np.stack([column[h] for h in units], 1)[None]
    return _Found(values, rate, start, ticks, None, tuple(units), time_labels={h: column[h][None] for h in marks})


def _labels_beside(file: Path) -> dict[str, Any]:
    """Return coordinates and assemblies from the files beside an activity matrix; these count cells from 1."""
    stem = file.stem
    if not stem.endswith(_MATRIX):
        return {}
    labels: dict[str, Any] = {}
    where = file.with_name(stem.removesuffix(_MATRIX) + _COORDINATES + ".csv")
    if where.is_file():
        table = read(where).arrays[TABLE]
        labels["labels"] = {axis: table[:, i] for i, axis in enumerate("xyz"[: table.shape[1]])}
    who = file.with_name(stem.removesuffix(_MATRIX) + _ASSEMBLIES + ".csv")
    if who.is_file():
        groups: dict[str, tuple[int, ...]] = {}
        for line, row in enumerate(rows_of(who), 1):
            cells = [number(cell, f"{who.name} line {line}") for cell in row if cell]
            if any(cell != round(cell) or cell < 1 for cell in cells if cell == cell) or any(c != c for c in cells):
                raise PatchclampError(
                    expected="numbers of cells, counted from 1",
                    got=f"{who.name} line {line}: {', '.join(row[:6])}",
                    remedy="Mend that line, or take the file away from beside the recording.",
                )
            groups[f"assembly {line}"] = tuple(int(cell) - 1 for cell in cells)
        labels["groups"] = groups
    return labels


# -- named variables --------------------------------------------------------------------------------------------------


def _variables(file: Path, contents: Contents, asked: _Asked) -> _Found:
    """Find recording, clock and labels among the arrays of a MATLAB, NWB or NumPy file."""
    arrays = dict(contents.arrays)
    chosen = asked.variables
    strangers = [v for v in (*chosen, *(asked.labels or ())) if v not in arrays and v not in contents.events]
    if strangers:
        raise _open(contents, f"{file.name} has no variable {', '.join(strangers)}", "one of its own variables")
    if both := set(chosen) & set(asked.labels or ()):
        raise _open(contents, f"{', '.join(sorted(both))} cannot be the recording and a label at once", "other labels=")
    clocks = [n for n in arrays if n.lower() in CLOCKS and max(arrays[n].shape) == arrays[n].size and n not in chosen]
    clock = arrays.pop(clocks[0]).ravel() if len(clocks) == 1 else None
    rate, start, ticks = _clock(clock, clocks[0]) if clock is not None else (None, 0.0, False)
    if chosen and len({*chosen} & {*contents.events}) not in (0, len(chosen)):
        raise _open(contents, "event times and samples cannot be one recording", "variable= of one kind")
    marked = set(asked.labels or ())
    vectors = {n: a.ravel() for n, a in arrays.items() if a.size == max(a.shape, default=1) and n not in marked}
    spikes = {n: (v.astype(float),) for n, v in vectors.items() if _is_events(n, v, clock)}
    events = {**contents.events, **spikes}
    if not chosen:
        others = {n: a for n, a in arrays.items() if n not in spikes and n not in marked}
        chosen = _guess(file, contents, others, events, clock)
    first = chosen[0]
    facts = dict(contents.facts.get(first, {}))
    if first in events:
        variables = _recording_of_events(file, contents, chosen, events, asked, clock, rate, start)
    else:
        variables = _recording_of_samples(file, contents, chosen, asked, clock, facts)
    if "clock" in facts:
        rate, start, ticks = _clock(facts["clock"], f"{first} timestamps")
    if variables.rate is not None:
        rate, start, ticks = variables.rate, variables.start, False
    elif "rate" in facts:
        rate, start = facts["rate"], facts["start"]
    rest = {n: a for n, a in arrays.items() if n not in chosen and (n in marked or asked.labels is None)}
    labelled = _labels(contents, variables.values.shape, rest, marked)
    return _Found(
        variables.values, rate, start, ticks, variables.measure or facts.get("measure"), variables.names, *labelled
    )


def _is_events(name: str, vector: np.ndarray, clock: np.ndarray | None) -> bool:
    """Return whether a vector is event times: rising, never negative, in uneven steps, of no clock's length."""
    if vector.dtype.kind != "f" or len(vector) < 2 or (clock is not None and len(vector) == len(clock)):
        return False
    steps = np.diff(vector)
    rising = vector[0] >= 0 and bool((steps > 0).all())
    return rising and (bool(re.search("spike|event", name, re.I)) or steps.max() > 1.5 * steps.min())


def _guess(
    file: Path,
    contents: Contents,
    arrays: Mapping[str, np.ndarray],
    events: Mapping[str, Any],
    clock: np.ndarray | None,
) -> list[str]:
    """Return the variables that must be the recording, or say that several could be."""
    over_time = {
        n: a for n, a in arrays.items() if (clock is None or len(clock) in a.shape) and a.size > 1
    }  # labels are shorter than the clock
    if clock is None:
        # Without a clock, only what is as large as the largest can be the recording; the rest labels it.
        largest = max((a.size for a in over_time.values()), default=0)
        over_time = {n: a for n, a in over_time.items() if a.size == largest}
    if len(events) == 1:
        # Events on the clock of a vector (where the animal was) are the recording; the vector labels its time.
        if all(a.size == max(a.shape) for a in over_time.values()):
            return list(events)
    elif not events and len(over_time) == 1:
        return list(over_time)
    elif not events and over_time:
        shapes = {a.shape for a in over_time.values()}
        kinds = {a.dtype for a in over_time.values()}
        stems = {re.sub(r"\d+$", "", n) for n in over_time}
        # E1, E2, … of one shape and type are the electrodes of one recording.
        if len(shapes) == len(kinds) == len(stems) == 1:
            return sorted(over_time)
    names = [*events, *over_time]
    why = "more than one variable could be the recording" if names else "no variable could be the recording"
    raise _open(contents, f"in {file.name} {why}", f"variable={names[0]}" if names else "another file")


def _recording_of_events(
    file: Path,
    contents: Contents,
    chosen: Sequence[str],
    events: Mapping[str, tuple[np.ndarray, ...]],
    asked: _Asked,
    clock: np.ndarray | None,
    rate: float | None,
    start: float,
) -> _Found:
    """Count event times: on the file's clock, or in bins that were asked for."""
    lists = [times for v in chosen for times in events[v]]
    if clock is not None and rate is not None and asked.bin is None:
        width, n_bins = 1 / rate, len(clock)
    elif asked.bin is not None:
        width, start = asked.bin, 0.0
        last = max((float(np.nanmax(times)) for times in lists if not np.isnan(times).all()), default=0.0)
        span = max(last, asked.duration or 0.0)
        if not (width > 0 and span / width < MOST_BINS):
            raise PatchclampError(
                expected=f"a bin above 0 seconds, at most {MOST_BINS:,} of them",
                got=f"{width:g} s for events up to {last:g} s",
                remedy="Give bin= in seconds, for example 0.001.",
            )
        # An event at the very end opens one more bin, unless the recording is said to end there.
        n_bins = max(int(np.ceil(span / width - 1e-6)), 1 + int(last / width + 1e-6))
    else:
        raise _open(
            contents, f"{', '.join(chosen)} of {file.name} are event times, and no clock counts them", "bin=0.001"
        )
    counts = np.stack([count_events(times, bin=width, start=start, n_bins=n_bins) for times in lists], 1)
    values = counts.astype(np.min_scalar_type(int(counts.max())))
    axis = "unit" if len(chosen) > 1 or len(lists) == 1 or "axes" in contents.facts.get(chosen[0], {}) else None
    if asked.axes is not None or axis is None:
        named = [a.strip() for a in (asked.axes or "").split(",")]
        axis = next((a for a in named if a in ("unit", "trial")), None)
        if axis is None:
            raise _open(contents, f"the {len(lists)} lists of {chosen[0]} may be units or trials", "axes=unit,time")
    names = tuple(chosen) if len(chosen) == len(lists) else ()
    if axis == "trial":
        return _Found(values.T[:, :, None], 1 / width, start, measure=COUNTS)
    return _Found(values[None], 1 / width, start, measure=COUNTS, names=names)


def _recording_of_samples(
    file: Path,
    contents: Contents,
    chosen: Sequence[str],
    asked: _Asked,
    clock: np.ndarray | None,
    facts: Mapping[str, Any],
) -> _Found:
    """Arrange sampled values; several variables are a unit each."""
    parts = [contents.arrays[v] for v in chosen]
    if len({p.shape for p in parts}) > 1:
        raise _open(contents, f"{', '.join(chosen)} differ in shape", "variables of one shape")
    array = parts[0]
    # MATLAB knows no vectors: a row or a column is one.
    vector = array.size == max(array.shape)
    array = array.ravel() if vector and asked.axes is None else array
    axes = _asked_axes(asked.axes, array.ndim) or facts.get("axes") or (("time",) if vector else None)
    if axes is None:
        hints = [i for i, n in enumerate(array.shape) if clock is not None and n == len(clock)]
        timed = len(hints) == 1 and array.ndim == 2
        if timed and len(chosen) > 1:
            axes = ("time", "trial") if hints == [0] else ("trial", "time")
        else:
            example = (
                ("time,trial" if hints == [0] else "trial,time")
                if timed
                else "trial,time,unit"
                if array.ndim == 3
                else "unit,time"
            )
            why = "the other axis may be trials or units" if timed else "which axis is time it does not say"
            shape = " × ".join(map(str, array.shape))
            raise _open(contents, f"{chosen[0]} of {file.name} is {shape}; {why}", f"axes={example}")
    along = array.shape[axes.index("time")]
    if clock is not None and along != len(clock):
        raise _open(contents, f"the clock has {len(clock)} times and the axis named time {along}", "other axes=")
    # A row or column named by two axes is an array again, and may stand either way.
    placed = [_arrange(p.ravel() if vector and asked.axes is None and "axes" not in facts else p, axes) for p in parts]
    values = placed[0] if len(placed) == 1 else np.concatenate(placed, axis=2)
    # Zeros and ones alone are events marked on a clock, whatever type holds them.
    binary = values.dtype.kind in "iu" and bool(np.isin(values, (0, 1)).all())
    names = tuple(chosen) if values.shape[2] == len(chosen) else ()
    return _Found(values, measure=COUNTS if binary else None, names=names)


def _labels(
    contents: Contents, shape: tuple[int, ...], rest: Mapping[str, np.ndarray], marked: set[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return labels of units, trials and time: arrays whose length fits one axis only."""
    trials, samples, units = shape
    of_units: dict[str, np.ndarray] = {}
    of_trials: dict[str, np.ndarray] = {}
    of_time: dict[str, np.ndarray] = {}
    for name, array in rest.items():
        fits: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
        if array.shape == (trials, samples) or (array.size == max(array.shape) == samples and trials == 1):
            fits.append((of_time, array.reshape(trials, samples)))
        elif array.size == max(array.shape):
            fits += [(of_trials, array.ravel())] if array.size == trials > 1 else []
            fits += [(of_units, array.ravel())] if array.size == units > 1 else []
        if len(fits) == 1:
            table, label = fits[0]
            table[name] = label
        elif name in marked:
            raise _open(contents, f"{name} fits no single axis of {trials} trials × {samples} samples", "other labels=")
    return of_units, of_trials, of_time


def _open(contents: Contents, why: str, example: str) -> PatchclampError:
    name, _, value = example.partition("=")
    typed = bool(value) and not value[0].isspace()
    return PatchclampError(
        expected="a file that leaves open neither which variable is the recording nor which axis is time",
        got=f"{why}; it holds {contents.describe()}",
        remedy=f"Say it, for example {example} (in a terminal --{name} {value})." if typed else f"Give {example}.",
    )
