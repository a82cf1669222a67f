"""Scoring: one verb for every way of attributing a metric to neurons, heads and features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from patchclamp.attribute.baseline import Baseline, check_means
from patchclamp.attribute.direction import check_direction
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.gradients import against, differentiated, integrated, measured, recorded, shared
from patchclamp.attribute.nodes import Attribution, collect, distances, level_sites, shape_of
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric
from patchclamp.core.recording import Recording
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.backward import DIRECT, RELP
from patchclamp.subjects.cases import check_metric
from patchclamp.subjects.edits import widened
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import as_model

METHODS: Mapping[str, str] = {
    "relp": "relevance patching (RelP)",
    "atp": "attribution patching",
    "ig": "integrated gradients",
    "exact": "exact replacement, one at a time",
    "direct": "direct logit attribution",
    "activation": "size of the activation",
}
STEPS = 10


@checked
def attribute_nodes(
    model: Network,
    prompt: Any,
    metric: Metric | Callable[[Any], Any],
    *,
    corrupted: Any = None,
    means: Any = None,
    method: str = "ig",
    levels: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    steps: int = STEPS,
    direction: str = "noise",
    progress: Progress | None = None,
) -> Attribution:
    r"""Score every MLP neuron and every head at every position for a metric.

    With n(x) a node's value on the prompt x and r its baseline (0, its mean μ over a text, or n(x′) on a corrupted
    prompt x′), a head's score being the sum over its z:

    | method | score |
    |---|---|
    | relp | (n(x) − r) · ρ(n), ρ the gradient of the backward pass under the rules ln, identity, half |
    | atp | (n(x) − r) · ∂m/∂n |
    | ig | (n(x) − r) · ∫₀¹ ∂m/∂n at r + α (n(x) − r) dα, one site's nodes moving together |
    | exact | m(x) − m(x with n := r) |
    | direct | (n(x) − r) · ∂m/∂n through the residual stream alone, the norm's divisor held |
    | activation | ‖n(x)‖ |

    A feature f of a basis that was added to the model has n = f and, with D its direction at x, ∂m/∂n = ∂m/∂x Dᵀ; for
    ig a site's features go together from r to f along x(α) = x − (1 − α) (f − r) D, so that their scores sum to
    m(x) − m(x − (f − r) D). The error x − x̂, which no feature explains, is never replaced.

    All of it happens in the run on x, which is the one that is patched into, with every baseline: scores predict
    m(x) − m(x with n := r). With ``direction="denoise"`` it is the run on x′: scores predict m(x′ with n := n(x)) −
    m(x′), and metric_clean, activations and baseline are those of that run.

    Args:
        model: the subject; of a wrapped plain network units at module sites, which ``levels`` names.
        prompt: x, text or image, or a stimulus; for a plain network a tensor, or a tuple of tensors, with one row.
        metric: m; of a plain network also a function from output to ``(batch,)``.
        corrupted: x′, of as many tokens.
        means: a survey (or recording) whose means are the baseline.
        method: one of the table.
        levels: ``neuron``, ``head``, ``channel`` (a map's unit over all its places), ``feature`` (units of the bases
            that were added, in the place of their sites' neurons), or patterns of site paths; neurons and heads, or
            channels, where left out.
        rules: others than the method's own; see ``LanguageModel.differentiate``.
        steps: points of the path, for ig (Gauss-Legendre).
        direction: ``noise``, or ``denoise`` where there is a corrupted prompt.
        progress: called with passes done and passes in all, for ig and exact.

    Returns:
        Attribution: scores, sizes, m(x), and for ig the completeness gap.

    Raises:
        PatchclampError: an unknown method or level, prompts of unequal length, two baselines, a survey of another
            model or without a site, means as the baseline of features, features without a basis.

    Source: 2508.21258 for relp and atp; 1703.01365 for ig. Departs from the first, which denoises, in its default
    direction, in scoring neurons and heads instead of whole layers, and in leaving scores in the metric's units instead
    of dividing by m(x) − m(x′).

    Cost: relp, atp: 2 forwards and 1 backward (1 and 1 without corrupted prompt); ig: ``steps`` rows forward and
    backward per site; exact: a row of a restarted forward per node; memory of all nodes' values and gradients.

    Example:
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> found = attribute_nodes(cat, "the old cat", m, method="exact")
        >>> str(found.top(1)[0]), round(float(found.flat.max()), 2)
        ('cat/blocks.0.mlp.act/neurons/7@3', 8.0)
    """
    model, metric = as_model(model, prompt, metric)
    if method not in METHODS:
        raise PatchclampError(
            expected=f"a method among {', '.join(METHODS)}", got=repr(method), remedy="Choose one of these."
        )
    if corrupted is not None and means is not None:
        raise PatchclampError(
            expected="one baseline", got="a corrupted prompt and means", remedy="Leave one of them out."
        )
    if steps < 1:
        raise PatchclampError(expected="at least 1 step", got=str(steps), remedy="10 are the usual number.")
    if rules is not None and method not in ("relp", "atp", "direct"):
        raise PatchclampError(
            expected="rules with relp, atp or direct", got=f"rules with {method}", remedy="Leave them out."
        )
    check_direction(direction)
    if direction == "denoise":
        if corrupted is None or method == "activation":
            raise PatchclampError(
                expected="a corrupted prompt, and a method that compares it with the clean one, to denoise",
                got=f"{method} {'without' if corrupted is None else 'with'} one",
                remedy="Give the corrupted prompt, or leave the direction out.",
            )
        asked: dict[str, Any] = {"method": method, "levels": levels, "rules": rules, "steps": steps}
        found = attribute_nodes(model, corrupted, metric, corrupted=prompt, progress=progress, **asked)
        return replace(found, scores={place: -values for place, values in found.scores.items()})
    if method != "exact" and method != "activation":
        model.require("differentiate")
    sites = level_sites(model, model.levels if levels is None else levels)
    paths = list(sites)
    features = [path for path, basis in sites.items() if kind_of(basis) == "feature"]
    if means is not None and features:
        raise PatchclampError(
            expected="zero or a corrupted prompt as the baseline of features",
            got=f"means, and features at {features[0]}",
            remedy="A survey holds means of neurons, and what a basis reads in a mean is not its features' mean. "
            "Leave --baseline out, or give --corrupt.",
        )
    if means is not None:
        check_means(model, means, paths)
    [shown] = _one(model, prompt)
    check_metric(model, shown, metric)
    other = None if corrupted is None else _aligned(model, shown, corrupted)
    plain = Baseline("zero") if means is None else Baseline("mean", means)
    gap = None
    if method in ("relp", "atp", "direct"):
        ruled = rules if rules is not None else {"relp": RELP, "atp": (), "direct": DIRECT}[method]
        others = None if other is None else [other]
        ends = differentiated(model, [shown], others, metric, paths, ruled, plain=plain)
        values, metric_clean, baseline = ends.values, float(ends.metric_clean[0]), ends.baseline
        scored = {p: shared(model, p, sites[p], values[p], baseline, ends.gradients[p]).cpu().numpy() for p in paths}
    else:
        values, clean = measured(model, [shown], metric, paths)
        metric_clean = float(clean[0])
        baseline = plain if other is None else against(recorded(model, [other], paths))
        if method == "ig":
            scored, gap = _integrated(model, shown, metric, sites, values, baseline, metric_clean, steps, progress)
        elif method == "exact":
            scored = _replaced(model, shown, metric, sites, values, baseline, metric_clean, progress)
        else:
            nothing = Baseline("zero")
            scored = {p: distances(model, p, sites[p], values[p], nothing) for p in paths}
    return Attribution(
        method=method,
        baseline=baseline,
        subject=model.name,
        **collect(model, sites, values, scored, baseline),
        metric_clean=metric_clean,
        gap=gap,
    )


def _one(model: Model, prompt: Any) -> list[Shown]:
    shown = model.stimuli(prompt)
    if len(shown) != 1:
        raise PatchclampError(expected="one prompt", got=f"{len(shown)}", remedy="Attribute them one by one.")
    return shown


def _aligned(model: Model, shown: Shown, corrupted: Any) -> Shown:
    [other] = _one(model, corrupted)
    if len(other) != len(shown):
        raise PatchclampError(
            expected=f"a corrupted prompt of {len(shown)} tokens, as the prompt has",
            got=f"{len(other)} tokens",
            remedy="Replace words by others of as many tokens, so that every position has its counterpart.",
        )
    return other


def _integrated(
    model: Model,
    shown: Shown,
    metric: Metric,
    sites: Mapping[str, str],
    values: Recording,
    baseline: Baseline,
    metric_clean: float,
    steps: int,
    progress: Progress | None,
) -> tuple[dict[str, np.ndarray], float]:
    """Integrate along the straight path from baseline to value, all nodes of one site together."""
    # The whole site replaced: what its scores must sum to.
    cells = [
        [baseline.replace_site(name, basis if kind_of(basis) == "feature" else "neurons")]
        for name, basis in sites.items()
    ]
    effects = metric_clean - widened(model.sweep(shown, metric, cells)).cpu().double().numpy()
    scored, gaps = {}, []
    for i, (name, basis) in enumerate(sites.items()):
        scored[name] = integrated(model, [shown], metric, name, basis, values[name], baseline, steps).cpu().numpy()
        gaps.append(abs(float(scored[name].sum() - effects[i])))
        if progress is not None:
            progress(i + 1, len(sites))
    return scored, max(gaps)


def _replaced(
    model: Model,
    shown: Shown,
    metric: Metric,
    sites: Mapping[str, str],
    values: Recording,
    baseline: Baseline,
    metric_clean: float,
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Replace every node by itself; a feature that is at its baseline already is left out, for that does nothing."""
    scored, nodes = {}, []
    for path, basis in sites.items():
        scored[path] = np.zeros(shape_of(model, path, basis, len(shown)))
        moved = np.ones(scored[path].shape, dtype=bool)
        if kind_of(basis) == "feature":
            moved = distances(model, path, basis, values[path], baseline) > 0
        nodes += [(path, int(position), int(unit)) for position, unit in np.argwhere(moved)]
    cells = [
        [baseline.replace(UnitKey(path, unit, sites[path], None, None if sites[path] == "channels" else position))]
        for path, position, unit in nodes
    ]
    effects = metric_clean - widened(model.sweep(shown, metric, cells, progress=progress)).cpu().double().numpy()
    for (path, position, unit), effect in zip(nodes, effects, strict=True):
        scored[path][position, unit] = effect
    return scored
