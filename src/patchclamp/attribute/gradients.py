"""Gradients: what units carry from their baseline to their value, for one prompt or for many of one length at once.

Rows are tokens: those of the first prompt, then those of the second, and so on; scores of one prompt and scores over
pairs are made by the same few functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.ablate import Baseline
from patchclamp.attribute.features import at_baseline, away, carried, kind_of
from patchclamp.core.intervention import Intervention, Source
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.recording import Recording
from patchclamp.core.stimulus import Shown
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.model import Model

ROWS = 16
"""Rows of one batch on the path of integrated gradients, where nobody says another number."""


@dataclass(frozen=True, eq=False)
class Ends:
    """Hold both ends of what is compared, and the gradient of the run that is patched into.

    Args:
        values: what sites do in the run that is patched into.
        gradients: ∂m/∂n in that run, or what rules put in its place.
        metric_clean: ``(prompt,)`` m in that run.
        baseline: what values are held against.
    """

    values: Recording
    gradients: Recording
    metric_clean: Float[np.ndarray, " prompt"]
    baseline: Baseline


def against(values: Recording) -> Baseline:
    """Return the baseline that corrupted runs are: of one prompt, or of all, row by row."""
    return Baseline("corrupted", values, 0 if len(values.stimuli) == 1 else None)


def make_baseline(model: Model, sites: Sequence[str], *, corrupted: Shown | None = None, means: Any = None) -> Baseline:
    """Return what values at sites are held against, and replaced by: a corrupted run, means, or zero.

    Args:
        model: the subject.
        sites: paths of the sites.
        corrupted: the prompt under which values are taken.
        means: a survey, or a recording, whose means are taken.

    Cost: a forward pass where there is a corrupted prompt.
    """
    if corrupted is not None:
        return against(recorded(model, [corrupted], sites))
    return Baseline("zero") if means is None else Baseline("mean", means)


def measured(
    model: Model, shown: Sequence[Shown], metric: Metric | EachMetric, paths: Sequence[str]
) -> tuple[Recording, Float[np.ndarray, " prompt"]]:
    """Return what sites do on prompts, and m of each."""
    run = model.run(list(shown), record=paths, logits=metric.positions)
    return run.recording, np.asarray(metric(upcast(run.logits)).cpu().double().numpy())


def recorded(model: Model, shown: Sequence[Shown], paths: Sequence[str]) -> Recording:
    """Return what sites do on prompts; the forward pass ends at the last of them."""
    return model.run(list(shown), record=paths, logits=False).recording


def differentiated(
    model: Model,
    shown: Sequence[Shown],
    others: Sequence[Shown] | None,
    metric: Metric | EachMetric,
    paths: Sequence[str],
    rules: Sequence[str],
    *,
    plain: Baseline,
) -> Ends:
    """Run both ends, and differentiate the one that is patched into; see ``attribute.direction``.

    Args:
        model: the subject.
        shown: the prompts that are patched into.
        others: those whose values are put there; None where values are held against ``plain``.
        metric: m.
        paths: sites.
        rules: of the backward pass.
        plain: the baseline where there are no others.

    Cost: two forward passes and one backward; one and one without others.
    """
    found = model.differentiate(list(shown), metric, paths, rules=rules)
    baseline = plain if others is None else against(recorded(model, others, paths))
    return Ends(found.values, found.gradients, np.asarray(found.metric.cpu().double().numpy()), baseline)


def shared(
    model: Model,
    path: str,
    basis: str,
    x: Float[Tensor, "*places"],
    baseline: Baseline,
    gradient: Float[Tensor, "*places"],
) -> Float[Tensor, "row unit"]:
    """Return (n − r) · ∂m/∂n for every unit at a site, in double precision; a head's is the sum over its z."""
    if kind_of(basis) == "feature":
        directions = model.basis_at(path, basis)
        return carried(directions, away(directions, path, x, baseline), gradient).double()
    products = (upcast(x - baseline.at(path, x)) * upcast(gradient)).double()
    if basis == "channels":
        return products.T.sum(-1)[None]
    return products.unflatten(-1, (count_units(model.basis_at(path, basis), model.site(path)), -1)).sum(-1)


def integrated(
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
) -> Float[Tensor, "row unit"]:
    r"""Return (n − r) · ∫₀¹ ∂m/∂n at r + α (n − r) dα for every unit at a site, all of them moving together.

    Args:
        model: the subject.
        shown: prompts of one length.
        metric: m.
        path: the site.
        basis: of its units.
        x: the site's values.
        baseline: r.
        steps: Gauss-Legendre points.
        rows: points of the path, of all prompts, in one batch; 16 where left out.

    Cost: prompts · steps rows forward and backward, restarted at the site's block.
    """
    site = model.site(path)
    if kind_of(basis) == "feature":
        r = at_baseline(model.basis_at(path, basis), path, x, baseline)
    else:
        r = baseline.at(path, x)
    n = len(shown)
    ends = x.unflatten(0, (n, -1)), r.unflatten(0, (n, -1))
    stream = None
    if site.layer and model.restarts:
        name = f"blocks.{site.layer}.resid_in"
        stream = recorded(model, shown, [name])[name].unflatten(0, (n, -1))
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    points = [(i, a, w) for i in range(n) for a, w in zip((nodes + 1) / 2, weights / 2, strict=True)]
    gradient = torch.zeros_like(upcast(ends[0]))
    most = rows or ROWS
    for start in range(0, len(points), most):
        part = points[start : start + most]
        which = [i for i, *_ in part]
        moved = torch.cat([ends[1][i] + float(a) * (ends[0][i] - ends[1][i]) for i, a, _ in part])
        between = Recording(tuple(shown[i] for i in which), {path: moved}, {path: site})
        changes = [[Intervention(path, "patch", source=Source(between, stimulus=k))] for k in range(len(part))]
        restart = None if stream is None else Restart(site.layer or 0, stream[which])
        own = metric if isinstance(metric, Metric) else EachMetric(tuple(metric.metrics[i] for i in which))
        found = model.differentiate(between.stimuli, own, [path], interventions=changes, restart=restart)
        each = upcast(found.gradients[path]).unflatten(0, (len(part), -1))
        for (i, _, share), one in zip(part, each, strict=True):
            gradient[i] += float(share) * one
    return shared(model, path, basis, x, baseline, gradient.flatten(0, 1))
