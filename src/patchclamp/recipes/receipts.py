"""Receipts of one prompt: the chosen units are ablated, beside random controls and simpler choices."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.ablate import Baseline, Cases, First, Row, UnitSets, measure_sets
from patchclamp.attribute.nodes import idle_units, unit_strata
from patchclamp.core.controls import RandomControls, draw_controls
from patchclamp.core.estimate import Estimate
from patchclamp.core.keys import UnitIndex
from patchclamp.core.metric import Metric
from patchclamp.core.receipt import LARGEST_ACTIVATIONS, REPLACED, SLIGHT, Receipt, describe_effect, name_units
from patchclamp.core.scores import Scores
from patchclamp.core.stats import Interval, bootstrap_interval, slope, spearman
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.cases import ROWS
from patchclamp.subjects.memory import count_fitting
from patchclamp.subjects.model import Model
from patchclamp.subjects.pass_memory import count_forward_bytes

STRONGEST, OTHERS, NEAR_ZERO = 24, 24, 16
"""How many single nodes are checked: the strongest, others drawn at random, and some predicted near zero."""
NEAR = 0.01
"""A score counts as near zero at one hundredth of the largest."""
N_ORDERS, N_OPPONENTS = 5, 5
SMALLEST_SCALE = 0.1
DIRECTLY = "direct logit attribution"
"""What that rival is called."""


@dataclass(frozen=True)
class Rival:
    """Hold as many units, chosen in a simpler way.

    Args:
        name: how they were chosen.
        keys: which.
        shared: how many of them the attribution chose too.
        measured: what m loses when they are replaced together.
    """

    name: str
    keys: tuple[str, ...]
    shared: int
    measured: float


@dataclass(frozen=True)
class Check:
    """Hold one unit's predicted effect, and its measured one."""

    key: str
    predicted: float
    measured: float
    near_zero: bool


@dataclass(frozen=True)
class Agreement:
    """Hold how well predictions agree with single ablations.

    Args:
        checks: the nodes.
        spearman: ρ of predicted against measured; nan if one of them is constant.
        spearman_interval: 95 %, by bootstrap over the nodes.
        slope: of measured on predicted; 1 where a prediction is right in size.
        slope_interval: likewise.
    """

    checks: tuple[Check, ...]
    spearman: float
    spearman_interval: Interval
    slope: float
    slope_interval: Interval


@dataclass(frozen=True)
class KeepOnlyCurve:
    """Hold what remains of m when only some units keep their activations and all others are replaced.

    Args:
        sizes: ``(point,)`` how many nodes are kept, by magnitude of their scores.
        measured: ``(point,)`` m then.
        random: ``(point,)`` mean m with as many random nodes kept; features at their baseline come last.
        random_low: ``(point,)`` lowest among the random orders.
        random_high: ``(point,)`` highest.
        nodes: all there are.
    """

    sizes: tuple[int, ...]
    measured: tuple[float, ...]
    random: tuple[float, ...]
    random_low: tuple[float, ...]
    random_high: tuple[float, ...]
    nodes: int


@dataclass(frozen=True, eq=False)
class Receipts:
    """Hold everything that was measured about the chosen units.

    Args:
        receipt: what m loses when all of them are replaced, beside random sets; with the verdict.
        singly: ``(node,)`` what it loses to each alone, chosen first, then opponents.
        rivals: sets chosen in simpler ways.
        agreement: predictions against single replacements.
        kept: the keep-only curve.
    """

    receipt: Receipt
    singly: tuple[float, ...]
    rivals: tuple[Rival, ...]
    agreement: Agreement
    kept: KeepOnlyCurve

    @property
    def together(self) -> float:
        """What m loses when all of them are replaced."""
        return self.receipt.measured.value

    @property
    def randoms(self) -> RandomControls:
        """Random sets."""
        return self.receipt.controls


