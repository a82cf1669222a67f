"""Stream: activations to disk, shard after shard, whole or resumable at every moment."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import StoredRecording, as_numpy
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown, Stimulus, packed
from patchclamp.core.subject import Progress
from patchclamp.record.features import Features
from patchclamp.record.plan import (
    Cutting,
    ImagePlan,
    Plan,
    Showing,
    begun,
    computing,
    manifest_of,
    refuse_if_too_large,
    show_images,
    show_text,
)
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.model import Model
from patchclamp.subjects.plain import PlainModel
from patchclamp.subjects.vision import VisionModel

SHARD_BYTES = 16 * 2**20
MOST_NAMED = 1000
STORES = ("float32", "float16", "bfloat16")


@checked
def record_text(
    model: LanguageModel,
    text: str | Path,
    sites: str | Sequence[str],
    out: str | Path,
    *,
    store: str | None = None,
    resume: bool = False,
    plan: Plan | None = None,
    progress: Progress | None = None,
    **cutting: Unpack[Cutting],
) -> StoredRecording:
    """Record what sites do over a text, to append-only shards on disk.

    Every shard is committed whole, with its hash, before the next begins; a run killed at any moment resumes with
    ``resume`` and ends with the same bytes (one machine, CPU, same versions).

    Args:
        model: the subject.
        text: a UTF-8 file.
        sites: site paths or patterns.
        out: a new or empty folder.
        store: ``float32``, ``float16`` or ``bfloat16``; the model's own type where left out.
        resume: go on with an interrupted run.
        plan: a plan made before, to spare its tokenisation; ``cutting`` is then not read.
        progress: called with tokens done and tokens in all.
        cutting: how the text is cut, as for ``make_plan``: window, max_tokens, batch_size, chat, bos, seed.

    Returns:
        StoredRecording: the folder, opened.

    Raises:
        PatchclampError: unknown sites, no text, no room, or a resume that does not fit; what was committed stays.

    Cost: one forward pass per batch, stopped at the last site; disk tokens × Σ widths × bytes; memory of two shards
    and one batch as stored, whatever the text's length.
    """
    showing = show_text(model, text, plan, **cutting)
    return record_shown(model, showing, sites, out, store=store, resume=resume, progress=progress)


@checked
def record_images(
    model: VisionModel,
    images: Any,
    sites: str | Sequence[str],
    out: str | Path,
    *,
    store: str | None = None,
    resume: bool = False,
    max_images: int | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> StoredRecording:
    """Record what sites do while images are shown, as ``record_text`` does over a text.

    Rows are the places of each site, image after image: ``recording.of(site, image)`` is ``(place, width)``, and
    ``site.place(p)`` says where p lies.

    Args:
        model: the subject.
        images: a path as for ``patchclamp.subjects.images.gallery``, arrays, pictures, or a list of these.
        sites: site paths or patterns.
        out: a new or empty folder.
        store: ``float32``, ``float16`` or ``bfloat16``; the model's own type where left out.
        resume: go on with an interrupted run.
        max_images: stop after so many (None: all).
        batch_size: images per forward pass.
        progress: called with images done and images in all.

    Returns:
        StoredRecording: the folder, opened.

    Raises:
        PatchclampError: unknown sites, no images, no room, or a resume that does not fit; what was committed stays.

    Cost: one forward pass per batch, stopped at the last site; disk images × Σ places × widths × bytes.
    """
    showing = show_images(model, images, max_images=max_images, batch_size=batch_size)
    return record_shown(model, showing, sites, out, store=store, resume=resume, progress=progress)


def record_shown(
    model: LanguageModel | VisionModel | PlainModel,
    showing: Showing,
    sites: str | Sequence[str],
    out: str | Path,
    *,
    store: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> StoredRecording:
    """Record what sites do over whatever is shown; see ``record_text`` for arguments, errors and cost."""
    chosen = recordable(model, sites)
    kind = storable(store, model)
    refuse_if_too_large(out, disk_bytes(chosen, showing.plan, kind))
    with begun(out, "recording", manifest_of(model, chosen, showing.plan, dtype=kind), resume=resume) as bundle:
        if not bundle.whole:
            with computing(bundle):
                _stream(model, showing, chosen, kind, bundle, progress)
    return StoredRecording(out)


def _stream(
    model: LanguageModel | VisionModel | PlainModel,
    showing: Showing,
    sites: Sequence[Site],
    kind: str,
    bundle: Bundle,
    progress: Progress | None,
) -> None:
    """Record what the bundle does not hold yet."""
    made = showing.plan
    done = sum(e["stimuli"] for e in bundle.pieces)
    tokens = sum(e.get("tokens", e["stimuli"]) for e in bundle.pieces)
    shard = _Shard(sites, getattr(torch, kind))
    number = len(bundle.pieces)
    paths = [site.path for site in sites]
    with ThreadPoolExecutor(max_workers=1) as committer:
        # One shard is written while the next is computed; the order of commits is that of the text.
        pending: Future[None] | None = None
        for batch in showing.batches(done):
            # Values are taken as they come: a network's activations all at once would be far more than its weights.
            model.watch(batch, paths, shard.take)
            shard.stimuli += batch
            done, tokens = done + len(batch), tokens + sum(map(len, batch))
            if shard.n_bytes >= SHARD_BYTES or done == made.n_stimuli:
                if pending is not None:
                    pending.result()
                pending = committer.submit(bundle.append, f"shard-{number:05d}", shard.tensors(), **shard.entry())
                shard.clear()
                number += 1
            if progress is not None:
                progress(tokens, made.n_tokens)
        if pending is not None:
            pending.result()
    counts = {"stimuli": done} if isinstance(made, ImagePlan) else {"stimuli": done, "tokens": tokens}
    bundle.finish(**counts)


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


def recordable(model: Model | Features, sites: str | Sequence[str]) -> list[Site]:
    """Return the sites that patterns name with one vector per token; attention patterns and experts fall out of globs.

    Raises:
        PatchclampError: others were asked for by name, or nothing else.
    """
    found = model.select(sites)
    fixed = [site for site in found if site.width and not site.ragged]
    asked = {p.strip() for p in (sites.split(",") if isinstance(sites, str) else sites)}
    named = [site.path for site in found if site not in fixed and site.path in asked]
    ragged = [site.path for site in found if site.ragged and (site.path in asked or not fixed)]
    if ragged:
        raise PatchclampError(
            expected="sites that every token comes by",
            got=f"{', '.join(ragged[:4])}, which only some tokens come by",
            remedy="Read them with model.run(record=…) in Python, or record mlp.router and mlp.write.",
        )
    if named or not fixed:
        raise PatchclampError(
            expected="sites with one width per position",
            got=f"{', '.join(named[:4]) or 'only attention patterns'}, as wide as the stimulus is long",
            remedy="Read them with model.run(record=…) in Python, or record attn.q and attn.k.",
        )
    return fixed


def disk_bytes(sites: Sequence[Site], plan: Plan | ImagePlan, store: str) -> int:
    """Return what a recording takes on disk, labels of tokens or names of images included."""
    per_value = 4 if store == "float32" else 2
    return plan.n_tokens * (sum(s.width * (s.n_places or 1) for s in sites) * per_value + 21)


class _Shard:
    """Rows gathered since the last commit."""

    def __init__(self, sites: Sequence[Site], dtype: torch.dtype) -> None:
        self.sites = sites
        self.dtype = dtype
        self.clear()

    def clear(self) -> None:
        self.values: dict[str, list[Any]] = {site.path: [] for site in self.sites}
        self.stimuli: list[Shown] = []
        self.nonfinite: dict[str, int] = {}
        self.n_bytes = 0

    def take(self, path: str, x: Tensor) -> None:
        stored = x.to(self.dtype).cpu()
        self._note_nonfinite(path, stored)
        array = as_numpy(stored if stored is not x else x.clone())
        self.values[path].append(array)
        self.n_bytes += array.nbytes

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
        # One batch often fills a shard: then there is nothing to join.
        tensors = {path: p[0] if len(p) == 1 else np.concatenate(p) for path, p in self.values.items()}
        return {**tensors, **packed(self.stimuli)}

    def entry(self) -> dict[str, Any]:
        more = {"nonfinite": self.nonfinite} if self.nonfinite else {}
        words = [s for s in self.stimuli if isinstance(s, Stimulus)]
        tokens = {"tokens": sum(map(len, words))} if words else {}
        return {"stimuli": len(self.stimuli), **tokens, **more}
