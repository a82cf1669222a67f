"""Together: what m loses over pairs when parts of a circuit are replaced at once, beside random parts like them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.attribute.direction import orient
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.gradients import recorded
from patchclamp.attribute.nodes import by_unit
from patchclamp.core.circuit import Circuit, Part
from patchclamp.core.controls import RandomControls, Stratum, draw_controls, kind_at
from patchclamp.core.controls import count_matched as count_in_strata
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.receipt import LARGEST_ACTIVATIONS, Receipt
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.bases import encode
from patchclamp.subjects.cases import LEAST_DIFFERENCE, Cases
from patchclamp.subjects.edges import edge_map, measure_edges, with_edges
from patchclamp.subjects.edits import widened
from patchclamp.subjects.interchange import measure_interchanged
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import model_of

AT_ONCE, PAIRS_AT_ONCE = 8, 16
"""Sets that are measured in one go, and pairs recorded; whoever else asks has their turn between."""
EMBEDDING = "embed"
"""To replace it is to show the corrupted prompt: it takes all of m(x) − m(x′), and stands in no set."""
Turn = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, eq=False)
class Together:
    """Hold what replacing parts did: m(x) − m(x with the parts as in x′), every figure a mean over pairs.

    Of a circuit whose scores denoise it is m(x′ with the parts as in x) − m(x′).

    Args:
        places: which parts of the circuit.
        receipt: what m loses when all are replaced, beside random sets and the units of largest activation.
        alone: ``(part,)`` what it loses to each by itself; empty where that was not asked.
        random_predicted: mean over random sets of the sum of their scores; nan without any.
        clean: m(x).
        corrupted: m(x′).
    """

    places: tuple[int, ...]
    receipt: Receipt
    alone: tuple[float, ...]
    random_predicted: float
    clean: float
    corrupted: float

    @property
    def measured(self) -> float:
        """What m loses when all are replaced."""
        return self.receipt.measured.value

    def share(self, effect: float) -> float:
        """Return an effect as a share of m(x) − m(x′); nan where that is not above 0.1, and a share of nothing."""
        whole = self.clean - self.corrupted
        return effect / whole if whole >= LEAST_DIFFERENCE else math.nan


def replace_together(
    model: Network,
    circuit: Circuit,
    cases: Cases,
    places: Sequence[int],
    *,
    n_sets: int = 99,
    seed: int = 0,
    alone: bool = True,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> Together:
    """Replace parts of a circuit by what they are under each pair's counterpart, and random sets like them.

    It is done in the direction that the circuit's scores foretell, so that both can be compared. Random sets are those
    of ``draw_controls``: of a unit those of its site and position are alike, by the mean over pairs of ‖n(x) − n(x′)‖,
    summed over positions where it has none; of an edge those into readers of one site, by that of their sources.

    Args:
        model: the subject.
        circuit: whose parts they are.
        cases: whom it is asked of.
        places: which parts; one named twice is replaced once.
        n_sets: random sets, at most; 0 draws none.
        seed: of their draw.
        alone: measure every part by itself too.
        turn: what forward passes run in.
        progress: called with sets done and in all.

    Raises:
        PatchclampError: no parts, or nothing else to draw random ones from.

    Cost: per pair 4 + ``n_sets`` forward passes, and one more per part where ``alone``; of edges see ``measure_edges``.

    Example:
        >>> from patchclamp.attribute.over_pairs import attribute_pairs
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = cat.read(task)
        >>> found = attribute_pairs(cat, cases, level="neuron", method="atp")
        >>> round(replace_together(cat, found, cases, found.order()[:1].tolist()).measured, 1)
        8.0
    """
    chosen = np.array(list(dict.fromkeys(int(i) for i in places)), dtype=np.int64)
    if not len(chosen) or n_sets < 0:
        raise PatchclampError(
            expected="at least one part, and no negative number of random sets",
            got=f"{len(chosen)} and {n_sets}",
            remedy="Choose some.",
        )
    ends, sign = orient(cases, str(dict(circuit.about.get("settings", {})).get("direction", "noise")))
    order, strata, barred = _arrange(circuit.parts)
    sizes, loudness = _moves(model_of(model, ends), circuit.parts, ends, turn)
    strata = [replace(s, sizes=sizes[order[s.first : s.first + len(s.sizes)]]) for s in strata]
    controls = RandomControls((), "size", 0.0, 0.0, n_sets, len(chosen), seed)
    if n_sets:
        places_of = np.argsort(order)
        found = draw_controls(strata, places_of[chosen].tolist(), n_sets, seed=seed, barred=places_of[barred].tolist())
        controls = replace(found, sets=tuple(tuple(order[list(one)].tolist()) for one in found.sets))
    rival = [] if circuit.level == "edge" else _loudest(circuit.parts, chosen, loudness)
    rivals = [rival] if rival else []
    singles = [[int(i)] for i in chosen] if alone and len(chosen) > 1 else []
    groups: list[Sequence[int]] = [chosen.tolist(), *singles, *rivals, *controls.sets]
    marks = np.zeros((len(groups), len(circuit)), dtype=bool)
    for row, group in zip(marks, groups, strict=True):
        row[list(group)] = True
    effects = sign * (ends.m_clean - _measured(model, circuit, ends, marks, turn, progress))
    means = effects.mean(1)
    n_single, n_rivals = len(singles), len(rivals)
    single = means[1 : 1 + n_single] if singles else means[:1] if alone else means[:0]
    interval = mean_interval(effects[0], seed=seed) if len(cases) > 1 else None
    names = circuit.names()
    receipt = Receipt(
        "these parts carry m", tuple(names[i] for i in chosen), float(circuit.scores[chosen].sum()),
        Estimate(float(means[0]), interval, len(cases), "m"), controls.measure(means[1 + n_single + n_rivals :]),
        {LARGEST_ACTIVATIONS: float(means[1 + n_single])} if rivals else {},
    )  # fmt: skip
    sums = [circuit.scores[list(one)].sum() for one in controls.sets]
    return Together(
        places=tuple(chosen.tolist()), receipt=receipt, alone=tuple(map(float, single)),
        random_predicted=float(np.mean(sums)) if sums else math.nan,
        clean=float(cases.m_clean.mean()), corrupted=float(cases.m_counterpart.mean()),
    )  # fmt: skip


def count_matched(parts: Sequence[Part], order: Sequence[int]) -> int:
    """Return how many of some parts, from the first on, can be chosen so that others of their kinds are left to draw.

    Args:
        parts: all there are.
        order: places of some, the first ones first.

    Returns:
        int: 0 where the first part alone is all there is of its kind.

    Example:
        >>> count_matched(["blocks.0.mlp.write/whole/0", "blocks.1.mlp.write/whole/0"], [1, 0])
        1
    """
    arranged, strata, barred = _arrange(parts)
    places = np.argsort(arranged)
    return count_in_strata(strata, places[list(order)].tolist(), barred=places[barred].tolist())


def count_same_size(parts: Sequence[Part], order: Sequence[int], n_sets: int) -> int:
    """Return how many of some parts, from the first on, can be chosen so that random sets of as many parts are left.

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
    arranged, strata, barred = _arrange(parts)
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


