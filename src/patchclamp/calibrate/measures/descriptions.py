"""Planted neurons are described by the answer that they give; true descriptions score high, and only those."""

import numpy as np

from patchclamp.calibrate.figures import Figure, exact_figure, mean_of, share_of
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import PlantedWords, TrueDescriptions
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.estimate import Estimate
from patchclamp.describe.score import shuffle_descriptions


def measure(trial: Trial, noun: Descriptions) -> list[Figure]:
    """Return how well a describer names what neurons do, or how far a scorer tells true descriptions from others."""
    return _scorer(trial, noun, trial.truth.least) if isinstance(trial.truth, TrueDescriptions) else _words(trial, noun)


def _words(trial: Trial, noun: Descriptions) -> list[Figure]:
    """Return how many planted neurons are described first by the answer that they give, beside all other neurons."""
    words = trial.truth.words if isinstance(trial.truth, PlantedWords) else {}
    places = {noun.index.place(key): word for key, word in words.items()}
    right = sum(noun.text(place, 1) == word for place, word in places.items())
    own = share_of(right, len(places), "share of neurons")
    others = [place for place in range(len(noun)) if place not in places]
    same = sum(noun.text(place, 1) in places.values() for place in others)
    return [Figure("described by the answer", own, share_of(same, len(others), own.unit), exact_figure(1.0, own), 1.0)]


def _scorer(trial: Trial, noun: Descriptions, least: float) -> list[Figure]:
    """Return the mean score of true descriptions beside chance, and beside the same ones given to other units.

    A scorer that reads no descriptions gives shuffled ones the same, and is compared with chance alone.
    """
    column = next(iter(noun.scores.values()))
    own = _mean(column.value, column.unit)
    figures = [Figure("true descriptions", own, exact_figure(column.chance, own), None, least)]
    given = trial.inputs["descriptions"]
    shuffled = trial.run(descriptions=shuffle_descriptions(None, [trial.inputs["exemplars"]], given, trial.seed))
    others = next(iter(shuffled.scores.values())).value
    if not np.array_equal(others, column.value, equal_nan=True):
        figures.append(Figure("beside shuffled ones", own, _mean(others, column.unit)))
    return figures


def _mean(values: np.ndarray, unit: str) -> Estimate:
    return mean_of(values[~np.isnan(values)], unit)
