"""A patching on disk: the scores of single cases are committed part by part, so that a run can be resumed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.attribute.patching import SHOWN, Patching
from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import hold_folder
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import parse
from patchclamp.core.score_chunks import append_cases, read_cases
from patchclamp.core.score_maps import count_run
from patchclamp.core.scores import FOLDER, Scores
from patchclamp.core.subject import Progress

SUMMARY, PAGE = "patching.json", "patching.html"
FOLLOWING = ("index", "n", "dtypes", "task", "members")
"""What follows from what else a folder's manifest says, and is named only where nothing else differs."""


def patch_to_folder(
    job: Patching,
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    page: Callable[[Scores], str | None] | None = None,
) -> Scores:
    """Patch, and store every part on disk as soon as it is computed; at the end write ``patching.json`` beside them.

    Args:
        job: what ``plan_patching`` returns.
        out: a new or empty folder, which ``Scores.load`` reads when all is done.
        resume: go on with an interrupted run of the same job.
        progress: called with cells done and cells in all.
        page: makes the page for people, stored as ``patching.html``; None if that failed.

    Returns:
        Scores: of all parts, those of earlier runs included.

    Raises:
        PatchclampError: the folder holds something else, or another job.
        Damaged: a part is not what was committed.
    """
    manifest = _manifest(job)
    with hold_folder(out):
        if resume and (Path(out) / "manifest.json").exists():
            bundle = Bundle.open(out, kind=FOLDER)
            if changed := _differences(bundle.manifest, parse(_text(manifest))):
                raise PatchclampError(
                    expected=f"the job that {out} was begun with",
                    got=f"another {' and '.join(changed)}",
                    remedy="Resume with the same options, or choose a new --out.",
                )
            if bundle.whole and (broken := bundle.find_damaged()):
                raise Damaged(
                    expected=f"the parts of {out} as they were committed",
                    got=f"damaged or missing: {', '.join(broken[:8])}",
                    remedy="Restore them from a copy, or patch again into a new --out.",
                )
            bundle.resume()
        else:
            bundle = Bundle.create(out, kind=FOLDER, manifest=manifest)
        if not bundle.whole:
            # Pieces are read back from disk at the end, so that no more than one part is held twice.
            first = sum("cases" in entry for entry in bundle.pieces)
            for number, (part, run) in enumerate(job.parts(first, progress), first):
                append_cases(bundle, number, job.members[number], part, run=run)
        parts = [entry["piece"] for entry in bundle.pieces if "cases" in entry]
        moved = sum(
            (bundle.read(piece, ["run"])["run"].astype(np.float64) for piece in parts), np.zeros(len(job.index))
        )
        scores = job.scores(read_cases(bundle, len(job.cases), len(job.index)), moved)
        if not bundle.whole:
            scores.append(bundle)
            bundle.attach(SUMMARY, _text(to_document(scores)).encode())
            text = None if page is None else page(scores)
            if text is not None:
                bundle.attach(PAGE, text.encode("utf-8", "backslashreplace"))
            bundle.finish()
    return scores


def to_document(scores: Scores) -> dict[str, Any]:
    """Return the scores as JSON-ready data: the strongest 20,000 keys, the places, and what was run."""
    run, agree = count_run(scores)
    return {**scores.to_json(SHOWN), "places": list(scores.provenance.options["positions"]), "run": run, "agree": agree}


def _manifest(job: Patching) -> dict[str, Any]:
    shape, n = (len(job.cases), len(job.index)), len(job.index)
    nothing = job.scores(np.broadcast_to(np.zeros(1), shape), np.zeros(n), known=False)
    return {
        **nothing.manifest(),
        "pairs": [case.in_words().to_json() for case in job.cases.task.cases],
        "members": [len(members) for members in job.members],
    }


def _differences(began: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in what two jobs differ, by the names that people gave it."""
    # m itself may differ in its last bit with another number of threads; the pairs that it left say enough.
    flat = []
    for manifest in (began, now):
        provenance = manifest.get("provenance") or {}
        options = provenance.get("options") or {}
        flat.append({**manifest, **provenance, **options, "provenance": None, "options": None})
    names = [
        name
        for name in sorted(flat[0].keys() | flat[1].keys())
        if name not in ("format", "version", "kind", "metric_clean", "metric_baseline")
        and flat[0].get(name) != flat[1].get(name)
    ]
    return [name for name in names if name not in FOLLOWING] or names


def _text(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True)
