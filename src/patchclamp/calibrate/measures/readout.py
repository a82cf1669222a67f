"""What can be predicted is, on stimuli that were not fitted on, and what cannot be predicted is not."""

import numpy as np

from patchclamp.calibrate.figures import Figure, auroc_of, chance_of, exact_figure, mean_of, noise_like, null_of
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import ReadTargets
from patchclamp.core.conditions import Pool, condition_matrix, only_site
from patchclamp.core.readout import Readout
from patchclamp.core.recording import Recording
from patchclamp.core.stats import auroc, pearson

SHARE = 0.8
"""Of what knows the truth, that a method must reach."""


def measure(trial: Trial, noun: Readout) -> list[Figure]:
    """Return how well the targets are predicted that can be, and whether they stand above those that cannot."""
    truth = trial.truth
    assert isinstance(truth, ReadTargets)
    if "Task" in trial.method.takes.values():
        return _labels(trial, noun, truth)
    recordings = _recordings(trial)
    pool: Pool = "last" if noun.pool == "last" else "mean"
    targets = condition_matrix(recordings[-1], only_site(recordings[-1]), pool)
    best = np.array([_pearson(p, y) for p, y in zip(truth.predicted.T, targets.T, strict=True)])
    scores = np.array([one.value for one in noun.scores])
    random = trial.run(**{trial.parameter("Recording"): noise_like(recordings[0], trial.seed)})
    which, unit = truth.readable, "Pearson r"
    own, oracle = mean_of(scores[which], unit), mean_of(best[which], unit)
    by_chance = mean_of(np.array([one.value for one in random.scores])[which], unit)
    figures = [Figure("held-out r of what can be read", own, by_chance, oracle, SHARE * oracle.value)]
    if which.all():
        return figures
    above = auroc_of(scores, which, trial.seed)
    draw = np.random.default_rng(trial.seed)
    shuffled = np.array([auroc(scores, draw.permutation(which)) for _ in range(1000)])
    return [*figures, Figure("readable above others", above, chance_of(shuffled, "AUROC"), exact_figure(1.0, above))]


def _labels(trial: Trial, noun: Readout, truth: ReadTargets) -> list[Figure]:
    """Return how well labels are read: the balanced accuracy, between noise and who knows the classes."""
    task, [recording] = trial.inputs[trial.parameter("Task")], _recordings(trial)
    own, random = noun.summary, trial.run(**{trial.parameter("Recording"): noise_like(recording, trial.seed)}).summary
    assert own is not None
    label = np.array([task.labels.index(case.label) for case in task.cases])
    right = (truth.predicted.argmax(1) == label).astype(float)
    oracle = mean_of(np.array([right[label == c].mean() for c in range(len(task.labels))]), own.unit)
    chance = 1 / len(task.labels)
    least = chance + SHARE * (oracle.value - chance)
    figures = [Figure("balanced accuracy", own, random, oracle, least)]
    by_chance = null_of(own)
    return [*figures, Figure("balanced accuracy beside its own null", own, by_chance)]


def _recordings(trial: Trial) -> list[Recording]:
    return [trial.inputs[name] for name, taken in trial.method.takes.items() if taken == "Recording"]


def _pearson(predicted: np.ndarray, target: np.ndarray) -> float:
    """Return r; 0 where nothing is predicted."""
    return pearson(predicted, target) if np.ptp(predicted) > 0 else 0.0
