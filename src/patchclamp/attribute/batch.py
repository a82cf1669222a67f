"""Score the units of a batch of cases by one rule: what one prompt and many cases share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.ablate import Baseline, Cases, UnitSets, measure_sets
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.gradients import (
    corrupted_baseline,
    delta_times_gradient,
    entered_stream,
    mean_gradient,
    path_start,
    record,
    run_metric,
)
from patchclamp.attribute.nodes import distances
from patchclamp.attribute.rules import Gradient, Magnitude, PathIntegral, Rule
from patchclamp.core.intervention import Intervention
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.recording import Recording
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import ROWS
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.model import Model

ZERO = Baseline("zero")


@dataclass(frozen=True, eq=False)
class BatchScores:
    """Hold the scores of some cases, and the run that they are of.

    Args:
        scores: by site ``(case, unit)``; of a block that keeps positions apart ``(case, position · unit)``.
        values: activations of the sites in the run that is patched into.
        metric_clean: ``(case,)`` m of that run.
        baseline: r.
        gaps: of path integrals, by site: Σ over cases of |Σ of the site's scores − effect of replacing the whole site|.
    """

    scores: dict[str, Float[np.ndarray, "case unit"]]
    values: Recording
    metric_clean: Float[np.ndarray, " case"]
    baseline: Baseline
    gaps: dict[str, float]


def score_batch(
    model: Model,
    shown: Sequence[Shown],
    counterparts: Sequence[Shown] | None,
    metric: Metric | EachMetric,
    blocks: Sequence[Block],
    rule: Rule,
    *,
    plain: Baseline = ZERO,
    rows: int | None = None,
    progress: Progress | None = None,
    gradients: dict[str, Tensor] | None = None,
) -> BatchScores:
    r"""Score every unit of some blocks on cases of one length: (n − r) times a gradient, a measured effect, or a size.

    | rule | score of a unit n |
    |---|---|
    | Gradient | (n(x) − r) · ∂m/∂n at x, or what relevance rules put in place of ∂m/∂n |
    | PathIntegral | (n(x) − r) · ∫₀¹ ∂m/∂n at r + α (n(x) − r) dα, all units of a site moving together |
    | Replacement | m(x) − m(x with n := r) |
    | Magnitude | ‖n(x)‖ |

    Args:
        model: the subject.
        shown: ``(case,)`` prompts x, which are patched into; of one length.
        counterparts: ``(case,)`` prompts x′, whose values are r; None where ``plain`` is.
        metric: m; for several cases one per row.
        blocks: sites with their bases; one without places has a score per unit, summed over positions.
        rule: how units are scored; replacements take one case at a time.
        plain: r where there are no counterparts.
        rows: rows of one pass of a path (default 16) or of replacements (default 64).
        progress: called with sites done and in all of a path, with rows of replacements.
        gradients: takes the mean gradient of every site along its path, ``(row, width)``.

    Returns:
        BatchScores: in units of m, of Magnitude in units of the activation.

    Source: 2403.00745 (AtP), 2508.21258 equation 4 (RelP), 1703.01365 equation 1 (integrated gradients), 2004.12265
    (indirect effect).

    Cost: Gradient: one forward and one backward per case, a forward per counterpart. PathIntegral: a forward per case
    and site, and ``steps`` forwards and backwards. Replacement: a row of a restarted forward per unit.

    Example:
        >>> from patchclamp.attribute.nodes import unit_blocks
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> blocks = unit_blocks(cat, {"blocks.0.mlp.act": "neurons"}, None)
        >>> batch = score_batch(cat, cat.stimuli("the old cat"), None, m, blocks, Gradient())
        >>> batch.scores["blocks.0.mlp.act"].shape
        (1, 16)
    """
    n_cases, paths = len(shown), [block.site for block in blocks]
    gaps: dict[str, float] = {}
    scores: dict[str, Float[np.ndarray, "case unit"]] = {}
    if isinstance(rule, Gradient):
        ends = rule.differentiate(model, shown, counterparts, metric, paths, plain=plain)
        values, baseline, metric_clean = ends.values, ends.baseline, ends.metric_clean
        for path, block in zip(paths, blocks, strict=True):
            basis, gradient = row_basis(block.basis), ends.gradients[path]
            per_row = delta_times_gradient(model, path, basis, values[path], baseline, gradient)
            scores[path] = _by_case(per_row, n_cases, block)
    else:
        # Path integrals restart at the block of each site, from what it reads; that is recorded once.
        integrates = isinstance(rule, PathIntegral)
        entered = [entered_stream(model, path) if integrates else "" for path in paths]
        kept = [name for name in dict.fromkeys(entered) if name and name not in paths]
        values, metric_clean = run_metric(model, shown, metric, [*paths, *kept])
        baseline = plain if counterparts is None else corrupted_baseline(record(model, counterparts, paths))
        if isinstance(rule, PathIntegral):
            streams = [values[name] if name else None for name in entered]
            for done, (path, block, stream) in enumerate(zip(paths, blocks, streams, strict=True), start=1):
                basis, x = row_basis(block.basis), values[path]
                gradient = mean_gradient(
                    model, shown, metric, path, basis, x, baseline, rule.steps, rows=rows, stream=stream
                )
                if gradients is not None:
                    gradients[path] = gradient
                per_row = delta_times_gradient(model, path, basis, x, baseline, gradient)
                scores[path] = _by_case(per_row, n_cases, block)
                if progress is not None:
                    progress(done, len(blocks))
            replaced = _replace_sites(model, shown, metric, blocks, values, baseline, streams)
            gaps = {p: float(np.abs(scores[p].sum(1) - (metric_clean - m)).sum()) for p, m in replaced.items()}
        elif isinstance(rule, Magnitude):
            for path, block in zip(paths, blocks, strict=True):
                cases = values[path].unflatten(0, (n_cases, -1))  # (case, position, width)
                sizes = [distances(model, path, block.basis, x, ZERO) for x in cases]
                scores[path] = _by_case(torch.as_tensor(np.concatenate(sizes)), n_cases, block)
        else:
            scores = _replace_units(model, shown, metric, blocks, values, metric_clean, baseline, rows, progress)
    return BatchScores(scores, values, metric_clean, baseline, gaps)


def row_basis(basis: str) -> str:
    """Return the basis by which rows of several maps are scored: a channel's are summed per case, not over all."""
    return "neurons" if basis == "channels" else basis


