"""Explain an answer: score every neuron, head or feature at every position, and ablate the best of them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.ablate import Baseline
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.features import directions, kind_of
from patchclamp.attribute.gradients import make_baseline
from patchclamp.attribute.nodes import by_unit, level_sites, shape_of, unit_strata
from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.checks import one_of
from patchclamp.core.controls import count_matched, kind_at
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import find_default, list_names
from patchclamp.core.metric import Metric
from patchclamp.core.recording import Recording
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.recipes.explained_edges import N_MEASURED, find_edges
from patchclamp.recipes.explanation import Cause, Explanation
from patchclamp.recipes.picture_heat import heat_of
from patchclamp.recipes.receipts import DIRECTLY, N_OPPONENTS, highest_places, measure_receipts
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import make_plain_network, model_of

LEAST_CONTROLS, N_CONTROLS, MOST_CONTROLS = 20, 99, 1000
"""Random sets: ninety-nine can show p = .01, which a claim needs to hold."""
N_PROMOTED, N_LIKELIEST = 4, 5
ROUNDINGS = 4
"""Roundings of the largest logit that a direction drawn at random promotes: less is no promotion."""
NOTHING = 1e-4
"""Scores below this share of the largest name no cause: they are rounding."""
LEAST_MOVED = 1e-5
"""Logits: what moves m by less is rounding too."""
METHOD = find_default("explain", "attribute")
"""It alone finds every unit of the planted circuits (`patchclamp calibrate`), at ten times the cost of one gradient."""
EXPLAINING = list_names("attribute", "unit", option="direction")


@checked
def explain(
    model: Network,
    prompt: Any,
    target: str | int | None = None,
    *,
    contrast: str | int | None = None,
    counterpart: Any = None,
    means: Any = None,
    metric: Metric | None = None,
    method: str = METHOD,
    levels: Sequence[str] | None = None,
    top: int = 20,
    n_controls: int = N_CONTROLS,
    edges: Natural = N_MEASURED,
    seed: Natural = 0,
    batch_size: Positive | None = None,
    progress: Progress | None = None,
) -> Explanation:
    r"""Find which neurons and heads gave an answer, and prove it by replacing them.

    Every node gets a score (see ``attribute_nodes``): the part of m that it is predicted to carry. The top k are then
    replaced by the same baseline (0, their mean over a text, or their value on the corrupted prompt) together and one
    by one: measured = m(clean) − m(replaced). Beside them are replaced: random sets of like size at the same sites and
    positions, the largest activations, the strongest direct logit attributions, and 64 single nodes of which 16 are
    predicted near zero. The keep-only curve replaces everything but the strongest nodes.

    Args:
        model: the subject; of a wrapped plain network ``levels`` names the sites.
        prompt: the text, without a space at its end; of an image model the image: a path, an array, ``digits:17``; of a
            plain network a tensor, or a tuple of tensors, with one row. Or a Task of one case, which says all of what
            is asked.
        target: the answer, with its leading space; of an image model a class, by name or number; of a plain network a
            number.
        contrast: the answer it is compared with.
        counterpart: a prompt of as many tokens (or another image) under which the answer should be lost: the baseline
            ``corrupted``.
        means: a survey of this model whose means are the baseline.
        metric: any other number to explain, instead of target and contrast.
        method: a card of the room attribute that predicts changes of m.
        levels: ``neuron`` (every MLP neuron), ``head`` (every attention head), ``channel`` (every channel of a map,
            over all its places), ``feature`` (every unit of the bases that were added to the model), or patterns of
            site paths; the default is neurons and heads, or channels.
        top: how many causes to name and replace, at most: fewer where no others would be left at their sites.
        n_controls: random sets, 20 to 1,000: with fewer than 99 no claim can hold.
        edges: how many of the strongest edges among the causes are measured by themselves; 0 seeks no edges.
        seed: of every draw.
        batch_size: rows of a pass; the default is what memory holds. Where memory runs out all the same, batches are
            halved and the work goes on.
        progress: called with replacements done and replacements in all.

    Returns:
        Explanation: scores, receipts, controls.

    Raises:
        PatchclampError: see ``Model.read_case`` and ``attribute_nodes``; also a metric that is not finite, or nothing
            that pushes towards the answer.

    Source: 2508.21258 for the scores; receipts and controls are ours.

    Cost: see ``cost_of_explanation``: the attribution, then about 130 + k + n_controls + 6 log₂(nodes) rows of
    forwards; memory of all nodes' values and gradients at the prompt's positions.

    Example:
        >>> from patchclamp.loaders import load
        >>> found = explain(load("organism:cat"), "the old cat", " sat", contrast=" ran", top=5)
        >>> found.causes[0].key, round(found.causes[0].measured, 2)
        ('cat/blocks.0.mlp.act/neurons/7@3', 8.0)
    """
    check_counts(top, n_controls)
    one_of("method", method, EXPLAINING)
    model, case = _read(model, prompt, target, contrast, counterpart, metric)
    kind = "mean" if means is not None else "zero" if case.counterpart is None else "corrupted"
    common: dict[str, Any] = {"corrupted": case.counterpart, "means": means, "levels": levels}
    shown, metric = case.clean, case.metric
    _check_others(model, shown, levels)
    # The cheap rival comes first: what cannot be asked of this model is refused before the long work.
    why = model.indirect
    direct = None if why else attribute_nodes(model, shown, metric, method="direct_logit", **common)
    gradients: dict[str, Tensor] = {}
    scores = attribute_nodes(
        model,
        shown,
        metric,
        method=method,
        **common,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
        gradients=gradients,
    )
    _check_moved(model, case, scores)
    least = NOTHING * np.abs(scores.values).max()
    chosen = [scores.units.unit(int(i)) for i in scores.places(top) if scores.values[i] > least]
    opposing = [scores.units.unit(int(i)) for i in _lowest(scores, N_OPPONENTS) if scores.values[i] < -least]
    if not chosen:
        raise PatchclampError(
            expected="units that push towards the answer",
            got="none with a positive score",
            remedy="Swap target and contrast, or give a corrupted prompt.",
        )
    n_matched = count_matched(unit_strata(scores), [scores.units.place(node) for node in chosen])
    if not n_matched:
        raise PatchclampError(
            expected="units to draw random sets from",
            got=f"{chosen[0]}, the only one of its kind",
            remedy="Choose another --level.",
        )
    chosen = chosen[:n_matched]
    sites = [block.site for block in scores.units.blocks]
    replaced_by = make_baseline(model, sites, corrupted=case.counterpart, means=means)
    receipts = measure_receipts(
        model,
        shown,
        metric,
        scores,
        direct,
        replaced_by,
        chosen,
        opposing,
        n_controls=n_controls,
        seed=seed,
        quantity=case.quantity,
        batch_size=batch_size,
        progress=progress,
    )
    clean = model.run(shown, record=list(dict.fromkeys(n.site for n in (*chosen, *opposing))), logits=False).recording
    described = list(_describe_units(model, case, scores, clean, replaced_by, [*chosen, *opposing], receipts.singly))
    probability, likeliest, step = _first_answers(model, case)
    return Explanation(
        case=case,
        subject={"slug": model.name, "hash": model.hash, **model.origin},
        method=scores.method,
        baseline=kind,
        metric_clean=scores.metric_clean,
        metric_baseline=receipts.kept.measured[0]
        if case.counterpart is None
        else _measure(model, case.counterpart, metric),
        probability=probability,
        likeliest=likeliest,
        step=step,
        tokens=tuple(zip(_tokens(model, shown, scores), map(float, scores.by_place()), strict=True)),
        causes=tuple(described[: len(chosen)]),
        opposing=tuple(described[len(chosen) :]),
        predicted=float(sum(scores.score(node) for node in chosen)),
        receipts=receipts,
        total=scores.total,
        gap=scores.provenance.extra.get("gap"),
        seed=seed,
        n_layers=model.n_layers,
        edges=find_edges(model, case, scores, [*chosen, *opposing], replaced_by, edges, gradients, progress),
        bases={
            f"{one.site}/{one.basis}": model.basis_at(one.site, one.basis).hash
            for one in scores.units.blocks
            if kind_of(one.basis) == "feature"
        },
        omitted={DIRECTLY: why} if why else {},
        heat=heat_of(model, case, scores, [*chosen, *opposing], method=method, seed=seed, **common),
    )


def _read(
    model: Network,
    prompt: Any,
    target: str | int | None,
    contrast: str | int | None,
    counterpart: Any,
    metric: Metric | None,
) -> tuple[Model, ReadCase]:
    """Return the model, laid out for what it is shown, and the one case as it reads it."""
    if isinstance(prompt, Task):
        if len(prompt) > 1 or not (target is contrast is counterpart is metric is None):
            raise PatchclampError(
                expected="a task of one case, and nothing beside it",
                got=f"{len(prompt)} cases" if len(prompt) > 1 else "a target, contrast, counterpart or metric too",
                remedy="pc.attribute(subject, task) takes several. A case holds its targets and counterpart.",
            )
        cases = model.read(prompt, least=None)
        return model_of(model, cases), cases.read[0]
    if (target is None) == (metric is None) or (metric is not None and contrast is not None):
        raise PatchclampError(
            expected="a target (and perhaps a contrast), or a metric",
            got="both" if metric is not None else "neither",
            remedy="A metric says by itself which tokens it reads.",
        )
    laid = make_plain_network(model, prompt)
    targets, contrasts = (() if answer is None else (answer,) for answer in (target, contrast))
    return laid, laid.read_case(prompt, targets, contrasts, counterpart=counterpart, metric=metric)


def check_counts(top: int, n_controls: int) -> None:
    """Refuse numbers of causes and of random sets that no explanation can have.

    Raises:
        PatchclampError: no cause, or too few or too many sets.
    """
    if top < 1 or not LEAST_CONTROLS <= n_controls <= MOST_CONTROLS:
        raise PatchclampError(
            expected=f"at least 1 cause, and {LEAST_CONTROLS} random sets to {MOST_CONTROLS:,}",
            got=f"{top} and {n_controls}",
            remedy="Twenty sets can show p < 0.05, ninety-nine p = 0.01, a thousand p < 0.001.",
        )


def _check_others(model: Model, shown: Shown, levels: Sequence[str] | None) -> None:
    """Refuse, before anything is scored, units that are the only ones of their kinds: no random sets can be drawn."""
    sites = level_sites(model, model.levels if levels is None else levels)
    kinds = Counter(kind_at(path, basis) for path, basis in sites.items())
    if all(kinds[kind_at(*site)] * math.prod(shape_of(model, *site, len(shown))) < 2 for site in sites.items()):
        raise PatchclampError(
            expected="sites with units to draw random sets from",
            got=f"{', '.join(list(sites)[:3])}, with one unit each",
            remedy="Choose another --level.",
        )


def _tokens(model: Model, shown: Shown, found: Scores) -> list[str]:
    """Return what stands at every position that the scores have; the whole image where they have only one."""
    n = len(found.by_place())
    first = found.units.blocks[0]
    if first.n_places != n:
        return ["image"] * n
    return [model.place_name(shown, UnitKey(first.site, 0, first.basis, None, i)) for i in range(n)]


def _check_moved(model: Model, case: ReadCase, found: Scores) -> None:
    """Refuse to rank what is rounding: an answer that no unit moves has no causes."""
    if case.metric.kind not in ("logit", "logit_difference") or np.abs(found.values).max() >= LEAST_MOVED:
        return
    words = model.unknown_words(case.clean)
    raise PatchclampError(
        expected=f"an answer that some unit is predicted to move by {LEAST_MOVED:g} logits or more",
        got=f"m = {found.metric_clean:.2f}, which none moves: there is nothing to explain",
        remedy=f"The vocabulary lacks {', '.join(map(repr, words))}: use other words in the prompt."
        if words
        else "Give a prompt that decides between the answers.",
    )


def _lowest(scores: Scores, k: int) -> list[int]:
    """Return the places of the ``k`` lowest scores, the lowest first, the last of equal ones first."""
    n = len(scores)
    return [n - 1 - int(i) for i in highest_places(-scores.values[::-1], k)]


def _measure(model: Model, stimulus: Any, metric: Metric) -> float:
    return float(model.measure(stimulus, metric)[0])


def _describe_units(
    model: Model,
    case: ReadCase,
    found: Scores,
    clean: Recording,
    replaced_by: Baseline,
    nodes: Sequence[UnitKey],
    measured: Sequence[float],
) -> Iterator[Cause]:
    for node, effect in zip(nodes, measured, strict=True):
        activation = float(found.measures["activation"][found.units.place(node)])
        promotes: tuple[str, ...] = ()
        if node.position is not None:
            promotes = _promoted_tokens(
                model, node.site, _alone(model, node, clean[node.site][node.position], activation)
            )
        yield Cause(
            key=str(node),
            kind=kind_of(node.basis),
            position=node.position,
            token=model.place_name(case.clean, node),
            activation=activation,
            baseline=_value_in_place(model, node, clean[node.site], replaced_by),
            predicted=found.score(node),
            measured=effect,
            promotes=promotes,
        )


def _value_in_place(model: Model, node: UnitKey, clean: Tensor, replaced_by: Baseline) -> float:
    """Return what replaces a node's activation, read as activations are: of a head or a channel the norm."""
    place = node.position or 0
    if kind_of(node.basis) == "feature":
        return float(replaced_by.features(model.basis_at(node.site, node.basis), node.site, clean)[place, node.index])
    values = by_unit(replaced_by.at(node.site, clean), model.site(node.site), node.basis)[place, node.index]
    return float(values[0] if len(values) == 1 else np.linalg.norm(values))


