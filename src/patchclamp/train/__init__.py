"""Any network of torch, step after step, followed, stopped in time, and resumable at every moment."""

import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from patchclamp.core.arguments import checked
from patchclamp.core.checks import check_plain
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.rooms import make_callable
from patchclamp.core.subject import Progress
from patchclamp.core.training import Training
from patchclamp.subjects.threads import pinned_threads
from patchclamp.train.folder import Folder, open_folder
from patchclamp.train.loop import Loop
from patchclamp.train.needs import Needs, needs_of, refuse_if_no_disk, refuse_if_no_memory
from patchclamp.train.plan import EarlyStop, Objective, Plan
from patchclamp.train.state import Stateful

__all__ = [
    "EarlyStop",
    "Needs",
    "Objective",
    "Plan",
    "Stateful",
    "needs_of",
    "refuse_if_no_disk",
    "refuse_if_no_memory",
    "train",
]


@checked
def train(
    objectives: Objective | Mapping[str, Objective],
    batches: Iterable[Any],
    plan: Plan | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_s: float = 60.0,
    early_stop: EarlyStop | None = None,
    own: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Training:
    """Train modules in place, all of them on the same batches.

    The same modules, batches and plan give the same weights on one machine with the same versions and threads, bit for
    bit on a processor, however often the training was killed and resumed. torch's generators begin at the plan's seed,
    and are afterwards as they were before.

    Args:
        objectives: what is minimised over which module; several by name, each with an optimizer of its own.
        batches: a list, a ``DataLoader``, or anything else that gives the batches of a pass each time it is iterated
            over. It may draw from torch's generator when a pass begins, as a ``DataLoader`` does. A resume reads and
            leaves the batches of the pass that went before, unless there are ``state_dict`` and ``load_state_dict``.
        plan: how long and how fast (default: one pass).
        out: folder that holds the state while it runs, and the last one afterwards (default: none is kept).
        resume: go on with an interrupted training in ``out``; begin where there is none. One that ended gives its
            weights back.
        checkpoint_s: seconds from one state to the next.
        early_stop: when further steps no longer help; the best weights are kept.
        own: what else later steps depend on, by name: generators of torch or NumPy, and whatever has ``state_dict`` and
            ``load_state_dict``. Python's and NumPy's common generators are not followed.
        about: what else decides the weights, such as the data's hash, as JSON-ready data: a resume with another is
            refused.
        progress: called with steps taken and steps in all.

    Returns:
        Training: the curves, the steps taken, and the step whose weights were kept.

    Raises:
        PatchclampError: a resume with another plan, a folder that holds something, memory or disk that is not there, a
            loss or weights that are not finite, with the step. What was committed before stays.

    Cost: what ``needs_of`` says, and a step's own activations.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> x = torch.randn(64, 2)
        >>> data = torch.utils.data.DataLoader(list(zip(x, x.sum(1, keepdim=True))), batch_size=8, shuffle=True)
        >>> def loss(batch, step):
        ...     return torch.nn.functional.mse_loss(net(batch[0]), batch[1])
        >>> slope = Objective(net, loss, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        >>> made = train(slope, data, Plan(passes=5, decay=0.5))
        >>> made.steps, made.curves["loss"][-1][1] < made.curves["loss"][0][1]
        (40, True)
    """
    started, plan = time.monotonic(), plan or Plan()
    named = objectives if isinstance(objectives, Mapping) else {"": objectives}
    if not named:
        raise PatchclampError(expected="at least one objective", got="none", remedy="Name a module and its loss.")
    here = dict(about or {})
    check_plain("about", here)
    loop = Loop(named, batches, plan, early_stop, own or {})
    needs = needs_of(named, early_stop)
    refuse_if_no_memory(needs.memory, loop.device)
    if out is not None:
        refuse_if_no_disk(Path(out), needs.disk)
    holding = (
        nullcontext() if out is None else open_folder(out, loop, batches, here, resume=resume, every_s=checkpoint_s)
    )
    with loop.generators.preserve(), holding as folder:
        # Others than those that it was begun with might round otherwise.
        threads = folder.threads if folder else plan.threads or torch.get_num_threads()
        with pinned_threads(threads):
            kept = _go(loop, folder, progress)
    return Training(
        loop.n_steps,
        loop.step,
        kept,
        {name: tuple((int(s), v) for s, v in c) for name, c in loop.curves.items()},
        Provenance(
            method="train",
            options=asdict(plan),
            seed=plan.seed,
            versions=read_versions(),
            seconds=time.monotonic() - started,
            extra=here,
        ),
    )


def _go(loop: Loop, folder: Folder | None, progress: Progress | None) -> int:
    """Take every step that is left, with states on the way; return the step whose weights are kept."""
    loop.generators.seed(loop.plan.seed)
    if folder is not None:
        folder.restore(loop)
    if loop.step == 0 and loop.best is None:
        loop.measure()
    while not loop.ended:
        loop.advance()
        loop.measure()
        if progress is not None:
            progress(loop.step, loop.n_steps)
        if folder is not None:
            folder.save_if_due(loop)
    if folder is not None and not folder.bundle.whole:
        folder.bundle.finish(step=loop.step)
    return loop.close()


make_callable(__name__, train)
