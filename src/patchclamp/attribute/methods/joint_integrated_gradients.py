"""Score units by the gradient averaged along the path of the inputs: integrated gradients at one path for all sites."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from patchclamp.ablate import Baseline
from patchclamp.attribute.engine import score_task
from patchclamp.attribute.gradients import (
    EMBED,
    Ends,
    check_embedding,
    corrupted_baseline,
    mean_gradient_at_inputs,
    record,
    run_metric,
)
from patchclamp.attribute.options import UnitOptions
from patchclamp.attribute.rules import Gradient
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.options import option
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.model import Model
from patchclamp.subjects.protocols import Differentiates

BETWEEN = (
    "mover-llama",
    "decoy-gpt2",
    "decoy-llama",
    "mode-gpt2",
    "mode-llama",
    "saturated-llama",
    "majority-gpt2",
    "majority-llama",
)
"""Organisms on which runs between the two prompts are unlike both."""


@dataclass(frozen=True)
class JointIntegratedGradientsOptions(UnitOptions):
    """Options of integrated gradients along the inputs' path."""

    steps: int = option(10, "points of the path, by Gauss and Legendre", least=1)


@dataclass(frozen=True)
class InputPathGradient(Gradient):
    """Score (n − r) · ∫ ∂m/∂n over runs that begin between both prompts' embeddings.

    Args:
        steps: Gauss-Legendre points.
    """

    steps: int = 10

    @property
    def passes(self) -> tuple[int, int]:
        """A clean forward pass, and both passes of every point."""
        return 1 + self.steps, self.steps

    def differentiate(
        self,
        model: Model,
        shown: Sequence[Shown],
        counterparts: Sequence[Shown] | None,
        metric: Metric | EachMetric,
        paths: Sequence[str],
        *,
        plain: Baseline,
    ) -> Ends:
        """Return values of the clean run, and gradients averaged along the path of the embeddings.

        Args:
            model: the subject.
            shown: ``(case,)`` prompts x, which are patched into, of one length.
            counterparts: ``(case,)`` prompts x′, whose activations are r; None if ``plain`` is.
            metric: m.
            paths: sites.
            plain: r if there are no counterparts; the path then begins at an embedding of zero.

        Returns:
            Ends: activations, mean gradients, m and baseline.

        Raises:
            CannotIntervene: a model without an embedding.

        Source: 2403.17806, definition of EAP-IG.
        """
        check_embedding(model)
        run, metric_clean = run_metric(model, shown, metric, [EMBED, *paths])
        other = None if counterparts is None else record(model, counterparts, [EMBED, *paths])
        baseline = plain if other is None else corrupted_baseline(other)
        stop = run[EMBED].unflatten(0, (len(shown), -1))  # (prompt, place, width)
        start = torch.zeros_like(stop) if other is None else other[EMBED].reshape(stop.shape)
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)  # on [−1, 1]: halved to lie on [0, 1]
        points = [
            (i, float(w) / 2, partial(torch.lerp, start[i], stop[i], float(a + 1) / 2))
            for i in range(len(shown))
            for a, w in zip(nodes, weights, strict=True)
        ]
        return Ends(run, mean_gradient_at_inputs(model, shown, metric, paths, points), metric_clean, baseline)


def rule(options: JointIntegratedGradientsOptions) -> InputPathGradient:
    """Return what the joint path asks of the engine."""
    return InputPathGradient(steps=options.steps)


def joint_integrated_gradients(
    subject: Differentiates, task: Task, options: JointIntegratedGradientsOptions, *, progress: Progress
) -> Scores:
    r"""Score units by integrated gradients along one path that all sites share: the inputs move, units follow.

    S(n) = (n(x) − n(x′)) · ∫₀¹ ∂m/∂n in the run whose embedding is e(x′) + α (e(x) − e(x′)) dα; n ``(position, unit)``,
    summed over a head's z. ``integrated_gradients`` moves each site by itself, which costs ``steps`` passes per site;
    this one costs ``steps`` passes in all. In return a site's scores need not sum to the effect of replacing it, and
    runs that begin between two prompts may be like neither: of 25 planted circuits it misses units of 8, of which
    ``integrated_gradients`` misses none.

    Args:
        subject: a network with gradients and an embedding.
        task: cases with counterparts; one case may have none, and is then compared with zero.
        options: level, steps, direction, by_position.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(key,)`` of units, their mean over cases, in units of m.

    Raises:
        PatchclampError: several cases without counterparts, a subject without gradients or without an embedding.

    Source: 2403.17806, whose path it is. Departs from it in scoring units instead of edges, and in weighing points by
    Gauss and Legendre instead of k / n.

    Cost: a forward pass of either prompt, and ``steps`` forward and backward passes per case.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="joint_integrated_gradients", steps=2).top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    return score_task(subject, task, rule(options), **options.scope, progress=progress)


def _cost(sizes: Sizes, options: JointIntegratedGradientsOptions) -> Cost:
    return Cost(forward=(2 + options.steps) * sizes.cases, backward=options.steps * sizes.cases)


METHOD = Method(
    joint_integrated_gradients,
    name="joint_integrated_gradients",
    room="attribute",
    title="integrated gradients along the inputs' path",
    question="Which units carried this answer?",
    papers=(Paper("2403.17806", equation="definition of EAP-IG"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.smoothgrad:joint_integrated_gradients",
    calibrated_on=(
        "cat",
        "copy-*",
        "induction-*",
        "mover-gpt2",
        "neuron-*",
        "facts-*",
        "broadcast-*",
        "seen-*",
        "saturated-gpt2",
        "backup-*",
        *BETWEEN,
    ),
    must_show="the planted units come first, one path serving all sites",
    must_miss=dict.fromkeys(BETWEEN, "between the two embeddings heads attend elsewhere, and slopes are of other runs"),
)
