"""A second pass over stimuli, resumable like a survey; what is kept of each site is said by a kind of stimulus."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.bundle import Bundle
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.core.survey import StoredSurvey
from patchclamp.engines import Engine, Serial, Start, fold
from patchclamp.engines.plan import stimuli_of_piece
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.record.mapped import Mapped, OneAtATime
from patchclamp.record.picture_units import PictureUnits
from patchclamp.record.run import manifest_of, open_run, pin_threads
from patchclamp.subjects.corpora import Batches
from patchclamp.subjects.language import LanguageModel

BINS, PER_BIN, SAMPLE = 20, 2, 1024
KINDS = ("top", "quantile", "random")
CHECKPOINT_S = 60.0
LATEST = torch.iinfo(torch.int64).max


class SiteLook(ABC):
    """What the pass keeps of one site; every tensor but the edges is part of a checkpoint.

    Args:
        survey: says where every unit ranges.
        site: the site.
        n_sample: places of the sample.
    """

    KEPT: tuple[str, ...]
    """What is kept of each bin's examples, beside the order that decides which these are."""

    def __init__(self, survey: StoredSurvey, site: Site, n_sample: int) -> None:
        statistics, width = survey.statistics(site.path), site.width
        low, high = (torch.from_numpy(np.asarray(statistics[n], dtype=np.float64)) for n in ("minimum", "maximum"))
        share = torch.arange(BINS + 1, dtype=torch.float64) / BINS
        # float32, as the activations are: a value is in the same bin whoever compares it.
        self.edges = (low[:, None] + (high - low)[:, None] * share).float()  # (unit, bin + 1)
        self.edges[:, -1] = high.float()
        self.width, self.n_sample = width, n_sample

    def clear(self) -> None:
        """Make everything that changes during the pass as it is before anything was shown."""
        self.order = torch.full((self.width, BINS, PER_BIN), LATEST)
        self.value = torch.zeros(self.width, BINS, PER_BIN)
        self.sample = torch.full((self.n_sample, self.width), torch.nan)

    def bare(self) -> Any:
        """Return a copy without what changes during the pass."""
        made = copy(self)
        for name in self.tensors():
            delattr(made, name)
        return made

    def trim(self, rows: slice, start: Start, end: Start) -> None:
        """Drop what a part that was shown the stimuli between two places cannot have filled."""
        self.sample = self.sample[rows].clone()

    def merge(self, part: Any, rows: slice) -> None:
        """Take in a part that was trimmed, whose stimuli come next; ``rows`` are its places of the sample."""
        self.sample[rows] = part.sample
        order, by = torch.cat([self.order, part.order], 2).sort(dim=2, stable=True)
        self.order.copy_(order[..., :PER_BIN])
        for name in self.KEPT:
            held = getattr(self, name)
            both = torch.cat([held, getattr(part, name)], 2)
            chosen = by[..., :PER_BIN].reshape(*self.order.shape, *[1] * (both.ndim - 3))
            held.copy_(both.gather(2, chosen.expand(held.shape)))

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes during the pass, by name."""
        return {n: t for n, t in self.__dict__.items() if isinstance(t, Tensor) and n != "edges"}

    @abstractmethod
    def results(self) -> dict[str, np.ndarray]:
        """Return what is kept in the end, units first."""


class Look(ABC):
    """What the pass keeps of all sites, and how far it is.

    Args:
        of: paths of sites, and what is kept of each; one after the other is moved to a file.
        total: tokens, or pictures, in all.
        aside: a folder for what grows with the units.
    """

    def __init__(self, of: Iterable[tuple[str, SiteLook]], total: int, aside: Path) -> None:
        self.of: dict[str, Any] = {}
        self.files = Mapped(aside)
        self.total = total
        for path, one in of:
            self.of[path] = one
            self.files.move(path, one.__dict__)
        self.done = np.zeros(3, dtype=np.int64)  # stimuli, tokens, counted tokens

    @abstractmethod
    def begin(self, batch: Sequence[Shown]) -> None:
        """Say where everything of the batch stands whose values come next, and count it in ``done``."""

    @abstractmethod
    def see(self, path: str, x: Tensor) -> None:
        """Take in one site's ``(row, unit)`` values."""

    def tensors(self) -> Mapping[str, np.ndarray]:
        """Return everything as arrays, for a checkpoint."""
        whole = {f"{path}|{name}": t.numpy() for path, one in self.of.items() for name, t in one.tensors().items()}
        return OneAtATime({**whole, "progress": self.done}, self.files.release)

    @property
    def start(self) -> Start:
        """Where the next batch begins."""
        return Start(*self.done.tolist())

    @abstractmethod
    def sampled_rows(self, start: Start, end: Start) -> slice:
        """Return which places of the sample the stimuli between two places fill."""

    def parts(self) -> "Parts":
        """Return what makes an empty part for the batches between two places."""
        made = copy(self)
        made.files = Mapped(None)
        made.of = {path: one.bare() for path, one in self.of.items()}
        return Parts(made)

    def trim(self, start: Start, end: Start) -> "Look":
        """Drop what the stimuli between two places cannot have filled."""
        for one in self.of.values():
            one.trim(self.sampled_rows(start, end), start, end)
        return self

    def merge(self, part: "Look") -> None:
        """Take in a part whose stimuli come next."""
        rows = self.sampled_rows(self.start, part.start)
        for path, one in self.of.items():
            one.merge(part.of[path], rows)
            self.files.note_use(path)
        self.done = part.done

    def restore(self, read: Callable[[Sequence[str]], Mapping[str, Any]]) -> None:
        """Go on from a checkpoint, whose arrays are read by name."""
        self.done = read(["progress"])["progress"].copy()
        for path, one in self.of.items():
            for name, held in one.tensors().items():
                held.copy_(torch.from_numpy(read([f"{path}|{name}"])[f"{path}|{name}"]))
            self.files.note_use(path)


