"""A second pass over pictures, for what can be kept only once a survey knows where every unit ranges.

Per unit: an exact histogram over places, two places per bin, the lowest pictures, and its highest value in each of a
sample of pictures.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from patchclamp.atlas.bake.second_pass import BINS, CHECKPOINT_S, KINDS, PER_BIN
from patchclamp.core.bundle import Bundle
from patchclamp.core.site import Site
from patchclamp.core.subject import Progress
from patchclamp.core.survey import StoredSurvey
from patchclamp.record.picture_units import PictureUnits
from patchclamp.record.run import manifest_of, open_run, pin_threads
from patchclamp.subjects.corpora import Batches

N_LOWEST, N_SAMPLE = 6, 1024
INTERVAL, LOWEST = 3, 4
"""Kinds of examples beside those of ``KINDS``: places by bin of the histogram, and the lowest pictures."""
PLACE_BITS = 20
LATEST = torch.iinfo(torch.int64).max


class _SiteAccumulator:
    """What the pass keeps of one site; every tensor but the edges is part of a checkpoint."""

    def __init__(self, survey: StoredSurvey, site: Site) -> None:
        statistics = survey.statistics(site.path)
        low, high = (torch.from_numpy(np.asarray(statistics[n], dtype=np.float64)) for n in ("minimum", "maximum"))
        share = torch.arange(BINS + 1, dtype=torch.float64) / BINS
        # float32, as the activations are: a value is in the same bin whoever compares it.
        self.edges = (low[:, None] + (high - low)[:, None] * share).float()  # (unit, bin + 1)
        self.edges[:, -1] = high.float()
        width = site.width
        self.tokens = torch.zeros(BINS + 1, width, dtype=torch.int64)  # places; the last row takes what is not finite
        self.pieces = torch.zeros(BINS + 1, width, dtype=torch.int64)  # pictures, by their maximum
        self.order = torch.full((width, BINS, PER_BIN), LATEST)
        self.value = torch.zeros(width, BINS, PER_BIN)
        self.at = torch.zeros(width, BINS, PER_BIN, 2, dtype=torch.int64)  # picture, position
        self.low = torch.full((width, N_LOWEST), torch.inf)
        self.low_at = torch.full((width, N_LOWEST, 2), -1, dtype=torch.int64)
        self.sample = torch.full((N_SAMPLE, width), torch.nan)

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes during the pass, by name."""
        return {n: t for n, t in self.__dict__.items() if n != "edges"}

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


def run_picture_pass(
    model: PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    out: Path,
    *,
    resume: bool,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint_s: float = CHECKPOINT_S,
) -> Bundle:
    """Go through the pictures a second time, for histograms, places per bin and a sample; resumable like a survey.

    Args:
        model: the subject.
        batches: what was surveyed.
        sites: the sites that were surveyed.
        survey: their survey.
        out: a folder for checkpoints and results.
        resume: go on with an interrupted pass.
        seed: of the sample and of the places that are kept.
        progress: called with pictures done and in all.
        checkpoint_s: seconds between checkpoints; they do not change the result.

    Returns:
        Bundle: one piece, ``contexts``: by ``SITE|name`` what ``_SiteAccumulator.results`` says, and ``sampled``, the
            numbers of the sampled pictures.

    Cost: one forward pass per batch; memory some 6 kB per unit, however many the pictures.
    """
    manifest = manifest_of(model, sites, batches, seed=seed, survey=survey.hash)
    with open_run(out, "look", manifest, resume=resume) as bundle:
        if not bundle.whole:
            with pin_threads(bundle):
                _accumulate(model, batches, sites, survey, seed, bundle, progress, checkpoint_s)
    return bundle


