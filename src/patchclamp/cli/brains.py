"""What info and survey show of a recorded brain."""

from argparse import Namespace
from typing import Any

from rich.markup import escape

from patchclamp.cli.output import emit
from patchclamp.cli.tables import _console, _fixed, _general, _grid, _is_known, _percent, _print
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.survey import PROBABILITIES, StoredSurvey
from patchclamp.subjects.neural import SITE, NeuralRecording
from patchclamp.subjects.neural_layout import load_recording

ROWS = 20
TOP = 3
BRAIN_OPTIONS = ("variable", "axes", "rate", "duration", "bin", "measure", "labels")


def open_recording(options: Namespace, path: str) -> NeuralRecording:
    """Return the recording that the options describe."""
    return load_recording(
        path, variable=options.variable, axes=options.axes, rate=options.rate, duration=options.duration,
        bin=options.bin, measure=options.measure, labels=options.labels,
    )  # fmt: skip


def refuse_brain_options(options: Namespace, what: str) -> None:
    """Refuse options of a recorded brain for what is none; a list of them is in the help of info and survey.

    Raises:
        PatchclampError: names the options.
    """
    given = [f"--{name}" for name in BRAIN_OPTIONS if getattr(options, name) is not None]
    if given:
        raise PatchclampError(
            expected="the file of a recorded brain (.csv, .mat, .nwb, .npy, .npz), which alone has these options",
            got=f"{what!r} with {', '.join(given)}",
            remedy=f"Leave {', '.join(given)} out, or name the recording's file.",
        )


def info(options: Namespace) -> int:
    """Say what a recording holds."""
    brain = open_recording(options, options.folder)
    facts = _facts(brain)
    if options.json:
        emit(facts)
        return 0
    out, table = _console(), _grid("", "")
    table.show_header = False
    seconds = "rate unknown: give --rate in Hz, or --duration in seconds"
    if brain.rate is not None:
        seconds = f"{brain.rate:g} Hz, {brain.duration:g} s from {brain.start:g} s"
    names = ", ".join(brain.names[:8]) + (" …" if brain.n_units > 8 else "")
    labels = [f"{name} per {of}" for of in ("unit", "trial", "time") for name in facts["labels"][of]]
    rows = {
        "units": f"{brain.n_units:,}: {names}",
        "time": f"{brain.n_samples:,} samples, {seconds}",
        "trials": f"{brain.n_trials:,}",
        "measure": brain.measure,
        "labels": ", ".join(labels) or "none",
        "correlation": _correlation(facts),
        "hash": brain.hash[:16],
    }
    out.print(f"[bold]recorded brain[/] {escape(brain.name)}")
    for name, value in rows.items():
        table.add_row(name, escape(value))
    _print(out, table)
    _flaws(out, brain)
    return 0


def _facts(brain: NeuralRecording) -> dict[str, Any]:
    """Return what a recording holds as JSON-ready data."""
    within = brain.mean_correlation(brain.groups) if brain.groups else None
    return {
        "kind": "recorded brain", "subject": {"slug": brain.name, "hash": brain.hash}, "measure": brain.measure,
        "units": brain.n_units, "names": list(brain.names), "trials": brain.n_trials, "samples": brain.n_samples,
        "rate": brain.rate, "start": brain.start, "duration": None if brain.rate is None else brain.duration,
        "labels": {
            "unit": [*brain.unit_labels], "trial": [*brain.trial_labels], "time": [*brain.time_labels],
        },
        "groups": {name: list(members) for name, members in brain.groups.items()},
        "correlation": {"all": brain.mean_correlation(), "within_groups": within},
        "missing": {str(brain.key(unit)): count for unit, count in brain.missing.items()},
        "constant": [str(brain.key(unit)) for unit in brain.constant],
        "capabilities": {"intervene": False, "differentiate": False},
    }  # fmt: skip


