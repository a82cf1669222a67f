"""How far the descriptions of an atlas hold: methods beside controls, scores beside frequency, and what fails."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query

from patchclamp.atlas.read.reader import Reading, ScoredDescription, number_or_none, page_of
from patchclamp.atlas.read.responses import EstimateView, Source
from patchclamp.atlas.serve.served import LONGEST, Served
from patchclamp.atlas.store.layers import Layer
from patchclamp.core.estimate import Estimate
from patchclamp.core.scoring import ScorerRow
from patchclamp.core.stats import Interval, mean_interval
from patchclamp.core.tier import read_calibration

MOST_POINTS, MOST_FAILING, MOST_RESAMPLED = 1500, 50, 1000
CHANCE, GOOD = 0.5, 0.8
"""What a score of chance is where nobody said, and from where a description is good."""


@dataclass(frozen=True)
class TrustMeasure:
    """What one scorer says of a method's descriptions, beside what it says of others.

    Args:
        measure: scorer and unit of measure, as descriptions name it.
        judge: who answered; empty where that is not known.
        described: mean over the units.
        shuffled: where each unit has another's description; None where that was not measured.
        random: of descriptions of nothing in particular.
        quantiles: of the scores over units: lowest, first quartile, median, third quartile, highest.
        good: share of the units that score 0.8 at least.
        missing: share of answers that could not be read; None where nobody said.
        calls: how often the judge was asked.
        tokens: that it was shown.
        seconds: that scoring took; None where nobody said.
    """

    measure: str
    judge: str
    described: EstimateView
    quantiles: list[float | None]
    good: float | None
    shuffled: EstimateView | None
    random: EstimateView | None
    missing: float | None
    calls: int
    tokens: int
    seconds: float | None


@dataclass(frozen=True)
class PlantedTruth:
    """What the method finds where the answer is planted, from the stored calibration.

    Args:
        place: the network.
        figure: what is counted.
        oracle: what one that knows the answer reaches.
        method: what the method reaches.
        random: what chance reaches.
    """

    place: str
    figure: str
    oracle: EstimateView
    method: EstimateView
    random: EstimateView


@dataclass(frozen=True)
class UnitsFailed:
    """Why units were not described, and how many."""

    reason: str
    units: int


@dataclass(frozen=True)
class TrustMethod:
    """What one author wrote in one layer of descriptions.

    Args:
        run: the layer's id; its run.
        author: who wrote the descriptions.
        units: units that it describes.
        calls: how often a language model was asked for descriptions.
        tokens: that it read and wrote.
        seconds: that all of it took; None where nobody said.
        failed: units that could not be described.
        measures: one per scorer.
        truth: where the answer is planted; empty for methods that were not calibrated so.
    """

    run: str
    author: str
    units: int
    calls: int
    tokens: int
    seconds: float | None
    failed: list[UnitsFailed]
    measures: list[TrustMeasure]
    truth: list[PlantedTruth]


@dataclass(frozen=True)
class TrustPoints:
    """Scores of units beside how often they fire.

    Args:
        run: the layer.
        author: the author.
        measure: the measure.
        chance: what shuffled descriptions score on average; 0.5 where none were scored.
        keys: the units' keys.
        frequency: share of counted tokens above zero.
        score: the score.
        total: units with both; evenly spaced ones are sent of more than 1,500.
    """

    run: str
    author: str
    measure: str
    chance: float
    keys: list[str]
    frequency: list[float]
    score: list[float]
    total: int


@dataclass(frozen=True)
class FailingUnit:
    """A unit whose description does not hold.

    Args:
        key: its key.
        name: the unit in words.
        text: the description.
        score: its score.
        wrong: windows or examples that are kept where it is wrong.
    """

    key: str
    name: str
    text: str
    score: EstimateView
    wrong: int


@dataclass(frozen=True)
class TrustPage:
    """Trust: which explanations hold up?

    Args:
        n_units: units of the atlas.
        n_described: of them, with a description.
        n_scored: of them, with a score.
        methods: one per layer of descriptions and author.
        points: scores beside frequency, of the method and measure asked for; None where nothing is scored.
        failing: its descriptions that hold no better than shuffled ones, the lowest first, at most 50.
        n_failing: how many there are.
        source: where this page comes from.
    """

    n_units: int
    n_described: int
    n_scored: int
    methods: list[TrustMethod]
    points: TrustPoints | None
    failing: list[FailingUnit]
    n_failing: int
    source: Source


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the address of the page."""

    @app.get("/api/trust", operation_id="readTrust")
    def read_trust(
        run: Annotated[str, Query(max_length=LONGEST)] = "",
        author: Annotated[str, Query(max_length=LONGEST)] = "",
        measure: Annotated[str, Query(max_length=LONGEST)] = "",
    ) -> TrustPage:
        """Trust: which explanations hold up? What is drawn is chosen by layer, author and measure; else most scores."""
        return trust_page(served.atlas(), run, author, measure)


