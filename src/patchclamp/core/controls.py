"""Sets drawn at random that are like a chosen set, by one stated rule."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval, mean_interval, rank_of

Step = Literal["size", "site", "kind", "position"]
STEPS: tuple[Step, ...] = ("size", "site", "kind", "position")
"""How far the match is widened, in this order, until there are as many different sets as were asked for. size: another
of the same site and position and of like size; site: of any size; kind: of the same kind, in any layer; position: of
the same kind, at any position."""
RULES: Mapping[Step, str] = {
    "size": "same site and position, nearest size",
    "site": "same site and position, any size",
    "kind": "same kind and position, any layer",
    "position": "same kind, any layer and position",
}
"""The steps in words."""
OF_OTHER_SIZE = "same site and position, mostly other sizes"
"""The first step in words where few alike were there to draw."""
DECILES, NEAREST, PATIENCE = 10, 5, 10
IDLE = -1
"""The decile of those whose size is zero where most are: to replace one does nothing."""


@checked
@dataclass(frozen=True, eq=False)
class Stratum:
    """List what can stand for each other: all keys of one site at one position, by size.

    Args:
        site: where they are.
        kind: the site without its layer, with the basis: ``mlp.act/neurons``.
        position: logical position; None where a key stands for all of them.
        sizes: ``(key,)`` |Δ| of a unit, the source's Δ of an edge, the area of a region, the tokens of a step.
        first: place of the first of them among all keys.
        sparse: most have size zero, and deciles are those of the others.
    """

    site: str
    kind: str
    position: Natural | None
    sizes: Float[np.ndarray, " key"]
    first: Natural
    sparse: bool = False


@checked
@dataclass(frozen=True)
class RandomControls:
    """Hold random sets like a chosen one, how they were matched, and what was measured of each.

    Args:
        sets: places of keys, a tuple per set; no two sets are the same.
        step: the widest step of the match that was needed.
        outside: share of the drawn keys that came from another decile of size, site, layer or position.
        idle: share of them whose size is zero, so that replacing them does nothing.
        asked: how many sets were asked for; there are fewer where not so many different ones exist.
        size: keys in each set; fewer than were chosen where too few others exist.
        seed: of the draws.
        measured: ``(set,)`` the effect of each; empty before they are measured.
        stated: the rule in words, of sets that were not drawn among keys (directions, edits).
    """

    sets: tuple[tuple[int, ...], ...] = field(repr=False)
    step: Step
    outside: float
    idle: float
    asked: int
    size: int
    seed: int
    measured: tuple[float, ...] = field(default=(), repr=False)
    stated: str = ""

    @classmethod
    def of(
        cls, rule: str, effects: Sequence[float] | Float[np.ndarray, " set"], *, seed: Natural = 0, size: Positive = 1
    ) -> "RandomControls":
        """Return controls that are no sets of keys: random directions or edits, each drawn by itself, and measured.

        Args:
            rule: how they were drawn, in words.
            effects: ``(set,)`` the effect of each.
            seed: of the draws.
            size: keys of the claim that each stands for.

        Returns:
            RandomControls: as many controls as effects, with the rule.

        Example:
            >>> RandomControls.of("random directions of the same norm", [0.0, 0.1]).rule
            'random directions of the same norm'
        """
        sets = tuple((i,) * size for i in range(len(effects)))
        return cls(sets, "size", 0.0, 0.0, len(sets), size, seed, tuple(map(float, effects)), rule)

    @property
    def n_different(self) -> int:
        """How many sets there are, all of them different."""
        return len(self.sets)

    @property
    def rule(self) -> str:
        """How they were matched, in words."""
        return self.stated or name_rule(self.step, self.outside)

    @property
    def count(self) -> str:
        """How many there are, with their rule, in words."""
        n = self.n_different
        return f"{n} {self.stated}" if self.stated else f"{n} different random sets, {self.rule}"

    def measure(self, effects: Sequence[float] | Float[np.ndarray, " set"]) -> "RandomControls":
        """Return the controls with the effect of each set.

        Raises:
            PatchclampError: not as many effects as sets.
        """
        if len(effects) != len(self.sets):
            raise PatchclampError(
                expected=f"{len(self.sets)} effects, one per set", got=str(len(effects)), remedy="Measure every set."
            )
        return replace(self, measured=tuple(map(float, effects)))

    @property
    def mean(self) -> float:
        """Mean effect of a set, of those with a finite one; nan without any."""
        return float(self._finite.mean()) if len(self._finite) else float("nan")

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean; None with fewer than two sets of finite effect."""
        return mean_interval(self._finite, seed=self.seed) if len(self._finite) > 1 else None

    def estimate(self, unit: str) -> Estimate:
        """Return the mean effect of a set with its interval; n counts the sets of finite effect.

        Args:
            unit: unit of measure of the effects.
        """
        return Estimate(self.mean, self.interval, len(self._finite), unit)

    @property
    def _finite(self) -> Float[np.ndarray, " set"]:
        effects = np.array(self.measured, dtype=np.float64)
        return effects[np.isfinite(effects)]

    def p(self, effect: float) -> float:
        """Return the share of sets at least as strong as an effect, with +1 correction; nan without any.

        A set without a finite effect broke the network: it is at least as strong as anything.
        """
        if not self.measured or np.isnan(effect):
            return float("nan")
        return rank_of(effect, np.nan_to_num(np.array(self.measured), nan=np.inf))

    @property
    def floor(self) -> float:
        """The smallest p that so many sets can show."""
        return 1 / (1 + len(self.sets))

    def to_json(self) -> dict[str, Any]:
        """Return the controls as JSON-ready data, without the sets themselves."""
        return {
            "rule": self.rule,
            "step": self.step,
            "outside": self.outside,
            "idle": self.idle,
            "asked": self.asked,
            "different": self.n_different,
            "size": self.size,
            "seed": self.seed,
            "measured": list(self.measured),
        }


