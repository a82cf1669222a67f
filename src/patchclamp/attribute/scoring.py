"""Scoring: one verb for every way of attributing a metric to neurons and heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.attribute.nodes import Attribution, by_unit, collect, level_sites
from patchclamp.attribute.reference import Reference, check_means
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention, Source
from patchclamp.core.metric import Metric
from patchclamp.core.recording import Recording
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.backward import DIRECT, RELP
from patchclamp.subjects.edits import widened
from patchclamp.subjects.language import LanguageModel

METHODS: Mapping[str, str] = {
    "relp": "relevance patching (RelP)",
    "atp": "attribution patching",
    "ig": "integrated gradients",
    "exact": "exact replacement, one at a time",
    "direct": "direct logit attribution",
    "activation": "size of the activation",
}
STEPS, ROWS = 10, 16


def attribute_nodes(
    model: LanguageModel,
    prompt: Any,
    metric: Metric,
    *,
    corrupted: Any = None,
    means: Any = None,
    method: str = "relp",
    levels: Sequence[str] = ("neuron", "head"),
    rules: Sequence[str] | None = None,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Attribution:
    r"""Score every MLP neuron and every head at every position for a metric.

    With n(x) a node's value on the prompt x and r its reference (0, its mean μ over a text, or n(x′) on a corrupted
    prompt x′), a head's score being the sum over its z:

    | method | score |
    |---|---|
    | relp | (n(x) − r) · ρ(n), ρ the gradient of the backward pass under the rules ln, identity, half |
    | atp | (n(x) − r) · ∂m/∂n |
    | ig | (n(x) − r) · ∫₀¹ ∂m/∂n at r + α (n(x) − r) dα, one site's nodes moving together |
    | exact | m(x) − m(x with n := r) |
    | direct | (n(x) − r) · ∂m/∂n through the residual stream alone, the norm's divisor held |
    | activation | ‖n(x)‖ |

    With a corrupted prompt the backward pass of relp and atp runs on x′, the run that is patched into; else on x. The
    others run on x.

    Args:
        model: the subject.
        prompt: x, text or stimulus.
        metric: m.
        corrupted: x′, of as many tokens.
        means: a survey (or recording) whose means are the reference.
        method: one of the table.
        levels: ``neuron``, ``head`` or both.
        rules: others than the method's own; see ``LanguageModel.differentiate``.
        steps: points of the path, for ig (Gauss-Legendre).
        progress: called with passes done and passes in all, for ig and exact.

    Returns:
        Attribution: scores, sizes, m(x), and for ig the completeness gap.

    Raises:
        PatchclampError: an unknown method or level, prompts of unequal length, two references, a survey of another
            model or without a site.

    Source: 2508.21258 for relp and atp; 1703.01365 for ig. Departs from the paper in scoring neurons and heads instead
    of whole layers, and in leaving scores in the metric's units instead of dividing by m(x) − m(x′).

    Cost: relp, atp: 2 forwards and 1 backward (1 and 1 without corrupted prompt); ig: ``steps`` rows forward and
    backward per site; exact: a row of a restarted forward per node; memory of all nodes' values and gradients.

    Example:
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> found = attribute_nodes(cat, "the old cat", m, method="exact")
        >>> str(found.top(1)[0]), round(found.flat.max(), 2)
        ('cat/blocks.0.mlp.act/neurons/7@3', 8.0)
    """
    if method not in METHODS:
        raise PatchclampError(
            expected=f"a method among {', '.join(METHODS)}", got=repr(method), remedy="Choose one of these."
        )
    if corrupted is not None and means is not None:
        raise PatchclampError(
            expected="one reference", got="a corrupted prompt and means", remedy="Leave one of them out."
        )
    if steps < 1:
        raise PatchclampError(expected="at least 1 step", got=str(steps), remedy="10 are the usual number.")
    if method != "exact" and method != "activation":
        model.require("differentiate")
    sites = level_sites(model, levels)
    paths = list(sites)
    if means is not None:
        check_means(model, means, paths)
    [shown] = model.stimuli(prompt)
    other = None if corrupted is None else _aligned(model, shown, corrupted)
    plain = Reference("zero") if means is None else Reference("mean", means)
    gap = None
    if method in ("relp", "atp", "direct"):
        ruled = rules if rules is not None else {"relp": RELP, "atp": (), "direct": DIRECT}[method]
        values, gradients, baseline, reference = _backward(model, shown, other, metric, paths, ruled, method, plain)
        products = {p: (values[p] - reference.at(p, values[p])).float() * gradients[p].float() for p in paths}
        scored = {p: by_unit(products[p], model.site(p), sites[p]).sum(-1) for p in paths}
    else:
        values, baseline = _run(model, shown, metric, paths)
        reference = plain if other is None else Reference("corrupted", _record(model, other, paths))
        if method == "ig":
            scored, gap = _integrated(model, shown, metric, sites, values, reference, baseline, steps, progress)
        elif method == "exact":
            scored = _replaced(model, shown, metric, sites, reference, baseline, progress)
        else:
            scored = {p: np.linalg.norm(by_unit(values[p], model.site(p), sites[p]), axis=-1) for p in paths}
    return Attribution(
        method=method,
        reference=reference,
        subject=model.name,
        **collect(model, sites, values, scored, reference),
        baseline=baseline,
        gap=gap,
    )


def _aligned(model: LanguageModel, shown: Stimulus, corrupted: Any) -> Stimulus:
    [other] = model.stimuli(corrupted)
    if len(other) != len(shown):
        raise PatchclampError(
            expected=f"a corrupted prompt of {len(shown)} tokens, as the prompt has",
            got=f"{len(other)} tokens",
            remedy="Replace words by others of as many tokens, so that every position has its counterpart.",
        )
    return other


def _run(model: LanguageModel, shown: Stimulus, metric: Metric, paths: Sequence[str]) -> tuple[Recording, float]:
    run = model.run(shown, record=paths, logits=metric.positions)
    return run.recording, float(metric(widened(run.logits))[0])


def _record(model: LanguageModel, shown: Stimulus, paths: Sequence[str]) -> Recording:
    return model.run(shown, record=paths, logits=False).recording


def _backward(
    model: LanguageModel,
    shown: Stimulus,
    other: Stimulus | None,
    metric: Metric,
    paths: Sequence[str],
    rules: Sequence[str],
    method: str,
    plain: Reference,
) -> tuple[Recording, Recording, float, Reference]:
    """Return the clean values, the gradients of the run that is patched into, m(x), and the reference."""
    if other is None or method == "direct":
        found = model.differentiate(shown, metric, paths, rules=rules)
        reference = plain if other is None else Reference("corrupted", _record(model, other, paths))
        return found.values, found.gradients, float(found.metric[0]), reference
    values, baseline = _run(model, shown, metric, paths)
    found = model.differentiate(other, metric, paths, rules=rules)
    return values, found.gradients, baseline, Reference("corrupted", found.values)


def _integrated(
    model: LanguageModel,
    shown: Stimulus,
    metric: Metric,
    sites: Mapping[str, str],
    values: Recording,
    reference: Reference,
    baseline: float,
    steps: int,
    progress: Progress | None,
) -> tuple[dict[str, np.ndarray], float]:
    """Integrate along the straight path from reference to value, all nodes of one site together."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    alphas, shares = (points + 1) / 2, weights / 2
    # The whole site replaced: what its scores must sum to.
    cells = [[reference.replace_site(path)] for path in sites]
    effects = baseline - widened(model.sweep(shown, metric, cells)).cpu().double().numpy()
    scored, gaps = {}, []
    for i, (path, basis) in enumerate(sites.items()):
        x = values[path]
        r = reference.at(path, x)
        mean = torch.zeros_like(widened(x))
        for start in range(0, steps, ROWS):
            part = slice(start, start + ROWS)
            mean += _path_gradient(model, shown, metric, path, x, r, alphas[part], shares[part])
        site = model.site(path)
        scored[path] = by_unit(widened(x - r) * mean, site, basis).sum(-1)
        gaps.append(abs(float(scored[path].sum() - effects[i])))
        if progress is not None:
            progress(i + 1, len(sites))
    return scored, max(gaps)


