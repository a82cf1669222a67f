"""Activations to disk, shard after shard, whole or resumable at every moment."""

import os
import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.bundle import Bundle, reaches, write_part
from patchclamp.core.disk import is_url
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import StoredRecording, as_numpy
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown, find_kind, kind_of, pack_stimuli
from patchclamp.core.subject import Progress
from patchclamp.engines import Engine, Piece, Serial, Start, cut_pieces
from patchclamp.engines.engine import Tick
from patchclamp.record.run import manifest_of, open_run, pin_threads, refuse_if_too_large
from patchclamp.subjects.corpora import Batches, read_corpus
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.pass_memory import count_forward_bytes
from patchclamp.subjects.plain import PlainModel
from patchclamp.subjects.recordable import select_recordable
from patchclamp.subjects.vision import VisionModel

SHARD_BYTES = 16 * 2**20
MOST_NAMED = 1000
STORES = ("float32", "float16", "bfloat16")


@checked
def record_corpus(
    model: LanguageModel | VisionModel | PlainModel,
    corpus: Any,
    sites: str | Sequence[str],
    out: str | Path,
    *,
    store: str | None = None,
    resume: bool = False,
    batch_size: int = 8,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> StoredRecording:
    """Record what sites do over a corpus, to append-only shards on disk.

    Every shard is committed whole, with its hash, before the next begins; a run killed at any moment resumes with
    ``resume`` and ends with the same bytes (one machine, CPU, same versions). Rows are tokens; of images they are the
    places of each site, image after image: ``recording.of(site, image)`` is ``(place, width)``, and ``site.place(p)``
    says where p lies.

    Args:
        model: the subject.
        corpus: a Corpus, or the path of a text or of images; for a model of images also pictures, arrays, or a list of
            these; or what ``read_corpus`` gave, to spare its tokenisation.
        sites: site paths or patterns.
        out: a new or empty folder.
        store: ``float32``, ``float16`` or ``bfloat16``; the model's own type by default.
        resume: go on with an interrupted run.
        batch_size: stimuli per forward pass; not read of what ``read_corpus`` gave.
        progress: called with tokens (of images: images) done and in all.
        engine: where it is computed, from ``open_engine``; this process by default. It does not change the bytes.

    Returns:
        StoredRecording: the folder, opened.

    Raises:
        PatchclampError: unknown sites, no text or images, no room, or a resume that does not fit; what was committed
            stays.

    Cost: one forward pass per batch, stopped at the last site; disk tokens × Σ widths × bytes (of images: places);
    memory of two shards and one batch as stored, whatever the corpus' length.
    """
    chosen = select_recordable(model, sites)
    kind = storable(store, model)
    batches = read_corpus(model, corpus, batch_size=batch_size)
    refuse_if_too_large(out, disk_bytes(chosen, batches, kind))
    with open_run(out, "recording", manifest_of(model, chosen, batches, dtype=kind), resume=resume) as bundle:
        if not bundle.whole:
            with pin_threads(bundle):
                _stream(model, batches, chosen, kind, bundle, progress, engine or Serial())
    return StoredRecording(out)


def _stream(
    model: LanguageModel | VisionModel | PlainModel,
    batches: Batches,
    sites: Sequence[Site],
    kind: str,
    bundle: Bundle,
    progress: Progress | None,
    engine: Engine,
) -> None:
    """Record what the bundle does not hold yet."""
    done = sum(e["stimuli"] for e in bundle.pieces)
    tokens = sum(e.get("tokens", e["stimuli"]) for e in bundle.pieces)
    number = len(bundle.pieces)

    def tick(n: int) -> None:
        nonlocal tokens
        tokens += n
        if progress is not None:
            progress(tokens, batches.n_tokens)

    pieces = cut_pieces(batches.start_at(done), _Cut(sites, kind, SHARD_BYTES), Start(done, tokens))
    with ThreadPoolExecutor(max_workers=1) as committer:
        # One shard is written while the next is computed; the order of commits is that of the text.
        pending: Future[None] | None = None
        # Here writing overlaps with computing; workers that see the folder write their shards themselves.
        away = not isinstance(engine, Serial) and not is_url(bundle.path)
        place = (os.path.abspath(bundle.path), bundle.seal) if away else None
        for shard in engine.map(_Record(model, tuple(sites), kind, place), pieces, tick):
            if pending is not None:
                pending.result()
            pending = committer.submit(shard.commit, bundle, f"shard-{number:05d}")
            done, number = done + shard.n_stimuli, number + 1
        if pending is not None:
            pending.result()
    if away:
        bundle.remove_torn()  # of workers that died
    bundle.finish(stimuli=done, **({"tokens": tokens} if find_kind(batches.kind).positions else {}))


class _Cut:
    """Say where shards end: with the batch that fills one."""

    def __init__(self, sites: Sequence[Site], kind: str, full: int) -> None:
        self.sites, self.full = sites, full
        self.per_value = getattr(torch, kind).itemsize
        self.n_bytes = 0

    def __call__(self, _at: Start, batch: Sequence[Shown]) -> bool:
        rows = sum(map(len, batch))
        self.n_bytes += self.per_value * sum(rows * (s.n_places or 1) * s.width for s in self.sites)
        ends = self.n_bytes >= self.full
        self.n_bytes = 0 if ends else self.n_bytes
        return ends


@dataclass(frozen=True, eq=False)
class _Record:
    """What is computed of a piece of a recording: its shard."""

    model: LanguageModel | VisionModel | PlainModel
    sites: tuple[Site, ...]
    kind: str
    place: tuple[str, str] | None
    """The bundle's folder and seal, where another process may write there."""

    def __call__(self, piece: Piece, tick: Tick) -> "_Shard | _Written":
        shard = _Shard(self.sites, getattr(torch, self.kind))
        for batch in piece.batches:
            # Values are taken as they come: a network's activations all at once would be far more than its weights.
            self.model.watch(batch, [site.path for site in self.sites], shard.take)
            shard.stimuli += batch
            tick(sum(map(len, batch)))
        if self.place is None or not reaches(*self.place):
            return shard
        # A name of its own: a worker that was given up may still write.
        part = Path(self.place[0]) / f"shard-{piece.start.stimuli:010d}{secrets.randbelow(10**9):09d}.part"
        return _Written(part, write_part(part, shard.tensors()), shard.entry())


@dataclass(frozen=True)
class _Written:
    """A shard that a worker wrote."""

    part: Path
    digest: str
    entry: dict[str, Any]

    @property
    def n_stimuli(self) -> int:
        return int(self.entry["stimuli"])

    def commit(self, bundle: Bundle, name: str) -> None:
        bundle.adopt(self.part, self.digest, name, **self.entry)


def storable(store: str | None, model: LanguageModel | VisionModel | PlainModel) -> str:
    """Return the type that values are stored in: the model's own where none is named.

    Raises:
        PatchclampError: one that shards do not hold.
    """
    kind = store or str(model.dtype).removeprefix("torch.")
    if kind not in STORES:
        raise PatchclampError(
            expected=f"a type among {', '.join(STORES)}", got=repr(kind), remedy="Choose one for --store."
        )
    return kind


def disk_bytes(sites: Sequence[Site], batches: Batches, store: str) -> int:
    """Return what a recording takes on disk, labels of tokens or names of images included.

    Returns:
        int: bytes.
    """
    per_value = 4 if store == "float32" else 2
    return batches.n_tokens * (sum(s.width * (s.n_places or 1) for s in sites) * per_value + 21)


def memory_bytes(model: Any, sites: Sequence[Site], batches: Batches, store: str) -> int:
    """Return what a recording holds besides the model: a shard that is computed, and one on its way to disk.

    Args:
        model: the subject.
        sites: what is recorded.
        batches: the corpus.
        store: the type on disk.

    Returns:
        int: bytes; shards end with the batch that fills them.
    """
    length = -(-batches.n_tokens // max(batches.n_stimuli, 1))
    tokens = length * batches.batch_size
    batch = max(getattr(torch, store).itemsize * tokens * sum(s.width * (s.n_places or 1) for s in sites), 1)
    shard = min(-(-SHARD_BYTES // batch) * batch, disk_bytes(sites, batches, store))
    # By the time that one is on disk the next is half computed; on a slow disk all of it.
    return shard + shard // 2 + batches.batch_size * count_forward_bytes(model, length)


class _Shard:
    """Rows of one piece."""

    def __init__(self, sites: Sequence[Site], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.values: dict[str, list[Any]] = {site.path: [] for site in sites}
        self.stimuli: list[Shown] = []
        self.nonfinite: dict[str, int] = {}

    @property
    def n_stimuli(self) -> int:
        return len(self.stimuli)

    def commit(self, bundle: Bundle, name: str) -> None:
        bundle.append(name, self.tensors(), **self.entry())

    def take(self, path: str, x: Tensor) -> None:
        stored = x.to(self.dtype).cpu()
        self._note_nonfinite(path, stored)
        self.values[path].append(as_numpy(stored if stored is not x else x.clone()))

    def _note_nonfinite(self, path: str, x: Tensor) -> None:
        """Count NaN and infinity by unit, as they will stand on disk (float16 ends at 65504)."""
        # Both ends in one pass, NaN included, cost far less than a question to every value.
        if torch.isfinite(torch.stack(x.aminmax())).all():
            return
        counts = (~torch.isfinite(x)).sum(0)
        for unit in counts.nonzero().flatten().tolist():
            key = f"{path}/neurons/{unit}"
            if key in self.nonfinite or len(self.nonfinite) < MOST_NAMED:
                self.nonfinite[key] = self.nonfinite.get(key, 0) + int(counts[unit])

    def tensors(self) -> dict[str, np.ndarray]:
        # One batch often fills a shard: then there is nothing to join. What is joined is given up, site by site.
        tensors = {}
        for path in self.values:
            parts, self.values[path] = self.values[path], []
            tensors[path] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return {**tensors, **pack_stimuli(self.stimuli)}

    def entry(self) -> dict[str, Any]:
        more = {"nonfinite": self.nonfinite} if self.nonfinite else {}
        counted = self.stimuli and kind_of(self.stimuli[0]).positions
        tokens = {"tokens": sum(map(len, self.stimuli))} if counted else {}
        return {"stimuli": len(self.stimuli), **tokens, **more}