def _by_case(per_row: Float[Tensor, "row unit"], n_cases: int, block: Block) -> Float[np.ndarray, "case node"]:
    rows = per_row.unflatten(0, (n_cases, -1))  # (case, position, unit)
    return np.asarray((rows.sum(1) if block.n_places is None else rows.flatten(1)).cpu().numpy())


def _replace_sites(
    model: Model,
    shown: Sequence[Shown],
    metric: Metric | EachMetric,
    blocks: Sequence[Block],
    values: Recording,
    baseline: Baseline,
    streams: Sequence[Float[Tensor, "row d_model"] | None],
) -> dict[str, Float[np.ndarray, " case"]]:
    """Return m of every case with each whole site at its baseline: what the scores of its units must sum to.

    Sites of one block go together in a forward pass from this block on.
    """
    n, measured = len(shown), {}
    first_layers = [model.first_layer(block.site) if model.restarts else 0 for block in blocks]
    for layer in sorted(set(first_layers)):
        own = [i for i, first in enumerate(first_layers) if first == layer]
        starts = [
            path_start(model, b.site, row_basis(b.basis), values[b.site], baseline)
            for b in map(blocks.__getitem__, own)
        ]
        changes = [
            [Intervention(blocks[i].site, "rows", value=start.unflatten(0, (n, -1))[case])]
            for i, start in zip(own, starts, strict=True)
            for case in range(n)
        ]
        stream = streams[own[0]]
        restart = None if stream is None else Restart(layer, stream.unflatten(0, (n, -1)).repeat(len(own), 1, 1))
        each = metric if isinstance(metric, Metric) else EachMetric(metric.metrics * len(own))
        m = upcast(model.measure([*shown] * len(own), each, interventions=changes, restart=restart)).cpu().double()
        measured.update(
            {blocks[i].site: row.numpy() for i, row in zip(own, m.unflatten(0, (len(own), n)), strict=True)}
        )
    return measured


def _replace_units(
    model: Model,
    shown: Sequence[Shown],
    metric: Metric | EachMetric,
    blocks: Sequence[Block],
    values: Recording,
    metric_clean: Float[np.ndarray, " case"],
    baseline: Baseline,
    rows: int | None,
    progress: Progress | None,
) -> dict[str, Float[np.ndarray, "case unit"]]:
    """Replace every unit of one case by itself, except features at their baseline: to replace these does nothing."""
    [_] = shown
    one = metric if isinstance(metric, Metric) else metric.metrics[0]
    index, changes = UnitIndex(blocks), []
    for block in blocks:
        differs = np.ones((block.n_places or 1, block.n_units), dtype=bool)
        if kind_of(block.basis) == "feature":
            differs = distances(model, block.site, block.basis, values[block.site], baseline) > 0  # (position, unit)
            if block.n_places is None:
                differs = np.atleast_2d(differs.any(0))
        changes.append(differs.ravel())
    units, scores = np.flatnonzero(np.concatenate(changes)), np.zeros(len(index))
    if len(units):
        cases, sets = Cases.of(shown, one), UnitSets(index, units[:, None])
        [measured] = measure_sets(model, cases, sets, baseline, batch_size=rows or ROWS, progress=progress)
        scores[units] = metric_clean[0] - measured
    return {block.site: part[None] for block, part in zip(blocks, np.split(scores, index.firsts[1:-1]), strict=True)}
