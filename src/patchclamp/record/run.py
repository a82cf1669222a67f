"""A run that writes a folder: its manifest, its start or its going on, its threads, and the room that it needs."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import free_bytes, writing
from patchclamp.core.errors import PatchclampError
from patchclamp.core.resuming import begin_or_resume
from patchclamp.core.site import Site
from patchclamp.record.features import Features
from patchclamp.subjects.corpora import Batches
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.plain import PlainModel
from patchclamp.subjects.threads import computing_with
from patchclamp.subjects.vision import VisionModel


def manifest_of(
    model: LanguageModel | VisionModel | PlainModel | Features,
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
            "class": type(model.module).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "attention": str(getattr(getattr(model.module, "config", None), "_attn_implementation", None)),
        },
        "sites": [site.to_json() for site in sites],
        "plan": plan if seed is None else {**plan, "seed": seed},
        "versions": {
            "patchclamp": version("patchclamp"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        **more,
    }


@contextmanager
def open_or_resume(out: str | Path, kind: str, manifest: dict[str, Any], *, resume: bool) -> Iterator[Bundle]:
    """Start a bundle, or open the interrupted one whose manifest is the same, and hold it for this process alone.

    Raises:
        PatchclampError: ``resume`` with another model, text or images, plan or version; each difference is named.
    """
    with writing(out):
        what = "pairs" if kind == "finding" else manifest.get("stimuli", "text")
        yield begin_or_resume(out, kind=kind, manifest=manifest, resume=resume, what=f"model, {what} and plan")


def pin_threads(bundle: Bundle) -> AbstractContextManager[None]:
    """Compute with as many threads as the bundle's plan says; afterwards with as many as before."""
    return computing_with(int(bundle.manifest["plan"]["threads"]))


def refuse_if_too_large(out: str | Path, n_bytes: int) -> None:
    """Refuse a run whose files would not fit on the disk; what an interrupted run has written counts as room.

    Raises:
        PatchclampError: with the two sizes.
    """
    free = free_bytes(Path(out)) + sum(file.stat().st_size for file in Path(out).glob("*.safetensors"))
    if n_bytes > free:
        raise PatchclampError(
            expected=f"{n_bytes:,} bytes free for {out}",
            got=f"{free:,}",
            remedy="Record fewer sites or tokens (--max-tokens), store float16, or survey instead.",
        )
