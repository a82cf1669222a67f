"""Two passes over a text: each unit's highest activation in every window, then its activations in those drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.stimulus import Shown, pack_stimuli, runs
from patchclamp.describe.evidence.units import UnitSource, watch_units
from patchclamp.describe.evidence.windows import window_arrays
from patchclamp.engines import Piece, Start
from patchclamp.engines.engine import Tick

SHARD_BYTES = 32 * 2**20
GROUP_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class Layout:
    """Say how the units of each source are cut into groups, so that one group's numbers for all windows fit in memory.

    Args:
        sources: where the units are.
        size: units of a group.
        both: whether the lowest activations are kept beside the highest.
    """

    sources: tuple[UnitSource, ...]
    size: int
    both: bool

    @classmethod
    def of(cls, sources: tuple[UnitSource, ...], n_windows: int, *, both: bool) -> "Layout":
        """Cut groups so that their numbers for so many windows take ``GROUP_BYTES``.

        Args:
            sources: where the units are.
            n_windows: of the text.
            both: whether lowest activations are kept too.

        Returns:
            Layout: groups of 1,024 units at most.
        """
        per_unit = 4 * max(n_windows, 1) * (2 if both else 1)
        return cls(sources, max(1, min(1024, GROUP_BYTES // per_unit)), both)

    def groups(self, source: int) -> list[slice]:
        """Return which of a source's units belong to each group."""
        n = len(self.sources[source])
        return [slice(first, min(first + self.size, n)) for first in range(0, n, self.size)]

    @property
    def n_units(self) -> int:
        """Units of all sources."""
        return sum(map(len, self.sources))

    @property
    def window_bytes(self) -> int:
        """What the first pass keeps of one window."""
        return 4 * self.n_units * (2 if self.both else 1)


class FullShard:
    """Say where a shard ends: with the batch that fills it."""

    def __init__(self, per_window: Int[np.ndarray, " window"] | int) -> None:
        self.per_window, self.n_bytes = per_window, 0

    def __call__(self, at: Start, batch: Sequence[Shown]) -> bool:
        """Say whether the shard ends with a batch, given where the next would begin."""
        if isinstance(self.per_window, int):
            self.n_bytes += self.per_window * len(batch)
        else:
            self.n_bytes += int(self.per_window[at.stimuli - len(batch) : at.stimuli].sum())
        ends = self.n_bytes >= SHARD_BYTES
        self.n_bytes = 0 if ends else self.n_bytes
        return ends


@dataclass(frozen=True, eq=False)
class Shard:
    """Hold what a pass computed of a piece.

    Args:
        arrays: by name.
        stimuli: windows of the piece,
        tokens: and their tokens.
    """

    arrays: dict[str, np.ndarray]
    stimuli: int
    tokens: int


@dataclass(frozen=True, eq=False)
class FirstPass:
    """What is computed of a piece in the first pass."""

    model: Any
    layout: Layout
    seed: int
    test: float

    def __call__(self, piece: Piece, tick: Tick) -> Shard:
        """Return windows' contents, and by source and group ``(unit, window)`` extremes and sums over training."""
        sources, both = self.layout.sources, self.layout.both
        highs: list[list[np.ndarray]] = [[] for _ in sources]
        lows: list[list[np.ndarray]] = [[] for _ in sources]
        sums = [np.zeros(len(source)) for source in sources]
        rows = np.zeros(len(sources), dtype=np.int64)
        kept: list[dict[str, np.ndarray]] = []
        for batch in piece.batches:
            kept.append(window_arrays(batch, self.seed))
            trains = ~(kept[-1]["draw"] < self.test)
            layouts = {n: _Rows(batch, n) for n in {source.site.n_places for source in sources}}

            def see(i: int, x: Tensor, layouts: dict[int, _Rows] = layouts, trains: np.ndarray = trains) -> None:
                at = layouts[sources[i].site.n_places]
                for found, kept_ones in zip(at.extremes(x, both=both), (highs, lows), strict=False):
                    kept_ones[i].append(found)
                total, counted = at.sum(x, trains)
                sums[i] += total
                rows[i] += counted

            watch_units(self.model, sources, batch, see)
            tick(sum(map(len, batch)))
        arrays = {name: np.concatenate([one[name] for one in kept]) for name in kept[0]}
        for i in range(len(sources)):
            whole = {"high": highs[i], **({"low": lows[i]} if both else {})}
            for name, parts in whole.items():
                joined = np.concatenate(parts, axis=1)  # (unit, window)
                for g, units in enumerate(self.layout.groups(i)):
                    arrays[f"{i}|{g}|{name}"] = np.ascontiguousarray(joined[units])
            arrays[f"{i}|sum"], arrays[f"{i}|rows"] = sums[i], rows[i : i + 1].copy()
        return Shard(arrays, piece.end.stimuli - piece.start.stimuli, piece.tokens)


