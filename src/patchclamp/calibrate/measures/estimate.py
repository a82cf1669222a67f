"""A benchmark gives more to an explanation than to the same one shuffled, and less than to the best one."""

from dataclasses import replace
from typing import Any

import numpy as np

from patchclamp.calibrate.figures import Figure, null_of, top_of
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import Explained
from patchclamp.core.basis import Basis
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.estimate import Estimate
from patchclamp.core.scores import Scores
from patchclamp.core.task import Task
from patchclamp.evaluate.rows import turn_basis


def measure(trial: Trial, noun: Estimate) -> list[Figure]:
    """Return what a benchmark says of an explanation, of the same one shuffled, of its null and of the best one."""
    assert isinstance(trial.truth, Explained)
    name = trial.truth.parameter
    random = trial.run(**{name: shuffle(trial.inputs[name], trial.seed)})
    return [
        Figure("beside shuffled ones", noun, random, top_of(noun)),
        Figure("beside random ones", noun, null_of(noun), top_of(noun)),
    ]


def shuffle(noun: Any, seed: int) -> Any:
    """Return keys with wrong scores or words, a Basis turned at random, or a Task with some answers exchanged."""
    draw = np.random.default_rng(seed)
    if isinstance(noun, Basis):
        return turn_basis(noun, draw)
    if isinstance(noun, Descriptions):
        return replace(noun, terms=noun.terms[draw.permutation(len(noun))])
    if isinstance(noun, Task):
        turned = [replace(case, targets=case.contrasts, contrasts=case.targets) for case in noun.cases]
        return replace(
            noun, cases=tuple(b if draw.random() < 0.5 else a for a, b in zip(noun.cases, turned, strict=True))
        )
    assert isinstance(noun, Scores)
    if noun.per_case is None:
        return replace(noun, values=draw.permutation(noun.values))
    each = draw.permuted(noun.per_case, axis=1)
    return replace(noun, values=each.mean(0), per_case=each)
