"""What a scorer gives true descriptions, beside chance and beside the same ones given to other units."""

import numpy as np

from patchclamp.calibrate.figures import Figure, exact_figure, mean_of
from patchclamp.calibrate.trials import Trial
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.estimate import Estimate
from patchclamp.describe.score import shuffle_descriptions


def measure_scorer(trial: Trial, noun: Descriptions, least: float) -> list[Figure]:
    """Return the mean score of true descriptions, which is above chance, and above that of shuffled ones.

    A scorer that reads no descriptions gives shuffled ones the same, and is compared with chance alone.

    Args:
        trial: of the scorer.
        noun: what it gave.
        least: what it must give.

    Returns:
        list[Figure]: one or two.
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
