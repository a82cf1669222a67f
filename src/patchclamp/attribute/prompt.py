"""Score the units of one prompt for a metric of one's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from patchclamp.ablate import Baseline, check_means
from patchclamp.attribute.batch import score_batch
from patchclamp.attribute.direction import check_direction
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.gradients import ROWS
from patchclamp.attribute.nodes import level_sites, measure_units, unit_blocks
from patchclamp.attribute.provenance import check_finite
from patchclamp.attribute.rules import Gradient, Magnitude, PathIntegral, Rule, describe_rule, find_rule
from patchclamp.core.arguments import Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import UnitIndex
from patchclamp.core.method import Method
from patchclamp.core.metric import Metric
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.subjects.cases import check_metric
from patchclamp.subjects.memory import count_fitting
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.pass_memory import count_backward_bytes
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
    seed: int = 0,
    batch_size: Positive | None = None,
    progress: Progress | None = None,
    gradients: dict[str, Tensor] | None = None,
) -> Scores:
    r"""Score every unit at every position of one prompt: what each contributes to a metric.

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
        corrupted: x′, of as many tokens; the default baseline is zero.
        means: a survey (or recording) whose means are the baseline.
        method: one of the table, or a rule of ``attribute.rules``.
        levels: ``neuron``, ``head``, ``channel`` (a map's unit over all its places), ``feature`` (units of the bases
            that were added, instead of their sites' neurons), or patterns of site paths; the default is neurons and
            heads, or channels.
        rules: relevance rules instead of the method's own; only for relp. See ``LanguageModel.differentiate``.
        steps: Gauss-Legendre points of the path; only for integrated_gradients.
        direction: ``noise``, or ``denoise`` with a corrupted prompt.
        seed: of a method's draws, such as the noise of smoothgrad.
        batch_size: rows of a pass of integrated_gradients (default 16) and activation_patching (64); the default is as
            many of these as memory holds.
        progress: called as ``progress(done, total)`` by integrated_gradients and activation_patching.
        gradients: takes the mean gradient of every site along its path; only of integrated_gradients.

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
    name, rule = find_rule(method, "unit", rules=rules, steps=steps, seed=seed)
    if corrupted is not None and means is not None:
        raise PatchclampError(
            expected="one baseline", got="a corrupted prompt and means", remedy="Leave one of them out."
        )
    check_direction(direction)
    if direction == "denoise" and (corrupted is None or isinstance(rule, Magnitude)):
        raise PatchclampError(
            expected="a corrupted prompt, and a method that compares it with the clean one, to denoise",
            got=f"{name} {'without' if corrupted is None else 'with'} one",
            remedy="Give the corrupted prompt, or leave the direction out.",
        )
    if isinstance(rule, Gradient | PathIntegral):
        model.require("differentiate")
    sites = level_sites(model, model.levels if levels is None else levels)
    if means is not None:
        _check_means(model, means, sites)
    [shown] = _read_one(model, prompt)
    check_metric(model, shown, metric)
    into, counterparts, sign = shown, None, 1.0
    if corrupted is not None:
        other = _read_corrupted(model, shown, corrupted)
        into, counterparts, sign = (shown, [other], 1.0) if direction == "noise" else (other, [shown], -1.0)
    plain = Baseline("zero") if means is None else Baseline("mean", means)
    blocks = unit_blocks(model, sites, len(shown))
    # How many rows run together is settled before the first of them.
    rows = batch_size
    if rows is None and isinstance(rule, PathIntegral):
        rows = count_fitting(count_backward_bytes(model, len(shown)), ROWS, str(model.device))
    batch = score_batch(
        model, [into], counterparts, metric, blocks, rule,
        plain=plain, rows=rows, progress=progress, gradients=gradients,
    )  # fmt: skip
    values = sign * np.concatenate([batch.scores[path][0] for path in sites])  # (unit,): by site, position, unit
    metric_clean = float(batch.metric_clean[0])
    check_finite(values, metric_clean)
    options, extra = describe_rule(rule)
    if batch.gaps:
        extra["gap"] = max(batch.gaps.values())
    options |= {"levels": list(model.levels if levels is None else levels), "direction": direction}
    provenance = Provenance(
        model.name,
        model.hash,
        f"attribute/{name}",
        options=options,
        versions=read_versions(),
        hashes=dict(model.origin),
        extra=extra,
    )
    return Scores(
        UnitIndex(blocks, model.name),
        values,
        "m",
        batch.baseline.kind,
        metric_clean,
        measures=measure_units(model, sites, batch.values, batch.baseline),
        provenance=provenance,
    )


def _check_means(model: Model, means: Any, sites: Mapping[str, str]) -> None:
    features = [path for path, basis in sites.items() if kind_of(basis) == "feature"]
    if features:
        raise PatchclampError(
            expected="zero or a corrupted prompt as the baseline of features",
            got=f"means, and features at {features[0]}",
            remedy="A survey holds means of neurons, and what a basis reads in a mean is not its features' mean. "
            "Leave --baseline out, or give --counterpart.",
        )
    check_means(model, means, list(sites))


def _read_one(model: Model, prompt: Any) -> list[Shown]:
    shown = model.stimuli(prompt)
    if len(shown) != 1:
        raise PatchclampError(expected="one prompt", got=f"{len(shown)}", remedy="Attribute them one by one.")
    return shown


def _read_corrupted(model: Model, shown: Shown, corrupted: Any) -> Shown:
    [other] = _read_one(model, corrupted)
    if len(other) != len(shown):
        raise PatchclampError(
            expected=f"a corrupted prompt of {len(shown)} tokens, as the prompt has",
            got=f"{len(other)} tokens",
            remedy="Replace words by others of as many tokens, so that every position has its counterpart.",
        )
    return other
