"""Score what each unit writes straight to the logits (direct logit attribution)."""

from dataclasses import dataclass
from typing import Protocol

from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import UnitOptions
from patchclamp.attribute.rules import Gradient
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Differentiates, RelevanceRules
from patchclamp.subjects.relevance_rules import DIRECT


class Subject(Differentiates, RelevanceRules, Protocol):
    """What direct logit attribution needs."""


@dataclass(frozen=True)
class DirectLogitOptions(UnitOptions):
    """Options of direct logit attribution."""


def rule(_options: DirectLogitOptions) -> Gradient:
    """Return what direct logit attribution asks of the engine."""
    return Gradient(DIRECT)


def direct_logit(subject: Subject, task: Task, options: DirectLogitOptions, *, progress: Progress) -> Scores:
    r"""Score units by what they write straight to the logits, without what later blocks make of it.

    DLA(n) = (n(x) − n(x′)) · ∂m/∂n through the residual stream alone, the divisor of the last norm held as it is at x;
    n ``(position, unit)``. For a head h this is W_U γ W_O^h z_h / σ, read at the answer.

    Args:
        subject: a network whose blocks have relevance rules.
        task: cases with counterparts; one case may have none, and is then compared with zero.
        options: level, direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(key,)`` of units, their mean over cases, in units of m.

    Raises:
        PatchclampError: several cases without counterparts, a subject without rules.

    Source: 2211.00593. Departs from it in comparing units with the counterpart or zero, and in scoring neurons.

    Cost: two forward passes and one backward per case.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="direct_logit").top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, _options: DirectLogitOptions) -> Cost:
    return Cost(forward=2 * sizes.cases, backward=sizes.cases)


METHOD = Method(
    direct_logit,
    name="direct_logit",
    room="attribute",
    title="direct logit attribution",
    question="Which units wrote this answer to the logits?",
    papers=(Paper("2211.00593", equation="direct effect on the logits"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.attribution:direct_logit",
    calibrated_on=(
        "cat",
        "copy-*",
        "neuron-*",
        "backup-*",
    ),
    must_show="the unit that writes the answer comes first",
    must_miss={
        "induction-*": "what a later unit reads is not written to the logits",
        "mover-*": "what a later unit reads is not written to the logits",
        "facts-*": "what a later unit reads is not written to the logits",
        "broadcast-*": "what a later unit reads is not written to the logits",
        "decoy-*": "what a later unit reads is not written to the logits",
        "saturated-*": "what a later unit reads is not written to the logits",
        "majority-*": "what a later unit reads is not written to the logits",
        "seen-*": "what a later unit reads is not written to the logits",
        "mode-*": "what a later unit reads is not written to the logits",
    },
)
