"""What a second pass over a text keeps: per unit a histogram, strips of text, and values at a sample of tokens.

Per unit: an exact histogram between its extremes, two pieces of text per bin, the activations around every exemplar of
the survey, the lowest pieces, and its values at a uniform sample of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

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
from patchclamp.atlas.bake.lowest import LOWEST, empty_lowest, keep_lowest, lowest_strips
from patchclamp.core.bundle import Bundle
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.core.survey import StoredSurvey
from patchclamp.engines import Start
from patchclamp.subjects.corpora import Batches

STRIP, BEFORE = 32, 20


@dataclass(frozen=True, eq=False)
class Snippets:
    """Strips of text with a unit's activations along them, one row each.

    Args:
        unit: the unit's number in the site.
        kind: index into ``top quantile random interval lowest``.
        rank: order within unit and kind.
        value: activation at the marked token.
        stimulus: number of the stimulus.
        position: of the marked token.
        start: position of the strip's first token.
        acts: ``(row, STRIP)`` activations, NaN past the stimulus' end.
    """

    unit: np.ndarray
    kind: np.ndarray
    rank: np.ndarray
    value: np.ndarray
    stimulus: np.ndarray
    position: np.ndarray
    start: np.ndarray
    acts: np.ndarray


class TextSite(SiteLook):
    """What is kept of one site; see ``SiteLook``."""

    KEPT = ("value", "place", "acts")

    def __init__(self, survey: StoredSurvey, site: Site, n_sample: int) -> None:
        super().__init__(survey, site, n_sample)
        exemplars = survey.bundle.read("exemplars", [f"{site.path}|{k}_{p}" for k in KINDS for p in ("value", "at")])
        tables = [(exemplars[f"{site.path}|{k}_value"], exemplars[f"{site.path}|{k}_at"]) for k in KINDS]
        # (exemplar, 5), by stimulus, and (exemplar,)
        self.known, self.known_value = by_stimulus([table_of(kind, *table) for kind, table in enumerate(tables)])
        self.clear()

    def clear(self) -> None:
        """Make everything that changes during the pass as it is before anything was shown."""
        super().clear()
        width = self.width
        self.tokens = torch.zeros(BINS, width, dtype=torch.int64)
        self.pieces = torch.zeros(BINS, width, dtype=torch.int64)
        self.latest = torch.full((width, BINS), LATEST)
        self.place = torch.zeros(width, BINS, PER_BIN, 3, dtype=torch.int32)  # stimulus, peak, start
        self.acts = torch.full((width, BINS, PER_BIN, STRIP), torch.nan, dtype=torch.float16)
        self.low, self.low_place, self.low_acts = empty_lowest(width, STRIP)
        self.starts = torch.zeros(len(self.known), dtype=torch.int64)
        self.strips = torch.full((len(self.known), STRIP), torch.nan, dtype=torch.float16)

    def _known_rows(self, start: Start, end: Start) -> slice:
        """Return the exemplars whose stimuli lie between two places."""
        return slice(*np.searchsorted(self.known[:, 3], [start.stimuli, end.stimuli]))

    def trim(self, rows: slice, start: Start, end: Start) -> None:
        """Drop what a part cannot have filled; see ``SiteLook.trim``."""
        super().trim(rows, start, end)
        self.held, own = (start, end), self._known_rows(start, end)
        self.starts, self.strips = self.starts[own].clone(), self.strips[own].clone()
        del self.known, self.known_value, self.edges, self.latest

    def merge(self, part: "TextSite", rows: slice) -> None:
        """Take in a part whose stimuli come next; see ``SiteLook.merge``."""
        super().merge(part, rows)
        self.latest.copy_(self.order.amax(2))
        self.tokens += part.tokens
        self.pieces += part.pieces
        own = self._known_rows(*part.held)
        self.starts[own], self.strips[own] = part.starts, part.strips
        low, by = torch.cat([self.low, part.low], 1).sort(dim=1, stable=True)
        self.low.copy_(low[:, :LOWEST])
        for name in ("low_place", "low_acts"):
            held = getattr(self, name)
            held.copy_(torch.cat([held, getattr(part, name)], 1).gather(1, by[:, :LOWEST, None].expand(held.shape)))

    def see(self, x: Tensor, batch: "_Batch") -> None:
        """Take in one batch's ``(token, unit)`` values, special tokens included."""
        first, last = np.searchsorted(self.known[:, 3], [batch.stimulus, batch.stimulus + len(batch.lengths)])
        # Exemplars of this batch lie together, as they are sorted by stimulus; 4096 at once bound the gathered values.
        for rows in (slice(i, min(i + 4096, last)) for i in range(first, last, 4096)):
            exemplars = self.known[rows]
            which = exemplars[:, 3] - batch.stimulus  # place in the batch
            length = torch.from_numpy(batch.lengths[which])
            # A strip near the end of its stimulus begins earlier, so that it is full where the stimulus is long enough.
            most = (length - STRIP).clamp(min=0)
            self.starts[rows] = torch.minimum(torch.from_numpy(exemplars[:, 4] - BEFORE).clamp(min=0), most)
            at = self.starts[rows, None] + torch.arange(STRIP)  # (exemplar, STRIP) positions
            inside = torch.minimum(at, length[:, None] - 1) + torch.from_numpy(batch.firsts[which])[:, None]
            values = x[inside, torch.from_numpy(exemplars[:, 0])[:, None]]
            self.strips[rows] = _half(values.masked_fill(at >= length[:, None], torch.nan))
        if len(batch.picks):
            self.sample[torch.from_numpy(batch.slots)] = x[torch.from_numpy(batch.picks)]
        if len(batch.counted):
            self._count(x, x[torch.from_numpy(batch.counted)], batch)
            held = self.low, self.low_place, self.low_acts
            where = batch.counted, batch.stimulus, batch.firsts, batch.lengths
            keep_lowest(held, x, *where, BEFORE)

    def _count(self, x: Tensor, counted: Tensor, batch: "_Batch") -> None:
        """Count tokens and pieces per bin: all values ``(token, unit)``, and those that statistics count."""
        if not torch.isfinite(counted.sum()):
            counted = counted.masked_fill(~torch.isfinite(counted), torch.nan)
        edges = self.edges.T.contiguous()
        self.tokens += _count_bins(counted, edges)
        # Pieces are cut at fixed positions, special tokens included as places but not as values.
        padded = torch.full((len(batch.order) * STRIP, x.shape[1]), -torch.inf)
        # (piece · STRIP, unit): −inf fills a stimulus' last piece and special tokens, and so is never a maximum.
        padded[torch.from_numpy(batch.slot_of)] = counted.nan_to_num(nan=-torch.inf)
        high, where = padded.view(len(batch.order), STRIP, -1).max(1)  # (piece, unit)
        bins = _bin_of(high, edges)  # (piece, unit)
        self.pieces.scatter_add_(0, bins, high.isfinite().long())
        self._keep(x, high, where, bins, batch)

    def _keep(self, x: Tensor, high: Tensor, where: Tensor, bins: Tensor, batch: "_Batch") -> None:
        """Keep pieces that come earlier in the random order than the latest kept one of their bin.

        So every bin ends with the PER_BIN pieces of lowest draw, a uniform sample, whatever the batches were.
        """
        order = torch.from_numpy(batch.order)  # (piece,)
        # (piece, unit): the latest of the kept ones of the bin that the piece falls into.
        better = (order[:, None] < self.latest.gather(1, bins.T).T) & high.isfinite()
        begins, ends = torch.tensor(batch.pieces).T
        number, start = torch.tensor(batch.piece_of).T
        drawn = order.argsort()
        rank = drawn.argsort()[:, None]  # (piece, 1)
        # Of one batch the first so many of a bin can find a place, one after another.
        for _ in range(PER_BIN if better.any() else 0):
            first = torch.full(self.latest.shape, len(order))  # (unit, bin)
            first.scatter_reduce_(1, bins.T, torch.where(better, rank, len(order)).T, "amin")
            units, which = (first < len(order)).nonzero(as_tuple=True)
            piece = drawn[first[units, which]]
            better[piece, units] = False
            worst, slot = self.order[units, which].max(1)
            still = worst > order[piece]
            units, which, slot, piece = units[still], which[still], slot[still], piece[still]
            into = (units, which, slot)
            at = begins[piece, None] + torch.arange(STRIP)  # (k, STRIP)
            past = at >= ends[piece, None]
            values = x[at.minimum(ends[piece, None] - 1), units[:, None]]
            self.acts[into] = _half(values.masked_fill(past, torch.nan))
            self.order[into] = order[piece]
            self.value[into] = high[piece, units]
            marked = start[piece] + where[piece, units]
            self.place[into] = torch.stack([number[piece], marked, start[piece]], 1).int()
            self.latest[units, which] = self.order[units, which].amax(1)

    def snippets(self) -> Snippets:
        """Return every strip, sorted by unit, kind and rank."""
        held = (self.order < LATEST).nonzero().numpy()  # (strip, 3): unit, bin, slot
        order = self.order.numpy()[tuple(held.T)]
        held = held[np.lexsort((order, held[:, 1], held[:, 0]))]
        at = tuple(held.T)
        unit, place = held[:, 0], self.place.numpy()[at].astype(np.int64)
        rank = np.arange(len(unit)) - np.searchsorted(unit, unit)  # counted anew in each unit
        known = self.known
        low = lowest_strips((self.low, self.low_place, self.low_acts))
        kinds = [known[:, 1], np.full(len(unit), len(KINDS)), np.full(len(low["unit"]), len(KINDS) + 1)]
        strips = Snippets(
            unit=np.concatenate([known[:, 0], unit, low["unit"]]),
            kind=np.concatenate(kinds),
            rank=np.concatenate([known[:, 2], rank, low["rank"]]),
            value=np.concatenate([self.known_value, self.value.numpy()[at], low["value"]]).astype(np.float64),
            stimulus=np.concatenate([known[:, 3], place[:, 0], low["stimulus"]]),
            position=np.concatenate([known[:, 4], place[:, 1], low["position"]]),
            start=np.concatenate([self.starts.numpy(), place[:, 2], low["start"]]),
            acts=np.concatenate([self.strips.numpy(), self.acts.numpy()[at], low["acts"]]),
        )
        by = np.lexsort((strips.rank, strips.kind, strips.unit))
        return Snippets(**{name: array[by] for name, array in strips.__dict__.items()})

    def results(self) -> dict[str, np.ndarray]:
        """Return strips, edges, counts and sample; see ``read_results``."""
        return {
            **self.snippets().__dict__,
            "edges": self.edges.double().numpy(),
            "tokens": self.tokens.T.contiguous().numpy(),
            "pieces": self.pieces.T.contiguous().numpy(),
            "sample": self.sample.T.contiguous().numpy(),
        }


