"""Replace every unit or edge by itself and measure m (activation patching)."""

from dataclasses import dataclass

from patchclamp.attribute.card_fields import EDGES, UNITS
from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import UnitOrEdgeOptions
from patchclamp.attribute.rules import Replacement
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Intervenes


@dataclass(frozen=True)
class ActivationPatchingOptions(UnitOrEdgeOptions):
    """Options of activation patching."""


def rule(_options: ActivationPatchingOptions) -> Replacement:
    """Return what activation patching asks of the engine."""
    return Replacement()


def activation_patching(
    subject: Intervenes, task: Task, options: ActivationPatchingOptions, *, progress: Progress
) -> Scores:
    r"""Score units or edges by activation patching: what m loses when each is as under the counterpart.

    AP(n) = m(x) − m(x with n := n(x′)), one unit at a time at one position, or at all where positions are not kept
    apart; n ``(position, unit)``. An edge u → v has m(x) − m(x with v alone reading u(x′)), that is path patching.

    Args:
        subject: a network that intervenes.
        task: cases with counterparts; one case may have none, and is then compared with zero.
        options: level, direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(key,)`` of units or edges, their mean over cases, in units of m.

    Raises:
        PatchclampError: several cases or edges without counterparts.

    Source: 2004.12265, where it is the indirect effect, and 2304.05969 for paths. Departs from them in patching into
    the clean run by default and in leaving scores in units of m.

    Cost: a forward pass per case and part, begun at the part's block.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="activation_patching").top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, _options: ActivationPatchingOptions) -> Cost:
    return Cost(forward=sizes.cases * (2 + sizes.units * sizes.positions))


METHOD = Method(
    activation_patching,
    name="activation_patching",
    room="attribute",
    title="activation patching",
    question="Which parts does this answer need?",
    papers=(
        Paper("2004.12265", equation="indirect effect"),
        Paper("2304.05969", equation="path patching"),
    ),
    keys=(
        "unit",
        "edge",
    ),
    cost=_cost,
    measures=True,
    oracle="oracles.attribution:activation_patching",
    calibrated_on=(*UNITS, "saturated-*", "majority-*", *EDGES),
    must_show="the planted units and edges come first, each with its effect",
    default_for=("circuit",),
    must_miss={"backup-*": "a unit whose backup takes over has no effect alone"},
    options_at={"*:edges": {"level": "edge"}},
)
