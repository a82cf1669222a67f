"""Faithfulness of circuits by size: circuits that grow part by part, beside random ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.ablate.strata import arrange_parts, with_sizes
from patchclamp.core.controls import RandomOrders, draw_orders
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.scores import Scores
from patchclamp.core.stats import Interval, sign_flip_p

SHARES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.35, 0.50)
"""Sizes of circuits, as shares of all parts; the area is taken over those from the first to the last."""
RESAMPLES = 2000
SHARE = "share of m(M) − m(∅)"
Statistic = Callable[[Float[np.ndarray, "resample k"]], Float[np.ndarray, " resample"]]


@dataclass(frozen=True)
class Point:
    """Hold the faithfulness of a circuit of one size.

    Args:
        size: parts kept.
        share: of all parts.
        kept: faithfulness F(C) = [m(C) − m(∅)] / [m(M) − m(∅)], by means over pairs; interval over pairs.
        rest: the same of everything but C, which is low where C is complete.
        random: mean of F over random circuits of this size; interval the middle 95 % of them.
        random_rest: the same of everything but a random circuit; None if it was not measured.
        ahead: F(C) less the random mean; interval over pairs.
        n_random: how many random circuits of this size there are, no two the same.
    """

    size: int
    share: float
    kept: Estimate
    rest: Estimate
    random: Estimate
    random_rest: Estimate | None
    ahead: Estimate
    n_random: int


@dataclass(frozen=True)
class Area:
    """Hold the faithfulness of a circuit over all sizes from 1 to 50 % of the parts.

    Args:
        low: smallest share.
        high: largest share.
        kept: ∫ F d(share) / (high − low), by trapezoids between the sizes: 1 where F is 1 throughout.
        rest: the same of everything but C.
        distance: ∫ |1 − F| d(share) / (high − low): 0 where the circuit does what the model does at every size.
        random: mean of the area over random circuits; interval the middle 95 % of them.
        random_rest: the same of everything but a random circuit; None if it was not measured.
        ahead: ``kept`` less the random mean; interval over pairs.
        p_pairs: of ``ahead``, by flipping signs of the pairs' differences, two-sided.
        p_random: share of random circuits whose area is at least as large, the circuit itself counted among them.
    """

    low: float
    high: float
    kept: Estimate
    rest: Estimate
    distance: Estimate
    random: Estimate
    random_rest: Estimate | None
    ahead: Estimate
    p_pairs: float
    p_random: float


def sizes_of(n_parts: int, shares: Sequence[float] = SHARES, more: Sequence[int] = ()) -> list[int]:
    """Return the numbers of parts that shares stand for, rounded down, at least one each; equal sizes once.

    Args:
        n_parts: all there are.
        shares: above 0, at most 1.
        more: further numbers of parts.

    Returns:
        list: numbers of parts, ascending.

    Raises:
        PatchclampError: a share outside (0, 1], or a size outside 1 to all parts.

    Example:
        >>> sizes_of(21), sizes_of(2064, (0.01, 0.5), (3,))
        ([1, 2, 4, 7, 10], [3, 20, 1032])
    """
    outside = [s for s in shares if not 0 < s <= 1] + [n for n in more if not 1 <= n <= n_parts]
    if outside or not (shares or more):
        raise PatchclampError(
            expected=f"sizes from 1 to {n_parts:,} parts, or shares above 0 and at most 1",
            got=", ".join(f"{x:g}" for x in outside) or "none",
            remedy="For example 5% and 12: a twentieth of the parts, and twelve of them.",
        )
    return sorted({max(1, int(s * n_parts + 1e-9)) for s in shares} | {int(n) for n in more})


def random_orders(
    circuit: Scores,
    moves: Float[np.ndarray, " part"],
    n: int,
    sizes: Sequence[int],
    *,
    signed: bool = True,
    seed: int = 0,
) -> RandomOrders:
    """Draw orders of parts whose first ones are, at every size, random circuits like the circuit; see ``draw_orders``.

    Args:
        circuit: the circuit that they are matched to.
        moves: ``(part,)`` ‖n(x) − r‖; of an edge that of its source.
        n: most orders; fewer are returned if there are fewer different ones.
        sizes: of the circuits that will be taken from each order.
        signed: as the circuit's order.
        seed: of the draws.

    Returns:
        RandomOrders: ``(order, part)`` places, and how wide the match is.

    Source: ours; random circuits of one size as in 2211.00593, section 4.

    Example:
        >>> from patchclamp.core.keys import Block, UnitIndex
        >>> circuit = Scores(UnitIndex([Block("blocks.0.mlp.act", "neurons", 8)]), np.arange(8.0))
        >>> random_orders(circuit, np.ones(8), 3, [2]).orders.shape
        (3, 8)
    """
    arranged, strata, _ = arrange_parts(circuit.parts)
    places = np.argsort(arranged)
    drawn = draw_orders(
        with_sizes(arranged, strata, moves), places[circuit.order(signed=signed)].tolist(), sizes, n, seed=seed
    )
    return replace(drawn, orders=arranged[drawn.orders])


def unique_circuits(circuits: Bool[np.ndarray, "circuit part"]) -> list[int]:
    """Return the places of one circuit of each set of parts: equal circuits of one size count once."""
    places = {row.tobytes(): i for i, row in enumerate(np.packbits(circuits, axis=1))}
    return list(places.values())


def nest_circuits(
    orders: Int[np.ndarray, "circuit part"], sizes: Sequence[int]
) -> Bool[np.ndarray, "circuit size part"]:
    """Return which parts are among the first n of every order, for every size n."""
    places = np.argsort(orders, axis=1)
    marks: np.ndarray = places[:, None, :] < np.array(sizes)[None, :, None]
    return marks


@dataclass(frozen=True, eq=False)
class Scale:
    """Convert metrics to shares of m(M) − m(∅), with intervals over pairs."""

    model: Float[np.ndarray, " pair"]
    empty: Float[np.ndarray, " pair"]
    seed: int

    @property
    def whole(self) -> Float[np.ndarray, " pair"]:
        """m(M) − m(∅)."""
        return self.model - self.empty

    def interval_with_zero(self) -> Interval | None:
        """Return the 95 % interval of the mean of m(M) − m(∅) if it holds 0, so that no share is defined; else None."""
        if len(self.model) == 1:
            return None
        low, high = np.quantile(self.draws @ self.whole, [0.025, 0.975])
        return Interval(float(low), float(high), 0.95, "percentile bootstrap") if low <= 0 <= high else None

    def share(self, moved: Float[np.ndarray, "*more pair"]) -> Float[np.ndarray, "*more"]:
        """Return means over pairs as shares of the whole's."""
        shares: np.ndarray = moved.mean(-1) / self.whole.mean()
        return shares

    @cached_property
    def draws(self) -> Float[np.ndarray, "resample pair"]:
        """Weight of each pair in each resample, as ``core.stats.bootstrap_interval`` draws them."""
        n = len(self.model)
        places = np.random.default_rng(self.seed).integers(0, n, size=(RESAMPLES, n))
        return np.stack([np.bincount(row, minlength=n) for row in places]) / n

    def estimate(self, moved: Float[np.ndarray, " pair"]) -> Estimate:
        """Return a change of m on every pair as a share of the whole, with its interval."""
        return self.of(np.stack([moved, self.whole], axis=1), lambda means: means[:, 0] / means[:, 1])

    def of(self, rows: Float[np.ndarray, "pair k"], statistic: Statistic) -> Estimate:
        """Return a statistic of means over pairs, with its percentile bootstrap interval; nan with one pair."""
        value = float(statistic(rows.mean(0)[None])[0])
        if len(rows) == 1:
            return Estimate(value, Interval(math.nan, math.nan, 0.95, "percentile bootstrap"), 1, SHARE)
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = np.quantile(statistic(self.draws @ rows), [0.025, 0.975])
        return Estimate(value, Interval(float(low), float(high), 0.95, "percentile bootstrap"), len(rows), SHARE)