def name_rule(step: Step, outside: float) -> str:
    """Return in words how keys were matched: the widest step that was needed, and of like size only where most are.

    Args:
        step: of the match.
        outside: share of the drawn keys that came from another decile of size, site, layer or position.

    Example:
        >>> name_rule("size", 0.1), name_rule("size", 0.9)[-11:]
        ('same site and position, nearest size', 'other sizes')
    """
    return OF_OTHER_SIZE if step == "size" and outside > 0.5 else RULES[step]


@checked
def draw_controls(
    strata: Sequence[Stratum],
    chosen: Sequence[int],
    n_sets: Positive,
    *,
    seed: Natural = 0,
    barred: Sequence[int] = (),
    sizes: Mapping[int, Float[np.ndarray, " key"]] | None = None,
) -> RandomControls:
    """Draw random sets like a chosen one: for each chosen key another of its site, position and decile of size.

    No drawn key was chosen, none stands twice in a set, and no two sets are the same. Where a decile has fewer than
    five others the nearest ones serve too. Where a site has fewer others than were chosen of it, the match is widened
    for these keys, step by step (``STEPS``); where fewer different sets exist than were asked for, it is widened for
    all keys, for further sets only.

    Args:
        strata: all keys that there are, or at least those of the chosen keys' sites; to widen the match, of all sites.
        chosen: places of the chosen keys.
        n_sets: how many sets, at most.
        seed: of the draws.
        barred: places of keys that stand in no set.
        sizes: place of a chosen key to the sizes of its stratum, where what is like it depends on the key; the
            stratum's own by default.

    Returns:
        RandomControls: not measured yet.

    Raises:
        PatchclampError: no key chosen, or nothing else of its kind anywhere.

    Source: ours.

    Cost: per set O(keys of the chosen sites and positions); a wider step O(keys of the kind), once.

    Example:
        >>> strata = strata_of([("blocks.0.mlp.act", "neurons", None, 8)], np.arange(8.0), {})
        >>> controls = draw_controls(strata, [7], 3)
        >>> controls.n_different, [7] in map(list, controls.sets)
        (3, False)
    """
    groups = _locate(strata, chosen, barred, sizes or {})
    taken = np.array([*chosen, *barred], dtype=np.int64)
    draw = np.random.default_rng(seed)
    different: dict[frozenset[int], tuple[tuple[int, ...], int, int]] = {}
    widest: Step = "size"
    short = [int(group.free.sum()) < len(group.own) for group in groups]
    plans = [(step, which) for which in ([short] if any(short) else []) + [[True] * len(groups)] for step in STEPS]
    for step, which in plans:
        before = len(different)
        pools = [
            _pool(strata, group.stratum, step, taken) if wide and step != "size" else None
            for group, wide in zip(groups, which, strict=True)
        ]
        for _ in range(n_sets * PATIENCE):
            one = _draw(groups, pools, draw)
            if not one[0]:
                break
            # A wider set may be larger than a narrow one; sets of one size only are comparable.
            size = len(next(iter(different.values()))[0]) if different else 0
            if len(one[0]) > size:
                different.clear()
                before = 0
            elif len(different) == n_sets or len(one[0]) < size:
                break
            different.setdefault(frozenset(one[0]), one)
        widest = max(widest, step, key=STEPS.index) if len(different) > before else widest
        if len(different) == n_sets and len(next(iter(different))) == len(set(chosen)):
            break
    if not different:
        raise PatchclampError(
            expected="keys to draw random sets from",
            got=f"{len(chosen)} chosen, which are all there are of their kind",
            remedy="Choose fewer (--top).",
        )
    drawn = list(different.values())
    n_keys = sum(len(places) for places, *_ in drawn)
    return RandomControls(
        tuple(places for places, *_ in drawn),
        widest,
        sum(outside for _, outside, _ in drawn) / n_keys,
        sum(idle for *_, idle in drawn) / n_keys,
        n_sets,
        min(len(places) for places, *_ in drawn),
        seed,
    )