def _correlation(facts: dict[str, Any]) -> str:
    overall, within = facts["correlation"]["all"], facts["correlation"]["within_groups"]
    if not _is_known(overall):
        return "no pair of units that vary"
    told = f"mean r of all pairs {_fixed(overall)}"
    return told if within is None else f"{told}, within the {len(facts['groups'])} groups {_fixed(within)}"


def _flaws(out: Any, brain: NeuralRecording) -> None:
    for what, units in (("constant", brain.constant), ("missing samples", list(brain.missing))):
        shown = [
            f"{brain.names[u]}" + (f" ({brain.missing[u]:,})" if what.startswith("missing") else "") for u in units
        ]
        if shown:
            more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
            out.print(f"[bold dark_orange]{what}[/]: {escape(', '.join(shown[:10]))}{more}")


def survey(options: Namespace) -> int:
    """Survey a recording, and show its units."""
    from patchclamp.record import survey_recording

    brain = open_recording(options, options.model)
    stored = survey_recording(
        brain, options.out, window=options.window, seed=options.seed, resume=options.resume
    )  # fmt: skip
    damaged = stored.bundle.find_damaged()
    if damaged:
        raise Damaged(
            expected=f"the pieces of {options.out} as they were committed",
            got=f"damaged or missing: {', '.join(damaged)}",
            remedy="Survey again into another folder.",
        )
    units = [_unit(brain, stored, unit) for unit in range(brain.n_units)]
    if options.json:
        emit({"path": str(stored.bundle.path), "kind": "survey", "hash": stored.hash, **_facts(brain), "survey": units})
        return 0
    out = _console()
    at = "at s" if brain.rate is not None else "at sample"
    out.print(f"[bold]survey[/] {escape(str(stored.bundle.path))} of {escape(brain.name)}, {escape(brain.measure)}")
    numbers = ("mean", "sd", "minimum", "median", "maximum", at, "above 0")
    table = _grid("unit", *numbers, "", numbers=numbers)
    for unit in units[:ROWS]:
        moment = unit["top"][0] if unit["top"] else None
        place = _general(None if moment is None else float(moment["time" if brain.rate is not None else "sample"]), 6)
        if moment is not None and brain.n_trials > 1:
            place += f" of trial {moment['trial']}"
        figures = (unit["mean"], unit["sd"], unit["minimum"], unit["quantiles"]["0.5"], unit["maximum"])
        shown = [_general(x, 4) for x in figures]
        missing = f"{unit['missing']:,} missing" if unit["missing"] else "constant" if unit["constant"] else ""
        table.add_row(escape(unit["name"]), *shown, place, _percent(unit["active"], 1), missing)
    _print(out, table)
    if len(units) > ROWS:
        out.print(f"… and {len(units) - ROWS} more; --json lists them", style="dim")
    _flaws(out, brain)
    return 0


def _unit(brain: NeuralRecording, stored: StoredSurvey, unit: int) -> dict[str, Any]:
    """Return one unit's line."""
    found = stored.statistics(SITE)
    moments = []
    for e in stored.exemplars(SITE, unit, kinds=["top"])[:TOP]:
        trial, sample = divmod(e.ids[e.position], brain.n_samples)
        time = None if brain.rate is None else brain.when(e.ids[e.position])[1]
        moments.append({"value": e.value, "trial": trial, "sample": sample, "time": time})
    return {
        "key": str(brain.key(unit)), "name": brain.names[unit], "mean": float(found["mean"][unit]),
        "sd": float(found["variance"][unit]) ** 0.5, "minimum": float(found["minimum"][unit]),
        "maximum": float(found["maximum"][unit]), "active": float(found["active"][unit]),
        "quantiles": {str(p): float(q) for p, q in zip(PROBABILITIES, found["quantiles"][unit], strict=True)},
        "missing": brain.missing.get(unit, 0), "constant": unit in brain.constant, "top": moments,
    }  # fmt: skip
