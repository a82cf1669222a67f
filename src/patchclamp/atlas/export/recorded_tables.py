"""The tables of an atlas of a recorded brain, for Parquet."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from patchclamp.atlas.atlas import Atlas
from patchclamp.atlas.serve.screens.unit.page import UnitPage

_ENDS = {"low": ("number", "lower end of its 95 % interval"), "high": ("number", "upper end")}
RECORDED_COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    "units": {
        "key": ("text", "subject/recording/neurons/index; joins the tables"),
        "name": ("text", "the unit's name in the recording"),
        "measure": ("text", "unit of measure of the statistics"),
        "counted": ("integer", "samples, missing ones among them"),
        "missing": ("integer", "samples that are missing"),
        "frequency": ("number", "share of known samples above zero"),
        "mean": ("number", "mean"),
        "deviation": ("number", "standard deviation"),
        "minimum": ("number", "lowest sample"),
        "maximum": ("number", "highest sample"),
        "quantiles": ("quantiles", "values at probabilities, exact"),
        "histogram_edges": ("numbers", "bin edges, one more than bins; null where it never changed"),
        "histogram_samples": ("integers", "samples per bin"),
        "place": ("measures", "coordinates by axis"),
        "labels": ("reasons", "labels of the unit, by name"),
        "groups": ("texts", "groups that it is in"),
        "within": ("number", "mean r with the other members of its groups"),
        "outside": ("number", "mean r with the rest"),
        "chance": ("number", "the |r| with any other unit that 95 % of circular shifts stay below"),
        "concepts": ("concepts", "conditions that it tells, by AUROC with a 95 % interval"),
    },
    "near": {
        "key": ("text", "the unit"),
        "other": ("text", "the key of another"),
        "r": ("number", "Pearson's r over all samples that both have"),
        **_ENDS,
        "p": ("number", "share of circular shifts in which the unit reaches that with any other, itself counted"),
    },
    "tuning": {
        "key": ("text", "the unit"),
        "label": ("text", "the label"),
        "condition": ("text", "one of its conditions"),
        "mean": ("number", "mean there"),
        **_ENDS,
        "n": ("integer", "trials, or blocks of time, in which it occurs"),
        "measure": ("text", "unit of measure: Hz where events are counted and the rate is known"),
    },
    "courses": {
        "key": ("text", "the unit"),
        "label": ("text", "the label; empty over all trials"),
        "condition": ("text", "one of its conditions"),
        "n": ("integer", "trials"),
        "starts": ("integers", "first sample of every bin"),
        "mean": ("numbers", "mean over trials per bin"),
        "low": ("numbers", "lower ends of the 95 % intervals"),
        "high": ("numbers", "upper ends"),
        "measure": ("text", "unit of measure, as of tuning"),
    },
}


def recorded_rows(atlas: Atlas, unit: UnitPage) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a recorded unit's rows, each with its table.

    Args:
        atlas: the atlas.
        unit: the unit's page.
    """
    did = atlas.recorded_unit(unit.key)
    bins = unit.histogram
    row = asdict(unit.statistics) | {name: getattr(did, name) for name in ("measure", "missing", "groups", "within")}
    row |= {"key": unit.key, "name": unit.name, "outside": did.outside, "chance": did.chance}
    row |= {"place": list(did.place.items()), "labels": list(did.labels.items())}
    row |= {"concepts": [asdict(one) for one in unit.concepts]}
    row |= {"histogram_edges": bins and bins.edges, "histogram_samples": bins and bins.tokens}
    yield "units", row
    for one in did.near:
        yield "near", {"key": unit.key, "other": one.key, "r": one.r, "low": one.low, "high": one.high, "p": one.p}
    for label in did.tuning:
        for point in label.points:
            yield "tuning", {"key": unit.key, "label": label.label, **asdict(point), "measure": did.rate_measure}
    for course in did.courses:
        yield "courses", {"key": unit.key, **asdict(course), "starts": did.course_starts, "measure": did.rate_measure}