def _accumulate(
    model: PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    seed: int,
    bundle: Bundle,
    progress: Progress | None,
    checkpoint_s: float,
) -> None:
    looks = {site.path: _SiteAccumulator(survey, site) for site in sites}
    n = batches.n_stimuli
    sampled = np.sort(np.random.default_rng(seed).choice(n, min(N_SAMPLE, n), replace=False))
    slots = {int(picture): slot for slot, picture in enumerate(sampled)}
    done = 0
    states = [e["piece"] for e in bundle.pieces if e["piece"].startswith("state-")]
    if states:
        bundle.check(states[-1])
        kept = bundle.read(states[-1])
        done = int(kept["progress"][0])
        for path, look in looks.items():
            look.__dict__.update({name: torch.from_numpy(kept[f"{path}|{name}"].copy()) for name in look.tensors()})
    last = time.monotonic()
    if not any(e["piece"] == "contexts" for e in bundle.pieces):
        for batch in batches.start_at(done):

            def see(path: str, x: Tensor, first: int = done, n: int = len(batch)) -> None:
                for i, values in enumerate(x.float().cpu().view(n, -1, x.shape[1])):
                    looks[path].see(values, first + i, slots.get(first + i, -1), seed)

            model.watch(batch, list(looks), see)
            done += len(batch)
            if progress is not None:
                progress(done, n)
            if time.monotonic() - last >= checkpoint_s:
                number = int(states[-1].removeprefix("state-")) + 1 if states else 0
                state = {f"{path}|{name}": t.numpy() for path, k in looks.items() for name, t in k.tensors().items()}
                bundle.append(f"state-{number:05d}", state | {"progress": np.array([done])})
                for piece in states:
                    bundle.drop(piece)
                states, last = [f"state-{number:05d}"], time.monotonic()
        arrays = {f"{path}|{name}": array for path, k in looks.items() for name, array in k.results().items()}
        arrays = {
            name: np.ascontiguousarray(a[:, : len(sampled)]) if name.endswith("|sample") else a
            for name, a in arrays.items()
        }
        bundle.append("contexts", {**arrays, "sampled": sampled})
    for piece in states:
        bundle.drop(piece)
    bundle.finish()


def read_arrays(bundle: Bundle, site: str) -> dict[str, np.ndarray]:
    """Return a site's ``edges tokens pieces binned binned_at lowest lowest_at sample``, units first."""
    names = ("edges", "tokens", "pieces", "binned", "binned_at", "lowest", "lowest_at", "sample")
    arrays = bundle.read("contexts", [f"{site}|{name}" for name in names])
    return {name: arrays[f"{site}|{name}"] for name in names}


def read_examples(survey: StoredSurvey, look: Bundle, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a site's examples: rows ``(unit, kind, rank, picture, position)`` by picture, and their values.

    Kinds count as in ``second_pass.KINDS``; then 3: places by bin of the histogram, 4: the lowest pictures.

    Returns:
        tuple[np.ndarray, np.ndarray]: ``(example, 5)`` rows, and ``(example,)`` values.
    """
    names = [f"{site}|{kind}_{part}" for kind in ("top", "random") for part in ("value", "at")]
    known = survey.bundle.read("exemplars", names)
    own = look.read("contexts", [f"{site}|{n}" for n in ("binned", "binned_at", "lowest", "lowest_at")])
    width = len(own[f"{site}|lowest"])
    # A unit that never acts below zero has no lowest examples of interest: they are where it is silent.
    lowest_at = np.where((own[f"{site}|lowest"] < 0)[..., None], own[f"{site}|lowest_at"], -1)
    tables = [
        (KINDS.index("top"), known[f"{site}|top_value"], known[f"{site}|top_at"]),
        (KINDS.index("random"), known[f"{site}|random_value"], known[f"{site}|random_at"]),
        (INTERVAL, own[f"{site}|binned"].reshape(width, -1), own[f"{site}|binned_at"].reshape(width, -1, 2)),
        (LOWEST, own[f"{site}|lowest"], lowest_at),
    ]
    rows, values = [], []
    for kind, value, at in tables:
        unit, rank = (i.ravel() for i in np.indices(value.shape))
        rows.append(np.column_stack([unit, np.full(len(unit), kind), rank, at.reshape(-1, 2)]))
        values.append(np.asarray(value, dtype=np.float64).ravel())
    whole, all_values = np.concatenate(rows).astype(np.int64), np.concatenate(values)
    # Few pictures leave places free; a unit without one finite value has examples nowhere.
    kept = (whole[:, 3] >= 0) & np.isfinite(all_values)
    whole, all_values = whole[kept], all_values[kept]
    by = np.argsort(whole[:, 3], kind="stable")
    return whole[by], all_values[by]
