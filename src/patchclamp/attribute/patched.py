"""Patched: what activation patching found, pair by pair and over all pairs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.columns import least_p, mean_intervals, sign_flip_ps
from patchclamp.core.task import Case
from patchclamp.core.unit import UnitKey

SHOWN = 20_000
"""Cells whose intervals are computed and written as JSON, the strongest first; the arrays hold all."""
_BLOCK = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True)
class Cell:
    """Hold the effect of one unit at one place, over pairs.

    Args:
        key: the unit, without subject and position.
        place: where.
        mean: over pairs of the share of m(x) − m(x′).
        low: lower end of its 95 % bootstrap interval; nan with one pair.
        high: upper end.
        p: two-sided, by flipping signs of pairs; not corrected for the number of cells.
        n: pairs that have the place.
    """

    key: str
    place: str
    mean: float
    low: float
    high: float
    p: float
    n: int


@dataclass(frozen=True, eq=False)
class Map:
    """Hold the mean effects of one kind of unit in all blocks, as they are shown: blocks by places.

    Args:
        name: the sites' path without its block, and the basis where a site has several units.
        rows: the block of each row, ``3``, and where a site has several units which, ``3.1``.
        keys: the unit of each row.
        values: ``(row, place)`` means; nan where no pair has the place.
        left_out: rows that are not shown; those that are have the largest effects.
    """

    name: str
    rows: tuple[str, ...]
    keys: tuple[str, ...]
    values: Float[np.ndarray, "row place"]
    left_out: int = 0


@checked
@dataclass(frozen=True, eq=False)
class Patched:
    """Hold the effect of patching every unit at every place, for every pair.

    Args:
        direction: ``denoise`` patches clean values into the corrupted run, ``noise`` corrupted ones into the clean run.
        effects: ``(site, basis)`` to ``(pair, unit, place)`` share of m(x) − m(x′), 1 where the patch makes all the
            difference; nan where the pair has no such place.
        places: their names: positions from the start, or counted from the end (−1 is the last) where the prompts
            differ in length; spans as they were given; or ``all``.
        tokens: the clean prompts' token at each place, empty where they differ.
        pairs: what was asked.
        m_clean: ``(pair,)`` m(x).
        m_corrupted: ``(pair,)`` m(x′).
        aside: pairs that were set aside, by reason.
        subject: slug and hash of the model.
        about: metric, rows that were run, cells where both runs agree already, which were not run.
    """

    direction: str
    effects: Mapping[tuple[str, str], Float[np.ndarray, "pair unit place"]]
    places: tuple[str, ...]
    tokens: tuple[str, ...]
    pairs: tuple[Case, ...]
    m_clean: Float[np.ndarray, " pair"]
    m_corrupted: Float[np.ndarray, " pair"]
    aside: Mapping[str, int]
    subject: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)

    def some(self, members: Sequence[int] | Int[np.ndarray, " some"]) -> "Patched":
        """Return the results of some pairs alone, such as those of one group.

        Args:
            members: their places in ``pairs``.
        """
        chosen = np.asarray(members, dtype=np.int64)
        return replace(
            self, effects={at: values[chosen] for at, values in self.effects.items()},
            pairs=tuple(self.pairs[i] for i in chosen), m_clean=self.m_clean[chosen],
            m_corrupted=self.m_corrupted[chosen],
        )  # fmt: skip

    @property
    def per_place(self) -> Int[np.ndarray, " place"]:
        """How many pairs have each place."""
        first = next(iter(self.effects.values()))
        return (~np.isnan(first[:, 0])).sum(0)

    @cached_property
    def flat(self) -> Float[np.ndarray, "pair cell"]:
        """Every cell of every pair: sites in order, then units, then places."""
        return np.concatenate([values.reshape(len(values), -1) for values in self.effects.values()], axis=1)

    @cached_property
    def counts(self) -> Int[np.ndarray, " cell"]:
        """How many pairs have each cell."""
        return (~np.isnan(self.flat)).sum(0)

    @cached_property
    def means(self) -> Float[np.ndarray, " cell"]:
        """Mean effect of each cell over the pairs that have it; nan where none has."""
        return np.where(self.counts > 0, np.nansum(self.flat, axis=0) / np.maximum(self.counts, 1), np.nan)

    def mean(self, site: str, basis: str) -> Float[np.ndarray, "unit place"]:
        """Return the mean effects at one site."""
        first = 0
        for at, values in self.effects.items():
            size = values.shape[1] * values.shape[2]
            if at == (site, basis):
                return self.means[first : first + size].reshape(values.shape[1:])
            first += size
        raise KeyError((site, basis))

    def strongest(self, k: int | None = None) -> list[Cell]:
        """Return the cells with the largest mean effects, either sign, with interval and p.

        Args:
            k: how many (default: all).

        Cost: 2,000 resamples and sign flips of the pairs, for all of them in a few matrix products.
        """
        known = np.flatnonzero(self.counts > 0)
        order = known[np.argsort(-np.abs(self.means[known]), kind="stable")][:k]
        low, high, p = np.full((3, len(order)), np.nan)
        here = ~np.isnan(self.flat[:, order])
        # Cells that the same pairs have go together.
        patterns, which = np.unique(here, axis=1, return_inverse=True)
        for number in range(patterns.shape[1]):
            columns = np.flatnonzero(which.ravel() == number)
            values = self.flat[np.ix_(patterns[:, number], order[columns])]
            low[columns], high[columns] = mean_intervals(values)
            p[columns] = sign_flip_ps(values)
        return [
            Cell(*self._named(i), float(self.means[i]), float(a), float(b), float(c), int(self.counts[i]))
            for i, a, b, c in zip(order.tolist(), low, high, p, strict=True)
        ]

    @cached_property
    def _first(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([v.shape[1] * v.shape[2] for v in self.effects.values()])])

    def _named(self, i: int) -> tuple[str, str]:
        block = int(np.searchsorted(self._first, i, side="right")) - 1
        (site, basis), values = list(self.effects.items())[block]
        unit, place = divmod(int(i - self._first[block]), values.shape[2])
        return str(UnitKey(site, unit, basis)), self.places[place]

    def maps(self, most: int = 40) -> list[Map]:
        """Return a map for each kind of site.

        Args:
            most: rows of a map.
        """
        kinds: dict[str, list[tuple[str, str]]] = {}
        for site, basis in self.effects:
            kind = _BLOCK.sub("", site)
            kind = "resid" if kind in ("resid_in", "resid_out") else kind
            kinds.setdefault(kind if basis == "whole" else f"{kind}/{basis}", []).append((site, basis))
        found = []
        for name, members in kinds.items():
            values = np.concatenate([self.mean(*at) for at in members])
            named = [
                (site, basis, unit) for site, basis in members for unit in range(self.effects[site, basis].shape[1])
            ]
            largest = np.where(np.isnan(values), 0, np.abs(values)).max(1)
            shown = np.sort(np.argsort(-largest, kind="stable")[:most])
            rows = tuple(_row(*named[i]) for i in shown)
            keys = tuple(str(UnitKey(named[i][0], named[i][2], named[i][1])) for i in shown)
            found.append(Map(name, rows, keys, values[shown], len(values) - len(shown)))
        return found

    @property
    def least_p(self) -> float:
        """The least p that so many pairs can show."""
        return least_p(len(self.pairs))

    def to_json(self) -> dict[str, Any]:
        """Return everything but single pairs' effects as JSON-ready data; of very many cells the strongest."""
        cells = self.strongest(SHOWN)
        return {
            "subject": dict(self.subject), "direction": self.direction, **self.about, "n_pairs": len(self.pairs),
            "aside": dict(self.aside), "m_clean": float(self.m_clean.mean()),
            "m_corrupted": float(self.m_corrupted.mean()), "places": list(self.places), "tokens": list(self.tokens),
            "n_cells": len(self.means), "least_p": self.least_p, "cells": [asdict(cell) for cell in cells],
        }  # fmt: skip


def _row(site: str, basis: str, unit: int) -> str:
    block = _BLOCK.match(site)
    place = block[1] if block else site
    if basis != "whole":
        return f"{place}.{unit}"
    return f"{place} out" if site.endswith(".resid_out") else place
