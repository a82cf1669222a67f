"""Stream: activations to disk, shard after shard, whole or resumable at every moment."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import StoredRecording, as_numpy
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.record.plan import Cutting, Plan, batches, begun, computing, make_plan, manifest_of, refuse_if_too_large
from patchclamp.subjects.language import LanguageModel

SHARD_BYTES = 16 * 2**20
MOST_NAMED = 1000
STORES = ("float32", "float16", "bfloat16")


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
    chosen = recordable(model, sites)
    kind = store or str(model.dtype).removeprefix("torch.")
    if kind not in STORES:
        raise PatchclampError(
            expected=f"a type among {', '.join(STORES)}", got=repr(kind), remedy="Choose one for --store."
        )
    made = plan or make_plan(model, text, **cutting)
    refuse_if_too_large(out, disk_bytes(chosen, made, kind))
    with begun(out, "recording", manifest_of(model, chosen, made, dtype=kind), resume=resume) as bundle:
        if not bundle.whole:
            with computing(bundle):
                _stream(model, text, made, chosen, kind, bundle, progress)
    return StoredRecording(out)


def _stream(
    model: LanguageModel,
    text: str | Path,
    made: Plan,
    sites: Sequence[Site],
    kind: str,
    bundle: Bundle,
    progress: Progress | None,
) -> None:
    """Record what the bundle does not hold yet."""
    done = sum(e["stimuli"] for e in bundle.pieces)
    tokens = sum(e["tokens"] for e in bundle.pieces)
    shard = _Shard(sites, getattr(torch, kind))
    number = len(bundle.pieces)
    paths = [site.path for site in sites]
    with ThreadPoolExecutor(max_workers=1) as committer:
        # One shard is written while the next is computed; the order of commits is that of the text.
        pending: Future[None] | None = None
        for batch in batches(model, text, made, start=done):
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
    if done != made.n_stimuli:
        raise PatchclampError(
            expected=f"{made.n_stimuli} stimuli, as planned",
            got=f"{done}: the text changed meanwhile",
            remedy="Record again.",
        )
    bundle.finish(stimuli=done, tokens=tokens)


def recordable(model: LanguageModel, sites: str | Sequence[str]) -> list[Site]:
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


def disk_bytes(sites: Sequence[Site], plan: Plan, store: str) -> int:
    """Return what a recording takes on disk, token labels included."""
    per_value = 4 if store == "float32" else 2
    return plan.n_tokens * (sum(s.width for s in sites) * per_value + 21)


class _Shard:
    """Rows gathered since the last commit."""

    def __init__(self, sites: Sequence[Site], dtype: torch.dtype) -> None:
        self.sites = sites
        self.dtype = dtype
        self.clear()

    def clear(self) -> None:
        self.values: dict[str, list[Any]] = {site.path: [] for site in self.sites}
        self.stimuli: list[Stimulus] = []
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
        tensors["ids"] = np.concatenate([s.ids for s in self.stimuli]).astype(np.int32)
        tensors["roles"] = np.concatenate([s.roles for s in self.stimuli]).astype(np.uint8)
        tensors["spans"] = np.concatenate([s.spans for s in self.stimuli]).astype(np.int64)
        tensors["offsets"] = np.concatenate([[0], np.cumsum([len(s) for s in self.stimuli])]).astype(np.int64)
        return tensors

    def entry(self) -> dict[str, Any]:
        tokens = sum(len(s) for s in self.stimuli)
        more = {"nonfinite": self.nonfinite} if self.nonfinite else {}
        return {"stimuli": len(self.stimuli), "tokens": tokens, **more}
