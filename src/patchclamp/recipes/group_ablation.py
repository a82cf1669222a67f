"""Ablate parts of a circuit at once over many cases, beside random parts like them."""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.ablate import Baseline, Cases, EdgeSets, Turn, UnitSets, measure_sets
from patchclamp.ablate.strata import EMBEDDING, arrange_parts, measure_moves, read_parts, with_sizes
from patchclamp.attribute.direction import orient
from patchclamp.core.arguments import checked
from patchclamp.core.controls import RandomControls, draw_controls
from patchclamp.core.controls import count_matched as count_in_strata
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.keys import Part
from patchclamp.core.receipt import LARGEST_ACTIVATIONS, Receipt, describe_effect, name_units
from patchclamp.core.scores import Scores
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.subjects.cases import LEAST_DIFFERENCE, ReadTask
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import model_of
from patchclamp.subjects.residual_edges import require_edges


@checked
@dataclass(frozen=True, eq=False)
class GroupAblation:
    """Hold the effect of replacing parts at once, m(x) − m(x with the parts as in x′), as means over cases.

    Of a circuit whose scores denoise it is m(x′ with the parts as in x) − m(x′).

    Args:
        places: which parts of the circuit.
        receipt: what m loses when all are replaced, beside random sets and the units of largest activation.
        alone: ``(part,)`` the effect of each by itself; empty if not measured.
        random_predicted: mean over random sets of the sum of their scores; nan without any.
        clean: m(x).
        corrupted: m(x′).
        quantity: what m is, in words.
    """

    places: tuple[int, ...]
    receipt: Receipt
    alone: tuple[float, ...]
    random_predicted: float
    clean: float
    corrupted: float
    quantity: str = "m"

    @property
    def measured(self) -> float:
        """What m loses when all are replaced."""
        return self.receipt.measured.value

    def share(self, effect: float) -> float:
        """Return an effect as a share of m(x) − m(x′); nan where that is not above 0.1, and a share of nothing."""
        whole = self.clean - self.corrupted
        return effect / whole if whole >= LEAST_DIFFERENCE else math.nan


