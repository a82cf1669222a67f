"""Measure what an edit of weights changes, and what it leaves unchanged."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.controls import RandomControls
from patchclamp.core.edit import Edit
from patchclamp.core.estimate import Estimate
from patchclamp.core.plain_numbers import format_fixed
from patchclamp.core.receipt import Receipt
from patchclamp.core.recording import as_numpy
from patchclamp.core.stats import Interval, mean_interval, wilson_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Case, Task
from patchclamp.subjects.protocols import ReadsText, Records, Weights

BATCH = 100
RANDOM = "random rank-one edits of the same norm"


class Answers(Records, Weights, ReadsText, Protocol):
    """A subject that answers text, and whose weights can be changed for a while."""


@checked
@dataclass(frozen=True, eq=False)
class EditEffects:
    """Hold the effects of an edit; the null of each is the same figure under random rank-one edits of the same norm.

    Args:
        efficacy: share of the edit's own prompts whose likeliest next token is the new answer's first.
        paraphrase: the same of other prompts for the same fact.
        specificity: share of other prompts whose likeliest next token stays what it was.
        receipt: what log P of the new answer gains on its own prompts and on paraphrases, beside random edits.
        undone: whether the parameters' hash after all edits equals that before them.
    """

    efficacy: Estimate
    paraphrase: Estimate
    specificity: Estimate
    receipt: Receipt
    undone: bool

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON-ready data."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: part if isinstance(part, bool) else part.to_json() for name, part in parts.items()}


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
    """Measure whether the subject gives an edit's new answer, on paraphrases too, and whether other answers stay.

    Args:
        subject: the network whose weights the edit was computed for.
        edit: the edit.
        task: the edited fact.
        paraphrases: other prompts with the same answers.
        others: prompts whose answers should stay as they are.
        n_random: random rank-one edits of the same norm.
        seed: of those.
        progress: called with edits done and in all.

    Returns:
        EditEffects: shares of prompts with Wilson intervals, and a receipt in nats.

    Raises:
        PatchclampError: an edit of other weights.

    Source: efficacy, paraphrase and specificity as in 2202.05262, section 3; the random edits are ours.

    Cost: 2 + n_random forward passes over all prompts.
    """
    cases = [*task.cases, *paraphrases.cases]
    wanted = _first_tokens(subject, cases)
    begun = parameter_hash(subject, edit)
    before, clean = _answer(subject, others.cases)[0], _answer(subject, cases, wanted)[1]
    rows, gains = [], []
    for i, each in enumerate([edit, *(edit.random_like(seed + k) for k in range(n_random))]):
        with subject.edited(each):
            likely, said = _answer(subject, cases, wanted)
            kept = _answer(subject, others.cases)[0] == before
        right = likely == wanted
        rows.append([right[: len(task)].mean(), right[len(task) :].mean(), kept.mean()])
        gains.append(said - clean)
        if progress is not None:
            progress(i + 1, 1 + n_random)
    table = np.array(rows)
    counts = [len(task), len(paraphrases), len(others)]
    efficacy, paraphrase, specificity = (_estimate(table[:, k], n, rises=k < 2) for k, n in enumerate(counts))
    undone = parameter_hash(subject, edit) == begun
    return EditEffects(efficacy, paraphrase, specificity, _receipt(edit, gains, seed), undone)


def parameter_hash(subject: Weights, edit: Edit) -> str:
    """Return SHA-256 over the parameters that an edit changes, as they are now."""
    parameters = subject.parameters()
    digest = hashlib.sha256()
    for name in sorted(edit.deltas):
        digest.update(name.encode() + np.ascontiguousarray(as_numpy(parameters[name])).tobytes())
    return digest.hexdigest()


def _receipt(edit: Edit, gains: Sequence[np.ndarray], seed: int) -> Receipt:
    own, others = gains[0], gains[1:]
    interval = mean_interval(own, seed=seed) if len(own) > 1 else None
    measured = Estimate(float(own.mean()), interval, len(own), "nats")
    effects = [float(gain.mean()) for gain in others]
    controls = RandomControls.of(RANDOM, effects, seed=seed, size=len(edit.deltas))
    finding = (
        f"with the edit, the log-probability of the new answer {'rises' if measured.value > 0 else 'falls'} by "
        f"{format_fixed(abs(measured.value))} nats"
    )
    claim = f"with the edit: {edit.claim}"
    return Receipt(claim, tuple(edit.deltas), math.nan, measured, controls, finding=finding)


def _answer(
    subject: Answers, cases: Sequence[Case], wanted: Int[np.ndarray, " prompt"] | None = None
) -> tuple[Int[np.ndarray, " prompt"], Float[np.ndarray, " prompt"]]:
    """Return the likeliest next token of every prompt, and log P of the wanted one (of the likeliest by default)."""
    prompts = [case.shown for case in cases]
    likely, said = [], []
    for i in range(0, len(prompts), BATCH):
        logits = subject.run(prompts[i : i + BATCH], logits=[-1]).logits[:, 0].double().log_softmax(-1).cpu().numpy()
        likely.append(logits.argmax(-1))
        wanted_ids = likely[-1] if wanted is None else wanted[i : i + BATCH]
        said.append(logits[np.arange(len(logits)), wanted_ids])
    return np.concatenate(likely), np.concatenate(said)


def _first_tokens(subject: Answers, cases: Sequence[Case]) -> Int[np.ndarray, " prompt"]:
    return np.array([subject.continuation(case.shown, case.targets[0])[0] for case in cases])


def _estimate(values: np.ndarray, n: int, *, rises: bool) -> Estimate:
    """Return the first value beside the others, those of random edits."""
    value, others = float(values[0]), values[1:]
    interval = wilson_interval(round(value * n), n)
    if not len(others):
        return Estimate(value, interval, n, "share of prompts")
    low, high = np.quantile(others, [0.025, 0.975])
    null = Interval(float(low), float(high), 0.95, f"{len(others)} {RANDOM}")
    p = float((1 + (others >= value).sum()) / (1 + len(others))) if rises else None
    return Estimate(value, interval, n, "share of prompts", null, p)
