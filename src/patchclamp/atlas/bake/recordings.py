"""From a recorded brain to the base of an atlas: what every unit did, in which conditions, and with which others."""

import json
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.atlas.bake.base import refuse_baked, tidy_staging, write_base_head
from patchclamp.atlas.bake.concept_labels import as_rows
from patchclamp.atlas.bake.look import BINS
from patchclamp.atlas.bake.recorded_pairs import Pairs, correlate_pairs, count_shifts
from patchclamp.atlas.bake.recorded_tuning import (
    FEWEST_TRIALS,
    Conditions,
    Scored,
    best_of,
    cut_blocks,
    cut_runs,
    find_conditions,
    ratio_intervals,
    score_conditions,
    sums_of,
)
from patchclamp.atlas.bake.write_rows import insert_units
from patchclamp.atlas.read.recorded import COUNTS, COURSE_BINS, PLACES, Over, course_bins
from patchclamp.atlas.store.provenance import Run, host, now, versions, write_run
from patchclamp.atlas.store.sqlite_files import BASE, open_database, read_head, staging_path, write_database
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.disk import hold_folder, refuse_write
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import read_versions
from patchclamp.core.subject import Progress
from patchclamp.core.survey import PROBABILITIES
from patchclamp.record.run import refuse_if_too_large
from patchclamp.subjects.neural import NeuralRecording

TRACE_BINS, TRIAL_BINS, MOST_TRACES = 400, 150, 12
"""Bins of the trace of a single trial, and of each of several; trials whose trace is kept."""
MOST_COURSES = 6
"""Labels with more conditions than that have no means over time of their own."""
MOST_EVENTS, MOST_MAPPED = 1000, 2048
"""Events kept of a unit; units on the map of the tissue."""


@checked
def bake_recording(
    recording: NeuralRecording,
    out: str | Path,
    *,
    resume: bool = False,
    name: str | None = None,
    command: str = "",
    progress: Progress | None = None,
    seed: Natural = 0,
) -> str:
    """Bake an atlas of a recorded brain: traces, events, means over trials, tuning, neighbours, place on the tissue.

    Intervals are over trials, or over blocks of time where trials are few, and conditions are scored on trials or
    blocks that they were not chosen on. Beside every correlation stands what circular shifts in time give.

    Args:
        recording: the brain.
        out: the atlas's folder, which must not exist; it is built in ``OUT.baking`` and renamed when it is whole.
        resume: begin an interrupted bake anew; accept one that is whole. The result is the same.
        name: what the recording was loaded from, where that is not its name.
        command: what was typed, for the run's record.
        progress: called with steps done and in all: circular shifts, then units.
        seed: of the circular shifts and of resampling.

    Returns:
        str: content hash of the base: the same recording and seed give the same.

    Raises:
        PatchclampError: a folder that exists, an atlas of another recording, or a full disk.

    Cost: for every circular shift two products of (unit, sample) with (sample, unit); some three copies of the
    values in memory, and the square of the number of units; ``recording_cost`` says how much.

    Example:
        >>> import tempfile
        >>> brain = NeuralRecording(np.sin(np.outer(np.arange(200.0), [1.0, 1.1]))[None], rate=10.0)
        >>> len(bake_recording(brain, Path(tempfile.mkdtemp()) / "brain.atlas"))
        64
    """
    began, clock = now(), time.monotonic()
    folder = Path(out)
    aside = staging_path(folder)
    refuse_baked(folder, resume=resume)
    if folder.exists():
        return _hash_if_same(folder, aside, recording)
    refuse_if_too_large(aside.parent, recording_cost(recording)[1])
    n_shifts = count_shifts(recording.n_units, recording.n_trials * recording.n_samples)
    steps = n_shifts + recording.n_units
    with hold_folder(aside), tidy_staging(aside):
        whole = aside / "atlas"
        shutil.rmtree(whole, ignore_errors=True)
        with write_database(whole / BASE, schema()) as db:
            write_recorded_rows(
                db,
                recording,
                name=name or recording.name,
                seed=seed,
                progress=None if progress is None else lambda done: progress(done, steps),
            )
        base_hash = write_base_head(whole)
        source = name or recording.name
        typed = command or f"patchclamp atlas bake {source} --out {folder}"
        shape = f"{recording.n_units:,} units, {recording.n_trials:,} × {recording.n_samples:,} samples"
        run = Run(
            verb="atlas bake",
            command=typed,
            made=f"the base: {recording.n_units:,} units",
            began=began,
            duration_s=round(time.monotonic() - clock, 3),
            host=host(),
            versions=versions("numpy"),
            seeds={"seed": seed},
            hashes={"recording": recording.hash, "base": base_hash},
            options={
                "model": source,
                "measure": recording.measure,
                "rate": str(recording.rate),
                "shifts": str(n_shifts),
            },
            log=(shape, f"base written after {time.monotonic() - clock:.1f} s"),
            rebuild=f"pip install patchclamp=={versions()['patchclamp']}\n{typed}\n",
        )
        write_run(whole, f"base-{base_hash[:16]}", run)
        try:
            whole.rename(folder)
        except OSError as problem:
            raise refuse_write(folder, problem) from problem
    shutil.rmtree(aside, ignore_errors=True)
    return base_hash


