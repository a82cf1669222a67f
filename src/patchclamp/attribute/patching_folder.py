"""Folder of a patching: a bundle whose pieces are parts of the pairs, committed one by one, so that a run can go on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.attribute.patched import Patched
from patchclamp.attribute.patching import Patching
from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import writing
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import parse
from patchclamp.core.subject import Progress
from patchclamp.core.task import Case

KIND = "patching"
SUMMARY, PAGE = "patching.json", "patching.html"


def patch_to_folder(
    job: Patching, out: str | Path, *, resume: bool = False, progress: Progress | None = None,
    page: Callable[[Patched], str | None] | None = None,
) -> Patched:  # fmt: skip
    """Patch, and keep every part on disk as soon as it is known; at the end write ``patching.json`` beside them.

    Args:
        job: what ``plan_patching`` gave.
        out: a new or empty folder.
        resume: go on with an interrupted run of the same job.
        progress: called with cells done and cells in all.
        page: makes what people look at, kept as ``patching.html``; None where that failed.

    Returns:
        Patched: everything, parts from before included.

    Raises:
        PatchclampError: the folder holds something else, or another job.
        Damaged: a part is not what was committed.
    """
    manifest = _manifest(job)
    with writing(out):
        if resume and (Path(out) / "manifest.json").exists():
            bundle = Bundle.open(out, kind=KIND)
            # m itself may differ in its last bit with another number of threads; the pairs that it left say enough.
            same = {key: value for key, value in manifest.items() if not key.startswith("m_")}
            changed = [key for key, value in same.items() if bundle.manifest.get(key) != parse(_text(value))]
            if changed:
                raise PatchclampError(
                    expected=f"the job that {out} was begun with",
                    got=f"another {' and '.join(changed)}",
                    remedy="Resume with the same options, or choose a new --out.",
                )
            bundle.resume()
        else:
            bundle = Bundle.create(out, kind=KIND, manifest=manifest)
        if not bundle.whole:
            # Pieces are read back from disk at the end, so that no more than one part is held twice.
            first = len(bundle.pieces)
            for number, (effects, run) in enumerate(job.parts(first, progress), first):
                arrays = dict(zip(_names(job.sites), effects, strict=True))
                bundle.append(f"shard-{number:05d}", arrays, run=run, pairs=[int(i) for i in job.members[number]])
        found = job.gathered(_stored(bundle, job.sites))
        if not bundle.whole:
            bundle.attach(SUMMARY, _text(_finite(found.to_json())).encode())
            text = None if page is None else page(found)
            if text is not None:
                bundle.attach(PAGE, text.encode("utf-8", "backslashreplace"))
            bundle.finish()
    return found


def open_patched(folder: str | Path) -> Patched:
    """Open what ``patchclamp patch`` wrote.

    Args:
        folder: its ``--out``.

    Raises:
        PatchclampError: no such folder, or an interrupted one.
        Damaged: parts that are missing or changed.
    """
    bundle = Bundle.open(folder, kind=KIND)
    if not bundle.whole:
        raise PatchclampError(
            expected="a patching that ran to its end",
            got=f"{folder}, interrupted after {len(bundle.pieces)} parts",
            remedy="Go on with --resume.",
        )
    damaged = bundle.damaged()
    if damaged:
        raise Damaged(
            expected="parts, table and page as they were committed",
            got=f"damaged or missing: {', '.join(damaged[:8])}",
            remedy="Restore them from a copy, or patch again.",
        )
    try:
        return _reopened(bundle)
    except (KeyError, TypeError, ValueError, IndexError) as problem:
        raise Damaged(
            expected="a manifest that fits the parts",
            got=f"{folder}: {type(problem).__name__} {problem}"[:200],
            remedy="Something else changed it: restore it, or patch again.",
        ) from problem


def _reopened(bundle: Bundle) -> Patched:
    m = bundle.manifest
    sites = [(site["path"], site["basis"]) for site in m["sites"]]
    cases = tuple(map(Case.from_json, m["pairs"]))
    effects: dict[tuple[str, str], Any] = {}
    for entry, (parts, _) in zip(bundle.pieces, _stored(bundle, sites), strict=True):
        for at, part in zip(sites, parts, strict=True):
            whole = effects.setdefault(at, np.full((len(cases), *part.shape[1:]), np.nan))
            whole[entry["pairs"]] = part
    run = sum(entry["run"] for entry in bundle.pieces)
    return Patched(
        m["plan"]["direction"], effects, tuple(m["places"]), tuple(m["tokens"]), cases, np.array(m["m_clean"]),
        np.array(m["m_corrupted"]), m["aside"], {k: m["subject"][k] for k in ("slug", "hash")},
        {"metric": m["plan"]["metric"], "aligned": m["plan"]["aligned"], "run": run, "agree": m["n_cells"] - run},
    )  # fmt: skip


def _stored(bundle: Bundle, sites: list[tuple[str, str]]) -> Iterator[tuple[list[np.ndarray], int]]:
    for entry in bundle.pieces:
        arrays = bundle.read(entry["piece"], _names(sites))
        yield list(arrays.values()), int(entry["run"])


def _names(sites: list[tuple[str, str]]) -> list[str]:
    return [f"{path}/{basis}" for path, basis in sites]


def _manifest(job: Patching) -> dict[str, Any]:
    cases, model = job.cases, job.model
    sites = [
        {"path": path, "basis": basis, "width": n} for (path, basis), n in zip(job.sites, job.n_units, strict=True)
    ]
    return {
        "subject": {"slug": model.name, "hash": model.hash, "tokenizer": model.tokenizer_hash,
                    "dtype": str(model.dtype).removeprefix("torch."), "device": model.device.type},
        "sites": sites,
        "plan": {"direction": job.direction, "metric": cases.metrics[0].kind, "aligned": job.grid.how,
                 "batch_size": job.batch_size, "members": [len(m) for m in job.members]},
        "places": list(job.grid.places), "tokens": list(job.tokens), "aside": cases.count_skipped(),
        "pairs": [case.worded().to_json() for case in cases.task.cases], "n_cells": job.n_cells,
        "m_clean": cases.m_clean.tolist(), "m_corrupted": cases.m_counterpart.tolist(),
    }  # fmt: skip


def _finite(data: Any) -> Any:
    """Return data in which nothing is NaN, for JSON has none: null in its place."""
    if isinstance(data, dict):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_finite(v) for v in data]
    return None if isinstance(data, float) and data != data else data


def _text(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True)
