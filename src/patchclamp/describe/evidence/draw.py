"""Draw evidence for every unit of a model in two passes over a text, and say before what it will cost."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.bundle import Bundle
from patchclamp.core.corpus import Corpus
from patchclamp.core.disk import free_bytes
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import UnitIndex, UnitList
from patchclamp.core.provenance import read_versions
from patchclamp.core.resume import open_or_resume
from patchclamp.core.subject import Progress
from patchclamp.describe.evidence.drawing import (
    EvidenceOptions,
    Levels,
    Together,
    draw_windows,
    find_levels,
)
from patchclamp.describe.evidence.passes import GROUP_BYTES, SHARD_BYTES, FirstPass, FullShard, Layout, SecondPass
from patchclamp.describe.evidence.stored import FOLDER, Evidence, read_drawn
from patchclamp.describe.evidence.units import choose_units
from patchclamp.describe.evidence.windows import Resemblance, Windows
from patchclamp.engines import Engine, Serial, Start, cut_pieces
from patchclamp.subjects.corpora import Batches, read_corpus
from patchclamp.subjects.labelled import is_labelled
from patchclamp.subjects.threads import pinned_threads

Units = str | tuple[str, ...] | list[str] | UnitIndex | UnitList
COMPARED, BIT_BYTES = 2**15, 64 * 2**20
"""Windows among which neighbours and resembling windows are looked for, and what their bits take, at most."""


@dataclass(frozen=True)
class EvidencePlan:
    """Say what a draw of evidence will do before it begins.

    Args:
        units: how many units are read.
        windows: windows of the text; of images their number.
        tokens: tokens of the text, each of which is shown in either pass.
        passes: over the text.
        rows: windows that are drawn at most, of all units.
        memory_bytes: held at most, besides the model and one batch.
        disk_bytes: written at most before the first pass' numbers are dropped,
        kept_bytes: and kept at most.
    """

    units: int
    windows: int
    tokens: int
    passes: int
    rows: int
    memory_bytes: int
    disk_bytes: int
    kept_bytes: int

    def to_json(self, _limit: Natural = 20) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return asdict(self)


@checked
def plan_evidence(
    subject: Any,
    corpus: Any,
    units: Units | None = None,
    options: EvidenceOptions | None = None,
    *,
    bases: Mapping[str, Basis] | None = None,
    batch_size: Positive = 32,
) -> EvidencePlan:
    """Return what ``draw_evidence`` will read, hold and write, for the same arguments.

    Args:
        subject: the subject.
        corpus: what it is shown.
        units: which units.
        options: which windows.
        bases: site that is written to its basis of features.
        batch_size: windows per forward pass.

    Returns:
        EvidencePlan: counts and bytes; bytes are upper bounds.

    Raises:
        PatchclampError: as ``draw_evidence``, before anything is computed.

    Cost: one tokenisation of the text.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> story = Path(tempfile.mkdtemp()) / "story.txt"
        >>> _ = story.write_text("the old cat sat on the mat. " * 40)
        >>> plan = plan_evidence(load("organism:cat"), story, "blocks.0.mlp.act")
        >>> plan.units, plan.windows, plan.passes
        (16, 11, 2)
    """
    how = options or EvidenceOptions()
    batches = read_corpus(subject, cut_corpus(subject, corpus, how), batch_size=batch_size)
    layout = _lay_out(subject, units, bases, batches, how)
    return _plan(layout, batches, how)


@checked
def draw_evidence(
    subject: Any,
    corpus: Any,
    units: Units | None = None,
    options: EvidenceOptions | None = None,
    *,
    folder: str | Path,
    bases: Mapping[str, Basis] | None = None,
    seed: Natural = 0,
    batch_size: Positive = 32,
    resume: bool = False,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Evidence:
    """Draw for every unit windows in which it fires and windows in which it is silent, for training and for testing.

    Two passes over the text for all units together: the first keeps each unit's highest activation in every window, the
    second its activations along the windows that were drawn. A window's side follows from its content and the seed
    alone, as in ``Exemplars.split``, and a window that repeats another is left out, so that no content is on both
    sides. Where a unit fires follows from training windows alone (``Levels``). A unit sees of a window what a reader
    sees: each is shown by itself.

    Firing windows are drawn as ``options.sampling`` says. Silent ones are drawn at random (``silent``); where one of
    the units fires that fire most often with it, at most ten of each (``neighbour``); or nearest to its ten highest by
    the words in them (``near``). Where these find too few, more are drawn at random. Neighbours and resembling windows
    are looked for among 32,768 windows at most, a random sample.

    Args:
        subject: a language model, or a model of images, of which every image is one window.
        corpus: a Corpus, or the path of a text or of images; of a text without a window of its own windows of
            ``options.window`` tokens are cut.
        units: patterns of sites, such as ``blocks.*.mlp.act`` or ``blocks.*.attn.z/heads`` (a head's activation is the
            norm of what it writes); or keys of units; by default the features of ``bases``, or all neurons and heads.
        options: which windows are drawn.
        folder: a new or empty folder.
        bases: site that is written to its basis, for features.
        seed: of sides and draws; every unit and side has draws of its own.
        batch_size: windows per forward pass.
        resume: go on with an interrupted draw; what was computed is not computed again.
        progress: called with tokens done and in all, of both passes.
        engine: where it is computed, from ``open_engine``; this process by default. It does not change the result.

    Returns:
        Evidence: the folder, opened. Units that fire, or are silent, in too few windows have none; ``skipped`` says
            which and why.

    Raises:
        PatchclampError: unknown sites or units, nothing to show, no room, or a resume that does not fit.

    Cost: two forward passes per batch. Disk during the draw units × windows × 8 bytes (4 where ``side`` is positive),
    afterwards the drawn windows, some 50 kB per unit; memory as ``plan_evidence`` says, whatever the text's length.

    Example:
        >>> import random, tempfile
        >>> from patchclamp.loaders import load
        >>> folder = Path(tempfile.mkdtemp())
        >>> words = random.Random(0).choices("the old cat sat on a mat".split(), k=600)
        >>> _ = (folder / "story.txt").write_text(" ".join(words))
        >>> how = EvidenceOptions(window=5, n_train=10)
        >>> cat, text, site = load("organism:cat"), folder / "story.txt", "blocks.0.mlp.act"
        >>> drawn = draw_evidence(cat, text, site, how, folder=folder / "evidence")
        >>> training = drawn.train(site).of_unit(7)
        >>> len(training.of_kinds("top", "quantile")), round(float(training.of_kinds("silent").value.max()), 2)
        (10, 0.0)

    Source: Paulo et al. (2024), *Automatically Interpreting Millions of Features in Large Language Models*
    (arXiv:2410.13928), sections 3.1 and 3.3.
    """
    how = options or EvidenceOptions()
    batches = read_corpus(subject, cut_corpus(subject, corpus, how), batch_size=batch_size)
    layout = _lay_out(subject, units, bases, batches, how)
    plan = _plan(layout, batches, how)
    held = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    if plan.disk_bytes > free_bytes(Path(folder)) + held:
        raise PatchclampError(
            expected=f"{plan.disk_bytes:,} bytes free for {folder}",
            got=f"{free_bytes(Path(folder)) + held:,}",
            remedy="Draw for fewer units, or from less text (Corpus(max_tokens=…)).",
        )
    manifest = _manifest(subject, layout, batches, how, seed, bases or {})
    what = "model, text and options"
    with open_or_resume(folder, kind=FOLDER, manifest=manifest, resume=resume, what=what) as bundle:
        if not bundle.whole:
            with pinned_threads(int(bundle.manifest["plan"]["threads"])):
                _Draw(subject, batches, layout, how, seed, bundle, progress, engine or Serial()).finish()
    return Evidence(folder)


def cut_corpus(subject: Any, corpus: Any, options: EvidenceOptions) -> Any:
    """Return a corpus whose windows are as long as asked for, where it names no window itself.

    Args:
        subject: the subject.
        corpus: a Corpus, a path, or anything else, which is given back as it is.
        options: the window.

    Returns:
        Any: what ``read_corpus`` reads.

    Example:
        >>> from patchclamp.loaders import load
        >>> cut_corpus(load("organism:cat"), Corpus("story.txt"), EvidenceOptions(window=16)).window
        16
    """
    if isinstance(corpus, Batches) or not hasattr(subject, "tokenizer"):
        return corpus
    named = corpus
    if isinstance(corpus, str | Path):
        named = Corpus(corpus, kind="documents" if is_labelled(corpus) else "text")
    if not isinstance(named, Corpus) or named.kind == "documents" or named.window is not None:
        return named
    return replace(named, window=min(options.window, subject.context or options.window))


def _lay_out(
    subject: Any, units: Any, bases: Mapping[str, Basis] | None, batches: Batches, options: EvidenceOptions
) -> Layout:
    """Return the units that are asked for, in groups; a norm has no other side than the positive one."""
    sources = choose_units(subject, units, bases or {})
    norms = all(source.n_heads for source in sources)
    return Layout.of(sources, batches.n_stimuli, both=options.side != "positive" and not norms)


def _plan(layout: Layout, batches: Batches, options: EvidenceOptions) -> EvidencePlan:
    per_unit = options.n_train + options.n_test + 2 * options.n_negative * len(options.negatives)
    places = max(source.site.n_places for source in layout.sources) or -(-batches.n_tokens // max(batches.n_stimuli, 1))
    rows = layout.n_units * min(per_unit, batches.n_stimuli)
    widest = max(map(len, layout.sources))
    bits = min(BIT_BYTES, widest * batches.n_stimuli // 8)
    memory = 6 * GROUP_BYTES + 4 * SHARD_BYTES + bits + 28 * batches.n_stimuli + 24 * rows + 40 * COMPARED * places
    kept = rows * (4 * places + 14) + 25 * batches.n_tokens
    first = batches.n_stimuli * (layout.window_bytes + 28) + 4 * batches.n_tokens
    return EvidencePlan(
        layout.n_units, batches.n_stimuli, batches.n_tokens, 2, rows, memory, kept + first + SHARD_BYTES, kept
    )


def _manifest(
    subject: Any,
    layout: Layout,
    batches: Batches,
    options: EvidenceOptions,
    seed: int,
    bases: Mapping[str, Basis],
) -> dict[str, Any]:
    """Return everything that decides the bytes."""
    chosen = [None if one.chosen is None else one.chosen.tolist() for one in layout.sources]
    return {
        "subject": {
            "slug": subject.name,
            "hash": subject.hash,
            **subject.input_hashes,
            "dtype": str(subject.dtype).removeprefix("torch."),
            "device": subject.device.type,
        },
        "sites": [one.site.to_json() for one in layout.sources],
        "units": [
            {"name": one.name, "basis": one.basis, "chosen": some}
            for one, some in zip(layout.sources, chosen, strict=True)
        ],
        "layout": {"size": layout.size, "both": layout.both},
        "options": {**asdict(options), "negatives": list(options.negatives)},
        "plan": {**batches.to_json(), "seed": seed, "threads": torch.get_num_threads()},
        "bases": {path: basis.hash for path, basis in bases.items()},
        "versions": read_versions("patchclamp", "torch", "transformers"),
    }


class _Draw:
    """A draw under way; everything that it computed is in the bundle."""

    def __init__(
        self,
        subject: Any,
        batches: Batches,
        layout: Layout,
        options: EvidenceOptions,
        seed: int,
        bundle: Bundle,
        progress: Progress | None,
        engine: Engine,
    ) -> None:
        self.subject, self.batches, self.layout, self.options = subject, batches, layout, options
        self.seed, self.bundle, self.progress, self.engine = seed, bundle, progress, engine

    def finish(self) -> None:
        """Do what is left: first pass, draws, second pass."""
        if self._count_seen("activations") < self.batches.n_stimuli:
            self._pass_first()
            self._draw()
            self._pass_second()
        for name in self._names("highest"):
            self.bundle.drop(name)
        self.bundle.finish(stimuli=self.batches.n_stimuli, tokens=self.batches.n_tokens)

    def _names(self, kind: str) -> list[str]:
        return [entry["piece"] for entry in self.bundle.pieces if entry["piece"].startswith(f"{kind}-")]

    def _count_seen(self, kind: str, what: str = "stimuli") -> int:
        """Return how much of the text a pass has behind it."""
        return sum(int(entry[what]) for entry in self.bundle.pieces if entry["piece"].startswith(f"{kind}-"))

    def _pass(self, kind: str, work: Any, ends: FullShard, before: int) -> Iterator[tuple[str, Any]]:
        """Yield a name for each shard that a pass lacks, and what was computed for it."""
        done, tokens, number = self._count_seen(kind), self._count_seen(kind, "tokens"), len(self._names(kind))

        def tick(n: int) -> None:
            nonlocal tokens
            tokens += n
            if self.progress is not None:
                self.progress(before + tokens, 2 * self.batches.n_tokens)

        pieces = cut_pieces(self.batches.start_at(done), ends, Start(done, tokens))
        for shard in self.engine.map(work, pieces, tick):
            yield f"{kind}-{number:05d}", shard
            number += 1

    def _pass_first(self) -> None:
        if self._count_seen("highest") == self.batches.n_stimuli:
            return
        work = FirstPass(self.subject, self.layout, self.seed, self.options.test)
        for name, shard in self._pass("highest", work, FullShard(self.layout.window_bytes), 0):
            self.bundle.append(name, shard.arrays, stimuli=shard.stimuli, tokens=shard.tokens)

    def _draw(self) -> None:
        """Draw windows for every group that has none yet."""
        drawn = set(self._names("drawn"))
        missing = {
            i: groups
            for i in range(len(self.layout.sources))
            if (groups := [g for g in range(len(self.layout.groups(i))) if f"drawn-{i:04d}-{g:05d}" not in drawn])
        }
        if not missing:
            return
        known = [self.bundle.read(name, ["digest", "draw", "counted"]) for name in self._names("highest")]
        whole = {name: np.concatenate([one[name] for one in known]) for name in known[0]}
        windows = Windows(whole, self.options.test)
        some = self._choose_compared(windows)
        wants_near = "near" in self.options.negatives and self.options.n_negative > 0
        alike = Resemblance(self._contents(some)) if wants_near else None
        for i, groups in missing.items():
            self._draw_source(i, groups, windows, some, alike)

    def _draw_source(
        self, i: int, missing: list[int], windows: Windows, some: np.ndarray, alike: Resemblance | None
    ) -> None:
        """Draw for one source: first where all its units fire, then windows group by group."""
        source, groups = self.layout.sources[i], self.layout.groups(i)
        names = self._names("highest")
        sums = sum(self.bundle.read(name, [f"{i}|sum"])[f"{i}|sum"] for name in names)
        rows = sum(int(self.bundle.read(name, [f"{i}|rows"])[f"{i}|rows"][0]) for name in names)
        means = np.asarray(sums) / max(rows, 1)
        bits = np.zeros((len(source), -(-len(some) // 8)), dtype=np.uint8)
        for g, units in enumerate(groups):
            levels, signed = self._levels(i, g, means[units], windows)
            fires = (signed[:, some] >= levels.fires[:, None]) & (levels.peak > levels.mean)[:, None]
            bits[units] = np.packbits(fires, axis=1)
        together = Together(some, bits, np.isin(some, windows.training, assume_unique=True))
        keys = [f"{source.site.path}/{source.basis}/{number}" for number in source.numbers.tolist()]
        for g in missing:
            units = groups[g]
            levels, signed = self._levels(i, g, means[units], windows)
            drawn = draw_windows(
                signed, levels, windows, self.options, names=keys[units], seed=self.seed, together=together,
                units=units, alike=alike,
            )  # fmt: skip
            self.bundle.append(f"drawn-{i:04d}-{g:05d}", {**drawn.__dict__, **levels.__dict__})

    def _levels(self, i: int, g: int, means: np.ndarray, windows: Windows) -> tuple[Levels, np.ndarray]:
        names = ["high", "low"] if self.layout.both else ["high"]
        shards = [self.bundle.read(n, [f"{i}|{g}|{k}" for k in names]) for n in self._names("highest")]
        whole = [np.concatenate([one[f"{i}|{g}|{k}"] for one in shards], axis=1) for k in names]
        return find_levels(whole[0], whole[1] if self.layout.both else None, means, windows.training, self.options)

    def _choose_compared(self, windows: Windows) -> np.ndarray:
        """Return the windows among which neighbours and resembling windows are looked for."""
        usable = np.flatnonzero(windows.usable)
        most = min(COMPARED, 8 * BIT_BYTES // max(map(len, self.layout.sources)))
        if len(usable) <= most:
            return usable
        return np.sort(np.random.default_rng(self.seed).choice(usable, most, replace=False))

    def _contents(self, some: np.ndarray) -> dict[str, np.ndarray]:
        """Return what some windows resemble by."""
        found: list[dict[str, np.ndarray]] = []
        first = 0
        for name in self._names("highest"):
            kept = [key for key in self.bundle.shapes(name) if key in ("counted", "ids", "thumbs")]
            arrays = self.bundle.read(name, kept)
            here = some[(some >= first) & (some < first + len(arrays["counted"]))] - first
            first += len(arrays["counted"])
            mine = np.zeros(len(arrays["counted"]), dtype=bool)
            mine[here] = True
            ragged = {"ids": np.repeat(mine, arrays["counted"])} if "ids" in arrays else {}
            found.append({key: array[ragged.get(key, mine)] for key, array in arrays.items()})
        return {key: np.concatenate([one[key] for one in found]) for key in found[0]}

    def _pass_second(self) -> None:
        wanted = []
        per_window = np.zeros(self.batches.n_stimuli, dtype=np.int64)
        for i, source in enumerate(self.layout.sources):
            windows, units = [], []
            for g, group in enumerate(self.layout.groups(i)):
                drawn, _ = read_drawn(self.bundle.read(f"drawn-{i:04d}-{g:05d}"))
                windows.append(drawn.window.astype(np.int64))
                units.append(drawn.unit.astype(np.int64) + group.start)
            window, unit = np.concatenate(windows), np.concatenate(units)
            by = np.lexsort((unit, window))
            wanted.append((window[by], unit[by]))
            per_window += (
                4 * (source.site.n_places or self.options.window) * np.bincount(window, minlength=len(per_window))
            )
        work = SecondPass(self.subject, self.layout, tuple(wanted))
        ends = FullShard(per_window)
        for name, shard in self._pass("activations", work, ends, self.batches.n_tokens):
            self.bundle.append(name, shard.arrays, stimuli=shard.stimuli, tokens=shard.tokens)
