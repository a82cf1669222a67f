"""Planted units are described by the answer that they give, and few others are."""

from typing import Any

import numpy as np

from patchclamp.calibrate.figures import Figure, exact_figure, share_of
from patchclamp.calibrate.scorer_figures import measure_scorer
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import PlantedFiring, PlantedWords, TrueDescriptions
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.unit import UnitKey
from patchclamp.describe.judge import Window
from patchclamp.describe.rules import parse_rule


def measure(trial: Trial, noun: Descriptions) -> list[Figure]:
    """Return how many planted units are described first by the answer that they give, beside all others.

    Of scorers: what they give true descriptions. Of rules: of the tokens on which a planted unit or its rule fires, how
    many are the same, beside other units' rules.
    """
    if isinstance(trial.truth, TrueDescriptions):
        return measure_scorer(trial, noun, trial.truth.least)
    if isinstance(trial.truth, PlantedFiring):
        return [_measure_firing(trial.truth, noun, trial.inputs["subject"])]
    words = trial.truth.words if isinstance(trial.truth, PlantedWords) else {}
    described = {(one.site, one.basis) for one in (noun.index.unit(place) for place in range(len(noun)))}
    keys = {key: UnitKey.parse(key) for key in words}
    places = {noun.index.place(k): words[k] for k, one in keys.items() if (one.site, one.basis) in described}
    right = sum(noun.text(place, 1) == word for place, word in places.items())
    own = share_of(right, len(places), "share of units")
    others = [place for place in range(len(noun)) if place not in places]
    same = sum(noun.text(place, 1) in places.values() for place in others)
    return [Figure("described by the answer", own, share_of(same, len(others), own.unit), exact_figure(1.0, own), 1.0)]


def _measure_firing(truth: PlantedFiring, noun: Descriptions, subject: Any) -> Figure:
    """Return the share of tokens on which both fire among those on which either does, in windows kept for testing."""
    keys = {
        str(noun.index.unit(place).without_place()).removeprefix(f"{noun.index.subject}/"): place
        for place in range(len(noun))
    }
    texts = {noun.text(place) for place in range(len(noun))} - {""}
    own, others = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    for key in truth.units:
        said = noun.text(keys[key]) if key in keys else ""
        rows = truth.test.of_unit(UnitKey.parse(key).index)
        own += _agree(said, rows, subject)
        others += sum(_agree(text, rows, subject) for text in texts - {said})
    figure = share_of(int(own[0]), max(int(own[1]), 1), "share of tokens on which the unit or its rule fires")
    random = share_of(int(others[0]), int(others[1]), figure.unit) if others[1] else None
    return Figure("fires where the rule says", figure, random, exact_figure(1.0, figure), 0.95)


def _agree(said: str, rows: Exemplars, subject: Any) -> Any:
    """Return on how many tokens a rule and the unit fire, and on how many either does."""
    rule, counts = parse_rule(said), np.zeros(2, dtype=np.int64)
    for row, one in enumerate(rows):
        true = rows.mask(row) & (one.kind != "neighbour")  # its marks are where another unit fires
        window = Window(tuple(subject.answer_name(id) for id in one.ids))
        fired = np.zeros(len(true), dtype=bool) if rule is None else rule.fires(window)
        counts += (fired & true).sum(), (fired | true).sum()
    return counts
