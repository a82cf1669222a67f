"""Gradients at units, for prompts of one length: (n − r) · ∂m/∂n, at one run or along a path.

Rows are positions: those of the first prompt, then those of the second, and so on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.ablate import Baseline
from patchclamp.attribute.features import at_baseline, delta_from_baseline, feature_delta_times_gradient, kind_of
from patchclamp.core.errors import CannotIntervene
from patchclamp.core.intervention import Intervention
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.memory import run_in_batches
from patchclamp.subjects.model import Model

EMBED = "embed"
"""The site at which a run's input is replaced."""
ROWS = 16
"""Default number of rows of one batch on the path of integrated gradients."""


@dataclass(frozen=True, eq=False)
class Ends:
    """Hold the activations at both ends of a comparison, and the gradient of the run that is patched into.

    Args:
        values: n ``(row, width)`` of every site in the run that is patched into.
        gradients: ``(row, width)`` ∂m/∂n in that run, or what relevance rules put in its place.
        metric_clean: ``(prompt,)`` m in that run.
        baseline: r.
    """

    values: Recording
    gradients: Recording
    metric_clean: Float[np.ndarray, " prompt"]
    baseline: Baseline


def corrupted_baseline(values: Recording) -> Baseline:
    """Return the baseline r = n(x′) from a recording of corrupted runs: of one prompt, or of all, row by row."""
    return Baseline("corrupted", values, 0 if len(values.stimuli) == 1 else None)


def make_baseline(model: Model, sites: Sequence[str], *, corrupted: Shown | None = None, means: Any = None) -> Baseline:
    """Return the baseline r of sites: activations under a corrupted prompt, means over a text, or zero.

    Args:
        model: the subject.
        sites: paths of the sites.
        corrupted: the prompt x′ whose activations are recorded.
        means: a survey, or a recording, whose means are taken.

    Returns:
        Baseline: ``corrupted``, ``mean`` or ``zero``.

    Cost: a forward pass if there is a corrupted prompt.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> [dog] = cat.stimuli("the old dog")
        >>> make_baseline(cat, ["blocks.0.mlp.act"], corrupted=dog).kind, make_baseline(cat, []).kind
        ('corrupted', 'zero')
    """
    if corrupted is not None:
        return corrupted_baseline(record(model, [corrupted], sites))
    return Baseline("zero") if means is None else Baseline("mean", means)


def run_metric(
    model: Model, shown: Sequence[Shown], metric: Metric | EachMetric, paths: Sequence[str]
) -> tuple[Recording, Float[np.ndarray, " prompt"]]:
    """Return activations of sites on prompts, and m of each prompt, from one forward pass.

    Args:
        model: the subject.
        shown: prompts of one length.
        metric: m; one per prompt, or the same for all.
        paths: sites.

    Returns:
        Recording: ``(row, width)`` by site; and ``(prompt,)`` m.

    Cost: one forward pass.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> values, measured = run_metric(cat, cat.stimuli("the old cat"), m, ["blocks.0.mlp.act"])
        >>> tuple(values["blocks.0.mlp.act"].shape), measured.round(1).tolist()
        ((4, 16), [4.0])
    """
    run = model.run(list(shown), record=paths, logits=metric.positions)
    return run.recording, np.asarray(metric(upcast(run.logits)).cpu().double().numpy())


def record(model: Model, shown: Sequence[Shown], paths: Sequence[str]) -> Recording:
    """Return activations of sites on prompts; the forward pass ends at the last of the sites.

    Args:
        model: the subject.
        shown: prompts of one length.
        paths: sites.

    Returns:
        Recording: ``(row, width)`` by site.

    Cost: one forward pass, up to the last site.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> tuple(record(cat, cat.stimuli("the old cat"), ["blocks.0.mlp.act"])["blocks.0.mlp.act"].shape)
        (4, 16)
    """
    return model.run(list(shown), record=paths, logits=False).recording


def differentiate_ends(
    model: Model,
    shown: Sequence[Shown],
    others: Sequence[Shown] | None,
    metric: Metric | EachMetric,
    paths: Sequence[str],
    rules: Sequence[str],
    *,
    plain: Baseline,
) -> Ends:
    """Run both ends and differentiate m in the run that is patched into; see ``attribute.direction``.

    Args:
        model: the subject.
        shown: ``(prompt,)`` prompts that are patched into, of one length.
        others: ``(prompt,)`` prompts whose activations are the baseline; None where it is ``plain``.
        metric: m.
        paths: sites.
        rules: relevance rules of the backward pass; none for the gradient.
        plain: the baseline where there are no others.

    Returns:
        Ends: activations, gradients, m and baseline.

    Source: 2403.00745 for the gradient, 2508.21258 for the rules.

    Cost: two forward passes and one backward; one and one without others.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> ends = differentiate_ends(
        ...     cat, cat.stimuli("the old cat"), None, m, ["blocks.0.mlp.act"], (), plain=Baseline("zero")
        ... )
        >>> ends.metric_clean.round(1).tolist()
        [4.0]
    """
    run = model.differentiate(list(shown), metric, paths, rules=rules)
    baseline = plain if others is None else corrupted_baseline(record(model, others, paths))
    return Ends(run.values, run.gradients, np.asarray(run.metric.cpu().double().numpy()), baseline)


