"""Its manifest, its start or its going on, its threads, and the room that it needs."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import free_bytes, is_url
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import read_versions
from patchclamp.core.resume import open_or_resume
from patchclamp.core.site import Site
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.record.picture_units import PictureUnits
from patchclamp.subjects.corpora import Batches
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.plain import PlainModel
from patchclamp.subjects.threads import pinned_threads
from patchclamp.subjects.vision import VisionModel


def manifest_of(
    model: LanguageModel | VisionModel | PlainModel | Features | WithHeads | PictureUnits,
    sites: Sequence[Site],
    batches: Batches,
    *,
    seed: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return the manifest of a run: subject, sites, plan and versions, and of features their bases.

    Args:
        model: the subject.
        sites: what is read.
        batches: what is shown.
        seed: of what the run draws; None where it draws nothing.
        more: what else decides the run's bytes.

    Returns:
        dict[str, Any]: JSON-ready.
    """
    if isinstance(model, Features):
        more = {**more, "bases": {path: basis.hash for path, basis in model.bases.items()}}
    if batches.kind != "text":
        more = {**more, "stimuli": batches.kind}
    plan = {**batches.to_json(), "threads": torch.get_num_threads()}
    return {
        "subject": {
            "slug": model.name,
            "hash": model.hash,
            **model.input_hashes,
            **model.origin,
            "class": type(model.module).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "attention": str(getattr(getattr(model.module, "config", None), "_attn_implementation", None)),
        },
        "sites": [site.to_json() for site in sites],
        "plan": plan if seed is None else {**plan, "seed": seed},
        "versions": read_versions("patchclamp", "torch", "transformers"),
        **more,
    }


def open_run(out: str | Path, kind: str, manifest: dict[str, Any], *, resume: bool) -> AbstractContextManager[Bundle]:
    """Hold a run's folder; see ``open_or_resume``.

    Returns:
        AbstractContextManager[Bundle]: gives a bundle that is open for writing.

    Raises:
        PatchclampError: ``resume`` with another model, text or images, plan or version; each difference is named.
    """
    what = f"model, {manifest.get('stimuli', 'text')} and plan"
    return open_or_resume(out, kind=kind, manifest=manifest, resume=resume, what=what)


def pin_threads(bundle: Bundle) -> AbstractContextManager[None]:
    """Compute with as many threads as the bundle's plan says; afterwards with as many as before."""
    return pinned_threads(int(bundle.manifest["plan"]["threads"]))


def refuse_if_too_large(out: str | Path, n_bytes: int) -> None:
    """Refuse a run whose files would not fit on the disk; what an interrupted run has written counts as room.

    Raises:
        PatchclampError: with the two sizes.
    """
    if is_url(out):
        return  # a store does not say how much room it has
    free = free_bytes(Path(out)) + sum(file.stat().st_size for file in Path(out).glob("*.safetensors"))
    if n_bytes > free:
        raise PatchclampError(
            expected=f"{n_bytes:,} bytes free for {out}",
            got=f"{free:,}",
            remedy="Record fewer sites or tokens (--max-tokens), store float16, or survey instead.",
        )
