"""Random controls: sets drawn at random that are like a chosen set, by one stated rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import Interval, mean_interval, rank_of

Step = Literal["size", "site", "kind", "position"]
STEPS: tuple[Step, ...] = ("size", "site", "kind", "position")
"""How far the match is widened, in this order, until there are as many different sets as were asked for. size: another
of the same site and position and of like size; site: of any size; kind: of the same kind, in any layer; position: of
the same kind, at any position."""
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

    def deciles(self) -> Int[np.ndarray, " key"]:
        """Return each key's decile of size; where sparse among those above zero, and ``IDLE`` for the others."""
        ranks: np.ndarray = np.argsort(np.argsort(self.sizes, kind="stable"), kind="stable")
        if not self.sparse:
            return ranks * DECILES // len(self.sizes)
        idle = self.sizes == 0
        return np.where(idle, IDLE, (ranks - idle.sum()) * DECILES // max(1, int((~idle).sum())))


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
    """

    sets: tuple[tuple[int, ...], ...]
    step: Step
    outside: float
    idle: float
    asked: int
    size: int
    seed: int
    measured: tuple[float, ...] = field(default=())

    @property
    def n_different(self) -> int:
        """How many sets there are, all of them different."""
        return len(self.sets)

    @property
    def rule(self) -> str:
        """How they were matched, in words."""
        words = {
            "size": "same site and position, like size",
            "site": "same site and position, any size",
            "kind": "same kind and position, any layer",
            "position": "same kind, any layer and position",
        }
        return words[self.step]

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
        """Mean effect of a set; nan without any."""
        return float(np.mean(self.measured)) if self.measured else float("nan")

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean; None with fewer than two sets."""
        return mean_interval(np.array(self.measured), seed=self.seed) if len(self.measured) > 1 else None

    def p(self, effect: float) -> float:
        """Return the share of sets at least as strong as an effect, with +1 correction; nan without any."""
        return rank_of(effect, np.array(self.measured)) if self.measured else float("nan")

    @property
    def floor(self) -> float:
        """The smallest p that so many sets can show."""
        return 1 / (1 + len(self.sets))

    def to_json(self) -> dict[str, Any]:
        """Return the controls as JSON-ready data, without the sets themselves."""
        return {
            "rule": self.rule, "step": self.step, "outside": self.outside, "idle": self.idle, "asked": self.asked,
            "different": self.n_different, "size": self.size, "seed": self.seed, "measured": list(self.measured),
        }  # fmt: skip


@checked
def draw_controls(
    strata: Sequence[Stratum], chosen: Sequence[int], n_sets: Positive, *, seed: Natural = 0
) -> RandomControls:
    """Draw random sets like a chosen one: for each chosen key another of its site, position and decile of size.

    No drawn key was chosen, none stands twice in a set, and no two sets are the same. Where a decile has fewer than
    five others the nearest ones serve too. Where fewer different sets exist than were asked for, the match is widened
    step by step (``STEPS``), for further sets only.

    Args:
        strata: all keys that there are, or at least those of the chosen keys' sites; to widen the match, of all sites.
        chosen: places of the chosen keys.
        n_sets: how many sets, at most.
        seed: of the draws.

    Returns:
        RandomControls: not measured yet.

    Raises:
        PatchclampError: no key chosen, or nothing else of its kind anywhere.

    Cost: per set O(keys of the chosen sites and positions); wider steps O(keys of the kind).
    """
    by_place = _locate(strata, chosen)
    draw = np.random.default_rng(seed)
    found: dict[frozenset[int], tuple[tuple[int, ...], int, int]] = {}
    widest: Step = "size"
    for step in STEPS:
        before = len(found)
        for _ in range(n_sets * PATIENCE):
            one = _draw_size(by_place, draw) if step == "size" else _draw_wide(strata, by_place, step, draw)
            if not one[0]:
                break
            # A wider set may be larger than a narrow one; sets of one size only are comparable.
            if found and len(one[0]) > min(len(places) for places, *_ in found.values()):
                found.clear()
                before = 0
            found.setdefault(frozenset(one[0]), one)
            if len(found) == n_sets:
                break
        widest = step if len(found) > before else widest
        if len(found) == n_sets and min(len(one[0]) for one in found.values()) == len(chosen):
            break
    if not found:
        raise PatchclampError(
            expected="keys to draw random sets from",
            got=f"{len(chosen)} chosen, which are all there are of their kind",
            remedy="Choose fewer (--top).",
        )
    drawn = list(found.values())
    n_keys = sum(len(places) for places, *_ in drawn)
    return RandomControls(
        tuple(places for places, *_ in drawn), widest, sum(outside for _, outside, _ in drawn) / n_keys,
        sum(idle for *_, idle in drawn) / n_keys, n_sets, min(len(places) for places, *_ in drawn), seed,
    )  # fmt: skip


_Group = tuple[Stratum, list[int]]


def _locate(strata: Sequence[Stratum], chosen: Sequence[int]) -> list[_Group]:
    """Return the strata of the chosen keys, in the order of the first of each, with the chosen places within it."""
    firsts = np.array([stratum.first for stratum in strata])
    groups: dict[int, list[int]] = {}
    for place in dict.fromkeys(int(i) for i in chosen):
        [at] = np.flatnonzero((firsts <= place) & (place < firsts + [len(s.sizes) for s in strata])).tolist() or [-1]
        if at < 0:
            raise PatchclampError(
                expected="chosen keys that are in a stratum",
                got=f"place {place}",
                remedy="Give the strata of all keys.",
            )
        groups.setdefault(at, []).append(place - strata[at].first)
    if not groups:
        raise PatchclampError(expected="at least one chosen key", got="none", remedy="Choose some.")
    return [(strata[at], places) for at, places in groups.items()]


def _draw_size(groups: Sequence[_Group], draw: np.random.Generator) -> tuple[tuple[int, ...], int, int]:
    """Draw one set by size; return its places, and how many of them are of another decile, and idle."""
    places: list[int] = []
    outside = idle = 0
    for stratum, chosen in groups:
        deciles = stratum.deciles()
        free = np.ones(len(deciles), dtype=bool)
        free[chosen] = False
        for own in chosen:
            if not free.any():
                break
            pool = free & (deciles != IDLE)
            pool = pool if pool.any() else free
            distance = np.where(pool, np.abs(deciles - deciles[own]), np.inf)
            reach = np.sort(distance)[min(NEAREST, int(pool.sum())) - 1]
            picked = int(draw.choice(np.flatnonzero(distance <= reach)))
            free[picked] = False
            outside += int(distance[picked] > 0)
            idle += int(stratum.sparse and stratum.sizes[picked] == 0)
            places.append(stratum.first + picked)
    return tuple(places), outside, idle


def _draw_wide(
    strata: Sequence[Stratum], groups: Sequence[_Group], step: Step, draw: np.random.Generator
) -> tuple[tuple[int, ...], int, int]:
    """Draw one set from all that a wider step allows; those at zero only where no others are left."""
    taken = {stratum.first + own for stratum, chosen in groups for own in chosen}
    places: list[int] = []
    idle = 0
    for stratum, chosen in groups:
        pools = [one for one in strata if _is_like(one, stratum, step)]
        candidates = np.concatenate([one.first + np.arange(len(one.sizes)) for one in pools])
        asleep = np.concatenate([one.sizes == 0 if stratum.sparse else np.zeros(len(one.sizes), bool) for one in pools])
        free = ~np.isin(candidates, [*taken, *places])
        members = draw.permutation(candidates[free & ~asleep])[: len(chosen)].tolist()
        resting = draw.permutation(candidates[free & asleep])[: len(chosen) - len(members)].tolist()
        idle += len(resting)
        places += members + resting
    # All of them count as outside but those that a narrower step would have allowed, which nobody can tell apart.
    return tuple(places), len(places), idle


def _is_like(one: Stratum, other: Stratum, step: Step) -> bool:
    if step == "site":
        return one.first == other.first
    if step == "kind":
        return one.kind == other.kind and one.position == other.position
    return one.kind == other.kind


def strata_of(
    blocks: Sequence[tuple[str, str, int | None, int]], sizes: Float[np.ndarray, " key"], sparse: Mapping[str, bool]
) -> list[Stratum]:
    """Return the strata of keys that lie block by block, place by place.

    Args:
        blocks: site, basis, places (None where a key stands for all of them) and units per place of each block.
        sizes: ``(key,)`` of all keys, in the same order.
        sparse: basis → whether most of its units have size zero.
    """
    found, first = [], 0
    for site, basis, n_places, n_units in blocks:
        kind = f"{'.'.join(site.split('.')[2:]) if site.startswith('blocks.') else site}/{basis}"
        for place in range(n_places or 1):
            part = sizes[first : first + n_units]
            position = None if n_places is None else place
            found.append(Stratum(site, kind, position, part, first, sparse.get(basis, False)))
            first += n_units
    return found
