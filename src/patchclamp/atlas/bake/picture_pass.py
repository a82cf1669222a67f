"""What a second pass over pictures keeps: per unit a histogram, places on pictures, and values in a sample of pictures.

Per unit: an exact histogram over places, two places per bin, the lowest pictures, and its highest value in each of a
sample of pictures.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from patchclamp.atlas.bake.look import (
    BINS,
    KINDS,
    LATEST,
    PER_BIN,
    SAMPLE,
    Look,
    SiteLook,
    by_stimulus,
    read_site,
    table_of,
)
from patchclamp.core.bundle import Bundle
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.core.survey import StoredSurvey
from patchclamp.engines import Start
from patchclamp.subjects.corpora import Batches

N_LOWEST = 6
INTERVAL, LOWEST = 3, 4
"""Kinds of examples beside those of ``KINDS``: places by bin of the histogram, and the lowest pictures."""
PLACE_BITS = 20


class PictureSite(SiteLook):
    """What is kept of one site; see ``SiteLook``."""

    KEPT = ("value", "at")

    def __init__(self, survey: StoredSurvey, site: Site, n_sample: int) -> None:
        super().__init__(survey, site, n_sample)
        self.clear()

    def clear(self) -> None:
        """Make everything that changes during the pass as it is before anything was shown."""
        super().clear()
        width = self.width
        self.tokens = torch.zeros(BINS + 1, width, dtype=torch.int64)  # places; the last row takes what is not finite
        self.pieces = torch.zeros(BINS + 1, width, dtype=torch.int64)  # pictures, by their maximum
        self.at = torch.zeros(width, BINS, PER_BIN, 2, dtype=torch.int64)  # picture, position
        self.low = torch.full((width, N_LOWEST), torch.inf)
        self.low_at = torch.full((width, N_LOWEST, 2), -1, dtype=torch.int64)

    def merge(self, part: "PictureSite", rows: slice) -> None:
        """Take in a part whose pictures come next; see ``SiteLook.merge``."""
        super().merge(part, rows)
        self.tokens += part.tokens
        self.pieces += part.pieces
        low, by = torch.cat([self.low, part.low], 1).sort(dim=1, stable=True)
        self.low.copy_(low[:, :N_LOWEST])
        at = torch.cat([self.low_at, part.low_at], 1)
        self.low_at.copy_(at.gather(1, by[:, :N_LOWEST, None].expand(self.low_at.shape)))

    def see(self, x: Tensor, picture: int, slot: int, seed: int) -> None:
        """Take in one picture's ``(place, unit)`` values; ``slot`` is its place in the sample, −1 outside of it."""
        finite = torch.isfinite(x)
        bins = sum((x >= self.edges[:, k] for k in range(1, BINS)), torch.zeros(x.shape, dtype=torch.int64))
        bins = bins.masked_fill(~finite, BINS)
        self.tokens.scatter_add_(0, bins, torch.ones_like(bins))
        high, where = x.masked_fill(~finite, -torch.inf).max(0)
        self.pieces.scatter_add_(0, bins.gather(0, where[None]), torch.ones_like(where)[None])
        if slot >= 0:
            self.sample[slot] = high
        # Drawn from the picture's number alone, so that neither batches nor interruptions change it. The place stands
        # in the lowest digits, so that the smallest draw of a bin says where it was drawn.
        draws = np.random.default_rng([seed, picture]).integers(2**42, size=len(x))
        keys = torch.from_numpy((draws << PLACE_BITS) | np.arange(len(x)))
        first = torch.full(self.tokens.shape, LATEST).scatter_reduce_(0, bins, keys[:, None].expand_as(bins), "amin")
        self._keep(first[:BINS].T, x, picture)
        self._lowest(x.masked_fill(~finite, torch.inf), picture)

    def _keep(self, first: Tensor, x: Tensor, picture: int) -> None:
        """Keep each bin's place that is drawn first, ``(unit, bin)``, where it comes before one of the kept ones.

        So a bin ends with places of different pictures, a uniform sample, whatever the batches were.
        """
        worst, slot = self.order.max(2)
        units, bins = (first < worst).nonzero(as_tuple=True)
        if len(units):
            into, keys = (units, bins, slot[units, bins]), first[units, bins]
            where = keys & ((1 << PLACE_BITS) - 1)
            self.order[into] = keys
            self.value[into] = x[where, units]
            self.at[into] = torch.stack([torch.full_like(where, picture), where], 1)

    def _lowest(self, x: Tensor, picture: int) -> None:
        low, where = x.min(0)
        units = (low < self.low[:, -1]).nonzero().flatten()
        if len(units):
            at = torch.stack([torch.full_like(where, picture), where], 1)[units]
            values = torch.cat([self.low[units], low[units, None]], 1)
            places = torch.cat([self.low_at[units], at[:, None]], 1)
            order = values.sort(dim=1, stable=True).indices[:, :N_LOWEST]
            self.low[units] = values.gather(1, order)
            self.low_at[units] = places.gather(1, order[..., None].expand(-1, -1, 2))

    def results(self) -> dict[str, np.ndarray]:
        """Return arrays with units first."""
        # By bin, and within it in the order of the draw.
        by = self.order.argsort(dim=2, stable=True)
        sorted_at = self.at.gather(2, by[..., None].expand(-1, -1, -1, 2))
        return {
            "edges": self.edges.double().numpy(),
            "tokens": self.tokens[:BINS].T.contiguous().numpy(),
            "pieces": self.pieces[:BINS].T.contiguous().numpy(),
            "binned": self.value.gather(2, by).numpy(),
            "binned_at": sorted_at.masked_fill((self.order.gather(2, by) == LATEST)[..., None], -1).numpy(),
            "lowest": self.low.numpy(),
            "lowest_at": self.low_at.numpy(),
            "sample": self.sample.T.contiguous().numpy(),
        }