@dataclass(frozen=True)
class _Place:
    """A site and basis, a position (None where a unit stands for all), and the kind of what is there."""

    site: str
    basis: str
    position: int | None
    kind: str


def _read(parts: Sequence[str]) -> tuple[list[_Place], Int[np.ndarray, " part"]]:
    """Return where every unit is, and its index there; a key is parsed once a site."""
    heads: dict[str, UnitKey] = {}
    places: dict[tuple[str, str], _Place] = {}
    found, units = [], np.zeros(len(parts), dtype=np.int64)
    for i, part in enumerate(parts):
        head, _, tail = part.rpartition("/")
        unit, _, at = tail.partition("@")
        if head not in heads:
            heads[head] = UnitKey.parse(part)
        if (head, at) not in places:
            key = replace(heads[head], position=None) if not at else UnitKey.parse(part)
            places[head, at] = _Place(key.site, key.basis, key.position, kind_at(key.site, key.basis))
        found.append(places[head, at])
        units[i] = int(unit)
    return found, units


def _arrange(
    parts: Sequence[Part],
) -> tuple[Int[np.ndarray, " part"], list[Stratum], list[int]]:
    """Return parts stratum by stratum, their strata without sizes, and which of them stand in no set.

    The embedding is such a one: to replace it is to show the corrupted prompt.
    """
    whole = [isinstance(part, str) for part in parts]
    places, units = _read([part if isinstance(part, str) else part[1] for part in parts])
    numbers = {place: n for n, place in enumerate(dict.fromkeys(places))}
    strata_of_parts = np.array([numbers[place] for place in places])
    # Edges into readers of one site are one stratum, in their own order.
    order = np.lexsort((np.where(whole, units, 0), strata_of_parts))
    counts = np.bincount(strata_of_parts, minlength=len(numbers))
    firsts = np.cumsum(counts) - counts
    strata = [
        Stratum(
            place.site,
            place.kind,
            place.position,
            np.zeros(n),
            int(first),
            is_unit and kind_of(place.basis) == "feature",
        )
        for place, n, first, is_unit in zip(numbers, counts, firsts, [whole[i] for i in order[firsts]], strict=True)
    ]
    barred = [i for i, place in enumerate(places) if whole[i] and place.site == EMBEDDING]
    return order, strata, barred


