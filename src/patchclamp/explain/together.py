"""Together: what m loses over pairs when parts of a circuit are replaced at once, beside random parts like them."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.attribute.direction import orient
from patchclamp.core.circuit import Circuit, Part
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import Interval, mean_interval, rank_of
from patchclamp.core.subject import Progress
from patchclamp.evaluate.growing import kinds_of
from patchclamp.subjects.edges import edge_map, measure_edges
from patchclamp.subjects.interchange import measure_interchanged
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.pairs import LEAST_DIFFERENCE, PairSet

AT_ONCE = 8
"""Sets that are measured in one go; whoever else asks has their turn between."""
PATIENCE = 10
EMBEDDING = "embed/"
"""To replace it is to show the corrupted prompt: it takes all of m(x) − m(x′), and stands in no set."""
Turn = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, eq=False)
class Together:
    """Hold what replacing parts did: m(x) − m(x with the parts as in x′), every figure a mean over pairs.

    Of a circuit whose scores denoise it is m(x′ with the parts as in x) − m(x′).

    Args:
        places: which parts of the circuit.
        predicted: sum of their scores, which counts what parts in series carry more than once.
        measured: what m loses when all are replaced.
        interval: its 95 % interval over pairs.
        alone: ``(part,)`` what it loses to each by itself; empty where that was not asked.
        random_predicted: mean over random sets of the sum of their scores.
        randoms: ``(set,)`` what it loses to random sets of as many parts of the same kinds, none of them chosen.
        size: parts of a random set; fewer than were chosen where a kind has too few others.
        distinct: how many of the sets differ.
        random_interval: 95 % interval of their mean.
        p: share of different sets that take at least as much, with +1 correction; nan where sets are smaller.
        clean: m(x).
        corrupted: m(x′).
        seed: of the draws.
    """

    places: tuple[int, ...]
    predicted: float
    measured: float
    interval: Interval
    alone: tuple[float, ...]
    random_predicted: float
    randoms: tuple[float, ...]
    size: int
    distinct: int
    random_interval: Interval
    p: float
    clean: float
    corrupted: float
    seed: int

    @property
    def mean(self) -> float:
        """Mean effect of a random set."""
        return float(np.mean(self.randoms))

    def share(self, effect: float) -> float:
        """Return an effect as a share of m(x) − m(x′); nan where that is not above 0.1, and a share of nothing."""
        whole = self.clean - self.corrupted
        return effect / whole if whole >= LEAST_DIFFERENCE else math.nan


def replace_together(
    model: LanguageModel,
    circuit: Circuit,
    pairs: PairSet,
    places: Sequence[int],
    *,
    n_sets: int = 20,
    seed: int = 0,
    alone: bool = True,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> Together:
    """Replace parts of a circuit by what they are under each pair's counterpart, and random sets like them.

    It is done in the direction that the circuit's scores foretell, so that both can be compared.

    Args:
        model: the subject.
        circuit: whose parts they are.
        pairs: whom it is asked of.
        places: which parts; one named twice is replaced once.
        n_sets: random sets.
        seed: of their draw.
        alone: measure every part by itself too.
        turn: what forward passes run in.
        progress: called with sets done and in all.

    Raises:
        PatchclampError: no parts, or nothing else to draw random ones from.

    Cost: per pair 1 + ``n_sets`` forward passes, and one more per part where ``alone``; of edges see ``measure_edges``.

    Example:
        >>> from patchclamp.attribute.over_pairs import attribute_pairs
        >>> from patchclamp.core.pairs import Pair
        >>> from patchclamp.opening import load
        >>> from patchclamp.subjects.pairs import read_by
        >>> cat = load("organism:cat")
        >>> pairs = read_by(cat, [Pair("the old cat", "the old dog", (" sat",), (" ran",))])
        >>> found = attribute_pairs(cat, pairs, level="neuron", method="atp")
        >>> round(replace_together(cat, found, pairs, found.order()[:1].tolist()).measured, 1)
        8.0
    """
    chosen = np.array(list(dict.fromkeys(int(i) for i in places)), dtype=np.int64)
    if not len(chosen) or n_sets < 1:
        raise PatchclampError(
            expected="at least one part, and one random set", got=f"{len(chosen)} and {n_sets}", remedy="Choose some."
        )
    drawn = sets_like(circuit.parts, chosen, n_sets, seed)
    singles = [[int(i)] for i in chosen] if alone and len(chosen) > 1 else []
    groups: list[Sequence[int]] = [chosen.tolist(), *singles, *drawn]
    marks = np.zeros((len(groups), len(circuit)), dtype=bool)
    for row, group in zip(marks, groups, strict=True):
        row[list(group)] = True
    ends, sign = orient(pairs, str(dict(circuit.about.get("settings", {})).get("direction", "noise")))
    effects = sign * (ends.m_clean - _measured(model, circuit, ends, marks, turn, progress))
    means = effects.mean(1)
    randoms = means[1 + len(singles) :]
    different = list({frozenset(group): i for i, group in enumerate(drawn)}.values())
    size = min(map(len, drawn))
    # Fewer parts than were chosen take less by their number alone.
    p = rank_of(float(means[0]), randoms[different]) if size == len(chosen) else math.nan
    single = means[1 : 1 + len(singles)] if singles else means[:1] if alone else means[:0]
    return Together(
        places=tuple(chosen.tolist()), predicted=float(circuit.scores[chosen].sum()), measured=float(means[0]),
        interval=mean_interval(effects[0], seed=seed), alone=tuple(map(float, single)),
        random_predicted=float(np.mean([circuit.scores[group].sum() for group in drawn])),
        randoms=tuple(map(float, randoms)), size=size, distinct=len(different),
        random_interval=mean_interval(randoms, seed=seed), p=p,
        clean=float(pairs.m_clean.mean()), corrupted=float(pairs.m_corrupted.mean()), seed=seed,
    )  # fmt: skip


def sets_like(parts: Sequence[Part], chosen: Int[np.ndarray, " n"], n_sets: int, seed: int) -> list[list[int]]:
    """Draw sets with as many parts of each kind as were chosen, none of them chosen, the embedding in none.

    A set that was drawn before is drawn anew, as long as there are others.

    Args:
        parts: all there are.
        chosen: places of some.
        n_sets: how many sets.
        seed: of the draws.

    Raises:
        PatchclampError: every part of these kinds was chosen.
    """
    kinds = np.array(kinds_of(parts))
    free = np.array([not isinstance(part, str) or not part.startswith(EMBEDDING) for part in parts])
    free[chosen] = False
    wanted = {kind: int((kinds[chosen] == kind).sum()) for kind in dict.fromkeys(kinds[chosen])}
    pools = {kind: np.flatnonzero(free & (kinds == kind)) for kind in wanted}
    if not any(map(len, pools.values())):
        raise PatchclampError(
            expected="parts to draw random sets from",
            got=f"{len(chosen)}, which are all there are of their kinds",
            remedy="Choose fewer (--top).",
        )
    draw = np.random.default_rng(seed)
    sets: list[list[int]] = []
    seen: set[frozenset[int]] = set()
    for tried in range(n_sets * PATIENCE):
        one = [int(i) for kind, n in wanted.items() for i in draw.permutation(pools[kind])[:n]]
        if frozenset(one) not in seen or tried >= n_sets * (PATIENCE - 1):
            seen.add(frozenset(one))
            sets.append(one)
        if len(sets) == n_sets:
            break
    return sets


def _measured(
    model: LanguageModel,
    circuit: Circuit,
    pairs: PairSet,
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
                kept = np.ones((len(part), len(edge_map(model))), dtype=bool)
                kept[:, _edges_of(model, circuit, used)] = ~part[:, used]
                found.append(measure_edges(model, pairs, kept))
            else:
                keys = [str(circuit.parts[int(i)]) for i in used]
                found.append(measure_interchanged(model, pairs, keys, part[:, used]))
        if progress is not None:
            progress(min(start + AT_ONCE, len(replaced)), len(replaced))
    return np.concatenate(found)


def _edges_of(model: LanguageModel, circuit: Circuit, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    graph = edge_map(model)
    return np.array([graph.index(*circuit.parts[int(i)]) for i in places], dtype=np.int64)