@checked
@dataclass(frozen=True, eq=False)
class RandomOrders:
    """Hold random orders like a chosen one: the first keys of each, at every size, are a random set.

    Args:
        orders: ``(order, key)`` places of keys.
        step: the widest step of the match that was needed.
        outside: share of the drawn keys that came from another decile of size, site, layer or position.
    """

    orders: Int[np.ndarray, "order key"]
    step: Step
    outside: float


@checked
def draw_orders(
    strata: Sequence[Stratum],
    order: Sequence[int],
    sizes: Sequence[Positive],
    n_orders: Positive,
    *,
    seed: Natural = 0,
) -> RandomOrders:
    """Draw random orders like a chosen one, by the rule of ``draw_controls``: no two with the same sets at every size.

    Each key of the order gives its place to another of its site, position and decile of size (of the five nearest,
    where a decile has fewer), which was not drawn before. Where none is left there, the match is widened for this key
    (``STEPS``). A key of the chosen set of the size at which it comes in is drawn only where no other key is left at
    any step: half of all keys cannot be matched by the other half.

    Args:
        strata: all keys.
        order: places of all keys, the first ones first.
        sizes: numbers of keys at which sets are taken.
        n_orders: how many, at most; there are fewer where not so many different ones exist.
        seed: of the draws.

    Returns:
        RandomOrders: the different orders that were found, at most ``n_orders``.

    Source: ours.

    Cost: per order and key O(keys of its site and position), up to the largest size.

    Example:
        >>> strata = strata_of([("blocks.0.mlp.act", "neurons", None, 8)], np.arange(8.0), {})
        >>> len(draw_orders(strata, [7, 0, 1, 2, 3, 4, 5, 6], [1, 2], 3).orders)
        3
    """
    draw, largest = np.random.default_rng(seed), max(sizes)
    at = np.array(_strata_at(strata, order[:largest]))
    places = np.array(order, dtype=np.int64)
    ranks = np.argsort(places)
    deciles = [_deciles(stratum.sizes, sparse=stratum.sparse) for stratum in strata]
    bounds = np.array(sorted(sizes))
    until = bounds[np.searchsorted(bounds, np.arange(largest), side="right")]

    @cache
    def pool_of(i: int, step: Step) -> np.ndarray:
        like = [one for one in strata if one is strata[i] or (step != "size" and _is_like(one, strata[i], step))]
        return np.concatenate([one.first + np.arange(len(one.sizes)) for one in like])

    orders: dict[bytes, np.ndarray] = {}
    widest: Step = "size"
    n_outside = n_drawn = 0
    # Keys of one site and position are taken by nearness until none is left: a step of any size adds none.
    plans = [(other, step) for other in (True, False) for step in STEPS if step != "site"]
    for _ in range(n_orders * PATIENCE):
        free, one = np.ones(len(places), dtype=bool), np.zeros(largest, dtype=np.int64)
        for rank, (i, own) in enumerate(zip(at.tolist(), places[:largest].tolist(), strict=True)):
            stratum = strata[i]
            # Others first, at every step; then keys of the chosen set itself.
            for other, step in plans:
                near = step == "size"
                pool = pool_of(i, step)
                left = pool[free[pool] & ((ranks[pool] >= until[rank]) if other else True)]
                if not len(left):
                    continue
                if near:
                    own_decile = deciles[i][own - stratum.first]
                    of_left = deciles[i][left - stratum.first]
                    awake = of_left != IDLE
                    left, of_left = (left[awake], of_left[awake]) if awake.any() else (left, of_left)
                    distance = np.abs(of_left - own_decile)
                    reach = np.partition(distance, min(NEAREST, len(left)) - 1)[min(NEAREST, len(left)) - 1]
                    left, distance = left[distance <= reach], distance[distance <= reach]
                chosen = int(draw.integers(len(left)))
                n_outside += int(not near or distance[chosen] > 0)
                widest = max(widest, step, key=STEPS.index)
                one[rank] = left[chosen]
                free[one[rank]] = False
                break
        n_drawn += largest
        signs = np.zeros((len(bounds), len(places)), dtype=bool)
        for row, size in zip(signs, bounds, strict=True):
            row[one[:size]] = True
        rest = places[~np.isin(places, one)]
        orders.setdefault(np.packbits(signs).tobytes(), np.concatenate([one, rest]))
        if len(orders) == n_orders:
            break
    return RandomOrders(np.stack(list(orders.values())), widest, n_outside / n_drawn)


