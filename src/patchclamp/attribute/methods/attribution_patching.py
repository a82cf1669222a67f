"""Predict activation patching to first order, all units from one backward pass (attribution patching)."""

from dataclasses import dataclass

from patchclamp.attribute.card_fields import UNITS
from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import UnitOptions
from patchclamp.attribute.rules import Gradient
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Differentiates


@dataclass(frozen=True)
class AttributionPatchingOptions(UnitOptions):
    """Options of attribution patching."""


def rule(_options: AttributionPatchingOptions) -> Gradient:
    """Return what attribution patching asks of the engine."""
    return Gradient()


def attribution_patching(
    subject: Differentiates, task: Task, options: AttributionPatchingOptions, *, progress: Progress
) -> Scores:
    r"""Score units by attribution patching: what replacing each would do to m if m were linear.

    AtP(n) = (n(x) − n(x′)) · ∂m/∂n at x: n ``(position, unit)`` under the prompt x and its counterpart x′; a head's
    score is the sum over its z, a score over cases their mean.

    Args:
        subject: a network with gradients.
        task: cases with counterparts; one case may have none, and is then compared with zero.
        options: level, direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(key,)`` of units, their mean over cases, in units of m.

    Raises:
        PatchclampError: several cases without counterparts, a subject without gradients.

    Source: 2403.00745, where it is AtP, and 2508.21258. Departs from them in patching into the clean run by
    default, in scoring neurons, heads and features, and in leaving scores in units of m.

    Cost: two forward passes and one backward per case.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="attribution_patching").top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, _options: AttributionPatchingOptions) -> Cost:
    return Cost(forward=2 * sizes.cases, backward=sizes.cases)


METHOD = Method(
    attribution_patching,
    name="attribution_patching",
    room="attribute",
    title="attribution patching",
    question="Which units carried this answer?",
    papers=(
        Paper("2403.00745", equation="definition of AtP"),
        Paper("2508.21258", equation="attribution patching"),
    ),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.attribution:attribution_patching",
    calibrated_on=UNITS,
    must_show="the planted units come first, and predictions are of the measured size",
    default_for=("circuit:neuron", "circuit:feature"),
    must_miss={
        "saturated-*": "the slope at a saturated softmax is zero",
        "backup-*": "neither of two heads that back each other up has a slope",
        "majority-*": "what one half of the step adds the other takes off, to first order",
    },
)