class PictureLook(Look):
    """What is kept of all sites of pictures; see ``Look``."""

    def __init__(self, batches: Batches, sites: Sequence[Site], survey: StoredSurvey, seed: int) -> None:
        self.seed, sampled = seed, sample_pictures(batches, seed)
        of = ((site.path, PictureSite(survey, site, len(sampled))) for site in sites)
        self.slots = {int(picture): slot for slot, picture in enumerate(sampled)}
        super().__init__(of, batches.n_stimuli, survey.bundle.path.parent)

    def begin(self, batch: Sequence[Shown]) -> None:
        """Count a batch."""
        self.first, self.n = int(self.done[0]), len(batch)
        self.done += [len(batch), len(batch), len(batch)]

    def see(self, path: str, x: Tensor) -> None:
        """Take in one site's values of the batch."""
        for picture, values in enumerate(x.float().cpu().view(self.n, -1, x.shape[1]), self.first):
            cast(PictureSite, self.of[path]).see(values, picture, self.slots.get(picture, -1), self.seed)
        self.files.note_use(path)

    def sampled_rows(self, start: Start, end: Start) -> slice:
        """Return which places of the sample the pictures between two places fill."""
        return slice(*np.searchsorted(sorted(self.slots), [start.stimuli, end.stimuli]))


def sample_pictures(batches: Batches, seed: int) -> np.ndarray:
    """Return the numbers of the pictures in which every unit's highest value is kept."""
    n = batches.n_stimuli
    return np.sort(np.random.default_rng(seed).choice(n, min(SAMPLE, n), replace=False))


def read_examples(survey: StoredSurvey, look: Bundle, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a site's examples: rows ``(unit, kind, rank, picture, position)`` by picture, and their values.

    Kinds count as in ``look.KINDS``; then 3: places by bin of the histogram, 4: the lowest pictures.

    Returns:
        tuple[np.ndarray, np.ndarray]: ``(example, 5)`` rows, and ``(example,)`` values.
    """
    names = [f"{site}|{kind}_{part}" for kind in ("top", "random") for part in ("value", "at")]
    known = survey.bundle.read("exemplars", names)
    own = read_site(look, site, ("binned", "binned_at", "lowest", "lowest_at"))
    width = len(own["lowest"])
    # A unit that never acts below zero has no lowest examples of interest: they are where it is silent.
    lowest_at = np.where((own["lowest"] < 0)[..., None], own["lowest_at"], -1)
    tables = [
        (KINDS.index("top"), known[f"{site}|top_value"], known[f"{site}|top_at"]),
        (KINDS.index("random"), known[f"{site}|random_value"], known[f"{site}|random_at"]),
        (INTERVAL, own["binned"].reshape(width, -1), own["binned_at"].reshape(width, -1, 2)),
        (LOWEST, own["lowest"], lowest_at),
    ]
    rows, values = by_stimulus([table_of(*table) for table in tables])
    return rows, values.astype(np.float64)