@page_of
def trust_page(atlas: Reading, run: str = "", author: str = "", measure: str = "") -> TrustPage:
    """Return how far the descriptions of an atlas hold.

    Args:
        atlas: the atlas.
        run: the layer that is drawn; the one with the most scores where it is empty, or not there.
        author: whose descriptions in it, likewise.
        measure: the measure that is drawn, likewise.

    Returns:
        TrustPage: methods beside controls, scores beside frequency, and what fails.
    """
    scored = _scores(atlas)
    methods = [
        _method(atlas, layer, author, n, scored.get((layer.id, author), {}))
        for layer in atlas.layers
        for author, n in sorted(Counter(one.description.author for one in layer.descriptions).items())
    ]
    points, failing = _draw_points(atlas, methods, scored, (run, author, measure))
    [(n_scored,)] = atlas.rows("SELECT count(*) FROM temp.described WHERE score IS NOT NULL")
    asked = {"run": run, "author": author, "measure": measure}
    python = ", ".join(f"{name}={value!r}" for name, value in asked.items() if value)
    return TrustPage(
        n_units=atlas.n_units,
        n_described=atlas.n_described,
        n_scored=n_scored,
        methods=methods,
        points=points,
        failing=[_failing(atlas, *one) for one in failing[:MOST_FAILING]],
        n_failing=len(failing),
        source=atlas.source(f".trust({python})"),
    )


Scores = dict[tuple[str, str], dict[str, list[tuple[int, ScoredDescription, Estimate]]]]
"""Layer and author → measure → its units, each with its description and score."""


def _scores(atlas: Reading) -> Scores:
    found: Scores = {}
    for unit, said in atlas.described.items():
        for one in said:
            for score in one.description.scores:
                method = found.setdefault((one.layer, one.description.author), {})
                method.setdefault(score.unit, []).append((unit, one, score))
    return found


def _method(atlas: Reading, layer: Layer, author: str, units: int, scored: dict[str, list[Any]]) -> TrustMethod:
    scoring, run = layer.scoring, atlas.runs[layer.id]
    rows = {row.name: row for row in scoring.rows} if scoring else {}
    measures = [
        _measure(
            name, rows.get(name), values, run.options.get(f"seconds of {rows[name].scorer}") if name in rows else None
        )
        for name in dict.fromkeys([*rows, *scored])
        for values in [np.array([score.value for _, _, score in scored.get(name, [])])]
    ]
    return TrustMethod(
        run=layer.id,
        author=author,
        units=units,
        calls=scoring.calls if scoring else 0,
        tokens=scoring.tokens if scoring else 0,
        seconds=run.duration_s,
        failed=[UnitsFailed(reason, n) for reason, n in scoring.failed.items()] if scoring else [],
        measures=measures,
        truth=list(_truth(scoring.method)) if scoring else [],
    )