def measure_receipts(
    model: Model,
    shown: Shown,
    metric: Metric,
    scores: Scores,
    direct: Scores | None,
    baseline: Baseline,
    chosen: Sequence[UnitKey],
    opposing: Sequence[UnitKey],
    *,
    n_controls: int,
    seed: int,
    quantity: str = "m",
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Receipts:
    """Ablate the chosen units, and everything that they are compared with, in one sweep.

    Effects are m(clean) − m(replaced); every unit is replaced by the baseline that its score was computed with.

    Args:
        model: the subject.
        shown: the prompt.
        metric: m.
        found: scores and sizes.
        direct: direct logit attribution of the same prompt; None if nothing writes straight to the logits.
        baseline: what nodes are replaced by.
        chosen: units that should carry m.
        opposing: units that should work against it.
        n_controls: random sets.
        seed: of every draw.
        quantity: what m is, in words.
        batch_size: rows of a forward pass; the default is 64, or as many as memory holds.
        progress: called with replacements done and in all.

    Returns:
        Receipts: effects in units of m.

    Source: joint ablation beside random controls, as 2211.00593 tests circuits; the matching and the verdict are ours.

    Cost: 1 + chosen + opposing + n_controls + 66 rows of restarted forwards, and about 6 · log₂(nodes) of whole ones.

    Example:
        >>> from patchclamp.attribute import attribute_nodes
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> [shown], zero = cat.stimuli("the old cat"), Baseline("zero")
        >>> scores = attribute_nodes(cat, shown, m, method="attribution_patching", levels=["neuron"])
        >>> receipts = measure_receipts(cat, shown, m, scores, None, zero, scores.top(1), [], n_controls=5, seed=0)
        >>> round(receipts.together, 1)
        8.0
    """
    controls = draw_controls(unit_strata(scores), [scores.units.place(node) for node in chosen], n_controls, seed=seed)
    rivals = {LARGEST_ACTIVATIONS: _loudest(scores, chosen)}
    rival = loudest_others(scores, chosen)
    if direct is not None:
        rivals[DIRECTLY] = _nodes(direct, direct.places(len(chosen)))
    order, idle = scores.order(signed=False), idle_units(scores)
    singles, near = _sample(scores, order, idle, seed)
    sizes, orders = _kept_sizes(len(scores), int(idle.sum())), _orders(order, idle, seed)
    groups = [chosen, *([n] for n in (*chosen, *opposing)), *rivals.values(), *([n] for n in singles), rival]
    named = [np.array([scores.units.place(node) for node in group], dtype=np.int64) for group in groups]
    one = 1 + len(chosen) + len(opposing)  # all chosen together, then each by itself
    drawn_sets = [np.array(places, dtype=np.int64) for places in controls.sets]
    # In this order the effects are taken apart again below: together, singly, random, rivals, checks, loudest others.
    listed = [*named[:one], *drawn_sets, *named[one:]]
    n_groups = len(listed)
    rows: list[Row] = [*listed, *(First(order, size, rest=True) for order in orders for size in sizes)]
    cases, units = Cases.of([shown], metric), UnitSets(scores.units, rows)
    at_once = batch_size or count_fitting(set_bytes(model, len(shown), scores.units), ROWS, str(model.device))
    [values] = measure_sets(model, cases, units, baseline, batch_size=at_once, progress=progress)
    effects, kept = scores.metric_clean - values[:n_groups], values[n_groups:].reshape(len(orders), len(sizes))
    n_single = len(chosen) + len(opposing)
    together, singly, drawn, rival_effects, checked, other = (
        part for part in np.split(effects, np.cumsum([1, n_single, len(drawn_sets), len(rivals), len(singles)]))
    )
    compared = tuple(
        _rival(name, nodes, chosen, float(effect))
        for (name, nodes), effect in zip(rivals.items(), rival_effects, strict=True)
    )
    return Receipts(
        receipt=Receipt(
            "these units carry m",
            tuple(map(str, chosen)),
            float(sum(scores.score(node) for node in chosen)),
            Estimate(float(together[0]), None, 1, "m"),
            controls.measure(drawn),
            {LARGEST_ACTIVATIONS: float(other[0])} if rival else {},
            describe_effect(
                f"with {name_units(len(chosen))} {REPLACED[baseline.kind]}",
                quantity,
                scores.metric_clean,
                float(together[0]),
                metric.unit,
            ),
            SLIGHT * _explicable(scores.metric_clean, float(kept[0][0])),
        ),
        singly=tuple(map(float, singly)),
        rivals=compared,
        agreement=_agreement(scores, singles, near, checked, seed),
        kept=_curve(sizes, kept, len(scores)),
    )


def _explicable(metric_clean: float, metric_bare: float) -> float:
    """Return what there is to explain: by how much m changes with every unit replaced, or m where it hardly does."""
    between = abs(metric_clean - metric_bare)
    return between if between >= SMALLEST_SCALE else max(between, abs(metric_clean))


def set_bytes(model: Model, n_positions: int, units: UnitIndex) -> int:
    """Return the bytes of one row of a forward pass in which almost all units may be replaced.

    Args:
        model: the subject.
        n_positions: length of the prompt.
        units: all that are scored.

    Returns:
        int: values, and a mark for every unit, of which those at the sites that change are picked.
    """
    replaced = {model.site(block.site).kind for block in units.blocks}
    return count_forward_bytes(model, n_positions, replaced, copies=3) + 2 * len(units)


def count_rows(n_nodes: int, *, top: int, n_controls: int, direct: bool = True) -> int:
    """Count the rows of forward passes that receipts take, opponents and rivals included.

    There are fewer where fewer units push either way, or fewer different random sets exist.

    Args:
        n_nodes: units that are scored.
        top: how many are chosen.
        n_controls: random sets.
        direct: whether the strongest direct logit attributions are a rival.

    Returns:
        int: rows.

    Example:
        >>> count_rows(1024, top=20, n_controls=20)
        185
    """
    singles = min(n_nodes, STRONGEST + OTHERS + NEAR_ZERO)
    kept = (1 + N_ORDERS) * len(_kept_sizes(n_nodes, 0))
    # All chosen together; the largest activations, with the chosen among them and without; then the direct ones.
    n_sets = 1 + min(top, n_nodes) + min(N_OPPONENTS, n_nodes) + n_controls + 2 + direct
    return n_sets + singles + kept


def normalise(effect: float, clean: float, floor: float) -> float | None:
    """Return an effect as a share of m(clean) − m(baseline); None below 0.1, where there is nothing to share.

    Args:
        effect: in the metric's units.
        clean: m on the prompt.
        floor: m without the answer: on the corrupted prompt, or with every unit replaced.

    Returns:
        float | None: the share.

    Example:
        >>> normalise(2.0, 4.0, -4.0), normalise(2.0, 4.0, 4.0)
        (0.25, None)
    """
    scale = clean - floor
    return None if scale < SMALLEST_SCALE else effect / scale


def loudest_others(scores: Scores, chosen: Sequence[UnitKey]) -> list[UnitKey]:
    """Return the largest activations among units that were not chosen, as many of each basis, fewer if few are left.

    Units shared with the chosen ones would confirm them instead of contesting them.
    """
    return _loudest(scores, chosen, without=set(chosen))


def _loudest(scores: Scores, chosen: Sequence[UnitKey], *, without: Set[UnitKey] = frozenset()) -> list[UnitKey]:
    """Return the largest activations, as many neurons and as many heads as were chosen: the two have no one scale."""
    nodes: list[UnitKey] = []
    for basis in dict.fromkeys(node.basis for node in chosen):
        spans = [scores.units.span(*where) for where in _sites(scores) if where[1] == basis]
        places = np.concatenate([np.arange(span.start, span.stop) for span in spans])
        k = sum(node.basis == basis for node in chosen)
        loudness = np.abs(scores.measures["activation"][places])
        loud = _nodes(scores, places[highest_places(loudness, k + len(without))])
        nodes += [node for node in loud if node not in without][:k]
    return nodes


def highest_places(values: Float[np.ndarray, " value"], k: int) -> Int[np.ndarray, " k"]:
    """Return the places of the ``k`` highest values, the first of equal ones first, without sorting all of them.

    Example:
        >>> highest_places(np.array([1.0, 3.0, 2.0, 3.0]), 3).tolist()
        [1, 3, 2]
    """
    k = min(k, len(values))
    if k == 0:
        return np.zeros(0, dtype=np.int64)
    least = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > least)
    chosen = np.sort(np.concatenate([above, np.flatnonzero(values == least)[: k - len(above)]]))
    order = np.argsort(-values[chosen], kind="stable")
    return chosen[order]


