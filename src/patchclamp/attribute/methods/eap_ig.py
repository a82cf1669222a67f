"""Score edges with a gradient averaged between both prompts' embeddings (EAP-IG)."""

from dataclasses import dataclass

from patchclamp.attribute.card_fields import EDGES
from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import EdgeOptions
from patchclamp.attribute.rules import PathIntegral
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Differentiates


@dataclass(frozen=True)
class EapIgOptions(EdgeOptions):
    """Options of edge attribution patching with integrated gradients."""

    steps: int = option(10, "points of the path, by Gauss and Legendre", least=1)


def rule(options: EapIgOptions) -> PathIntegral:
    """Return what edge attribution patching with integrated gradients asks of the engine."""
    return PathIntegral(options.steps)


def eap_ig(subject: Differentiates, task: Task, options: EapIgOptions, *, progress: Progress) -> Scores:
    r"""Score edges by edge attribution patching, the gradient a mean along the path between both prompts.

    EAP-IG(u → v) = (u(x) − u(x′)) · ∫₀¹ ∂m/∂(input of v) dα, the run beginning from the embeddings
    x′ + α (x − x′); u ``(position, d_model)``, summed over positions.

    Args:
        subject: a language model whose writers add to one stream.
        task: cases with counterparts.
        options: steps, direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(edge,)``, their mean over cases, in units of m.

    Raises:
        PatchclampError: cases without counterparts, a subject without such edges.

    Source: 2403.17806. Departs from it in weighing points by Gauss and Legendre instead of k / n.

    Cost: ``steps`` forward and backward passes per case, and as many of the projections for each query, key and value.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="eap_ig").top(1)[0])
        'cat/embed/whole/0->cat/blocks.0.mlp.pre/whole/0'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, options: EapIgOptions) -> Cost:
    return Cost(forward=sizes.cases * (2 + options.steps), backward=sizes.cases * options.steps)


METHOD = Method(
    eap_ig,
    name="eap_ig",
    room="attribute",
    title="edge attribution patching with integrated gradients",
    question="Along which edges did this answer come?",
    papers=(Paper("2403.17806", equation="definition of EAP-IG"),),
    keys=("edge",),
    cost=_cost,
    oracle="oracles.attribution:eap_ig",
    calibrated_on=EDGES,
    must_show="the planted edges come first",
    default_for=("circuit:edge",),
)
