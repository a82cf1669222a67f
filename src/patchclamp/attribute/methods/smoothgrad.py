"""Gradient times activation under SmoothGrad noise: the gradient averaged over noisy copies of the input."""

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


@dataclass(frozen=True)
class SmoothGradOptions(UnitOptions):
    """Options of SmoothGrad."""

    samples: int = option(25, "noisy copies of the input", least=1)
    noise: float = option(0.1, "standard deviation of the noise, as a share of the embedding's range", least=0.0)


@dataclass(frozen=True)
class SmoothedGradient(Gradient):
    """Score (n − r) · the mean of ∂m/∂n over noisy copies of the input.

    Args:
        samples: noisy copies.
        noise: σ divided by the range of the embedding's output on the prompt.
        seed: of the noise.
    """

    samples: int = 25
    noise: float = 0.1
    seed: int = 0

    @property
    def passes(self) -> tuple[int, int]:
        """A clean forward pass, and both passes of every copy."""
        return 1 + self.samples, self.samples

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
        """Return values of the clean run, and gradients averaged over noisy ones.

        All prompts of one length get the same draws, so that scores do not depend on which share a batch.

        Args:
            model: the subject.
            shown: ``(case,)`` prompts x, which are patched into, of one length.
            counterparts: ``(case,)`` prompts x′, whose activations are r; None if ``plain`` is.
            metric: m.
            paths: sites.
            plain: r if there are no counterparts.

        Returns:
            Ends: activations, mean gradients, m and baseline.

        Raises:
            CannotIntervene: a model without an embedding.

        Source: 1706.03825, equation 1.
        """
        check_embedding(model)
        run, metric_clean = run_metric(model, shown, metric, [EMBED, *paths])
        x = run[EMBED].unflatten(0, (len(shown), -1))  # (prompt, place, width)
        sigma = self.noise * (x.amax((1, 2)) - x.amin((1, 2)))  # (prompt,)
        draws = np.random.default_rng(self.seed).standard_normal((self.samples, *x.shape[1:]))
        noise = torch.as_tensor(draws, device=x.device).to(x.dtype)  # (sample, place, width)
        copies = [
            (i, 1 / self.samples, partial(torch.add, x[i], sigma[i] * noise[k]))
            for i in range(len(shown))
            for k in range(self.samples)
        ]
        gradients = mean_gradient_at_inputs(model, shown, metric, paths, copies)
        baseline = plain if counterparts is None else corrupted_baseline(record(model, counterparts, paths))
        return Ends(run, gradients, metric_clean, baseline)


def rule(options: SmoothGradOptions, seed: int = 0) -> SmoothedGradient:
    """Return what SmoothGrad asks of the engine."""
    return SmoothedGradient(samples=options.samples, noise=options.noise, seed=seed)


def smoothgrad(
    subject: Differentiates, task: Task, options: SmoothGradOptions, *, seed: int, progress: Progress
) -> Scores:
    r"""Score units by gradient times activation, the gradient averaged over noisy copies of the input.

    S(n) = (n(x) − n(x′)) · 1/k Σⱼ ∂m/∂n at x + εⱼ, εⱼ ~ N(0, σ²): n ``(position, unit)`` under the prompt x and its
    counterpart x′, zero without one; the noise is added to the embedding's output e, σ is ``noise`` · (max e − min e)
    over the prompt. A head's score is the sum over its z, a score over cases their mean.

    It finds two heads that back each other up, which have no slope at the prompt and which ``attribution_patching``
    misses, in 12 of 12 draws of the noise, and a saturated head in 8 of 12. In return its scores depend on the draw:
    where ``attribution_patching`` is always right, 3 of 10 draws miss a unit of ``mode-*``, 1 of 5 one of
    ``induction-llama``, 1 of 12 one of ``mover-llama``, and with twice the noise more do.

    Args:
        subject: a network with gradients and an embedding.
        task: cases with counterparts; one case may have none, and is then compared with zero.
        options: level, samples, noise, direction, positions.
        seed: of the noise: ``numpy.random.default_rng(seed).standard_normal((sample, position, width))``.
        progress: called with what is done and what there is in all.

    Returns:
        Scores: of units, their mean over cases, in units of m.

    Raises:
        PatchclampError: several cases without counterparts, a subject without gradients or without an embedding.

    Source: 1706.03825, section 2.2, M̂_c(x) = 1/n Σ M_c(x + N(0, σ²)). Departs from it in scoring hidden units from
    their values in the clean run, in noise on the embedding (tokens are no numbers), and in keeping the sign.

    Cost: a forward pass of either prompt, and ``samples`` forward and backward passes per case.

    Example:
        >>> from patchclamp.attribute import attribute
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute(load("organism:cat"), task, method="smoothgrad", samples=2).top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    return score_task(subject, task, rule(options, seed), **options.scope, progress=progress)


def _cost(sizes: Sizes, options: SmoothGradOptions) -> Cost:
    return Cost(forward=(2 + options.samples) * sizes.cases, backward=options.samples * sizes.cases)


METHOD = Method(
    smoothgrad,
    name="smoothgrad",
    room="attribute",
    title="gradient times activation under SmoothGrad noise",
    question="Which units carried this answer?",
    papers=(Paper("1706.03825", equation="section 2.2"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.smoothgrad:smoothgrad",
    calibrated_on=(
        "cat",
        "copy-*",
        "induction-gpt2",
        "mover-gpt2",
        "neuron-*",
        "facts-*",
        "broadcast-*",
        "decoy-gpt2",
        "seen-*",
        "backup-*",
        "majority-gpt2",
    ),
    must_show="the planted units come first, where the slope at the prompt itself is zero too",
    must_miss={"decoy-llama": "with so much noise, what takes the decoy's part off no longer cancels it"},
    options_at={"decoy-llama": {"noise": 0.2}},
    quick={"samples": 3},
)