def schema() -> str:
    """Return the script that makes the tables of such a base."""
    place = files("patchclamp.atlas.store")
    return place.joinpath("schema.sql").read_text() + place.joinpath("recordings.sql").read_text()


def recording_cost(recording: NeuralRecording) -> tuple[int, int]:
    """Return the bytes that a bake holds in memory at most, and those that its atlas takes on disk, about."""
    n, samples = recording.n_units, recording.n_trials * recording.n_samples
    labels = len(recording.trial_labels) + len(recording.time_labels)
    courses = 0 if recording.n_trials < 2 else (1 + MOST_COURSES * len(recording.trial_labels)) * COURSE_BINS * 12
    traces = min(recording.n_trials, MOST_TRACES) * min(recording.n_samples, TRACE_BINS) * 8
    per_unit = 7000 + traces + 4 * MOST_EVENTS * (recording.measure == COUNTS) + courses + labels * 12 * 60
    return 30 * n * samples + 60 * n * n, n * (per_unit + 2 * min(n, MOST_MAPPED)) + 200_000


def _hash_if_same(folder: Path, aside: Path, recording: NeuralRecording) -> str:
    head = read_head(folder)
    with closing(open_database(folder / BASE)) as db:
        [(subject,)] = db.execute("SELECT value FROM about WHERE name = 'subject'").fetchall()
    if json.loads(subject)["hash"] != recording.hash:
        raise PatchclampError(
            expected="the recording of this atlas",
            got=f"{folder}, an atlas of {json.loads(subject)['slug']}",
            remedy="Choose another --out.",
        )
    shutil.rmtree(aside, ignore_errors=True)
    return str(head["base"])


