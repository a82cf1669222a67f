"""A noisy copy is more alike than unrelated activity, and less than the recording itself."""

from patchclamp.calibrate.figures import Figure, noise_like
from patchclamp.calibrate.trials import Trial
from patchclamp.core.similarity import Similarity

LEAST_ITSELF = 0.99
"""How alike a recording is to itself."""


def measure(trial: Trial, noun: Similarity) -> list[Figure]:
    """Return how alike both recordings are, beside noise and beside the first one itself."""
    first, last = [name for name, taken in trial.method.takes.items() if taken == "Recording"][:2]
    random = trial.run(**{last: noise_like(trial.inputs[last], trial.seed)}).estimate
    itself = trial.run(**{last: trial.inputs[first]}).estimate
    return [
        Figure("similarity of a noisy copy", noun.estimate, random, itself),
        Figure("similarity to itself", itself, random, None, LEAST_ITSELF),
    ]
