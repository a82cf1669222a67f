"""Predict path patching to first order, all edges from one backward pass (edge attribution patching, EAP)."""

from dataclasses import dataclass

from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import EdgeOptions
from patchclamp.attribute.rules import Gradient
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Differentiates


@dataclass(frozen=True)
class EapOptions(EdgeOptions):
    """Options of edge attribution patching."""


def rule(_options: EapOptions) -> Gradient:
    """Return what edge attribution patching asks of the engine."""
    return Gradient()


def eap(subject: Differentiates, task: Task, options: EapOptions, *, progress: Progress) -> Scores:
    r"""Score edges by edge attribution patching: what m would lose if each reader saw its writer as in the counterpart.

    EAP(u → v) = (u(x) − u(x′)) · ∂m/∂(input of v) at x, summed over positions: u what a writer adds to the residual
    stream ``(position, d_model)``, the input of v the stream as v alone reads it.

    Args:
        subject: a language model whose writers add to one stream.
        task: cases with counterparts.
        options: direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(edge,)``, their mean over cases, in units of m.

    Raises:
        PatchclampError: cases without counterparts, a subject without such edges.

    Source: 2310.10348. Departs from it in scoring queries, keys and values of key-value heads as they are.

    Cost: two forward passes and one backward per case, and a backward pass of the projections for each query, key and
    value.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="eap").top(1)[0])
        'cat/embed/whole/0->cat/blocks.0.mlp.pre/whole/0'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, _options: EapOptions) -> Cost:
    return Cost(forward=2 * sizes.cases, backward=sizes.cases)


METHOD = Method(
    eap,
    name="eap",
    room="attribute",
    title="edge attribution patching",
    question="Along which edges did this answer come?",
    papers=(Paper("2310.10348", equation="definition of EAP"),),
    keys=("edge",),
    cost=_cost,
    oracle="oracles.attribution:eap",
    calibrated_on=(
        "cat:edges",
        "copy-*:edges",
        "induction-*:edges",
        "neuron-*:edges",
        "mode-*:edges",
    ),
    must_show="the planted edges come first",
    must_miss={
        "broadcast-*:edges": "without the rules of relevance patching a slope hides one of its edges",
        "mover-*:edges": "the first head's softmax is saturated, so that the edge into it has no slope",
    },
)