def _moves(
    model: Model, parts: Sequence[Part], ends: Cases, turn: Turn
) -> tuple[Float[np.ndarray, " part"], Float[np.ndarray, " part"]]:
    """Return the mean over pairs of ‖n(x) − n(x′)‖ and of ‖n(x)‖ of every part; of an edge, of its source."""
    keys = [part if isinstance(part, str) else part[0] for part in parts]
    names = list(dict.fromkeys(keys))
    places, units = _read(names)
    members: dict[tuple[str, str], list[int]] = {}
    for i, place in enumerate(places):
        members.setdefault((place.site, place.basis), []).append(i)
    at = np.array([-1 if place.position is None else place.position for place in places])
    found = np.zeros((2, len(names)))
    paths = list(dict.fromkeys(site for site, _ in members))
    for some in ends.batches_by_length(PAIRS_AT_ONCE):
        with turn():
            here, there = (
                recorded(model, [side[int(i)] for i in some], paths) for side in (ends.clean, ends.counterpart)
            )
        for (site, basis), own in members.items():
            for row, values in zip(found, _norms(model, site, basis, here[site], there[site], len(some)), strict=True):
                by_position = values.reshape(len(some), -1, values.shape[-1]).sum(0)
                summed = np.concatenate([by_position, by_position.sum(0, keepdims=True)])  # −1 is everywhere
                is_there = at[own] < len(by_position)
                row[own] += np.where(is_there, summed[np.where(is_there, at[own], 0), units[own]], 0.0)
    numbers = {name: i for i, name in enumerate(names)}
    sizes, loudness = found[:, [numbers[key] for key in keys]] / len(ends)
    return sizes, loudness


def _norms(
    model: Model, path: str, basis: str, x: Tensor, other: Tensor, n: int
) -> tuple[Float[np.ndarray, "position unit"], Float[np.ndarray, "position unit"]]:
    """Return ‖n(x) − n(x′)‖ and ‖n(x)‖ of every unit at a site; of a channel over all places of each of n images."""
    if kind_of(basis) == "feature":
        f, other_f = (widened(encode(model.basis_at(path, basis), v)).cpu().double().numpy() for v in (x, other))
        return np.abs(f - other_f), np.abs(f)
    site = model.site(path)
    if basis == "channels":
        by_image = [widened(v).cpu().double().numpy().reshape(n, -1, site.width) for v in (x - other, x)]
        return np.linalg.norm(by_image[0], axis=1), np.linalg.norm(by_image[1], axis=1)
    moved, own = (np.linalg.norm(by_unit(v, site, basis), axis=-1) for v in (x - other, x))
    return moved, own


def _loudest(parts: Sequence[Part], chosen: Int[np.ndarray, " n"], loudness: Float[np.ndarray, " part"]) -> list[int]:
    """Return the largest activations among units that were not chosen, as many of each basis, without the embedding."""
    places, _ = _read([str(part) for part in parts])
    bases = np.array([place.basis for place in places])
    loud = np.where([place.site == EMBEDDING for place in places], -np.inf, loudness)
    loud[chosen] = -np.inf
    found: list[int] = []
    for basis in dict.fromkeys(bases[chosen].tolist()):
        of_basis = np.flatnonzero((bases == basis) & np.isfinite(loud))
        k = int((bases[chosen] == basis).sum())
        found += of_basis[np.argsort(-loud[of_basis], kind="stable")[:k]].tolist()
    return found


def _measured(
    model: Network,
    circuit: Circuit,
    cases: Cases,
    replaced: Bool[np.ndarray, "set part"],
    turn: Turn,
    progress: Progress | None,
) -> Float[np.ndarray, "set pair"]:
    """Return m of every pair with each set replaced, some sets at a time."""
    used = np.flatnonzero(replaced.any(0))
    found = []
    for start in range(0, len(replaced), AT_ONCE):
        part = replaced[start : start + AT_ONCE]
        with turn():
            if circuit.level == "edge":
                language = with_edges(model)
                kept = np.ones((len(part), len(edge_map(language))), dtype=bool)
                kept[:, _edges_of(language, circuit, used)] = ~part[:, used]
                found.append(measure_edges(language, cases, kept))
            else:
                keys = [str(circuit.parts[int(i)]) for i in used]
                found.append(measure_interchanged(model_of(model, cases), cases, keys, part[:, used]))
        if progress is not None:
            progress(min(start + AT_ONCE, len(replaced)), len(replaced))
    return np.concatenate(found)


def _edges_of(model: LanguageModel, circuit: Circuit, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    graph = edge_map(model)
    return np.array([graph.index(*circuit.parts[int(i)]) for i in places], dtype=np.int64)