def delta_times_gradient(
    model: Model,
    path: str,
    basis: str,
    x: Float[Tensor, "*places"],
    baseline: Baseline,
    gradient: Float[Tensor, "*places"],
) -> Float[Tensor, "row unit"]:
    """Return (n − r) · ∂m/∂n of every unit at a site, in double precision; a head's is the sum over its z.

    Args:
        model: the subject.
        path: the site.
        basis: whose units are scored.
        x: ``(row, width)`` activations n.
        baseline: r.
        gradient: ``(row, width)`` ∂m/∂n, or what rules put in its place.

    Returns:
        ``(row, unit)``, in units of m; of channels ``(1, unit)``, the sum over all rows.

    Source: attribution patching, 2403.00745.
    """
    if kind_of(basis) == "feature":
        learnt = model.basis_at(path, basis)
        delta = delta_from_baseline(learnt, path, x, baseline)  # (row, unit)
        return feature_delta_times_gradient(learnt, delta, gradient).double()
    products = (upcast(x - baseline.at(path, x)) * upcast(gradient)).double()  # (row, width)
    if basis == "channels":
        return products.T.sum(-1)[None]  # one map: (width, row) → (1, channel)
    n_units = count_units(model.basis_at(path, basis), model.site(path))
    return products.unflatten(-1, (n_units, -1)).sum(-1)  # (row, unit, width of a unit) → (row, unit)


def mean_gradient(
    model: Model,
    shown: Sequence[Shown],
    metric: Metric | EachMetric,
    path: str,
    basis: str,
    x: Float[Tensor, "*places"],
    baseline: Baseline,
    steps: int,
    *,
    rows: int | None = None,
    stream: Float[Tensor, "row d_model"] | None = None,
) -> Float[Tensor, "row width"]:
    r"""Return ∫₀¹ ∂m/∂n at r + α (n − r) dα of a site's values, all its units moving together.

    Times n − r it is the integrated gradient: see ``delta_times_gradient``.

    Args:
        model: the subject.
        shown: ``(prompt,)`` prompts of one length.
        metric: m.
        path: the site.
        basis: whose units move.
        x: ``(row, width)`` activations n.
        baseline: r.
        steps: Gauss-Legendre points of the path.
        rows: points of the path, of all prompts, in one batch; the default is 16, or as many as memory holds.
        stream: what the site's block reads, ``(row, d_model)``, where it is known; it is recorded where it is not.

    Returns:
        ``(row, width)``, in units of m per unit of activation.

    Raises:
        PatchclampError: memory does not hold a single row.

    Source: 1703.01365, equation 1. Departs from it in hidden units for inputs and in Gauss-Legendre points.

    Cost: prompts · steps rows forward and backward, restarted at the site's block; where memory runs out, in batches
        of half as many.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> shown, site = cat.stimuli("the old cat"), "blocks.0.mlp.act"
        >>> x = record(cat, shown, [site])[site]
        >>> tuple(mean_gradient(cat, shown, m, site, "neurons", x, Baseline("zero"), 2).shape)
        (4, 16)
    """
    n = len(shown)
    start, stop = (part.unflatten(0, (n, -1)) for part in (path_start(model, path, basis, x, baseline), x))
    restart_from = None
    if name := entered_stream(model, path):  # what lies below the site is the same at every point
        restart_from = (record(model, shown, [name])[name] if stream is None else stream).unflatten(0, (n, -1))
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [−1, 1]: halved to lie on [0, 1]
    points = [(i, a, w) for i in range(n) for a, w in zip((nodes + 1) / 2, weights / 2, strict=True)]
    gradient = torch.zeros_like(upcast(stop))  # ∫ ∂m/∂n dα, (prompt, position, width)

    def differentiate(first: int, end: int) -> None:
        which = [i for i, *_ in points[first:end]]  # the prompt of each row of this batch
        between = torch.stack([start[i] + float(a) * (stop[i] - start[i]) for i, a, _ in points[first:end]])
        restart = None if restart_from is None else Restart(model.first_layer(path), restart_from[which])
        own = metric if isinstance(metric, Metric) else EachMetric(tuple(metric.metrics[i] for i in which))
        change = Intervention(path, "rows", value=between)
        run = model.differentiate([shown[i] for i in which], own, [path], interventions=[change], restart=restart)
        each = upcast(run.gradients[path]).unflatten(0, (len(which), -1))  # (point, position, width)
        for (i, _, weight), one in zip(points[first:end], each, strict=True):
            gradient[i] += float(weight) * one

    for _ in run_in_batches(len(points), rows or ROWS, differentiate):
        pass
    return gradient.flatten(0, 1)