def _half(x: Tensor) -> Tensor:
    """Return float16; what is too large for it becomes its largest."""
    return x.clamp(-65504, 65504).half()


def _count_bins(x: Tensor, edges: Tensor) -> Tensor:
    """Count ``(row, unit)`` values per bin and unit; bins hold their lower edge, the last its upper one too.

    Every edge is compared with every value: exact, and quicker than finding each value's bin.
    """
    # (bin, unit): values at or above each lower edge; neighbours' difference is what lies between.
    above = torch.stack([torch.ge(x, edges[k], out=torch.empty_like(x)).sum(0) for k in range(BINS)]).long()
    above[:-1] -= above[1:].clone()
    return above


def _bin_of(x: Tensor, edges: Tensor) -> Tensor:
    """Return the bin of every ``(row, unit)`` value."""
    return sum((x >= edges[k] for k in range(1, BINS)), torch.zeros(x.shape, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class _Batch:
    """Where everything of one batch stands in its rows.

    Args:
        stimulus: number of its first stimulus.
        lengths: tokens of each stimulus.
        firsts: row of each stimulus' first token.
        counted: rows that statistics count.
        slot_of: where each of these stands when every piece has STRIP places.
        order: random order that decides about each piece.
        pieces: first row of each piece, and past its last.
        piece_of: stimulus of each piece, and position of its first token.
        slots: places of the sample that the batch fills,
        picks: with which rows.
    """

    stimulus: int
    lengths: np.ndarray
    firsts: np.ndarray
    counted: np.ndarray
    slot_of: np.ndarray
    order: np.ndarray
    pieces: list[tuple[int, int]]
    piece_of: list[tuple[int, int]]
    slots: np.ndarray
    picks: np.ndarray


class TextLook(Look):
    """What is kept of all sites of a text; see ``Look``."""

    def __init__(self, batches: Batches, sites: Sequence[Site], survey: StoredSurvey, seed: int) -> None:
        n, self.seed = min(SAMPLE, survey.n_tokens), seed
        self.chosen = np.sort(np.random.default_rng(seed).choice(survey.n_tokens, n, replace=False))
        of = ((site.path, TextSite(survey, site, n)) for site in sites)
        super().__init__(of, batches.n_tokens, survey.bundle.path.parent)

    def begin(self, batch: Sequence[Shown]) -> None:
        """Say where everything of a batch stands."""
        self.laid = _collate(batch, self.done, self.chosen, self.seed)

    def see(self, path: str, x: Tensor) -> None:
        """Take in one site's values of the batch."""
        cast(TextSite, self.of[path]).see(x.float().cpu(), self.laid)
        self.files.note_use(path)

    def sampled_rows(self, start: Start, end: Start) -> slice:
        """Return which places of the sample the tokens between two places fill."""
        return slice(*np.searchsorted(self.chosen, [start.counted, end.counted]))


def _collate(batch: Sequence[Shown], done: np.ndarray, chosen: np.ndarray, seed: int) -> _Batch:
    """Say where everything of a batch stands, and count it in ``done``."""
    lengths = np.array([len(s) for s in batch])
    firsts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    counted: list[np.ndarray] = []
    slot_of: list[np.ndarray] = []
    order: list[np.ndarray] = []
    pieces: list[tuple[int, int]] = []
    piece_of: list[tuple[int, int]] = []
    for i, (stimulus, first) in enumerate(zip(batch, firsts.tolist(), strict=True)):
        number, where = int(done[0]) + i, np.flatnonzero(stimulus.counted)
        counted.append(first + where)
        slot_of.append(len(pieces) * STRIP + where)
        starts = range(0, len(stimulus), STRIP)
        # Drawn from the stimulus' number alone, so that neither batches nor interruptions change it.
        order.append(np.random.default_rng([seed, number]).integers(2**62, size=len(starts)))
        pieces += [(first + s, first + min(s + STRIP, len(stimulus))) for s in starts]
        piece_of += [(number, s) for s in starts]
    rows = np.concatenate(counted)
    a, b = np.searchsorted(chosen, [done[2], done[2] + len(rows)])
    laid = _Batch(
        stimulus=int(done[0]),
        lengths=lengths,
        firsts=firsts,
        counted=rows,
        slot_of=np.concatenate(slot_of),
        order=np.concatenate(order),
        pieces=pieces,
        piece_of=piece_of,
        slots=np.arange(a, b),
        picks=rows[chosen[a:b] - done[2]],
    )
    done += [len(batch), lengths.sum(), len(rows)]
    return laid


def read_results(bundle: Bundle, site: str, units: slice = slice(None)) -> tuple[Snippets, dict[str, Any]]:
    """Return what the pass kept of a site, or of some units there.

    Returns:
        tuple[Snippets, dict[str, Any]]: the strips, and ``edges tokens pieces`` with units first.
    """
    names, rest = list(Snippets.__annotations__), ["edges", "tokens", "pieces"]
    arrays = read_site(bundle, site, [*names, *rest])
    first, last, _ = units.indices(len(arrays["edges"]))
    own = slice(*np.searchsorted(arrays["unit"], [first, last]))  # strips are sorted by unit
    strips = {n: arrays[n][own] for n in names}
    strips["unit"] = strips["unit"] - first
    return Snippets(**strips), {n: arrays[n][units] for n in rest}