def _measure(name: str, row: ScorerRow | None, values: np.ndarray, seconds: str | None) -> TrustMeasure:
    mean = _mean(name, values) if row is None else row.described
    others = (None, None) if row is None else (row.shuffled, row.random)
    shuffled, random = (None if one is None else EstimateView.of(one) for one in others)
    cuts = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist() if len(values) else []
    return TrustMeasure(
        measure=name,
        judge="" if row is None else row.judge,
        described=EstimateView.of(mean),
        quantiles=[number_or_none(value, 4) for value in cuts],
        good=float((values >= GOOD).mean()) if len(values) else None,
        shuffled=shuffled,
        random=random,
        missing=None if row is None else number_or_none(row.missing),
        calls=0 if row is None else row.calls,
        tokens=0 if row is None else row.tokens,
        seconds=None if seconds is None else number_or_none(float(seconds)),
    )


def _mean(name: str, values: np.ndarray) -> Estimate:
    """Return the mean of scores whose controls nobody measured."""
    mean, interval = float(values.mean()), None
    if 1 < len(values) <= MOST_RESAMPLED:
        interval = mean_interval(values, seed=0)
    elif len(values) > 1:
        half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
        interval = Interval(mean - half, mean + half, 0.95, "normal approximation over units")
    return Estimate(mean, interval, len(values), name)


def _truth(method: str) -> Iterator[PlantedTruth]:
    """Yield what the stored calibration says of a method of the room describe."""
    entry = read_calibration().get(f"describe/{method}", {})
    for row in entry.get("rows", ()):
        for figure in row["figures"] if row["claim"] == "show" else ():
            own, random, oracle = (_figure(figure, name) for name in ("own", "random", "oracle"))
            if own and random and oracle:
                yield PlantedTruth(row["place"], figure["name"], oracle, own, random)


def _figure(figure: dict[str, Any], name: str) -> EstimateView | None:
    if not figure.get(name):
        return None
    value, low, high, n = figure[name]
    interval = None if low is None or high is None else Interval(low, high, 0.95, "as calibrated")
    return EstimateView.of(Estimate(float(value), interval, int(n), figure["unit"]))


def _draw_points(
    atlas: Reading, methods: list[TrustMethod], scored: Scores, asked: tuple[str, str, str]
) -> tuple[TrustPoints | None, list[tuple[int, ScoredDescription, Estimate]]]:
    """Return the points of one measure of one method, and its descriptions that hold no better than shuffled ones."""
    run, author, measure = asked
    there = [method for method in methods if (method.run, method.author) in scored]
    there.sort(key=lambda method: -max(map(len, scored[method.run, method.author].values())))
    fits = [one for one in there if one.run == run and author in ("", one.author)]
    chosen = next(iter([*fits, *there]), None)
    if chosen is None:
        return None, []
    of = scored[chosen.run, chosen.author]
    named = [one for one in chosen.measures if one.measure in of]
    shown = next((one for one in named if one.measure == measure), named[0])
    known = [one.value for one in (shown.shuffled,) if one is not None] + [shown.described.null_low]
    chance = next((value for value in known if value is not None), CHANCE)
    units = sorted(of[shown.measure], key=lambda one: one[0])
    failing = sorted((one for one in units if not one[2].low > chance), key=lambda one: (one[2].value, one[0]))
    often = dict(atlas.rows("SELECT id, frequency FROM units WHERE frequency IS NOT NULL"))
    both = [(unit, often[unit], score.value) for unit, _, score in units if unit in often]
    step = max(1, -(-len(both) // MOST_POINTS))
    some = both[::step]
    points = TrustPoints(
        run=chosen.run,
        author=chosen.author,
        measure=shown.measure,
        chance=chance,
        keys=[str(atlas.key(unit)) for unit, _, _ in some],
        frequency=[float(f"{frequency:.4g}") for _, frequency, _ in some],
        score=[float(f"{value:.4g}") for _, _, value in some],
        total=len(both),
    )
    return points, failing


def _failing(atlas: Reading, unit: int, said: ScoredDescription, score: Estimate) -> FailingUnit:
    return FailingUnit(
        str(atlas.key(unit)), atlas.name(unit), said.description.text, EstimateView.of(score), said.wrong
    )
