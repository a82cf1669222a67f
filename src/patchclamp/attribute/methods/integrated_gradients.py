"""Score units by the gradient averaged along the path from baseline to activation (integrated gradients)."""

from dataclasses import dataclass

from patchclamp.attribute.card_fields import UNITS
from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import UnitOptions
from patchclamp.attribute.rules import PathIntegral
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Differentiates


@dataclass(frozen=True)
class IntegratedGradientsOptions(UnitOptions):
    """Options of integrated gradients."""

    steps: int = option(10, "points of the path, by Gauss and Legendre", least=1)


def rule(options: IntegratedGradientsOptions) -> PathIntegral:
    """Return what integrated gradients asks of the engine."""
    return PathIntegral(options.steps)


def integrated_gradients(
    subject: Differentiates, task: Task, options: IntegratedGradientsOptions, *, progress: Progress
) -> Scores:
    r"""Score units by integrated gradients: each unit's share of the effect of replacing its whole site.

    IG(n) = (n(x) − n(x′)) · ∫₀¹ ∂m/∂n at n(x′) + α (n(x) − n(x′)) dα, in the run on x, the units of one site moving
    together; n ``(position, unit)``. The scores of a site sum to what replacing the site does, up to the gap that the
    provenance states.

    Args:
        subject: a network with gradients.
        task: cases with counterparts; one case may have none, and is then compared with zero.
        options: level, steps, direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(key,)`` of units, their mean over cases, in units of m.

    Raises:
        PatchclampError: several cases without counterparts, a subject without gradients.

    Source: 1703.01365, equation 1. Departs from it in taking hidden units for inputs, site by site from the site's own
    baseline, and in weighing points by Gauss and Legendre.

    Cost: ``steps`` forward and backward passes per case and site.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="integrated_gradients", steps=2).top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, options: IntegratedGradientsOptions) -> Cost:
    return Cost(forward=2 * sizes.cases * options.steps, backward=sizes.cases * options.steps)


METHOD = Method(
    integrated_gradients,
    name="integrated_gradients",
    room="attribute",
    title="integrated gradients",
    question="Which units carried this answer?",
    papers=(Paper("1703.01365", equation="1"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.attribution:integrated_gradients",
    calibrated_on=(*UNITS, "saturated-*", "backup-*", "majority-*"),
    must_show="the planted units come first, and the scores of a site sum to its effect",
    default_for=("explain",),
)