def count_matched(strata: Sequence[Stratum], order: Sequence[int], *, barred: Sequence[int] = ()) -> int:
    """Return how many of some keys, from the first on, can be chosen so that another of their kinds is left to draw.

    Args:
        strata: all keys.
        order: places of some, the first ones first.
        barred: places of keys that stand in no set.

    Returns:
        int: 0 where the first key alone is all there is of its kind.

    Example:
        >>> count_matched(strata_of([("blocks.0.attn.z", "heads", None, 2)], np.ones(2), {}), [1, 0])
        1
    """
    kinds = [strata[at].kind for at in _strata_at(strata, [*order, *barred])]
    of_kind: Counter[str] = Counter()
    for stratum in strata:
        of_kind[stratum.kind] += len(stratum.sizes)
    of_kind.subtract(kinds[len(order) :])
    closed, seen = set(map(int, barred)), set()
    left = most = 0
    for n, (place, kind) in enumerate(zip(order, kinds, strict=False), 1):
        # A kind that comes in brings all its keys, of which this one is chosen.
        left += (0 if kind in seen else of_kind[kind]) - int(place not in closed)
        seen.add(kind)
        most = n if left > 0 else most
    return most


@dataclass(frozen=True, eq=False)
class _Group:
    """The chosen keys of one stratum: which, who else of it is free, and the deciles of all as each key sees them."""

    stratum: Stratum
    own: list[int]
    free: np.ndarray
    deciles: list[np.ndarray]


def _strata_at(strata: Sequence[Stratum], places: Sequence[int]) -> list[int]:
    """Return in which stratum each place lies."""
    firsts = np.array([stratum.first for stratum in strata])
    ends = firsts + [len(stratum.sizes) for stratum in strata]
    order = np.argsort(firsts, kind="stable")
    at = order[np.maximum(np.searchsorted(firsts[order], places, side="right") - 1, 0)]
    outside = [p for p, i in zip(places, at, strict=True) if not firsts[i] <= p < ends[i]]
    if outside:
        raise PatchclampError(
            expected="keys that are in a stratum", got=f"place {outside[0]}", remedy="Give the strata of all keys."
        )
    return [int(i) for i in at]


def _locate(
    strata: Sequence[Stratum], chosen: Sequence[int], barred: Sequence[int], sizes: Mapping[int, np.ndarray]
) -> list[_Group]:
    """Return the strata of the chosen keys, in the order of the first of each, with the chosen places within it."""
    places = list(dict.fromkeys(int(i) for i in chosen))
    if not places:
        raise PatchclampError(expected="at least one chosen key", got="none", remedy="Choose some.")
    groups: dict[int, list[int]] = {}
    for place, at in zip(places, _strata_at(strata, places), strict=True):
        groups.setdefault(at, []).append(place)
    strata_at = []
    for at, own in groups.items():
        stratum = strata[at]
        free = ~np.isin(stratum.first + np.arange(len(stratum.sizes)), [*own, *barred])
        shared = _deciles(stratum.sizes, sparse=stratum.sparse)
        deciles = [_deciles(sizes[i], sparse=stratum.sparse) if i in sizes else shared for i in own]
        strata_at.append(_Group(stratum, [i - stratum.first for i in own], free, deciles))
    return strata_at


