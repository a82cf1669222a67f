"""Which unit of one network does what a unit of another does, and how far units that both have moved apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

MOST_CELLS, MOST_SHUFFLED = 2**24, 1000
"""Correlations that are in memory at once (64 MB), and units whose partners are sought among shuffled tokens too."""


@dataclass(frozen=True)
class Partners:
    """The most correlated units of two networks.

    Args:
        partner: ``(unit, site)`` of the second for each unit of the first; −1 where the unit is silent.
        correlation: ``(unit, site)``; NaN where it is.
        back: ``(unit, site)`` of the first for each unit of the second.
        chance: ``(unit,)`` best correlation of units of the first with shuffled tokens of the second, of 1,000 that
            are drawn where there are more; NaN for the others.
    """

    partner: Int[np.ndarray, "unit site"]
    correlation: Float[np.ndarray, "unit site"]
    back: Int[np.ndarray, "other place"]
    chance: Float[np.ndarray, " unit"]


def pair_units(
    first: Sequence[Float[np.ndarray, "token width"]],
    second: Sequence[Float[np.ndarray, "token width"]],
    draw: np.random.Generator,
) -> Partners:
    """Return for every unit of one network the unit of each site of another whose activations correlate most with it.

    Args:
        first: activations of the first, an array for each site, over the same tokens as the second's.
        second: those of the second.
        draw: shuffles the tokens of the second, for what chance gives.

    Returns:
        Partners: units of the second for those of the first, and back.

    Source: Gurnee et al. (2024), Universal neurons in GPT2 language models, 2401.12181, equation 1, where the excess
    over a rotation is taken; the shuffle is ours.

    Cost: a product of ``(unit, token)`` and ``(token, unit)``; memory of the standardised activations.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> values = draw.standard_normal((50, 3))
        >>> pair_units([values], [values[:, [2, 0, 1]]], draw).partner[:, 0].tolist()
        [1, 2, 0]
    """
    one = _standardise(np.concatenate(first, 1))
    other = _standardise(np.concatenate(second, 1))
    edges = np.cumsum([0, *(part.shape[1] for part in second)])
    starts = np.cumsum([0, *(part.shape[1] for part in first)])
    n, m = one.shape[1], other.shape[1]
    silent, mute = (one == 0).all(0), (other == 0).all(0)
    partner, r = np.full((n, len(second)), -1, np.int32), np.full((n, len(second)), np.nan, np.float32)
    back, back_r = np.full((m, len(first)), -1, np.int32), np.full((m, len(first)), -np.inf, np.float32)
    chance = np.full(n, np.nan, np.float32)
    shuffled = other[draw.permutation(len(other))]
    step = max(1, MOST_CELLS // max(m, 1))
    for k, (begin, end) in enumerate(pairwise(starts.tolist())):
        for low in range(begin, end, step):
            rows = np.arange(low, min(low + step, end))
            cells = one[:, rows].T @ other
            cells[:, mute], cells[silent[rows]] = -np.inf, -np.inf
            _keep_best(cells, rows, edges, partner, r)
            best = cells.argmax(0)
            value = cells[best, np.arange(m)]
            better = value > back_r[:, k]
            back[better, k], back_r[better, k] = rows[best[better]] - begin, value[better]
    live = np.flatnonzero(~silent)
    drawn = np.sort(draw.permutation(live)[:MOST_SHUFFLED])
    for low in range(0, 0 if mute.all() else len(drawn), step):
        rows = drawn[low : low + step]
        cells = one[:, rows].T @ shuffled
        cells[:, mute] = -np.inf
        chance[rows] = cells.max(1)
    return Partners(partner, np.clip(r, -1, 1), back, np.clip(chance, -1, 1))


def _keep_best(cells: np.ndarray, rows: np.ndarray, edges: np.ndarray, partner: np.ndarray, r: np.ndarray) -> None:
    """Note the largest correlation of every row within each site of the second."""
    for j, (left, right) in enumerate(pairwise(edges.tolist())):
        best = cells[:, left:right].argmax(1)
        value = cells[np.arange(len(rows)), left + best]
        known = np.isfinite(value)
        partner[rows[known], j], r[rows[known], j] = best[known], value[known]


def _standardise(values: np.ndarray) -> np.ndarray:
    """Return columns of mean 0 and length 1, so that their products are correlations; silent ones are 0."""
    exact = values.astype(np.float64)
    exact -= exact.mean(0)
    length = np.sqrt(np.einsum("tu,tu->u", exact, exact))
    # A constant column may keep rounding errors of its mean.
    live = length > 1e-7 * np.sqrt(len(values)) * np.maximum(np.abs(values).max(0, initial=0), 1e-30)
    exact[:, ~live] = 0
    exact /= np.where(live, length, 1.0)
    return exact.astype(np.float32)


class Moments:
    """Means, variances and covariances of units that two networks have, over tokens as they come (Chan's update)."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self.means = np.zeros((2, width))
        self.squares = np.zeros((3, width))  # of the first, of the second, of both
        self.maxima = np.full((2, width), -np.inf)

    def add(self, first: Float[np.ndarray, "token width"], second: Float[np.ndarray, "token width"]) -> None:
        """Take in what units did at some tokens."""
        if not len(first):
            return
        both = np.stack([first, second]).astype(np.float64)
        n, means = both.shape[1], both.mean(1)
        centred = both - means[:, None]
        apart, total = means - self.means, self.n + n
        weight = self.n * n / total
        self.squares[0] += (centred[0] ** 2).sum(0) + apart[0] ** 2 * weight
        self.squares[1] += (centred[1] ** 2).sum(0) + apart[1] ** 2 * weight
        self.squares[2] += (centred[0] * centred[1]).sum(0) + apart[0] * apart[1] * weight
        self.means += apart * n / total
        self.maxima = np.maximum(self.maxima, both.max(1))
        self.n = total

    def measure(
        self, writes: tuple[Float[np.ndarray, "width d_model"], Float[np.ndarray, "width d_model"]] | None
    ) -> Float[np.ndarray, "width measure"]:
        """Return what ``ModelComparison.moved`` holds of each unit.

        With activations a and a′ and write directions w and w′, the change is √E‖a′ w′ − a w‖², and its share is that
        over √(E‖a w‖² + E‖a′ w′‖²).

        Args:
            writes: what units of the first and of the second write at activation 1; None where that is not known: the
                change is then that of the activations.
        """
        size = np.ones((2, self.means.shape[1])) if writes is None else np.stack([(w**2).sum(1) for w in writes])
        inner = np.ones(self.means.shape[1]) if writes is None else (writes[0] * writes[1]).sum(1)
        raw = self.squares / max(self.n, 1) + np.stack([*self.means**2, self.means[0] * self.means[1]])
        written = raw[0] * size[0] + raw[1] * size[1]
        change = np.sqrt(np.maximum(written - 2 * raw[2] * inner, 0))
        # What is left of equal terms is their rounding.
        change[change < 1e-6 * np.sqrt(written)] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.clip(self.squares[2] / np.sqrt(self.squares[0] * self.squares[1]), -1, 1)
            cosine = np.clip(inner / np.sqrt(size[0] * size[1]), -1, 1)
            share = np.where(written > 0, change / np.sqrt(written), 0)
        return np.stack([r, *self.means, *self.maxima, cosine, change, share], 1)


def shared_sites(first: Mapping[str, int], second: Mapping[str, int]) -> tuple[str, ...]:
    """Return the sites that both have, with as many units."""
    return tuple(site for site, width in first.items() if second.get(site) == width)