def _alone(model: Model, node: UnitKey, row: Float[Tensor, " width"], activation: float) -> Float[Tensor, " width"]:
    """Return what a node puts into its site's values: its own columns, or a feature's share of its direction."""
    if kind_of(node.basis) == "feature":
        return activation * directions(model.basis_at(node.site, node.basis), row)[node.index]
    site = model.site(node.site)
    block = site.width // count_units(model.basis_at(node.site, node.basis), site)
    own = slice(node.index * block, (node.index + 1) * block)
    alone = torch.zeros_like(row)
    alone[own] = row[own]
    return alone


def _promoted_tokens(model: Model, site: str, values: Tensor) -> tuple[str, ...]:
    if not bool(values.any()):
        return ()
    promoted = model.promoted_logits(site, values[None])
    if promoted is None:
        return ()
    logits = promoted[0].float()
    least = _promotion_rounding(model, values)
    best = logits.topk(min(N_PROMOTED, len(logits)))
    return tuple(model.answer_name(int(i)) for v, i in zip(best.values, best.indices, strict=True) if v > least)


def _promotion_rounding(model: Model, like: Tensor) -> float:
    """Return below which logit a unit promotes nothing, having written where the unembedding does not read."""
    read_out = getattr(model, "read_out", None)  # of a language model
    if read_out is None:
        return 0.0
    width = model.site(f"blocks.{model.n_layers - 1}.resid_out").width
    drawn = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).to(like)
    return float(read_out(drawn).abs().max()) * ROUNDINGS * float(torch.finfo(like.dtype).eps)


def _first_answers(model: Model, case: ReadCase) -> tuple[float, tuple[tuple[str, float], ...], float]:
    """Return the target's probability where the metric first reads, the model's likeliest answers, and the step there.

    The step is the distance from the largest logit to the next number of its type; 0 in single precision and above.
    """
    logits = model.run(case.clean, logits=case.metric.positions[:1]).logits
    probabilities = logits[0, 0].float().softmax(-1)
    best = probabilities.topk(min(N_LIKELIEST, len(probabilities)))
    likeliest = [(model.answer_name(int(i)), float(p)) for p, i in zip(best.values, best.indices, strict=True)]
    target = case.metric.target
    half, largest = torch.finfo(logits.dtype).bits < 32, float(logits[0, 0].abs().max())
    known = half and math.isfinite(largest) and largest > 0
    step = torch.finfo(logits.dtype).eps * 2.0 ** math.floor(math.log2(largest)) if known else 0.0
    return float(probabilities[target[0]]) if target else float("nan"), tuple(likeliest), step