@checked
def ablate_group(
    model: Network,
    circuit: Scores,
    cases: ReadTask,
    places: Sequence[int],
    *,
    n_sets: int = 99,
    seed: int = 0,
    alone: bool = True,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> GroupAblation:
    """Replace parts of a circuit by their activations under each counterpart, beside random sets like them.

    It is done in the direction that the circuit's scores foretell, so that both can be compared. Random sets are those
    of ``draw_controls``: of a unit those of its site and position are alike, by the mean over pairs of ‖n(x) − n(x′)‖,
    summed over positions where it has none; of an edge those into readers of one site, by that of their sources.

    Args:
        model: the subject.
        circuit: the circuit whose parts they are.
        cases: prompts with counterparts.
        places: which parts; one named twice is replaced once.
        n_sets: most random sets; 0 draws none.
        seed: of their draw.
        alone: measure every part by itself too.
        turn: what forward passes run in.
        progress: called with sets done and in all.

    Returns:
        GroupAblation: effects in units of m, with a receipt.

    Raises:
        PatchclampError: no parts, or nothing else to draw random ones from.

    Source: joint ablation with matched random controls, as 2211.00593 tests circuits; the matching is ours.

    Cost: per pair 4 + ``n_sets`` forward passes, and one more per part where ``alone``; of edges see ``measure_sets``.

    Example:
        >>> from patchclamp.attribute.pairs import attribute_pairs
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = cat.read(task)
        >>> found = attribute_pairs(cat, cases, level="neuron", method="attribution_patching")
        >>> round(ablate_group(cat, found, cases, found.order()[:1].tolist()).measured, 1)
        8.0
    """
    chosen = np.array(list(dict.fromkeys(int(i) for i in places)), dtype=np.int64)
    if not len(chosen) or n_sets < 0:
        raise PatchclampError(
            expected="at least one part, and no negative number of random sets",
            got=f"{len(chosen)} and {n_sets}",
            remedy="Choose some.",
        )
    ends, sign = orient(cases, str(circuit.provenance.options.get("direction", "noise")))
    order, strata, barred = arrange_parts(circuit.parts)
    shown, other = Cases(ends.clean, ends.metrics), Baseline("corrupted", shown=ends.counterpart)
    sizes, loudness = measure_moves(model_of(model, ends), circuit.parts, shown, other, turn=turn)
    strata = with_sizes(order, strata, sizes)
    controls = RandomControls((), "size", 0.0, 0.0, n_sets, len(chosen), seed)
    if n_sets:
        places_of = np.argsort(order)
        drawn = draw_controls(strata, places_of[chosen].tolist(), n_sets, seed=seed, barred=places_of[barred].tolist())
        controls = replace(drawn, sets=tuple(tuple(order[list(one)].tolist()) for one in drawn.sets))
    rival = [] if circuit.of_edges else _loudest(circuit.parts, chosen, loudness)
    rivals = [rival] if rival else []
    singles = [[int(i)] for i in chosen] if alone and len(chosen) > 1 else []
    # Everything is measured in one call; rows are taken apart below in this order.
    groups: list[Sequence[int]] = [chosen.tolist(), *singles, *rivals, *controls.sets]
    marks = np.zeros((len(groups), len(circuit)), dtype=bool)
    for row, group in zip(marks, groups, strict=True):
        row[list(group)] = True
    effects = sign * (ends.m_clean - _measure_groups(model, circuit, ends, marks, turn, progress))
    means = effects.mean(1)
    n_single, n_rivals = len(singles), len(rivals)
    single = means[1 : 1 + n_single] if singles else means[:1] if alone else means[:0]
    interval = mean_interval(effects[0], seed=seed) if len(cases) > 1 else None
    names = circuit.names()
    receipt = Receipt(
        "these parts carry m",
        tuple(names[i] for i in chosen),
        float(circuit.values[chosen].sum()),
        Estimate(float(means[0]), interval, len(cases), "m"),
        controls.measure(means[1 + n_single + n_rivals :]),
        {LARGEST_ACTIVATIONS: float(means[1 + n_single])} if rivals else {},
        describe_effect(
            f"with {name_units(len(chosen), 'edge' if circuit.of_edges else 'part')} as in the "
            f"{'corrupted' if sign > 0 else 'clean'} prompt{'s' * (len(cases) > 1)}",
            ends.quantity,
            float(ends.m_clean.mean()),
            sign * float(means[0]),
            cases.metrics[0].unit,
        ),
    )
    sums = [circuit.values[list(one)].sum() for one in controls.sets]
    return GroupAblation(
        places=tuple(chosen.tolist()),
        receipt=receipt,
        alone=tuple(map(float, single)),
        random_predicted=float(np.mean(sums)) if sums else math.nan,
        clean=float(cases.m_clean.mean()),
        corrupted=float(cases.m_counterpart.mean()),
        quantity=cases.quantity,
    )


def count_matched(parts: Sequence[Part], order: Sequence[int]) -> int:
    """Return how many of some parts, from the first on, can be chosen while others of their kinds are left to draw.

    Args:
        parts: all there are.
        order: places of some, the first ones first.

    Returns:
        int: 0 where the first part alone is all there is of its kind.

    Example:
        >>> count_matched(["blocks.0.mlp.write/whole/0", "blocks.1.mlp.write/whole/0"], [1, 0])
        1
    """
    arranged, strata, barred = arrange_parts(parts)
    places = np.argsort(arranged)
    return count_in_strata(strata, places[list(order)].tolist(), barred=places[barred].tolist())


def count_same_size(parts: Sequence[Part], order: Sequence[int], n_sets: int) -> int:
    """Return how many of some parts, from the first on, can be chosen while random sets of as many parts are left.

    Args:
        parts: all there are.
        order: places of some, the first ones first.
        n_sets: how many different sets there should be, where the match may be as wide as it gets.

    Returns:
        int: the largest such number; where there is none, that with the most sets; 0 where none has any.

    Example:
        >>> count_same_size([f"blocks.0.attn.z/heads/{h}" for h in range(8)], [0, 1, 2, 3, 4, 5], 2)
        3
    """
    arranged, strata, barred = arrange_parts(parts)
    kinds = np.repeat([stratum.kind for stratum in strata], [len(stratum.sizes) for stratum in strata])
    kinds = kinds[np.argsort(arranged)]
    sets = []
    for n in range(1, len(order) + 1):
        wanted = Counter(kinds[list(order[:n])].tolist())
        closed = kinds[list({*map(int, order[:n]), *barred})].tolist()
        left = {kind: int((kinds == kind).sum()) - closed.count(kind) for kind in wanted}
        sets.append(math.prod(math.comb(left[kind], most) for kind, most in wanted.items()))
    most = max(sets, default=0)
    return max((n for n, different in enumerate(sets, 1) if most and different >= min(n_sets, most)), default=0)


def _loudest(parts: Sequence[Part], chosen: Int[np.ndarray, " n"], loudness: Float[np.ndarray, " part"]) -> list[int]:
    """Return the largest activations among units that were not chosen, as many of each basis, without the embedding."""
    places, _ = read_parts([str(part) for part in parts])
    bases = np.array([place.basis for place in places])
    loud = np.where([place.site == EMBEDDING for place in places], -np.inf, loudness)
    loud[chosen] = -np.inf
    loudest: list[int] = []
    for basis in dict.fromkeys(bases[chosen].tolist()):
        of_basis = np.flatnonzero((bases == basis) & np.isfinite(loud))
        k = int((bases[chosen] == basis).sum())
        loudest += of_basis[np.argsort(-loud[of_basis], kind="stable")[:k]].tolist()
    return loudest


def _measure_groups(
    model: Network,
    circuit: Scores,
    cases: ReadTask,
    replaced: Bool[np.ndarray, "set part"],
    turn: Turn,
    progress: Progress | None,
) -> Float[np.ndarray, "set pair"]:
    """Return m of every pair with each set replaced."""
    laid = require_edges(model) if circuit.of_edges else model_of(model, cases)
    used = np.flatnonzero(replaced.any(0))
    parts, rows = [circuit.parts[int(i)] for i in used], replaced[:, used]
    sets = EdgeSets(parts, rows) if circuit.of_edges else UnitSets([str(part) for part in parts], rows)
    then = None if progress is None else (lambda done, total: progress(done * len(rows) // total, len(rows)))
    baseline = Baseline("corrupted", shown=cases.counterpart)
    return measure_sets(laid, Cases(cases.clean, cases.metrics), sets, baseline, turn=turn, progress=then).T
