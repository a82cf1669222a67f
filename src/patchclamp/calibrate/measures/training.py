"""Training: tasks learnt one after another are kept, where plain training forgets them, and still learnt."""

from patchclamp.calibrate.figures import Figure, known
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import PlainTraining
from patchclamp.core.training import Training

GAIN, FORGOTTEN, UNLEARNT = 0.1, 0.03, 0.1
"""Of accuracy: gained on plain training at the end, forgotten at most, and lost at most where each task is learnt."""


def measure(trial: Trial, noun: Training) -> list[Figure]:
    """Return ACC, BWT and learning accuracy of a stream, beside plain training and what the planted teachers reach."""
    truth = trial.truth
    assert isinstance(truth, PlainTraining)
    plain, (acc, bwt, learning) = truth.training, (noun.acc, noun.bwt, noun.learning)
    assert acc and bwt and learning and plain.acc and plain.bwt and plain.learning
    return [
        Figure("ACC", acc, plain.acc, known(1.0, acc), plain.acc.value + GAIN),
        Figure("BWT", bwt, plain.bwt, known(0.0, bwt), -FORGOTTEN),
        Figure("learning accuracy", learning, None, known(1.0, learning), plain.learning.value - UNLEARNT),
    ]
