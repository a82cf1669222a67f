"""Together: what m loses over pairs when parts of a circuit are replaced at once, beside random parts like them."""

import math
from collections import Counter
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
from patchclamp.subjects.edges import edge_map, measure_edges, with_edges
from patchclamp.subjects.interchange import measure_interchanged
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network
from patchclamp.subjects.pairs import LEAST_DIFFERENCE, PairSet
from patchclamp.subjects.plain import model_of

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
        random_predicted: mean over random sets of the sum of their scores; nan without any.
        randoms: ``(set,)`` what it loses to random sets of as many parts of the same kinds, none of them chosen; no two
            sets are the same.
        size: parts of a random set; fewer than were chosen where a kind has too few others.
        asked: how many sets were asked for; there are fewer where few others of these kinds are left.
        random_interval: 95 % interval of their mean; nan with fewer than two sets.
        p: share of the sets that take at least as much, with +1 correction; nan where sets are smaller, or none.
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
    asked: int
    random_interval: Interval
    p: float
    clean: float
    corrupted: float
    seed: int

    @property
    def mean(self) -> float:
        """Mean effect of a random set; nan without any."""
        return float(np.mean(self.randoms)) if self.randoms else math.nan

    @property
    def distinct(self) -> int:
        """How many random sets there are."""
        return len(self.randoms)

    def share(self, effect: float) -> float:
        """Return an effect as a share of m(x) − m(x′); nan where that is not above 0.1, and a share of nothing."""
        whole = self.clean - self.corrupted
        return effect / whole if whole >= LEAST_DIFFERENCE else math.nan


def replace_together(
    model: Network,
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
        n_sets: random sets, at most; 0 draws none.
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
    if not len(chosen) or n_sets < 0:
        raise PatchclampError(
            expected="at least one part, and no negative number of random sets",
            got=f"{len(chosen)} and {n_sets}",
            remedy="Choose some.",
        )
    drawn = sets_like(circuit.parts, chosen, n_sets, seed) if n_sets else []
    singles = [[int(i)] for i in chosen] if alone and len(chosen) > 1 else []
    groups: list[Sequence[int]] = [chosen.tolist(), *singles, *drawn]
    marks = np.zeros((len(groups), len(circuit)), dtype=bool)
    for row, group in zip(marks, groups, strict=True):
        row[list(group)] = True
    ends, sign = orient(pairs, str(dict(circuit.about.get("settings", {})).get("direction", "noise")))
    effects = sign * (ends.m_clean - _measured(model, circuit, ends, marks, turn, progress))
    means = effects.mean(1)
    randoms = means[1 + len(singles) :]
    size = min(map(len, drawn), default=0)
    # Fewer parts than were chosen take less by their number alone.
    p = rank_of(float(means[0]), randoms) if size == len(chosen) else math.nan
    undefined = Interval(math.nan, math.nan, 0.95, "percentile bootstrap")
    random_interval = mean_interval(randoms, seed=seed) if drawn else undefined
    single = means[1 : 1 + len(singles)] if singles else means[:1] if alone else means[:0]
    return Together(
        places=tuple(chosen.tolist()), predicted=float(circuit.scores[chosen].sum()), measured=float(means[0]),
        interval=mean_interval(effects[0], seed=seed), alone=tuple(map(float, single)),
        random_predicted=float(np.mean([circuit.scores[group].sum() for group in drawn])) if drawn else math.nan,
        randoms=tuple(map(float, randoms)), size=size, asked=n_sets, random_interval=random_interval, p=p,
        clean=float(pairs.m_clean.mean()), corrupted=float(pairs.m_corrupted.mean()), seed=seed,
    )  # fmt: skip


def sets_like(parts: Sequence[Part], chosen: Int[np.ndarray, " n"], n_sets: int, seed: int) -> list[list[int]]:
    """Draw sets with as many parts of each kind as were chosen, none of them chosen, the embedding in none.

    No two sets are the same: a set that was drawn before is one control, not two.

    Args:
        parts: all there are.
        chosen: places of some.
        n_sets: how many sets, at most; fewer are returned where there are not so many.
        seed: of the draws.

    Raises:
        PatchclampError: every part of these kinds was chosen.
    """
    wanted, pools = _pools(parts, chosen)
    if not any(map(len, pools.values())):
        raise PatchclampError(
            expected="parts to draw random sets from",
            got=f"{len(chosen)}, which are all there are of their kinds",
            remedy="Choose fewer (--top).",
        )
    draw = np.random.default_rng(seed)
    sets: dict[frozenset[int], list[int]] = {}
    for _ in range(n_sets * PATIENCE):
        one = [int(i) for kind, n in wanted.items() for i in draw.permutation(pools[kind])[:n]]
        sets.setdefault(frozenset(one), one)
        if len(sets) == n_sets:
            break
    return list(sets.values())


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
    kinds, free = kinds_of(parts), _free(parts)
    of_kind = Counter(kind for kind, is_free in zip(kinds, free, strict=True) if is_free)
    seen: set[str] = set()
    left = most = 0
    for n, i in enumerate(order, 1):
        # A kind that comes in brings all its parts, of which this one is chosen.
        left += (0 if kinds[i] in seen else of_kind[kinds[i]]) - int(free[i])
        seen.add(kinds[i])
        most = n if left > 0 else most
    return most


def _free(parts: Sequence[Part]) -> Bool[np.ndarray, " part"]:
    return np.array([not isinstance(part, str) or not part.startswith(EMBEDDING) for part in parts])


def _pools(
    parts: Sequence[Part], chosen: Int[np.ndarray, " n"]
) -> tuple[dict[str, int], dict[str, Int[np.ndarray, " free"]]]:
    """Return how many parts of each kind were chosen, and which others of it there are."""
    kinds, free = np.array(kinds_of(parts)), _free(parts)
    free[chosen] = False
    wanted = {kind: int((kinds[chosen] == kind).sum()) for kind in dict.fromkeys(kinds[chosen])}
    return wanted, {kind: np.flatnonzero(free & (kinds == kind)) for kind in wanted}


def _measured(
    model: Network,
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
                language = with_edges(model)
                kept = np.ones((len(part), len(edge_map(language))), dtype=bool)
                kept[:, _edges_of(language, circuit, used)] = ~part[:, used]
                found.append(measure_edges(language, pairs, kept))
            else:
                keys = [str(circuit.parts[int(i)]) for i in used]
                found.append(measure_interchanged(model_of(model, pairs), pairs, keys, part[:, used]))
        if progress is not None:
            progress(min(start + AT_ONCE, len(replaced)), len(replaced))
    return np.concatenate(found)


def _edges_of(model: LanguageModel, circuit: Circuit, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    graph = edge_map(model)
    return np.array([graph.index(*circuit.parts[int(i)]) for i in places], dtype=np.int64)
