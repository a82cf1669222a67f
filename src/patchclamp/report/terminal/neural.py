"""A recorded brain in a terminal, and a survey of it."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import (
    format_fixed,
    format_general,
    format_percent,
    is_known,
)
from patchclamp.core.survey import PROBABILITIES, StoredSurvey
from patchclamp.report.terminal.table import make_table, open_console, print_table
from patchclamp.subjects.neural import SITE, NeuralRecording

ROWS = 20

TOP = 3


def show_recording(brain: NeuralRecording) -> None:
    """Print what a recording holds."""
    facts = describe_recording(brain)
    out, table = open_console(), make_table("", "")
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
    print_table(out, table)
    _flaws(out, brain)


def describe_recording(brain: NeuralRecording) -> dict[str, Any]:
    """Return what a recording holds as JSON-ready data."""
    within = brain.mean_correlation(brain.groups) if brain.groups else None
    return {
        "kind": "recorded brain",
        "subject": {"slug": brain.name, "hash": brain.hash},
        "measure": brain.measure,
        "units": brain.n_units,
        "names": list(brain.names),
        "trials": brain.n_trials,
        "samples": brain.n_samples,
        "rate": brain.rate,
        "start": brain.start,
        "duration": None if brain.rate is None else brain.duration,
        "labels": {
            "unit": [*brain.unit_labels],
            "trial": [*brain.trial_labels],
            "time": [*brain.time_labels],
        },
        "groups": {name: list(members) for name, members in brain.groups.items()},
        "correlation": {"all": brain.mean_correlation(), "within_groups": within},
        "missing": {str(brain.key(unit)): count for unit, count in brain.missing.items()},
        "constant": [str(brain.key(unit)) for unit in brain.constant],
        "capabilities": {"intervene": False, "differentiate": False},
    }


def _correlation(facts: dict[str, Any]) -> str:
    overall, within = facts["correlation"]["all"], facts["correlation"]["within_groups"]
    if not is_known(overall):
        return "no pair of units that vary"
    overall_text = f"mean r of all pairs {format_fixed(overall)}"
    return (
        overall_text
        if within is None
        else f"{overall_text}, within the {len(facts['groups'])} groups {format_fixed(within)}"
    )


def _flaws(out: Any, brain: NeuralRecording) -> None:
    for what, units in (("constant", brain.constant), ("missing samples", list(brain.missing))):
        shown = [
            f"{brain.names[u]}" + (f" ({brain.missing[u]:,})" if what.startswith("missing") else "") for u in units
        ]
        if shown:
            more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
            out.print(f"[bold dark_orange]{what}[/]: {escape(', '.join(shown[:10]))}{more}")


def show_survey(brain: NeuralRecording, stored: StoredSurvey, units: Sequence[dict[str, Any]]) -> None:
    """Print a survey of a recording, a row for each unit."""
    out = open_console()
    at = "at s" if brain.rate is not None else "at sample"
    out.print(f"[bold]survey[/] {escape(str(stored.bundle.path))} of {escape(brain.name)}, {escape(brain.measure)}")
    numbers = ("mean", "sd", "minimum", "median", "maximum", at, "above 0")
    table = make_table("unit", *numbers, "", numbers=numbers)
    for unit in units[:ROWS]:
        moment = unit["top"][0] if unit["top"] else None
        place = format_general(
            None if moment is None else float(moment["time" if brain.rate is not None else "sample"]), 6
        )
        if moment is not None and brain.n_trials > 1:
            place += f" of trial {moment['trial']}"
        figures = (unit["mean"], unit["sd"], unit["minimum"], unit["quantiles"]["0.5"], unit["maximum"])
        shown = [format_general(x, 4) for x in figures]
        missing = f"{unit['missing']:,} missing" if unit["missing"] else "constant" if unit["constant"] else ""
        table.add_row(escape(unit["name"]), *shown, place, format_percent(unit["active"], 1), missing)
    print_table(out, table)
    if len(units) > ROWS:
        out.print(f"… and {len(units) - ROWS} more; --json lists them", style="dim")
    _flaws(out, brain)


def describe_unit(brain: NeuralRecording, stored: StoredSurvey, unit: int) -> dict[str, Any]:
    """Return one unit's line.

    Returns:
        dict[str, Any]: JSON-ready; its name, and its statistics.
    """
    statistics = stored.statistics(SITE)
    moments = []
    for e in stored.exemplars(SITE, unit, kinds=["top"])[:TOP]:
        trial, sample = divmod(e.ids[e.position], brain.n_samples)
        time = None if brain.rate is None else brain.when(e.ids[e.position])[1]
        moments.append({"value": e.value, "trial": trial, "sample": sample, "time": time})
    return {
        "key": str(brain.key(unit)),
        "name": brain.names[unit],
        "mean": float(statistics["mean"][unit]),
        "sd": float(statistics["variance"][unit]) ** 0.5,
        "minimum": float(statistics["minimum"][unit]),
        "maximum": float(statistics["maximum"][unit]),
        "active": float(statistics["active"][unit]),
        "quantiles": {str(p): float(q) for p, q in zip(PROBABILITIES, statistics["quantiles"][unit], strict=True)},
        "missing": brain.missing.get(unit, 0),
        "constant": unit in brain.constant,
        "top": moments,
    }
