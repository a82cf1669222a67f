"""A run that writes a folder: its manifest, its start or its going on, its threads, and the room that it needs."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import free_bytes, writing
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.record.features import Features
from patchclamp.subjects.corpora import Batches
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.plain import PlainModel
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
    prepared: dict[str, Any] = {}
    if isinstance(model, VisionModel):
        prepared = {"preparation": model.prepare.hash}
    elif not isinstance(model, PlainModel):
        prepared = {"tokenizer": model.tokenizer_hash}
    if isinstance(model, Features):
        more = {**more, "bases": {path: basis.hash for path, basis in model.bases.items()}}
    if batches.kind != "text":
        more = {**more, "stimuli": batches.kind}
    plan = {**batches.to_json(), "threads": torch.get_num_threads()}
    return {
        "subject": {
            "slug": model.name,
            "hash": model.hash,
            **prepared,
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
        if not resume or not (Path(out) / "manifest.json").exists():
            yield Bundle.create(out, kind=kind, manifest=manifest)
            return
        bundle = Bundle.open(out, kind=kind)
        fresh, kept = _flat(manifest), _flat({k: bundle.manifest.get(k) for k in manifest})
        # A resume computes with the threads that the run was begun with, whatever this process has.
        fresh["plan.threads"] = kept.get("plan.threads")
        changed = [
            f"{name}: {kept.get(name)!s:.60} then, {fresh.get(name)!s:.60} now"
            for name in dict.fromkeys([*fresh, *kept])
            if fresh.get(name) != kept.get(name)
        ]
        if changed:
            what = "pairs" if kind == "finding" else manifest.get("stimuli", "text")
            raise PatchclampError(
                expected=f"the same model, {what} and plan as {out} was begun with",
                got="; ".join(changed[:4]),
                remedy="Resume with the same options, or choose a new --out.",
            )
        bundle.resume()
        yield bundle


@contextmanager
def pin_threads(bundle: Bundle) -> Iterator[None]:
    """Compute with as many threads as the bundle's plan says; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(int(bundle.manifest["plan"]["threads"]), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict):
        return {k: v for name, value in data.items() for k, v in _flat(value, f"{prefix}{name}.").items()}
    if isinstance(data, list):
        # sites: what matters to a reader is which
        data = ", ".join(str(item["path"] if isinstance(item, dict) else item) for item in data)
    return {prefix.rstrip("."): data}


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