def _deciles(sizes: Float[np.ndarray, " key"], *, sparse: bool) -> Int[np.ndarray, " key"]:
    """Return each key's decile of size; where sparse among those above zero, and ``IDLE`` for the others."""
    ranks: np.ndarray = np.argsort(np.argsort(sizes, kind="stable"), kind="stable")
    if not sparse:
        return ranks * DECILES // len(sizes)
    idle = sizes == 0
    return np.where(idle, IDLE, (ranks - idle.sum()) * DECILES // max(1, int((~idle).sum())))


_Pool = tuple[np.ndarray, np.ndarray]
"""What a wider step allows: places of keys, and of those at zero, which are drawn only where no others are left."""


def _pool(strata: Sequence[Stratum], stratum: Stratum, step: Step, taken: np.ndarray) -> _Pool:
    like = [one for one in strata if _is_like(one, stratum, step)]
    candidates = np.concatenate([one.first + np.arange(len(one.sizes)) for one in like])
    asleep = np.concatenate([one.sizes == 0 if stratum.sparse else np.zeros(len(one.sizes), bool) for one in like])
    free = ~np.isin(candidates, taken)
    return candidates[free & ~asleep], candidates[free & asleep]


def _draw(
    groups: Sequence[_Group], pools: Sequence[_Pool | None], draw: np.random.Generator
) -> tuple[tuple[int, ...], int, int]:
    """Draw one set; return its places, and how many of them are of another decile, and idle."""
    picked: list[list[int]] = [[] for _ in groups]
    outside = idle = 0
    for at, (group, pool) in enumerate(zip(groups, pools, strict=True)):
        if pool is None:
            picked[at], beyond, resting = _draw_size(group, draw)
            outside, idle = outside + beyond, idle + resting
    used = {place for one in picked for place in one}
    for at, (group, pool) in enumerate(zip(groups, pools, strict=True)):
        if pool is None:
            continue
        for places, is_idle in zip(pool, (False, True), strict=True):
            missing = len(group.own) - len(picked[at])
            some = draw.choice(places, min(len(places), missing + len(used)), replace=False).tolist()
            some = [place for place in some if place not in used][:missing]
            picked[at] += some
            used.update(some)
            idle += is_idle * len(some)
        # All count as outside: which of them a narrower step would have allowed is not looked up.
        outside += len(picked[at])
    return tuple(place for one in picked for place in one), outside, idle


def _draw_size(group: _Group, draw: np.random.Generator) -> tuple[list[int], int, int]:
    """Draw for each chosen key of a stratum another of like size."""
    places: list[int] = []
    outside = idle = 0
    stratum, free = group.stratum, group.free.copy()
    for own, deciles in zip(group.own, group.deciles, strict=True):
        if not free.any():
            break
        pool = free & (deciles != IDLE)
        pool = pool if pool.any() else free
        distance = np.where(pool, np.abs(deciles - deciles[own]), len(deciles) + DECILES)
        nearest = min(NEAREST, int(pool.sum())) - 1
        reach = np.partition(distance, nearest)[nearest]
        one = int(draw.choice(np.flatnonzero(distance <= reach)))
        free[one] = False
        outside += int(distance[one] > 0)
        idle += int(stratum.sparse and stratum.sizes[one] == 0)
        places.append(stratum.first + one)
    return places, outside, idle


def _is_like(one: Stratum, other: Stratum, step: Step) -> bool:
    if step == "site":
        return one.first == other.first
    if step == "kind":
        return one.kind == other.kind and one.position == other.position
    return one.kind == other.kind


def kind_at(site: str, basis: str) -> str:
    """Return a site without its layer, with the basis of its units.

    Example:
        >>> kind_at("blocks.3.mlp.act", "neurons")
        'mlp.act/neurons'
    """
    return f"{'.'.join(site.split('.')[2:]) if site.startswith('blocks.') else site}/{basis}"


def strata_of(
    blocks: Sequence[tuple[str, str, int | None, int]], sizes: Float[np.ndarray, " key"], sparse: Mapping[str, bool]
) -> list[Stratum]:
    """Return the strata of keys that lie block by block, place by place.

    Args:
        blocks: site, basis, places (None where a key stands for all of them) and units per place of each block.
        sizes: ``(key,)`` of all keys, in the same order.
        sparse: basis → whether most of its units have size zero.

    Returns:
        list[Stratum]: one per block and place, in the order of the keys.

    Example:
        >>> [one] = strata_of([("blocks.0.mlp.act", "neurons", None, 3)], np.array([0.1, 0.5, 0.2]), {})
        >>> one.kind, len(one.sizes)
        ('mlp.act/neurons', 3)
    """
    strata, first = [], 0
    for site, basis, n_places, n_units in blocks:
        kind = kind_at(site, basis)
        for place in range(n_places or 1):
            part = sizes[first : first + n_units]
            position = None if n_places is None else place
            strata.append(Stratum(site, kind, position, part, first, sparse.get(basis, False)))
            first += n_units
    return strata