def check_embedding(model: Model) -> None:
    """Refuse a model without the site at which inputs are replaced: ids and whole pixels take no small changes.

    Raises:
        CannotIntervene: a model without an embedding.
    """
    if EMBED not in {site.path for site in model.sites()}:
        raise CannotIntervene(
            expected=f"a model with the site {EMBED}, where inputs are replaced",
            got=model.name,
            remedy="Take method='attribution_patching' or 'integrated_gradients'.",
        )


def mean_gradient_at_inputs(
    model: Model,
    shown: Sequence[Shown],
    metric: Metric | EachMetric,
    paths: Sequence[str],
    inputs: Sequence[tuple[int, float, Callable[[], Float[Tensor, "position d_model"]]]],
) -> Recording:
    r"""Return Σ_k w_k ∂m/∂n at sites, over runs that begin from other outputs of the embedding.

    Args:
        model: the subject.
        shown: ``(prompt,)`` prompts of one length.
        metric: m.
        paths: sites.
        inputs: of each run the prompt's number, w_k, and what makes the embedding's output.

    Returns:
        Recording: ``(row, width)`` by site, in units of m per unit of activation.

    Raises:
        PatchclampError: memory does not hold a single run.

    Cost: a forward and a backward pass per run, 16 at once; where memory runs out, half as many.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> shown, site = cat.stimuli("the old cat"), "blocks.0.mlp.act"
        >>> own = record(cat, shown, [EMBED])[EMBED]
        >>> tuple(mean_gradient_at_inputs(cat, shown, m, [site], [(0, 1.0, lambda: own)])[site].shape)
        (4, 16)
    """
    sums: dict[str, Tensor] = {}
    sites: dict[str, Site] = {}

    def differentiate(first: int, end: int) -> None:
        which = [i for i, *_ in inputs[first:end]]  # the prompt of each row of this batch
        own = metric if isinstance(metric, Metric) else EachMetric(tuple(metric.metrics[i] for i in which))
        change = Intervention(EMBED, "rows", value=torch.stack([make() for *_, make in inputs[first:end]]))
        run = model.differentiate([shown[i] for i in which], own, paths, interventions=[change])
        sites.update(run.gradients.sites)
        for path in paths:
            each = upcast(run.gradients[path]).unflatten(0, (len(which), -1))  # (run, position, width)
            total = sums.setdefault(path, torch.zeros_like(each[:1]).repeat(len(shown), 1, 1))
            for (i, weight, _), one in zip(inputs[first:end], each, strict=True):
                total[i] += weight * one

    for _ in run_in_batches(len(inputs), ROWS, differentiate):
        pass
    return Recording(tuple(shown), {path: total.flatten(0, 1) for path, total in sums.items()}, sites)


def path_start(
    model: Model, path: str, basis: str, x: Float[Tensor, "*places"], baseline: Baseline
) -> Float[Tensor, "*places"]:
    """Return a site's values where a path begins: at its baseline; of a basis with its features at theirs.

    Args:
        model: the subject.
        path: the site.
        basis: whose units move.
        x: ``(row, width)`` activations.
        baseline: r.

    Returns:
        ``(row, width)``, in units of the activation.

    Source: 1703.01365, whose baseline it is; of features x − (f − r) D is ours.

    Example:
        >>> from patchclamp.loaders import load
        >>> x = torch.ones(4, 16)
        >>> path_start(load("organism:cat"), "blocks.0.mlp.act", "neurons", x, Baseline("zero")).any().item()
        False
    """
    if kind_of(basis) == "feature":
        return at_baseline(model.basis_at(path, basis), path, x, baseline)
    return baseline.at(path, x)


def entered_stream(model: Model, path: str) -> str:
    """Return the site whose values a forward pass restarts from that changes another; empty where it begins anew."""
    layer = model.first_layer(path) if model.restarts else 0
    return f"blocks.{layer}.resid_in" if layer else ""
