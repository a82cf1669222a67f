"""Side effects: what an edit of weights changes, and what it leaves alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.edit import Edit
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval, wilson_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Case, Task
from patchclamp.subjects.protocols import ReadsText, Records, Weights

BATCH = 100


class Answers(Records, Weights, ReadsText, Protocol):
    """It answers text, and its weights can be changed for a while."""


@checked
@dataclass(frozen=True, eq=False)
class EditEffects:
    """Hold what an edit does; the null of each is the same with random rank-one edits of the same norm.

    Args:
        efficacy: share of the edit's own prompts whose likeliest next token is the new answer's first.
        paraphrase: the same of other prompts for the same fact.
        specificity: share of other prompts whose likeliest next token stays what it was.
    """

    efficacy: Estimate
    paraphrase: Estimate
    specificity: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return the three as JSON-ready data."""
        return {name: getattr(self, name).to_json() for name in self.__dataclass_fields__}


@checked
def measure_edit(
    subject: Answers,
    edit: Edit,
    task: Task,
    paraphrases: Task,
    others: Task,
    *,
    n_random: Natural = 99,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> EditEffects:
    """Measure whether an edit's new answer is given, on paraphrases too, and whether other answers stay.

    Args:
        subject: whose weights the edit was made for.
        edit: the edit.
        task: what it was made for.
        paraphrases: other prompts with the same answers.
        others: prompts whose answers should stay as they are.
        n_random: random rank-one edits of the same norm.
        seed: of those.
        progress: called with edits done and in all.

    Raises:
        PatchclampError: an edit of other weights.

    Cost: 2 + n_random forward passes over all prompts.
    """
    before = _answer(subject, others.cases)
    asked = [(_first_tokens(subject, one.cases), one.cases) for one in (task, paraphrases)]
    rows = []
    for i, each in enumerate([edit, *(edit.random_like(seed + k) for k in range(n_random))]):
        with subject.edited(each):
            right = [_answer(subject, cases) == wanted for wanted, cases in asked]
            rows.append([part.mean() for part in right] + [(_answer(subject, others.cases) == before).mean()])
        if progress is not None:
            progress(i + 1, 1 + n_random)
    table = np.array(rows)
    counts = [len(task), len(paraphrases), len(others)]
    return EditEffects(*(_estimate(table[:, k], n, rises=k < 2) for k, n in enumerate(counts)))


def _answer(subject: Answers, cases: Sequence[Case]) -> np.ndarray:
    """Return the likeliest next token of every prompt."""
    prompts = [case.shown for case in cases]
    found = [
        subject.run(prompts[i : i + BATCH], logits=[-1]).logits[:, 0].argmax(-1).cpu().numpy()
        for i in range(0, len(prompts), BATCH)
    ]
    return np.concatenate(found)


def _first_tokens(subject: Answers, cases: Sequence[Case]) -> np.ndarray:
    return np.array([subject.continuation(case.shown, case.targets[0])[0] for case in cases])


def _estimate(values: np.ndarray, n: int, *, rises: bool) -> Estimate:
    """Return the first value beside the others, those of random edits."""
    value, others = float(values[0]), values[1:]
    interval = wilson_interval(round(value * n), n)
    if not len(others):
        return Estimate(value, interval, n, "share of prompts")
    low, high = np.quantile(others, [0.025, 0.975])
    null = Interval(float(low), float(high), 0.95, f"{len(others)} random rank-one edits of the same norm")
    p = float((1 + (others >= value).sum()) / (1 + len(others))) if rises else None
    return Estimate(value, interval, n, "share of prompts", null, p)