def write_recorded_rows(
    db: sqlite3.Connection,
    brain: NeuralRecording,
    *,
    name: str,
    seed: int = 0,
    progress: Any = None,
) -> None:
    """Write every table of the base of an atlas of a recorded brain.

    Args:
        db: an empty base, its tables made by ``schema()``.
        brain: the recording.
        name: what it was loaded from.
        seed: of circular shifts and resampling.
        progress: called with steps done.
    """
    block = cut_blocks(brain.n_trials, brain.n_samples)
    flat = brain.values.reshape(-1, brain.n_units).astype(np.float64)
    pairs = correlate_pairs(
        brain, block, seed=seed, progress=None if progress is None else lambda done, _total: progress(done)
    )
    of_trials = _conditions(brain.trial_labels)
    of_time = _conditions(brain.time_labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.isfinite(brain.values.astype(np.float64))
        means = np.where(known, brain.values, 0.0).sum(1) / known.sum(1)  # (trial, unit)
    # Of every label its conditions, the values that are averaged in them, and the block of each.
    runs = {one.label: cut_runs(one.which) for one in of_trials}
    tuned: list[tuple[Conditions, np.ndarray, np.ndarray]] = [(one, means, runs[one.label][0]) for one in of_trials]
    tuned += [(one, flat, block) for one in of_time]
    over: dict[str, Over] = {label: kind for label, (_, kind) in runs.items()}
    over |= dict.fromkeys(
        (one.label for one in of_time), "trials" if brain.n_trials >= FEWEST_TRIALS else "blocks of time"
    )
    scored = [score_conditions(values, one, place) for one, values, place in tuned]
    concepts = best_of(scored, brain.n_units)
    _about(db, brain, name, pairs, over, int(block.max()) + 1)
    db.execute("INSERT INTO sites VALUES (0, 'recording', 'recording', NULL, 'neurons', 0, ?)", [brain.n_units])
    statistics, counts = _statistics(flat, block)
    insert_units(db, 0, 0, statistics, counts, concepts)
    db.executemany("INSERT INTO concepts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", as_rows(0, concepts))
    for one, values, place in tuned:
        _tuning(db, one, values, place, seed)
    if brain.n_trials > 1:
        _courses(db, brain, None, seed)
        for one in of_trials:
            if len(one.names) <= MOST_COURSES:
                _courses(db, brain, one, seed)
    _pairs(db, brain, pairs)
    for unit in range(brain.n_units):
        _unit(db, brain, unit, flat[:, unit], pairs)
        if progress is not None:
            progress(pairs.shifts + unit + 1)
    _words(db, brain, concepts)


def _conditions(labels: Any) -> list[Conditions]:
    found = (find_conditions(name, np.asarray(values)) for name, values in labels.items())
    return [one for one in found if one is not None]


def _about(
    db: sqlite3.Connection,
    brain: NeuralRecording,
    name: str,
    pairs: Pairs,
    over: Mapping[str, Over],
    n_blocks: int,
) -> None:
    samples = brain.n_trials * brain.n_samples
    labelled = samples if over else 0
    mapped = _place_units(brain)
    why = "a recorded brain has no weights that could be read"
    about: dict[str, Any] = {
        "subject": {
            "slug": brain.name,
            "hash": brain.hash,
            "class": type(brain).__name__,
            "dtype": str(brain.values.dtype),
        },
        "corpus": {
            "name": Path(name).name or name,
            "hash": brain.hash,
            "stimuli": brain.n_trials,
            "tokens": samples,
            "counted": samples,
            "window": brain.n_samples,
            "labelled": labelled,
        },
        "plan": {"trace_bins": TRACE_BINS, "course_bins": COURSE_BINS, "shifts": pairs.shifts},
        "versions": read_versions("patchclamp", "numpy"),
        "modality": "recording",
        "reasons": {"recording": dict.fromkeys(("promotes", "suppresses", "excited_by", "inhibited_by"), why)},
        "recording": {
            "measure": brain.measure,
            "rate": brain.rate,
            "start": brain.start,
            "trials": brain.n_trials,
            "samples": brain.n_samples,
            "blocks": n_blocks,
            "shifts": pairs.shifts,
            "unit_labels": [*brain.unit_labels],
            "trial_labels": [*brain.trial_labels],
            "time_labels": [*brain.time_labels],
            "tuned": [*over],
            "over": over,
            "missing": sum(brain.missing.values()),
            "constant": len(brain.constant),
            "mean_r": _finite(brain.mean_correlation()),
            "mean_r_within": _finite(brain.mean_correlation(brain.groups)) if brain.groups else None,
            "mapped": mapped,
            "axes": [axis for axis in PLACES if axis in _places(brain)],
        },
    }
    db.executemany("INSERT INTO about VALUES (?, ?)", [(n, json.dumps(v, sort_keys=True)) for n, v in about.items()])


def _finite(x: Any) -> float | None:
    return float(x) if x is not None and np.isfinite(x) else None


def _places(brain: NeuralRecording) -> dict[str, np.ndarray]:
    """Return coordinates of units by axis; at least x and y, or none."""
    found = {
        name.lower(): np.asarray(values, dtype=np.float64)
        for name, values in brain.unit_labels.items()
        if name.lower() in PLACES and np.asarray(values).dtype.kind in "biuf"
    }
    return found if {"x", "y"} <= set(found) else {}


def _place_units(brain: NeuralRecording) -> list[int]:
    """Return the units on the map: those with a place, evenly thinned where they are many."""
    places = _places(brain)
    if not places:
        return []
    there = np.flatnonzero(np.all([np.isfinite(values) for values in places.values()], axis=0))
    return [int(unit) for unit in there[np.linspace(0, len(there) - 1, min(len(there), MOST_MAPPED)).astype(int)]]


def _statistics(flat: np.ndarray, block: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return exact statistics over known samples, and histograms of samples and of the maxima of blocks."""
    n = flat.shape[1]
    names = ("active", "mean", "variance", "minimum", "maximum")
    found = {name: np.full(n, np.nan) for name in names} | {"quantiles": np.full((n, len(PROBABILITIES)), np.nan)}
    counts = {
        "edges": np.full((n, BINS + 1), np.nan),
        "tokens": np.zeros((n, BINS), dtype=np.int64),
        "pieces": np.zeros((n, BINS), dtype=np.int64),
    }
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    for unit in range(n):
        x = flat[np.isfinite(flat[:, unit]), unit]
        if not len(x):
            continue
        low, high = float(x.min()), float(x.max())
        for name, value in zip(names, ((x > 0).mean(), x.mean(), x.var(), low, high), strict=True):
            found[name][unit] = value
        found["quantiles"][unit] = np.quantile(x, PROBABILITIES)
        edges = low + (high - low) * np.arange(BINS + 1) / BINS
        edges[-1] = high
        if high > low and (np.diff(edges) > 0).all():
            counts["edges"][unit] = edges
            counts["tokens"][unit] = np.histogram(x, edges)[0]
            highest = np.fmax.reduceat(flat[:, unit], starts)
            counts["pieces"][unit] = np.histogram(highest[np.isfinite(highest)], edges)[0]
    return found, counts


def _tuning(db: sqlite3.Connection, one: Conditions, x: np.ndarray, block: np.ndarray, seed: int) -> None:
    sums, counts = sums_of(x, block, one.which, len(one.names))
    for condition, name in enumerate(one.names):
        mean, low, high = ratio_intervals(sums[:, condition], counts[:, condition], seed=seed)
        n = (counts[:, condition] > 0).sum(0)
        db.executemany(
            "INSERT INTO tuning VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (unit, one.label, condition, name, *map(_finite, (mean[unit], low[unit], high[unit])), int(n[unit]))
                for unit in range(x.shape[1])
            ],
        )


def _courses(db: sqlite3.Connection, brain: NeuralRecording, one: Conditions | None, seed: int) -> None:
    """Write means over trials at every bin of time: of all trials, or of those of every condition of a label."""
    starts = course_bins(brain.n_samples)
    names = ("",) if one is None else one.names
    for unit in range(brain.n_units):
        values = brain.values[:, :, unit].astype(np.float64)
        known = np.isfinite(values)
        sums = np.add.reduceat(np.where(known, values, 0.0), starts, axis=1)
        counts = np.add.reduceat(known.astype(np.float64), starts, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, sums / counts, 0.0)
        for condition, name in enumerate(names):
            rows = np.arange(brain.n_trials) if one is None else np.flatnonzero(one.which == condition)
            if not len(rows):
                continue
            mean, low, high = ratio_intervals(means[rows], (counts[rows] > 0).astype(np.float64), seed=seed)
            packed = [each.astype("<f4").tobytes() for each in (mean, low, high)]
            db.execute(
                "INSERT INTO courses VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (unit, "" if one is None else one.label, condition, name, len(rows), *packed),
            )


def _pairs(db: sqlite3.Connection, brain: NeuralRecording, pairs: Pairs) -> None:
    for unit in range(brain.n_units):
        db.executemany(
            "INSERT INTO near VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    unit,
                    k,
                    other,
                    float(pairs.r[unit, other]),
                    *(_finite(a[unit, k]) for a in (pairs.low, pairs.high, pairs.p)),
                )
                for k, other in enumerate(pairs.near[unit].tolist())
                if other >= 0
            ],
        )
    mapped = _place_units(brain)
    if mapped:
        rows = pairs.r[:, mapped].astype("<f2")
        db.executemany("INSERT INTO together VALUES (?, ?)", [(unit, row.tobytes()) for unit, row in enumerate(rows)])
    db.executemany(
        "INSERT INTO groups VALUES (?, ?, ?)",
        [(name, unit, k) for k, (name, members) in enumerate(brain.groups.items()) for unit in sorted(set(members))],
    )
    db.executemany(
        "INSERT INTO unit_labels VALUES (?, ?, ?)",
        [
            (unit, name, _spell(value))
            for name, values in brain.unit_labels.items()
            for unit, value in enumerate(np.asarray(values).tolist())
        ],
    )


def _spell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def _unit(db: sqlite3.Connection, brain: NeuralRecording, unit: int, flat: np.ndarray, pairs: Pairs) -> None:
    """Write a unit's name and place, its traces, and its events where it has counts."""
    known = np.isfinite(flat)
    peak = int(np.where(known, flat, -np.inf).argmax()) if known.any() else None
    places = _places(brain)
    where = [_finite(places[axis][unit]) if axis in places else None for axis in PLACES]
    chance = [_finite(one[unit]) for one in (pairs.chance, pairs.within, pairs.outside, *pairs.within_null)]
    if unit in brain.constant:
        chance[0] = None
    db.execute(
        f"INSERT INTO recorded VALUES ({', '.join('?' * 12)})",
        (unit, brain.names[unit], int((~known).sum()), peak, *where, *chance),
    )
    n_bins = min(brain.n_samples, TRACE_BINS if brain.n_trials == 1 else TRIAL_BINS)
    starts = np.arange(n_bins) * brain.n_samples // n_bins
    for trial in kept_trials(brain.n_trials):
        values = brain.values[trial, :, unit].astype(np.float64)
        low, high = (one.reduceat(values, starts).astype("<f4").tobytes() for one in (np.fmin, np.fmax))
        db.execute("INSERT INTO traces VALUES (?, ?, ?, ?)", (unit, trial, low, high))
    if brain.measure == COUNTS and not ((flat[known] < 0) | (flat[known] % 1 > 0)).any():
        counted = np.where(known, flat, 0).astype(np.int64).reshape(brain.n_trials, brain.n_samples)
        sums = np.cumsum(counted.sum(1))
        trials = int((sums <= MOST_EVENTS).sum())
        kept = counted[:trials].ravel()
        samples = np.repeat(np.arange(len(kept)), kept).astype("<i4")
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (unit, trials, int(sums[-1]), samples.tobytes()))


def kept_trials(n_trials: int) -> list[int]:
    """Return the trials whose traces are kept: all, or evenly spread ones.

    Example:
        >>> kept_trials(3), kept_trials(100)[:3]
        ([0, 1, 2], [0, 9, 18])
    """
    return [int(trial) for trial in np.linspace(0, n_trials - 1, min(n_trials, MOST_TRACES)).astype(int)]


def _words(db: sqlite3.Connection, brain: NeuralRecording, concepts: Sequence[Sequence[Scored]]) -> None:
    """Index names and groups of units, and the conditions that they tell."""
    groups: dict[int, list[str]] = {}
    for name, members in brain.groups.items():
        for unit in set(members):
            groups.setdefault(unit, []).append(name)
    db.executemany(
        "INSERT INTO words (rowid, fires_on, promotes, concept) VALUES (?, ?, ?, ?)",
        (
            (
                unit,
                f"unit {brain.names[unit]}",
                " ".join(groups.get(unit, [])),
                " ".join(name.replace("_", " ") for _, name, _ in concepts[unit]),
            )
            for unit in range(brain.n_units)
        ),
    )
