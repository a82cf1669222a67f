"""Patch every place of every pair, in memory or to a folder that can be gone on with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from patchclamp.attribute.patching import Patching, patch_sites, plan_patching
from patchclamp.attribute.patching_folder import patch_to_folder
from patchclamp.attribute.patching_grid import USUAL
from patchclamp.core.arguments import Positive, checked
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress, refuse_no_subject
from patchclamp.core.task import Task
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.protocols import Reads


@checked
def patch(
    subject: Any,
    task: Task | ReadTask,
    sites: str | Sequence[str] = USUAL,
    *,
    positions: str | Sequence[str] = "each",
    direction: Literal["denoise", "noise"] = "denoise",
    batch_size: Positive = 64,
    out: str | Path | None = None,
    resume: bool = False,
    page: Callable[[Scores], str | None] | None = None,
    state: Callable[[Patching], None] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Patch every unit at every place, one at a time, on every pair; see ``patch_sites`` for what a score is.

    Args:
        subject: a network.
        task: pairs, each case with a counterpart; or what ``subject.read(task)`` gave.
        sites: some of ``resid``, ``attn``, ``mlp``, ``head``, ``neuron``, ``feature``, or patterns of site paths.
        positions: ``each`` by itself, ``all`` at once, or spans such as ``-1`` or ``3:5``.
        direction: ``denoise``: clean values into the corrupted run; ``noise``: the other way.
        batch_size: cells per forward pass.
        out: a new or empty folder, in which every part is kept as soon as it is known.
        resume: go on with an interrupted run in ``out``.
        page: makes what people look at, kept in the folder; None where that failed.
        state: called with the job before it begins: cells, bytes, seconds.
        progress: called with cells done and cells in all.

    Returns:
        Scores: the mean share of m(x) − m(x′) that each unit at each place restores, or takes away; every pair's too.

    Raises:
        PatchclampError: unknown sites, spans that no prompt has, more cells than memory should hold, or a folder that
            holds something else.
        CannotIntervene: a site that can only be read.

    Source: activation patching as in 2508.21258; the normalisation is each pair's own, and means are taken after it.

    Cost: a row of a forward pass from the site's block on for every pair, place and unit; three forwards per pair.

    Example:
        >>> from patchclamp.loaders import load, open_task
        >>> cat = load("organism:cat")
        >>> [str(key) for key in patch(cat, open_task("planted", cat), "neuron").top(1, signed=False)]
        ['blocks.0.mlp.act/neurons/7@3']
    """
    refuse_no_subject(subject, Reads, "whose units can be patched")
    if out is not None:
        refuse_occupied(Path(out), begun=("manifest.json",), resume=resume)
    cases = task if isinstance(task, ReadTask) else subject.read(task)
    how: dict[str, Any] = {"positions": positions, "direction": direction, "batch_size": batch_size}
    job = plan_patching(subject, cases, sites, **how)
    if state is not None:
        state(job)
    if out is None:
        return patch_sites(subject, cases, sites, **how, progress=progress)
    return patch_to_folder(job, out, resume=resume, progress=progress, page=page)
