"""Tasks learnt one after another are kept, where plain training forgets them, and still learnt."""

from patchclamp.calibrate.figures import Figure, exact_figure
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import PlainTraining
from patchclamp.core.training import Training

GAIN, FORGOTTEN, UNLEARNT = 0.1, 0.03, 0.1
"""Of accuracy: gained on plain training at the end, forgotten at most, and lost at most where each task is learnt."""


def measure(trial: Trial, noun: Training) -> list[Figure]:
    """Return ACC, BWT and learning accuracy of a stream, beside plain training and what the planted teachers reach."""
    truth = trial.truth
    assert isinstance(truth, PlainTraining)
    figures = []
    for name, own, plain, best in (
        ("ACC", noun.acc, truth.training.acc, 1.0),
        ("BWT", noun.bwt, truth.training.bwt, 0.0),
        ("learning accuracy", noun.learning, truth.training.learning, 1.0),
    ):
        assert own is not None
        assert plain is not None
        least = {"ACC": plain.value + GAIN, "BWT": -FORGOTTEN}.get(name, plain.value - UNLEARNT)
        # Where each task is learnt plain training does best: it is no bar from below there.
        figures.append(Figure(name, own, plain if name in ("ACC", "BWT") else None, exact_figure(best, own), least))
    return figures