@dataclass(frozen=True, eq=False)
class Parts:
    """What makes an empty part of a second pass."""

    bare: Look

    def __call__(self, start: Start, end: Start) -> Look:
        """Return the part for the batches between two places."""
        made = copy(self.bare)
        made.of = {path: copy(one) for path, one in self.bare.of.items()}
        for one in made.of.values():
            one.clear()
        made.done = np.array(start)
        return made


def run_look(
    model: LanguageModel | Features | WithHeads | PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    out: Path,
    begin: Callable[[Batches, Sequence[Site], StoredSurvey, int], Look],
    *,
    resume: bool,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    engine: Engine | None = None,
) -> Bundle:
    """Go through the stimuli a second time, for what can be kept only once a survey knows where every unit ranges.

    Args:
        model: the subject.
        batches: what was surveyed.
        sites: the sites that were surveyed.
        survey: their survey.
        out: a folder for checkpoints and results.
        begin: gives what is kept before anything was shown: ``TextLook``, or ``PictureLook``.
        resume: go on with an interrupted pass.
        seed: of the sample and of the examples that are kept.
        progress: called with tokens, or pictures, done and in all.
        checkpoint_s: seconds between checkpoints; they do not change the result.
        engine: where it is computed; this process by default.

    Returns:
        Bundle: a piece per site, read by ``read_site``.

    Cost: one forward pass per batch, and one more pass over what is kept at the end; memory some 13 kB per unit (of
    images 7 kB), 1 GB at most, whatever the number of stimuli; as much on disk.
    """
    manifest = manifest_of(model, sites, batches, seed=seed, survey=survey.hash)
    with open_run(out, "look", manifest, resume=resume) as bundle:
        if not bundle.whole:
            with pin_threads(bundle):
                look = begin(batches, sites, survey, seed)
                _run(model, batches, sites, look, bundle, progress, checkpoint_s, engine or Serial())
    return bundle


def _run(
    model: LanguageModel | Features | WithHeads | PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    look: Look,
    bundle: Bundle,
    progress: Progress | None,
    checkpoint_s: float,
    engine: Engine,
) -> None:
    have = [entry["piece"] for entry in bundle.pieces]
    states = [piece for piece in have if piece.startswith("state-")]
    if states:
        bundle.check(states[-1])
        look.restore(partial(bundle.read, states[-1]))
    last = time.monotonic()

    def keep() -> None:
        nonlocal states, last
        if progress is not None:
            progress(int(look.done[1]), look.total)
        if time.monotonic() - last >= checkpoint_s:
            number = int(states[-1].removeprefix("state-")) + 1 if states else 0
            bundle.append(f"state-{number:05d}", look.tensors())
            for piece in states:
                bundle.drop(piece)
            states, last = [f"state-{number:05d}"], time.monotonic()

    piece = stimuli_of_piece(batches.n_stimuli, batches.batch_size)
    fold(model, batches, list(look.of), look, engine=engine, piece=piece, after=keep)
    for number, site in enumerate(sites):
        if _name_piece(number) not in have:
            bundle.append(_name_piece(number), look.of[site.path].results())
            look.files.note_use(site.path)
    for piece in states:
        bundle.drop(piece)
    bundle.finish()


def _name_piece(number: int) -> str:
    return f"site-{number:05d}"


def read_site(bundle: Bundle, path: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what the pass kept of a site, units first.

    Args:
        bundle: where the pass wrote.
        path: the site's path.
        names: the arrays that are wanted; all of them by default.

    Returns:
        dict[str, Any]: the arrays by name.
    """
    paths = [site["path"] for site in bundle.manifest["sites"]]
    return bundle.read(_name_piece(paths.index(path)), names)


def table_of(kind: int, value: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of examples as rows (unit, kind, rank, stimulus, position), and their values.

    Args:
        kind: number of the kind of example.
        value: ``(unit, rank)`` activations.
        at: ``(unit, rank, 2)`` stimulus and position of each; -1 where there is none.

    Returns:
        tuple[np.ndarray, np.ndarray]: ``(example, 5)`` rows and ``(example,)`` values, without places that are free.
    """
    unit, rank = (i.ravel() for i in np.indices(value.shape))
    rows = np.column_stack([unit, np.full(len(unit), kind), rank, at.reshape(-1, 2)]).astype(np.int64)
    # Too few stimuli leave places free; a unit without one finite value has top exemplars nowhere.
    kept = (rows[:, 3] >= 0) & np.isfinite(value.ravel())
    return rows[kept], value.ravel()[kept]


def by_stimulus(tables: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return tables of examples as one, in the order of their stimuli."""
    rows, values = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    order = np.argsort(rows[:, 3], kind="stable")
    return rows[order], values[order]
