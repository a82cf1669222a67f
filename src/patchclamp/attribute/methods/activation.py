"""Score units by the size of their activation: a control that ignores the answer."""

from dataclasses import dataclass

from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import UnitLevel
from patchclamp.attribute.rules import Magnitude
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Records


@dataclass(frozen=True)
class ActivationOptions:
    """Options of size of the activation."""

    level: UnitLevel = option("neuron", "what is scored: node (embedding, heads, MLPs), neuron or feature")
    by_position: bool = option(False, "score every position by itself; always so with one case")


def rule(_options: ActivationOptions) -> Magnitude:
    """Return what size of the activation asks of the engine."""
    return Magnitude()


def activation(subject: Records, task: Task, options: ActivationOptions, *, progress: Progress) -> Scores:
    r"""Score units by ‖n(x)‖; it predicts no change of m, and every method should beat it.

    A(n) = ‖n(x)‖: n ``(position, unit)``; of a head the norm of its z, of a channel that over all its places.

    Args:
        subject: a network that records.
        task: cases; several need counterparts, which are not read.
        options: level, positions.
        progress: called with what is done and what there is in all.

    Returns:
        Scores: of units, their mean over cases, in units of the activation.

    Raises:
        PatchclampError: several cases without counterparts.

    Source: ours, the simplest control.

    Cost: a forward pass per case.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="activation").top(1)[0])
        'cat/blocks.0.mlp.act/neurons/3@3'
    """
    return score_task(
        subject, task, rule(options), level=options.level, by_position=options.by_position, progress=progress
    )


def _cost(sizes: Sizes, _options: ActivationOptions) -> Cost:
    return Cost(forward=2 * sizes.cases)


METHOD = Method(
    activation,
    name="activation",
    room="attribute",
    title="size of the activation",
    question="Which units are most active?",
    papers=(Paper("ours"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.attribution:activation",
    calibrated_on=("cat",),
    must_show="the largest activations come first, whatever is asked",
    must_miss={
        "cat": "the loudest unit is not the cause",
        "copy-*": "the loudest unit is not the cause",
        "induction-*": "the loudest unit is not the cause",
        "mover-*": "the loudest unit is not the cause",
        "decoy-*": "the loudest unit is not the cause",
    },
)
