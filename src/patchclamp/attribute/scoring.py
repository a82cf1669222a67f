"""Scoring: one verb for every way of attributing a metric to neurons, heads and features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from patchclamp.ablate import Baseline, Cases, UnitSets, check_means, measure_sets
from patchclamp.attribute.direction import check_direction
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.gradients import differentiated, integrated, make_baseline, measured, shared
from patchclamp.attribute.nodes import distances, level_sites, measure_units, shape_of
from patchclamp.attribute.provenance import check_finite
from patchclamp.attribute.rules import Gradient, Magnitude, PathIntegral, Replacement, Rule, find_rule
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.method import Method
from patchclamp.core.metric import Metric
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.recording import Recording
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import check_metric
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import as_model


@checked
def attribute_nodes(
    model: Network,
    prompt: Any,
    metric: Metric | Callable[[Any], Any],
    *,
    corrupted: Any = None,
    means: Any = None,
    method: str | Method | Rule = "integrated_gradients",
    levels: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    steps: int | None = None,
    direction: str = "noise",
    progress: Progress | None = None,
) -> Scores:
    r"""Score every MLP neuron and every head at every position for a metric.

    With n(x) a node's value on the prompt x and r its baseline (0, its mean μ over a text, or n(x′) on a corrupted
    prompt x′), a head's score being the sum over its z:

    | method | score |
    |---|---|
    | relp | (n(x) − r) · ρ(n), ρ the gradient of the backward pass under the rules ln, identity, half |
    | attribution_patching | (n(x) − r) · ∂m/∂n |
    | integrated_gradients | (n(x) − r) · ∫₀¹ ∂m/∂n at r + α (n(x) − r) dα, one site's nodes moving together |
    | activation_patching | m(x) − m(x with n := r) |
    | direct_logit | (n(x) − r) · ∂m/∂n through the residual stream alone, the norm's divisor held |
    | activation | ‖n(x)‖ |

    A feature f of a basis that was added to the model has n = f and, with D its direction at x, ∂m/∂n = ∂m/∂x Dᵀ; for
    a path integral a site's features go together from r to f along x(α) = x − (1 − α) (f − r) D, so that their scores
    sum to m(x) − m(x − (f − r) D). The error x − x̂, which no feature explains, is never replaced.

    All of it happens in the run on x, which is the one that is patched into, with every baseline: scores predict
    m(x) − m(x with n := r). With ``direction="denoise"`` it is the run on x′: scores predict m(x′ with n := n(x)) −
    m(x′), and metric_clean, activations and baseline are those of that run.

    Args:
        model: the subject; of a wrapped plain network units at module sites, which ``levels`` names.
        prompt: x, text or image, or a stimulus; for a plain network a tensor, or a tuple of tensors, with one row.
        metric: m; of a plain network also a function from output to ``(batch,)``.
        corrupted: x′, of as many tokens.
        means: a survey (or recording) whose means are the baseline.
        method: one of the table, or a rule of ``attribute.rules``.
        levels: ``neuron``, ``head``, ``channel`` (a map's unit over all its places), ``feature`` (units of the bases
            that were added, in the place of their sites' neurons), or patterns of site paths; neurons and heads, or
            channels, where left out.
        rules: others than the method's own, for relp; see ``LanguageModel.differentiate``.
        steps: points of the path, for integrated_gradients (Gauss-Legendre).
        direction: ``noise``, or ``denoise`` where there is a corrupted prompt.
        progress: called with passes done and passes in all, for integrated_gradients and activation_patching.

    Returns:
        Scores: of every unit at every position, with ``size`` ‖n − r‖ and ``activation``. Of integrated_gradients
            ``provenance.extra`` holds the completeness ``gap``: by how much the scores of one site fail to sum to what
            replacing the whole site does, at the worst site.

    Raises:
        PatchclampError: an unknown method or level, prompts of unequal length, two baselines, a survey of another
            model or without a site, means as the baseline of features, features without a basis.

    Source: see the cards. Departs from 2508.21258, which denoises, in its default direction, in scoring neurons and
    heads instead of whole layers, and in leaving scores in the metric's units.

    Cost: gradients: 2 forwards and 1 backward (1 and 1 without corrupted prompt); integrals: ``steps`` rows forward and
    backward per site; replacements: a row of a restarted forward per node; memory of all nodes' values and gradients.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> found = attribute_nodes(cat, "the old cat", m, method="activation_patching")
        >>> str(found.top(1)[0]), round(float(found.values.max()), 2)
        ('cat/blocks.0.mlp.act/neurons/7@3', 8.0)
    """
    model, metric = as_model(model, prompt, metric)
    name, rule = find_rule(method, "unit", rules=rules, steps=steps)
    if corrupted is not None and means is not None:
        raise PatchclampError(
            expected="one baseline", got="a corrupted prompt and means", remedy="Leave one of them out."
        )
    check_direction(direction)
    if direction == "denoise":
        if corrupted is None or isinstance(rule, Magnitude):
            raise PatchclampError(
                expected="a corrupted prompt, and a method that compares it with the clean one, to denoise",
                got=f"{name} {'without' if corrupted is None else 'with'} one",
                remedy="Give the corrupted prompt, or leave the direction out.",
            )
        asked: dict[str, Any] = {"method": method, "levels": levels, "rules": rules, "steps": steps}
        found = attribute_nodes(model, corrupted, metric, corrupted=prompt, progress=progress, **asked)
        made = replace(found.provenance, options={**found.provenance.options, "direction": direction})
        return replace(found, values=-found.values, provenance=made)
    if isinstance(rule, Gradient | PathIntegral):
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
    extra: dict[str, Any] = {}
    options: dict[str, Any] = {"levels": list(model.levels if levels is None else levels), "direction": direction}
    if isinstance(rule, Gradient):
        options["rules"] = list(rule.rules)
        others = None if other is None else [other]
        ends = differentiated(model, [shown], others, metric, paths, rule.rules, plain=plain)
        values, metric_clean, baseline = ends.values, float(ends.metric_clean[0]), ends.baseline
        scored = {p: shared(model, p, sites[p], values[p], baseline, ends.gradients[p]).cpu().numpy() for p in paths}
    else:
        values, clean = measured(model, [shown], metric, paths)
        metric_clean = float(clean[0])
        baseline = make_baseline(model, paths, corrupted=other, means=means)
        if isinstance(rule, PathIntegral):
            scored, gap = _integrated(model, shown, metric, sites, values, baseline, metric_clean, rule.steps, progress)
            options["steps"], extra["gap"] = rule.steps, gap
        elif isinstance(rule, Replacement):
            extra["measured"] = True
            scored = _replaced(model, shown, metric, sites, values, baseline, metric_clean, progress)
        else:
            nothing = Baseline("zero")
            scored = {p: distances(model, p, sites[p], values[p], nothing) for p in paths}
    blocks = [
        Block(path, basis, scored[path].shape[1], None if basis == "channels" else len(scored[path]))
        for path, basis in sites.items()
    ]
    scores = np.concatenate([scored[path].ravel() for path in paths])
    check_finite(scores, metric_clean)
    return Scores(
        UnitIndex(blocks, model.name), scores, "m", baseline.kind, metric_clean,
        measures=measure_units(model, sites, values, baseline),
        provenance=Provenance(
            model.name, model.hash, f"attribute/{name}", options=options, versions=read_versions(), extra=extra
        ),
    )  # fmt: skip


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
    effects = metric_clean - upcast(model.sweep(shown, metric, cells)).cpu().double().numpy()
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
    blocks, moved = [], []
    for path, basis in sites.items():
        n_places, n_units = shape_of(model, path, basis, len(shown))
        blocks.append(Block(path, basis, n_units, None if basis == "channels" else n_places))
        is_feature = kind_of(basis) == "feature"
        away = distances(model, path, basis, values[path], baseline) > 0 if is_feature else np.ones((n_places, n_units))
        moved.append(away.ravel().astype(bool))
    index, places = UnitIndex(blocks), np.flatnonzero(np.concatenate(moved))
    scores = np.zeros(len(index))
    if len(places):
        cases, sets = Cases.of([shown], metric), UnitSets(index, places[:, None])
        scores[places] = metric_clean - measure_sets(model, cases, sets, baseline, progress=progress)[0]
    parts = np.split(scores, index.firsts[1:-1])
    return {
        block.site: part.reshape(block.n_places or 1, block.n_units) for block, part in zip(blocks, parts, strict=True)
    }