def _path_gradient(
    model: LanguageModel,
    shown: Stimulus,
    metric: Metric,
    path: str,
    x: Tensor,
    r: Tensor,
    alphas: np.ndarray,
    shares: np.ndarray,
) -> Tensor:
    """Return Σ_k share_k · ∂m/∂n at r + α_k (x − r), one row of a batch per point."""
    rows = [shown] * len(alphas)
    between = torch.cat([r + float(a) * (x - r) for a in alphas])
    source = Recording(tuple(rows), {path: between}, {path: model.site(path)})
    moved = [[Intervention(path, "patch", source=Source(source, stimulus=k))] for k in range(len(rows))]
    found = model.differentiate(rows, metric, [path], interventions=moved)
    gradients = widened(found.gradients[path]).unflatten(0, (len(rows), -1))
    return torch.tensordot(torch.as_tensor(shares, dtype=gradients.dtype, device=gradients.device), gradients, dims=1)


def _replaced(
    model: LanguageModel,
    shown: Stimulus,
    metric: Metric,
    sites: Mapping[str, str],
    reference: Reference,
    baseline: float,
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Replace every node by itself."""
    shapes = {p: (len(shown), model.site(p).n_heads if b == "heads" else model.site(p).width) for p, b in sites.items()}
    cells = [
        [reference.replace(UnitKey(path, unit, sites[path], None, position))]
        for path, (n, units) in shapes.items()
        for position in range(n)
        for unit in range(units)
    ]
    effects = baseline - widened(model.sweep(shown, metric, cells, progress=progress)).cpu().double().numpy()
    ends = np.cumsum([n * units for n, units in shapes.values()])[:-1]
    parts = np.split(effects, ends)
    return {path: part.reshape(shape) for (path, shape), part in zip(shapes.items(), parts, strict=True)}