def spread(values: Float[np.ndarray, " circuit"]) -> Estimate:
    """Return the mean over random circuits, and the middle 95 % of them."""
    low, high = np.quantile(values, [0.025, 0.975])
    around = Interval(float(low), float(high), 0.95, "quantiles of random circuits")
    return Estimate(float(values.mean()), around, len(values), SHARE)


def point_of(
    n: int, share: float, kept: Float[np.ndarray, "circuit pair"], rest: Float[np.ndarray, "one_or_more pair"], s: Scale
) -> Point:
    """Estimate faithfulness at one size from m of the circuit and of random ones.

    Args:
        n: parts kept.
        share: of all parts.
        kept: ``(circuit, pair)`` m with only the circuit kept; the evaluated circuit first, then random ones.
        rest: ``(circuit, pair)`` m with everything else kept; random ones may be missing.
        s: the scale m(M) − m(∅).

    Returns:
        Point: shares with intervals.

    Source: 2211.00593, section 4, and 2403.19647: faithfulness and completeness.

    Example:
        >>> s = Scale(np.array([4.0, 4.0]), np.array([0.0, 0.0]), 0)
        >>> point_of(2, 0.1, np.array([[3.0, 3.0], [1.0, 1.0]]), np.array([[1.0, 1.0]]), s).kept.value
        0.75
    """
    return Point(
        n,
        share,
        s.estimate(kept[0] - s.empty),
        s.estimate(rest[0] - s.empty),
        spread(s.share(kept[1:] - s.empty)),
        spread(s.share(rest[1:] - s.empty)) if len(rest) > 1 else None,
        s.estimate(kept[0] - kept[1:].mean(0)),
        len(kept) - 1,
    )


