"""Statistics and exemplars of every unit in one pass over a text and bounded memory."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import is_url
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown, find_kind
from patchclamp.core.subject import Progress
from patchclamp.core.survey import PROBABILITIES, StoredSurvey
from patchclamp.engines import Engine, Serial, Start, fold
from patchclamp.engines.plan import stimuli_of_piece
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.record.mapped import HELD, Mapped, OneAtATime
from patchclamp.record.picture_units import PictureUnits
from patchclamp.record.run import manifest_of, open_run, pin_threads, refuse_if_too_large
from patchclamp.record.stream import MOST_NAMED
from patchclamp.subjects.corpora import Batches, read_corpus
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.pass_memory import count_forward_bytes
from patchclamp.subjects.plain import PlainModel
from patchclamp.subjects.recordable import select_recordable
from patchclamp.subjects.vision import VisionModel

N_TOP, N_DECILES, N_RANDOM, N_SAMPLE = 16, 10, 8, 1000
CHECKPOINT_S = 60.0
UNIT_BYTES = N_SAMPLE * 4 + N_TOP * 20 + 68
"""What the running statistics of a unit take."""
DRAWN_AT_ONCE = 2**20
START = Start()


@checked
def survey_corpus(
    model: LanguageModel | VisionModel | PlainModel | Features | WithHeads | PictureUnits,
    corpus: Any,
    sites: str | Sequence[str],
    out: str | Path,
    *,
    resume: bool = False,
    batch_size: int = 8,
    seed: Natural = 0,
    progress: Progress | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    engine: Engine | None = None,
) -> StoredSurvey:
    """Survey every unit of some sites over a corpus: statistics and exemplars, no activations kept.

    Means and variances are exact (Chan's update, float64); minimum, maximum and the top exemplars too. Quantiles and
    the exemplars by decile come from a uniform sample of 1,000 tokens, the same for all units: the stated rank of a
    quantile is right to ± 0.053 with 99 % confidence (Dvoretzky–Kiefer–Wolfowitz). Special tokens and padding are
    left out. Of images every place counts, a class token's too; the top exemplars are images, with a place.

    Args:
        model: the subject.
        corpus: as for ``record_corpus``.
        sites: site paths or patterns.
        out: a new or empty folder.
        resume: go on with an interrupted survey.
        batch_size: stimuli per forward pass; not read of what ``read_corpus`` gave.
        seed: of the sample behind quantiles.
        progress: called with tokens (of images: images) done and in all.
        checkpoint_s: seconds between checkpoints; they do not change the result.
        engine: where it is computed, from ``open_engine``; this process by default. It does not change the result.

    Returns:
        StoredSurvey: the folder, opened.

    Raises:
        PatchclampError: unknown sites, no text or images, no room, or a resume that does not fit.

    Cost: one forward pass per batch, stopped at the last site, and some seven passes over its activations; memory
    about 5 kB per unit, 1 GB at most, and 30 kB per unit of the widest site; on disk up to three times 5 kB per unit.
    """
    chosen = select_recordable(model, sites)
    batches = read_corpus(model, corpus, batch_size=batch_size)
    refuse_if_too_large(out, disk_bytes(chosen))
    with open_run(out, "survey", manifest_of(model, chosen, batches, seed=seed), resume=resume) as bundle:
        if not bundle.whole:
            with pin_threads(bundle):
                _survey(model, batches, chosen, seed, bundle, checkpoint_s, progress, engine or Serial())
    return StoredSurvey(out)


def _survey(
    model: LanguageModel | VisionModel | PlainModel | Features | WithHeads | PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    seed: int,
    bundle: Bundle,
    checkpoint_s: float,
    progress: Progress | None,
    engine: Engine,
) -> None:
    """Survey from the last checkpoint to the text's end, and commit the results."""
    piece = stimuli_of_piece(batches.n_stimuli, batches.batch_size)
    aside = Path(gettempdir()) if is_url(bundle.path) else bundle.path
    state = State(sites, seed, n_stimuli=batches.n_stimuli, n_counted=batches.n_counted, piece=piece, aside=aside)
    states = [e for e in bundle.pieces if e["piece"].startswith("state-")]
    if states:
        bundle.check(states[-1]["piece"])
        state.restore(partial(bundle.read, states[-1]["piece"]))
    tally = _Tally(bundle, states, checkpoint_s)
    if not any(e["piece"] == "contexts" for e in bundle.pieces):

        def keep() -> None:
            tally.checkpoint(state)
            if progress is not None:
                progress(state.start.tokens, batches.n_tokens)

        fold(model, batches, [site.path for site in sites], state, engine=engine, piece=piece, after=keep)
        commit_results(bundle, state, batches, kind=batches.kind)
    tally.drop()
    counted = next(e["counted"] for e in bundle.pieces if e["piece"] == "statistics")
    tokens = {"tokens": batches.n_tokens} if find_kind(batches.kind).positions else {}
    bundle.finish(stimuli=batches.n_stimuli, **tokens, counted=counted)


def memory_bytes(sites: Sequence[Site]) -> int:
    """Return what the running statistics of a survey take in memory; from ``HELD`` bytes on they lie in files."""
    return min(sum(s.width for s in sites) * UNIT_BYTES, HELD)


def disk_bytes(sites: Sequence[Site]) -> int:
    """Return what a survey takes on disk at most: its running statistics, and two checkpoints of them."""
    return 3 * sum(s.width for s in sites) * UNIT_BYTES


def peak_bytes(model: Any, sites: Sequence[Site], batches: Batches) -> int:
    """Return what a survey holds at its largest: statistics, a copy of the widest site's, and a batch or a sort.

    Args:
        model: the subject.
        sites: what is surveyed.
        batches: the corpus.

    Returns:
        int: bytes besides the model's.
    """
    length = -(-batches.n_tokens // max(batches.n_stimuli, 1))
    widest = max((s.width * (s.n_places or 1) for s in sites), default=0)
    batch = batches.batch_size * (count_forward_bytes(model, length) + 3 * 4 * length * widest)
    # In the end the samples of a site are sorted beside the ones before: values, keys of 8 bytes and places of 8.
    return memory_bytes(sites) + UNIT_BYTES * widest + max(batch, 44 * N_SAMPLE * widest)


class _Tally:
    """Checkpoints in the bundle: each replaces the one before."""

    def __init__(self, bundle: Bundle, states: list[dict[str, Any]], every_s: float) -> None:
        self.bundle = bundle
        self.pieces = [e["piece"] for e in states]
        self.every_s = every_s
        self.last = time.monotonic()

    def checkpoint(self, state: "State") -> None:
        if time.monotonic() - self.last < self.every_s:
            return
        number = int(self.pieces[-1].removeprefix("state-")) + 1 if self.pieces else 0
        older = list(self.pieces)
        self.bundle.append(f"state-{number:05d}", state.tensors())
        self.pieces.append(f"state-{number:05d}")
        self.drop(older)
        self.last = time.monotonic()

    def drop(self, pieces: list[str] | None = None) -> None:
        for piece in list(self.pieces if pieces is None else pieces):
            self.bundle.drop(piece)
            self.pieces.remove(piece)


@dataclass(frozen=True, eq=False)
class _Rows:
    """One stimulus of the batch under way, at the sites that have its layout.

    Args:
        rows: which rows of the batch are its counted tokens, or its places.
        n_before: rows of its piece that were counted before it.
        stimulus: its number.
        positions: logical positions of its counted rows.
        slots: places of the sample that it fills,
        picks: with which of its counted rows.
    """

    rows: slice | Tensor
    n_before: int
    stimulus: int
    positions: np.ndarray
    slots: np.ndarray
    picks: np.ndarray


class State:
    """Running statistics of all sites; everything a resume needs.

    Means and variances are summed up piece by piece, and the pieces one after the other: so a piece that another
    process computed can be merged, and the bytes are those of one process.

    Args:
        sites: what is surveyed.
        seed: of the sample.
        n_stimuli: how many stimuli there will be,
        n_counted: and counted tokens.
        piece: stimuli of a piece; None where all are one.
        start: where the first batch begins that it is shown,
        end: and the last ends: the end of everything where it is left out.
        aside: a folder where what grows with the units lies in files; in memory where it is left out.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        seed: int,
        *,
        n_stimuli: int,
        n_counted: int,
        piece: int | None = None,
        start: Start = START,
        end: Start | None = None,
        aside: Path | None = None,
    ) -> None:
        self.sites, self.seed, self.n_stimuli, self.n_counted = sites, seed, n_stimuli, n_counted
        self.piece, self.start = piece, start
        # Text has one layout, its tokens; an image has as many rows as a site has places.
        self.layouts = {
            places: _Layout(
                places, draw_sample(math.prod(places) * n_stimuli if places else n_counted, seed), start, end
            )
            for places in {site.places: None for site in sites}
        }
        self.layout = {site.path: self.layouts[site.places] for site in sites}
        self.files = Mapped(aside)
        self.of: dict[str, _SiteState] = {}
        for site in sites:
            self.of[site.path] = _SiteState(site.width, self.layout[site.path].n_slots)
            self.files.move(site.path, self.of[site.path].__dict__)

    @property
    def counted(self) -> int:
        """How many rows were counted where rows are tokens; of images how many were shown."""
        return self.layouts[()].counted if () in self.layouts else self.start.stimuli

    def begin(self, batch: Sequence[Shown]) -> None:
        """Say which stimuli the values that come next belong to."""
        if self.piece and not self.start.stimuli % self.piece:
            self.close_piece()
        for layout in self.layouts.values():
            layout.begin(batch, self.start.stimuli)
        self.start = self.start.after(batch)

    def see(self, path: str, values: Tensor) -> None:
        """Take in one site's values."""
        for shown in self.layout[path].shown:
            self.of[path].add(values[shown.rows].float().cpu(), shown)
        self.files.note_use(path)

    def close_piece(self) -> None:
        """Add the sums of the piece to those of all before it."""
        for path, site in self.of.items():
            site.close_piece(self.layout[path].of_piece, self.layout[path].before_piece)
            self.files.note_use(path)
        for layout in self.layouts.values():
            layout.before_piece = layout.counted

    def parts(self) -> "_Parts":
        """Return what makes an empty part for the batches between two places."""
        return _Parts(self.sites, self.seed, self.n_stimuli, self.n_counted)

    def trim(self, _start: Start, _end: Start) -> "State":
        """Return the part: it holds only its own rows of the sample."""
        return self

    def merge(self, part: "State") -> None:
        """Take in a piece that begins where this ends."""
        self.close_piece()
        for places, layout in self.layouts.items():
            layout.merge(part.layouts[places])
        for path, site in self.of.items():
            site.merge(part.of[path], part.layout[path])
            self.files.note_use(path)
        self.start = part.start

    def nonfinite(self) -> dict[str, dict[str, int]]:
        """Return how many values of which units were NaN or infinite, where there were any."""
        counts = {
            f"{path}/neurons/{unit}": int(s.nonfinite[unit])
            for path, s in self.of.items()
            for unit in s.nonfinite.nonzero().flatten().tolist()[:MOST_NAMED]
        }
        return {"nonfinite": counts} if counts else {}

    def tensors(self) -> Mapping[str, np.ndarray]:
        """Return everything as arrays, for a checkpoint."""
        whole = {f"{path}|{name}": t.numpy() for path, s in self.of.items() for name, t in s.__dict__.items()}
        for layout in self.layouts.values():
            counts = [*self.start, layout.counted, layout.before_piece]
            whole |= {f"sampled{layout.name}": layout.sampled, f"progress{layout.name}": np.array(counts)}
        return OneAtATime(whole, self.files.release)

    def restore(self, read: Callable[[Sequence[str]], dict[str, Any]]) -> None:
        """Go on from a checkpoint, whose arrays are read by name."""
        tensors = read([f"{what}{layout.name}" for layout in self.layouts.values() for what in ("progress", "sampled")])
        for layout in self.layouts.values():
            *start, layout.counted, layout.before_piece = (int(i) for i in tensors[f"progress{layout.name}"])
            self.start = Start(*start)
            layout.sampled = tensors[f"sampled{layout.name}"].copy()
        for path, state in self.of.items():
            for name, held in state.__dict__.items():
                held.copy_(torch.from_numpy(read([f"{path}|{name}"])[f"{path}|{name}"]))
            self.files.note_use(path)


@dataclass(frozen=True)
class _Parts:
    """What makes an empty part of a survey."""

    sites: Sequence[Site]
    seed: int
    n_stimuli: int
    n_counted: int

    def __call__(self, start: Start, end: Start) -> State:
        return State(
            self.sites, self.seed, n_stimuli=self.n_stimuli, n_counted=self.n_counted, start=start, end=end
        )  # fmt: skip


@lru_cache(maxsize=8)
def draw_sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of ``n`` rows are the sample, ascending, and the priority of each.

    They are the N_SAMPLE rows with the smallest pseudo-random priorities, so they depend on no batching.

    Cost: 10 ns per row; memory of a million.
    """
    chosen, priority = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    for first in range(0, n, DRAWN_AT_ONCE):
        rows = np.arange(first, min(first + DRAWN_AT_ONCE, n))
        chosen = np.concatenate([chosen, rows])
        priority = np.concatenate([priority, _mix(rows.astype(np.uint64), seed)])
        if len(chosen) > N_SAMPLE:
            kept = np.sort(np.argpartition(priority, N_SAMPLE - 1)[:N_SAMPLE])
            chosen, priority = chosen[kept], priority[kept]
    return chosen, priority


class _Layout:
    """Which rows of a batch belong to which stimulus, and the sample of rows, at all sites with the same places."""

    def __init__(
        self, places: tuple[int, ...], sample: tuple[np.ndarray, np.ndarray], start: Start, end: Start | None
    ) -> None:
        self.n_places = math.prod(places) if places else 0
        self.name = "|" + "x".join(map(str, places)) if places else ""
        self.chosen, self.priority = sample
        self.counted = self.before_piece = self._count(start)
        last = None if end is None else self._count(end)
        # The slots that are filled here: of a part those of its own rows.
        self.first_slot = int(np.searchsorted(self.chosen, self.counted))
        end_slot = len(self.chosen) if last is None else int(np.searchsorted(self.chosen, last))
        self.n_slots = end_slot - self.first_slot
        self.sampled = np.full((self.n_slots, 2), -1, dtype=np.int64)
        self.shown: list[_Rows] = []

    def _count(self, at: Start) -> int:
        return self.n_places * at.stimuli if self.n_places else at.counted

    @property
    def of_piece(self) -> int:
        """How many rows of the piece were counted."""
        return self.counted - self.before_piece

    def begin(self, batch: Sequence[Shown], number: int) -> None:
        """Say which stimuli the rows that come next belong to, the first of them being ``number``."""
        self.shown = []
        first = 0
        for i, stimulus in enumerate(batch, number):
            counted = np.arange(self.n_places) if self.n_places else np.flatnonzero(stimulus.counted)
            if len(counted):
                rows = counted + first
                whole = len(rows) == rows[-1] - rows[0] + 1
                cut = slice(int(rows[0]), int(rows[-1]) + 1) if whole else torch.from_numpy(rows)
                self.shown.append(_Rows(cut, self.of_piece, i, counted, *self._sample(counted, i)))
                self.counted += len(counted)
            first += self.n_places or len(stimulus)

    def _sample(self, counted: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which sample slots take which of the counted rows."""
        a, b = np.searchsorted(self.chosen, [self.counted, self.counted + len(counted)])
        picks, slots = self.chosen[a:b] - self.counted, np.arange(a, b) - self.first_slot
        self.sampled[slots, 0], self.sampled[slots, 1] = number, counted[picks]
        return slots, picks

    def merge(self, part: "_Layout") -> None:
        """Take in the sample of a part, and count its rows."""
        first = part.first_slot - self.first_slot
        self.sampled[first : first + part.n_slots] = part.sampled
        self.before_piece, self.counted = part.before_piece, part.counted
        self.shown = []


class _SiteState:
    """Running statistics of one site, all units at once."""

    def __init__(self, width: int, n_slots: int) -> None:
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.m2 = torch.zeros(width, dtype=torch.float64)
        self.piece_mean = torch.zeros(width, dtype=torch.float64)
        self.piece_m2 = torch.zeros(width, dtype=torch.float64)
        self.active = torch.zeros(width, dtype=torch.int64)
        self.minimum = torch.full((width,), torch.inf)
        self.minimum_at = torch.full((width, 2), -1, dtype=torch.int64)
        self.top = torch.full((width, N_TOP), -torch.inf)
        self.top_at = torch.full((width, N_TOP, 2), -1, dtype=torch.int64)
        self.sample = torch.zeros(n_slots, width)
        self.nonfinite = torch.zeros(width, dtype=torch.int64)

    def add(self, x: Tensor, shown: _Rows) -> None:
        """Take in one stimulus' ``(counted tokens, unit)`` values."""
        mean = x.mean(0)
        m2 = (x - mean).square_().sum(0)
        _add_sums((self.piece_mean, self.piece_m2), shown.n_before, (mean, m2), len(x))
        # Counted as floats, exact for so few rows and several times faster than summing booleans.
        self.active += torch.gt(x, 0, out=torch.empty_like(x)).sum(0).long()
        low = high = x
        # The mean is not finite wherever a value is not, and is asked much faster than every value.
        if not torch.isfinite(mean).all():
            # Mean and variance of such a unit say NaN; its exemplars are those of its finite values.
            finite = torch.isfinite(x)
            self.nonfinite += (~finite).sum(0)
            low, high = x.masked_fill(~finite, torch.inf), x.masked_fill(~finite, -torch.inf)
        self._lowest(low, shown.stimulus, shown.positions)
        self._highest(high, shown.stimulus, shown.positions)
        if len(shown.slots):
            self.sample[torch.from_numpy(shown.slots)] = x[torch.from_numpy(shown.picks)]

    def close_piece(self, n: int, n_before: int) -> None:
        """Add the sums of a piece of ``n`` rows to those of the rows before it."""
        if n:
            _add_sums((self.mean, self.m2), n_before, (self.piece_mean, self.piece_m2), n)
            self.piece_mean.zero_()
            self.piece_m2.zero_()

    def merge(self, part: "_SiteState", layout: "_Layout") -> None:
        """Take in the piece that comes next, whose sums stay those of a piece."""
        self.piece_mean.copy_(part.piece_mean)
        self.piece_m2.copy_(part.piece_m2)
        self.active += part.active
        self.nonfinite += part.nonfinite
        lower = part.minimum < self.minimum  # of equal values the earlier stays
        self.minimum[lower], self.minimum_at[lower] = part.minimum[lower], part.minimum_at[lower]
        units = (part.top[:, 0] > self.top[:, -1]).nonzero().flatten()
        self._keep_highest(units, part.top[units], part.top_at[units])
        self.sample[layout.first_slot : layout.first_slot + layout.n_slots] = part.sample

    def _lowest(self, x: Tensor, stimulus: int, positions: np.ndarray) -> None:
        low = x.amin(0)
        units = (low < self.minimum).nonzero().flatten()
        if len(units):
            where = torch.from_numpy(positions)[x[:, units].argmin(0)]
            self.minimum[units] = low[units]
            self.minimum_at[units] = torch.stack([torch.full_like(where, stimulus), where], 1)

    def _highest(self, x: Tensor, stimulus: int, positions: np.ndarray) -> None:
        """Keep the best N_TOP stimuli per unit, each by its highest token; only units that improve cost anything."""
        high = x.amax(0)
        units = (high > self.top[:, -1]).nonzero().flatten()
        if not len(units):
            return
        where = torch.from_numpy(positions)[x[:, units].argmax(0)]
        at = torch.stack([torch.full_like(where, stimulus), where], 1)
        self._keep_highest(units, high[units, None], at[:, None])

    def _keep_highest(self, units: Tensor, high: Tensor, at: Tensor) -> None:
        """Keep the best of what is held and of later stimuli, ``(unit, stimulus)`` values and where they stand."""
        values = torch.cat([self.top[units], high], 1)
        places = torch.cat([self.top_at[units], at], 1)
        # A stable sort keeps the earlier stimulus first among equals.
        order = values.sort(dim=1, descending=True, stable=True).indices[:, :N_TOP]
        self.top[units] = values.gather(1, order)
        self.top_at[units] = places.gather(1, order[..., None].expand(-1, -1, 2))


def _add_sums(held: tuple[Tensor, Tensor], n_held: int, more: tuple[Tensor, Tensor], n: int) -> None:
    """Add means and sums of squares of ``n`` rows to those of the rows before them, in place (Chan's update)."""
    delta = more[0].double() - held[0]
    total = n_held + n
    held[0].add_(delta * (n / total))
    held[1].add_(more[1] + delta.square() * (n_held * n / total))


def _mix(index: np.ndarray, seed: int) -> np.ndarray:
    """Return one pseudo-random 64-bit number per token index (splitmix64)."""
    with np.errstate(over="ignore"):
        z = (index + np.uint64(seed % 2**32) * np.uint64(2**32) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def commit_results(bundle: Bundle, state: State, batches: Iterable[Sequence[Shown]], *, kind: str = "text") -> None:
    """Commit statistics, exemplars and, read from the batches once more, the stimuli in which exemplars stand."""
    state.close_piece()
    have = {e["piece"] for e in bundle.pieces}
    statistics, exemplars, used = _results(state)
    if "statistics" not in have:
        bundle.append("statistics", statistics, counted=state.counted, **state.nonfinite())
    if "exemplars" not in have:
        bundle.append("exemplars", exemplars)
    about = find_kind(kind)
    shown: list[Shown] = []
    index: list[int] = []
    number = 0
    for batch in batches:
        for stimulus in batch:
            if number in used:
                shown.append(about.strip(stimulus))
                index.append(number)
            number += 1
    bundle.append("contexts", {**about.bare(about.pack(shown)), "stimulus": np.array(index, dtype=np.int64)})


def _results(state: State) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], set[int]]:
    """Return statistics, exemplar tables and the stimuli that the exemplars stand in."""
    statistics: dict[str, np.ndarray] = {}
    exemplars: dict[str, np.ndarray] = {}
    used: set[int] = set()
    for path, s in state.of.items():
        layout = state.layout[path]
        order = np.argsort(layout.priority, kind="stable")
        places = torch.from_numpy(layout.sampled[order])
        n, n_rows = max(len(order), 1), max(layout.counted, 1)
        # A text without a single counted token has no deciles.
        deciles = [min(int((d + 0.5) / N_DECILES * n), n - 1) for d in range(N_DECILES if len(order) else 0)]
        sample = s.sample[torch.from_numpy(order)]
        ranked, at = _sort_values(sample)
        found = {
            f"{path}|mean": s.mean.numpy(),
            f"{path}|variance": (s.m2 / n_rows).numpy(),
            f"{path}|minimum": s.minimum.numpy(),
            f"{path}|minimum_at": s.minimum_at.numpy(),
            f"{path}|maximum": s.top[:, 0].numpy(),
            f"{path}|active": (s.active / n_rows).numpy(),
            f"{path}|quantiles": _quantiles(ranked),
        }
        shown = {
            f"{path}|top_value": s.top.numpy(),
            f"{path}|top_at": s.top_at.numpy(),
            f"{path}|random_value": sample[:N_RANDOM].T.contiguous().numpy(),
            f"{path}|random_at": places[:N_RANDOM].expand(sample.shape[1], -1, -1).contiguous().numpy(),
            f"{path}|quantile_value": ranked[:, deciles].contiguous().numpy(),
            f"{path}|quantile_at": places[at[:, deciles]].contiguous().numpy(),
        }
        tables = [table for name, table in shown.items() if name.endswith("_at")]
        used |= {int(i) for table in tables for i in np.unique(table[..., 0]) if i >= 0}
        for arrays in (found, shown):
            state.files.move(f"{path}|results", arrays)
        statistics |= found
        exemplars |= shown
        state.files.note_use(path)
    return statistics, exemplars, used


def _sort_values(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each unit's ``(sample, unit)`` values; return ``(unit, rank)`` values and which sample each is.

    Equal values keep the sample's order and NaN comes last. Value and place are packed into one integer, which sorts
    several times faster than a stable sort that returns places.
    """
    # Adding zero makes −0 equal to 0; a NaN may carry a sign, and would come first.
    x = torch.where(sample.isnan(), torch.nan, sample + 0.0).T.contiguous().numpy()
    bits = x.view(np.int32)
    # As integers, positive floats are in order and negative ones in reverse order.
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32 | np.arange(x.shape[1])
    keys.sort(axis=1)
    at = keys & 0xFFFFFFFF
    return torch.from_numpy(np.take_along_axis(x, at, axis=1)), torch.from_numpy(at)


def _quantiles(ranked: Tensor) -> np.ndarray:
    """Return ``(unit, probability)`` quantiles of ``(unit, rank)`` sorted values, linear between ranks."""
    if not ranked.shape[1]:
        return np.full((len(ranked), len(PROBABILITIES)), np.nan)
    place = torch.tensor(PROBABILITIES, dtype=torch.float64) * (ranked.shape[1] - 1)
    low = place.floor().long()
    share, high = place - low, (low + 1).clamp(max=ranked.shape[1] - 1)
    return (ranked[:, low] * (1 - share) + ranked[:, high] * share).contiguous().numpy()
