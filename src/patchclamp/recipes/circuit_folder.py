"""Write a circuit's folder: found beside its place, so that a search can be resumed, and renamed when it is whole."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from patchclamp.core.bundle import Bundle
from patchclamp.core.circuit import PAGE, load_circuit
from patchclamp.core.disk import hold_folder, put_in_place, refuse_interrupted, refuse_occupied, refuse_write
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import read_versions
from patchclamp.core.resume import open_or_resume
from patchclamp.core.scores import Scores
from patchclamp.record.run import pin_threads
from patchclamp.subjects.cases import ReadTask

STATE, WHOLE = "state", "circuit"


def staging(out: Path) -> Path:
    """Return where a circuit is found until it is whole."""
    return out.with_name(out.name + ".finding")


def check_folder(folder: str | Path, *, resume: bool) -> None:
    """Refuse a folder that holds something, or that a search was begun for.

    Raises:
        PatchclampError: it does, or was; it says whether ``resume`` goes on.
    """
    out = Path(folder)
    if out.name in ("", ".."):
        raise PatchclampError(expected="the name of a folder", got=str(folder), remedy="Choose another --out.")
    refuse_occupied(out, begun=("manifest.json",), resume=resume)
    refuse_interrupted(staging(out), "a search", resume=resume)


def plan_of(model: Any, cases: ReadTask, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that decides a circuit's folder, as JSON-ready data.

    Args:
        model: the subject.
        cases: as the subject reads them.
        options: everything else that decides.

    Returns:
        dict: subject, plan and versions.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> plan_of(cat, cat.read(task), {"level": "node"})["plan"]["level"]
        'node'
    """
    bases = {key: basis.hash for key, basis in model.bases.items() if basis.kind == "directions"}
    return {
        "subject": {
            "slug": model.name,
            "hash": model.hash,
            **model.origin,
            "tokenizer": getattr(model, "tokenizer_hash", ""),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
        },
        "plan": {
            **options,
            "pairs": cases.ids,
            "metric": cases.metrics[0].kind,
            "bases": bases,
            "threads": torch.get_num_threads(),
        },
        "versions": read_versions(),
    }


def found_before(out: Path, plan: Mapping[str, Any]) -> Scores | None:
    """Return the circuit of an earlier run that ended, where it is the one that is looked for; None where none is.

    Raises:
        PatchclampError: another circuit is there.
        Damaged: it is not what was written.
    """
    if not (out / "manifest.json").exists():
        return None
    found = load_circuit(out)
    same, kept = (json.loads(json.dumps(one)) for one in (plan, found.provenance.extra.get("plan", {})))
    for one in (same, kept):
        one.get("plan", {}).pop("threads", None)
    if same != kept:
        raise PatchclampError(
            expected=f"the model, pairs and options that {out} was found with",
            got="others",
            remedy="Resume with the same options, or choose a new --out.",
        )
    return found


@contextmanager
def searching(out: Path, plan: dict[str, Any], *, resume: bool) -> Iterator[Bundle]:
    """Hold the folder in which scores are kept while a circuit is found; it goes away where nothing was committed.

    Args:
        out: the folder.
        plan: from ``plan_of``.
        resume: go on with an interrupted search.

    Yields:
        Bundle: where batches are stored.

    Raises:
        PatchclampError: another search runs there, or one with other options was begun.
    """
    aside, what = staging(out), "model, pairs and plan"
    try:
        with (
            open_or_resume(aside / STATE, kind="finding", manifest=plan, resume=resume, what=what) as bundle,
            pin_threads(bundle),
        ):
            yield bundle
    except BaseException:
        if not list(aside.glob(f"{STATE}/*.safetensors")):
            shutil.rmtree(aside, ignore_errors=True)
        raise


def keep_circuit(out: Path, found: Scores, page: str | None) -> None:
    """Write a circuit's folder beside its place and rename it: it is there whole, or not at all.

    Raises:
        PatchclampError: a full disk, no permission, or something that came to stand in its place.
    """
    aside = staging(out)
    with hold_folder(aside):
        whole = aside / WHOLE
        shutil.rmtree(whole, ignore_errors=True)
        found.save(whole, files={} if page is None else {PAGE: page.encode()})
        try:
            put_in_place(whole, out)
        except OSError as problem:
            raise refuse_write(out, problem) from problem


def clear(out: Path) -> None:
    """Remove what a search left beside a circuit that is whole."""
    with suppress(OSError):
        shutil.rmtree(staging(out))