def area_of(
    shares: Float[np.ndarray, " size"],
    kept: Float[np.ndarray, "circuit size pair"],
    rest: Float[np.ndarray, "one_or_more size pair"],
    s: Scale,
) -> Area:
    """Estimate the area under faithfulness over sizes from m of the circuit and of random ones.

    Args:
        shares: ``(size,)`` shares of all parts.
        kept: ``(circuit, size, pair)`` m with only the circuit kept; the evaluated circuit first.
        rest: ``(circuit, size, pair)`` m with everything else kept.
        s: the scale m(M) − m(∅).

    Returns:
        Area: areas with intervals and p.

    Source: the area over sizes as in 2504.13151 (CPR and CMD); random circuits are ours.

    Example:
        >>> s = Scale(np.array([4.0, 4.0]), np.array([0.0, 0.0]), 0)
        >>> kept = np.array([[[2.0, 2.0], [4.0, 4.0]], [[0.0, 0.0], [2.0, 2.0]]])
        >>> area_of(np.array([0.1, 0.5]), kept, kept[:1], s).kept.value
        0.75
    """
    weights = area_weights(shares)
    own, others = (np.tensordot(weights, x, axes=(0, 1)) for x in (kept, rest))  # (circuit, pair)
    areas = s.share(own[1:] - s.empty)
    mine = s.estimate(own[0] - s.empty)

    def distance(means: Float[np.ndarray, "resample k"]) -> Float[np.ndarray, " resample"]:
        f = (means[:, 2:] - means[:, 1:2]) / (means[:, :1] - means[:, 1:2])
        distances: np.ndarray = np.abs(1 - f) @ weights
        return distances

    moved = own[0] - own[1:].mean(0)
    return Area(
        low=float(shares.min()),
        high=float(shares.max()),
        kept=mine,
        rest=s.estimate(others[0] - s.empty),
        distance=s.of(np.column_stack([s.model, s.empty, kept[0].T]), distance),
        random=spread(areas),
        random_rest=spread(s.share(others[1:] - s.empty)) if len(rest) > 1 else None,
        ahead=s.estimate(moved),
        p_pairs=sign_flip_p(moved, seed=s.seed),
        p_random=float((1 + (areas >= mine.value).sum()) / (1 + len(areas))),
    )


def area_weights(shares: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
    """Return the weight of each size in the area: trapezoids over the share of parts, summing to 1.

    Example:
        >>> area_weights(np.array([0.01, 0.21, 0.51])).round(2).tolist()
        [0.2, 0.5, 0.3]
    """
    if len(shares) == 1:
        return np.ones(1)
    halves = np.diff(shares) / 2
    weights = np.append(halves, 0.0) + np.insert(halves, 0, 0.0)
    normalised: np.ndarray = weights / weights.sum()
    return normalised