def _nodes(scores: Scores, places: Iterable[int | np.integer]) -> list[UnitKey]:
    """Return the units at some places."""
    return [scores.units.unit(int(place)) for place in places]


def _sites(scores: Scores) -> list[tuple[str, str]]:
    """Return the sites of scores of units, each with its basis."""
    return [(block.site, block.basis) for block in scores.units.blocks]


def _rival(name: str, nodes: Sequence[UnitKey], chosen: Sequence[UnitKey], measured: float) -> Rival:
    return Rival(name, tuple(map(str, nodes)), len(set(nodes) & set(chosen)), measured)


def _sample(
    scores: Scores, order: Int[np.ndarray, " node"], idle: Bool[np.ndarray, " node"], seed: int
) -> tuple[list[UnitKey], list[bool]]:
    """Choose the single nodes whose predictions are checked: strong ones, others, and some predicted near zero."""
    draw = np.random.default_rng(seed)
    is_near = np.abs(scores.values) <= NEAR * np.abs(scores.values).max()  # predicted near zero
    likely, unlikely = order[~is_near[order]], order[is_near[order]]
    rest = draw.permutation(likely[STRONGEST:])[:OTHERS]
    strong = [*likely[:STRONGEST], *rest]
    # Where few scores are away from zero, more of the others are checked: what is missed lies among them.
    shuffled = draw.permutation(unlikely)
    # That a feature at its baseline does nothing is no prediction: such come last.
    shuffled = shuffled[np.argsort(idle[shuffled], kind="stable")]
    picked = [*strong, *shuffled[: NEAR_ZERO + STRONGEST + OTHERS - len(strong)]]
    return _nodes(scores, picked), [bool(is_near[i]) for i in picked]


