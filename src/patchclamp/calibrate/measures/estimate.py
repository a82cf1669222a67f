"""Estimate: a benchmark gives more to scores than to the same ones shuffled, and less than to the best order."""

from dataclasses import replace

import numpy as np

from patchclamp.calibrate.figures import Figure, known, null_of
from patchclamp.calibrate.trials import Trial
from patchclamp.core.estimate import Estimate


def measure(trial: Trial, noun: Estimate) -> list[Figure]:
    """Return what a benchmark says of scores, of shuffled scores and of the best order."""
    name = trial.parameter("Scores")
    scores, draw = trial.inputs[name], np.random.default_rng(trial.seed)
    each = scores.values[None] if scores.per_case is None else scores.per_case
    shuffled = draw.permuted(each, axis=1)
    per_case = None if scores.per_case is None else shuffled
    random = trial.run(**{name: replace(scores, values=shuffled.mean(0), per_case=per_case)})
    return [
        Figure("scores beside shuffled ones", noun, random, known(noun.ceiling, noun)),
        Figure("scores beside random orders", noun, null_of(noun), known(noun.ceiling, noun)),
    ]
