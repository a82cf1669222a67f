"""Score units or edges by attribution patching with a backward pass of relevance rules (RelP)."""

from dataclasses import dataclass
from typing import Literal, Protocol

from patchclamp.attribute.card_fields import CIRCUITS, EDGES
from patchclamp.attribute.engine import score_task
from patchclamp.attribute.options import UnitOrEdgeOptions
from patchclamp.attribute.rules import Gradient
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Differentiates, RelevanceRules


class Subject(Differentiates, RelevanceRules, Protocol):
    """What relevance patching needs."""


@dataclass(frozen=True)
class RelPOptions(UnitOrEdgeOptions):
    """Options of relevance patching."""

    rules: tuple[Literal["ln", "identity", "half", "ah"], ...] = option(
        ("ln", "identity", "half"), "relevance rules that replace the backward pass"
    )


def rule(options: RelPOptions) -> Gradient:
    """Return what relevance patching asks of the engine."""
    return Gradient(options.rules)


def relp(subject: Subject, task: Task, options: RelPOptions, *, progress: Progress) -> Scores:
    r"""Score units or edges by relevance patching: what m would lose if each were as in the counterpart.

    RelP(n) = (n(x) − n(x′)) · ρ(n), ρ the gradient at x of the backward pass under the rules: ln holds the norm's
    divisor, identity takes φ(x)/x for φ′(x), half halves the gradient of both factors of a gated product, ah holds the
    attention pattern. An edge u → v has (u(x) − u(x′)) · ρ(input of v).

    Args:
        subject: a network whose blocks have relevance rules.
        task: cases with counterparts; one case may have none, and is then compared with zero.
        options: level, rules, direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(key,)`` of units or edges, their mean over cases, in units of m.

    Raises:
        PatchclampError: several cases or edges without counterparts, a subject without rules.

    Source: 2508.21258, equation 4. Departs from it in patching into the clean run by default (``denoise`` is the
    paper's), in scoring neurons, heads and edges too, and in leaving scores in units of m.

    Cost: two forward passes and one backward per case; of edges a backward pass of the projections for each query, key
    and value besides.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="relp").top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, _options: RelPOptions) -> Cost:
    return Cost(forward=2 * sizes.cases, backward=sizes.cases)


METHOD = Method(
    relp,
    name="relp",
    room="attribute",
    title="relevance patching (RelP)",
    question="Which units carried this answer?",
    papers=(Paper("2508.21258", equation="4"),),
    keys=("unit", "edge"),
    cost=_cost,
    oracle="oracles.relp:relp",
    calibrated_on=(*CIRCUITS, "decoy-gpt2", "seen-*", "mode-*", *EDGES),
    must_show="the planted units and edges come first",
    must_miss={
        "decoy-llama": "the half rule lets half of what each gated neuron takes off the decoy through",
        "saturated-*": "the softmax's slope, which it keeps, is flat there",
        "majority-*": "both halves of the step pass on the same share, and one takes off what the other adds",
        "backup-gpt2": "the caps pass on as much as they take off: both heads come out 0",
        "mover-*:edges": "the first head's softmax is saturated, so that the edge into it has no slope",
    },
    options_at={"*:edges": {"level": "edge"}},
    default_for=("attribute", "circuit:node", "circuit:rules"),
)