def _agreement(
    scores: Scores, nodes: Sequence[UnitKey], near: Sequence[bool], measured: np.ndarray, seed: int
) -> Agreement:
    predicted = np.array([scores.score(node) for node in nodes])
    both = np.stack([predicted, measured], axis=1)
    return Agreement(
        checks=tuple(
            Check(str(node), float(p), float(m), z)
            for node, p, m, z in zip(nodes, predicted, measured, near, strict=True)
        ),
        spearman=spearman(predicted, measured),
        spearman_interval=bootstrap_interval(both, lambda rows: spearman(rows[:, 0], rows[:, 1]), seed=seed),
        slope=slope(predicted, measured),
        slope_interval=bootstrap_interval(both, lambda rows: slope(rows[:, 0], rows[:, 1]), seed=seed),
    )


def _kept_sizes(n: int, n_idle: int) -> list[int]:
    """Return 0, the powers of two, and all; idle features, which come last in every order, count in the last alone."""
    n_moved = n - n_idle
    return [0, *(2**i for i in range(n_moved.bit_length()) if 2**i < n_moved), n]


def _orders(
    order: Int[np.ndarray, " node"], idle: Bool[np.ndarray, " node"], seed: int
) -> list[Int[np.ndarray, " node"]]:
    """Return the ranks of nodes by magnitude of score, then in some random orders.

    Features at their baseline come after all others, in random orders too.
    """
    n = len(order)
    draw = np.random.default_rng(seed)
    ranks = np.empty(n, dtype=np.int64)
    ranks[order] = np.arange(n)
    return [ranks, *(_idle_last(draw.permutation(n), idle) for _ in range(N_ORDERS))]


def _idle_last(ranks: np.ndarray, idle: np.ndarray) -> np.ndarray:
    """Return ranks in the same order, those of idle nodes after all others."""
    if not idle.any():
        return ranks
    moved = np.empty_like(ranks)
    moved[np.lexsort((ranks, idle))] = np.arange(len(ranks))
    return moved


def _curve(sizes: Sequence[int], kept: Float[np.ndarray, "order point"], n_nodes: int) -> KeepOnlyCurve:
    random = kept[1:]
    low, mean, high = (tuple(map(float, f(random, axis=0))) for f in (np.min, np.mean, np.max))
    return KeepOnlyCurve(tuple(sizes), tuple(map(float, kept[0])), mean, low, high, n_nodes)