class _Rows:
    """Where each window of a batch stands in the rows of a site."""

    def __init__(self, batch: Sequence[Shown], n_places: int) -> None:
        lengths = np.array([n_places or len(one) for one in batch])
        firsts = np.concatenate([[0], np.cumsum(lengths)])
        at = firsts[:-1, None] + np.arange(lengths.max())
        inside = np.arange(lengths.max()) < lengths[:, None]
        if not n_places:
            for row, one in zip(inside, batch, strict=True):
                row[: len(one)] &= one.counted
        self.at, self.inside = torch.from_numpy(at.clip(max=firsts[-1] - 1)), torch.from_numpy(inside)
        self.lengths, self.firsts, self.counted = lengths, firsts, inside

    def extremes(self, x: Tensor, *, both: bool) -> Iterator[np.ndarray]:
        """Yield ``(unit, window)`` the highest, and if wanted the lowest, of what is counted; ∓∞ where nothing is."""
        padded, outside = x[self.at.to(x.device)], ~self.inside[:, :, None].to(x.device)
        yield _columns(padded.masked_fill(outside, -torch.inf).amax(1))
        if both:
            yield _columns(padded.masked_fill_(outside, torch.inf).amin(1))

    def along(self, x: Tensor, windows: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(token,)`` a unit's value at every position of each window, NaN where it is not counted; lengths."""
        rows, cuts = runs(self.firsts, windows)
        lengths = np.diff(cuts)
        columns = np.repeat(units, lengths).astype(np.int64)
        found = x[torch.from_numpy(rows).to(x.device), torch.from_numpy(columns).to(x.device)]
        counted = np.concatenate([self.counted[k, : self.lengths[k]] for k in range(len(self.lengths))])
        return np.where(counted[rows], found.cpu().numpy(), np.nan).astype(np.float32), lengths

    def sum(self, x: Tensor, trains: np.ndarray) -> tuple[np.ndarray, int]:
        """Return ``(unit,)`` sums over the counted rows of training windows, and how many rows these are."""
        rows = self.at[self.inside & torch.from_numpy(trains)[:, None]]
        precise = torch.float32 if x.device.type == "mps" else torch.float64
        return x[rows.to(x.device)].sum(0, dtype=precise).double().cpu().numpy(), len(rows)


def _columns(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.T.cpu().numpy().astype(np.float32))


@dataclass(frozen=True, eq=False)
class WantedRows:
    """Name the rows whose activations the second pass keeps of a source, windows in order, then units.

    Args:
        window: ``(row,)`` number of the window.
        unit: ``(row,)`` place of the unit in the source.
        neighbour: ``(row,)`` place of the unit whose firing tokens are marked; −1 where none are.
        sign: ``(unit,)`` direction in which each unit of the source fires.
        fires: ``(unit,)`` from where.
    """

    window: Int[np.ndarray, " row"]
    unit: Int[np.ndarray, " row"]
    neighbour: Int[np.ndarray, " row"]
    sign: Int[np.ndarray, " unit"]
    fires: Float[np.ndarray, " unit"]


@dataclass(frozen=True, eq=False)
class SecondPass:
    """What is computed of a piece in the second pass.

    Args:
        model: the subject.
        layout: sources and groups.
        wanted: the rows of each source.
    """

    model: Any
    layout: Layout
    wanted: tuple[WantedRows, ...]

    def __call__(self, piece: Piece, tick: Tick) -> Shard:
        """Return by source and group the activations along every wanted window, windows in order; and their stimuli.

        A token that is not counted has NaN. Beside them is, along the windows of neighbours, where the neighbour fires.
        """
        sources = self.layout.sources
        values: list[list[np.ndarray]] = [[] for _ in sources]
        marks: list[list[np.ndarray]] = [[] for _ in sources]
        counts: list[list[np.ndarray]] = [[] for _ in sources]
        slices: list[list[slice]] = [[] for _ in sources]
        kept: list[Shown] = []
        numbers: list[int] = []
        start, windows = piece.start.stimuli, [one.window for one in self.wanted]
        for batch in piece.batches:
            own = [slice(*np.searchsorted(window, [start, start + len(batch)])) for window in windows]
            shown = [np.unique(window[part]) for window, part in zip(windows, own, strict=True)]
            if any(map(len, shown)):
                # The whole batch, as in the first pass: another batch would round otherwise.
                layouts = {n: _Rows(batch, n) for n in {source.site.n_places for source in sources}}

                def see(
                    i: int, x: Tensor, layouts: dict[int, _Rows] = layouts, own: list[slice] = own, start: int = start
                ) -> None:
                    wanted, part, at = self.wanted[i], own[i], layouts[sources[i].site.n_places]
                    found, lengths = at.along(x, wanted.window[part] - start, wanted.unit[part])
                    values[i].append(found)
                    counts[i].append(lengths)
                    slices[i].append(part)
                    related = np.flatnonzero(wanted.neighbour[part] >= 0)
                    others = wanted.neighbour[part][related]
                    found, lengths = at.along(x, wanted.window[part][related] - start, others)
                    marks[i].append(
                        np.repeat(wanted.sign[others], lengths) * found >= np.repeat(wanted.fires[others], lengths)
                    )

                watch_units(self.model, sources, batch, see)
                chosen = np.unique(np.concatenate(shown))
                kept += [batch[number - start] for number in chosen]
                numbers += chosen.tolist()
            start += len(batch)
            tick(sum(map(len, batch)))
        arrays = {"stimulus": np.array(numbers, dtype=np.int64), **(pack_stimuli(kept) if kept else {})}
        for i in range(len(sources)):
            none = np.zeros(0, dtype=np.int64)
            rows = np.concatenate([none, *(np.arange(part.start, part.stop) for part in slices[i])])
            group, related = self.wanted[i].unit[rows] // self.layout.size, self.wanted[i].neighbour[rows] >= 0
            lengths = np.concatenate([none, *counts[i]])
            columns = {
                "": (np.concatenate([np.zeros(0, dtype=np.float32), *values[i]]), group, lengths),
                "|marks": (np.concatenate([np.zeros(0, dtype=bool), *marks[i]]), group[related], lengths[related]),
            }
            for name, (whole, group_of, long) in columns.items():
                cuts = np.concatenate([[0], np.cumsum(long)]).astype(np.int64)
                for g in range(len(self.layout.groups(i))):
                    arrays[f"{i}|{g}{name}"] = whole[runs(cuts, np.flatnonzero(group_of == g))[0]]
        return Shard(arrays, start - piece.start.stimuli, piece.tokens)
