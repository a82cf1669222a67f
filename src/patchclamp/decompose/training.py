"""Train several sparse coders on one pass of activations, resumable at every moment."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from patchclamp.core.arguments import checked
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import PatchclampError
from patchclamp.core.resume import refuse_other_plan
from patchclamp.core.subject import Progress
from patchclamp.decompose.activation_store import ActivationSource, Filling, Position, Rows, ShuffleBuffer
from patchclamp.decompose.first_tokens import measure_first_tokens
from patchclamp.decompose.recipe import Job, Recipe, buffer_batches, disk_bytes, manifest_of, memory_bytes
from patchclamp.decompose.sparse_coder import SparseCoder, make_coder
from patchclamp.train import Objective, refuse_if_no_disk, refuse_if_no_memory
from patchclamp.train import train as train_modules

STATE = "training"
BEGUN = (STATE, "basis.json")
"""What a training that can go on leaves in its folder."""
MEASURES = ("loss", "unexplained", "l0", "dead")
WHAT = "model, text and options"
SMALLER = "Give fewer features or sites, a smaller --coder-batch or a smaller --buffer."


@checked
@dataclass
class Trained:
    """A coder and how it came about.

    Args:
        job: the coder that was to be trained.
        coder: the coder.
        curves: measure to ``[step, value]`` pairs; each value is the mean since the one before.
    """

    job: Job
    coder: SparseCoder
    curves: dict[str, list[list[int | float]]] = field(default_factory=lambda: {name: [] for name in MEASURES})


class _Batches:
    """The buffer's batches, which can go on in the middle of a filling.

    Args:
        buffer: mixes activations.
        begin: called with the first filling, before its first batch.
    """

    def __init__(self, buffer: ShuffleBuffer, begin: Callable[[Filling], None]) -> None:
        self.buffer, self.begin = buffer, begin
        self.position, self.number = Position(), 0

    def __iter__(self) -> Iterator[Rows]:
        for filling in self.buffer.fillings(self.position):
            self.position = filling.begins
            if self.position.filling == self.number == 0:
                self.begin(filling)
            while self.number < filling.n_batches:
                self.number += 1
                yield filling.batch(self.number - 1)
            self.number = 0

    def state_dict(self) -> dict[str, Any]:
        """Return where the filling begins, and how many of its batches were read."""
        return {"position": self.position.to_json(), "number": self.number}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to a place."""
        self.position, self.number = Position(**state_dict["position"]), int(state_dict["number"])


@checked
def train(
    source: ActivationSource,
    jobs: Sequence[Job],
    recipe: Recipe | None = None,
    *,
    device: str = "cpu",
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_s: float = 60.0,
    progress: Progress | None = None,
) -> list[Trained]:
    """Train sparse coders, all of them on the same pass of activations.

    The same source, jobs and recipe give the same weights on one machine with the same versions and threads, however
    often the training was killed and resumed.

    Args:
        source: where activations come from.
        jobs: the coders.
        recipe: how they are trained.
        device: where they are trained.
        out: folder whose ``training`` holds the state while it runs; the default stores none.
        resume: go on with an interrupted training in ``out``.
        checkpoint_s: seconds between states.
        progress: called with activations done and activations in all.

    Returns:
        One ``Trained`` per job, in their order.

    Raises:
        PatchclampError: memory that is not there, NaN activations, too little text, or a resume with other options.

    Source: see the methods' cards; the order of activations is ours.

    Cost: what ``memory_bytes`` says, on disk what ``disk_bytes`` says; one forward pass of the model per chunk, and
    per step one product of a batch with each encoder forward (TopK, BatchTopK), or six dense ones (L1, JumpReLU).

    Example:
        >>> import numpy as np
        >>> from patchclamp.decompose import ArraySource, TopKConfig
        >>> x = np.random.default_rng(0).normal(size=(512, 4)).astype(np.float32)
        >>> [one] = train(ArraySource({"x": x}), [Job("x", "x", TopKConfig(8, k=2))], Recipe(batch_size=64))
        >>> one.coder.encode(torch.tensor(x[:1])).count_nonzero().item() <= 2
        True
    """
    recipe = recipe or Recipe()
    if not jobs:
        raise PatchclampError(expected="at least one coder to train", got="none", remedy="Name a site.")
    refuse_if_no_memory(memory_bytes(source, jobs, recipe), device, remedy=SMALLER)
    if out is not None:
        remedy = "Free some space, or give fewer features or sites."
        refuse_if_no_disk(Path(out) / STATE, disk_bytes(source, jobs), remedy=remedy)
    sites = [site for job in jobs for site in (job.reads, job.writes)]
    buffer = ShuffleBuffer(
        source,
        sites,
        batch_size=recipe.batch_size,
        n_batches=buffer_batches(source, sites, recipe),
        seed=recipe.seed,
        passes=recipe.passes,
        device=device,
    )
    trained = [Trained(job, _make(source, job, recipe.seed).to(device)) for job in jobs]

    def begin(filling: Filling) -> None:
        """Set scales and biases by the buffer's first filling, in the order that the text has."""
        for one in trained:
            n = len(filling.order)
            x, y = filling.rows[one.job.reads][:n], filling.rows[one.job.writes][:n]
            one.coder.begin(x, y, at_once=recipe.batch_size)

    def say(done: int, total: int) -> None:
        if progress is not None:
            progress(done * recipe.batch_size, total * recipe.batch_size)

    dead_after = recipe.age_of_dead(buffer.rows)
    made = train_modules(
        {str(i): _objective(one, recipe, buffer.n_steps, dead_after) for i, one in enumerate(trained)},
        _Batches(buffer, begin),
        recipe.plan(buffer.n_steps),
        out=None if out is None else Path(out) / STATE,
        resume=resume,
        checkpoint_s=checkpoint_s,
        progress=say,
        about=_about(source, jobs, recipe, device),
    )
    for i, one in enumerate(trained):
        one.curves = {name: [list(point) for point in made.curves[f"{i}/{name}"]] for name in MEASURES}
    return trained


def _objective(one: Trained, recipe: Recipe, n_steps: int, dead_after: int) -> Objective:
    """Return a coder's loss, and an optimizer that keeps the decoder's rows at length 1."""
    coder, config, plan = one.coder, one.job.config, recipe.plan(n_steps)

    def loss(rows: Rows, step: int) -> dict[str, Any]:
        x = rows[one.job.reads]
        y = rows[one.job.writes] if one.job.transcodes else x
        losses = coder.losses(x, y, dead_after=dead_after, warm=plan.warm(step, n_steps))
        coder.note_fired(losses.fired, len(x))
        dead = len(coder.dead(dead_after)) / config.n_latents
        values: tuple[Tensor | float, ...] = (losses.total, losses.unexplained, losses.l0, dead)
        return dict(zip(MEASURES, values, strict=True))

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        fused = parameters[0].device.type in ("cpu", "cuda")
        made = torch.optim.Adam(parameters, lr=recipe.peak(config.n_latents), fused=fused)
        made.register_step_pre_hook(lambda *_: coder.project())
        made.register_step_post_hook(lambda *_: coder.renormalise())
        return made

    return Objective(coder, loss, optimizer)


@checked
def train_dictionary(
    source: ActivationSource,
    jobs: Sequence[Job],
    recipe: Recipe | None = None,
    *,
    out: str | Path,
    name: str | None = None,
    resume: bool = False,
    **options: Any,
) -> Dictionary:
    """Train sparse coders as ``train`` does, and save them as a Dictionary in a folder.

    Args:
        source: where activations come from.
        jobs: the coders, each writing another site.
        recipe: how they are trained.
        out: a new or empty folder; or an interrupted one, with ``resume``.
        name: slug of the bases; the default is ``METHOD-LATENTS``.
        resume: go on with an interrupted training; a finished one is returned as it is.
        options: device, checkpoint_s and progress, as for ``train``.

    Returns:
        Dictionary: a basis per written site.

    Raises:
        PatchclampError: as ``train``; a folder that holds something.
    """
    recipe = recipe or Recipe()
    place = Path(out)
    refuse_occupied(place, begun=BEGUN, resume=resume)
    config = jobs[0].config
    about = {"plan": manifest_of(source, jobs, recipe, options.get("device", "cpu"))}
    if (place / "basis.json").exists():
        kept = Dictionary.load(place)
        refuse_other_plan(place, about["plan"], kept.about.get("plan", {}), WHAT)
        shutil.rmtree(place / STATE, ignore_errors=True)
        return kept
    trained = train(source, jobs, recipe, out=place, resume=resume, **options)
    slug = name or f"{config.method}-{config.n_latents}"
    bases = {one.job.writes: one.coder.to_basis(slug, one.job.reads if one.job.transcodes else None) for one in trained}
    curves = {one.job.writes: one.curves for one in trained}
    about["first_tokens"] = measure_first_tokens(source, bases)
    made = Dictionary(bases, dict(source.subject), config.method, about, curves)
    made.save(place)
    shutil.rmtree(place / STATE, ignore_errors=True)
    return made


def _about(source: ActivationSource, jobs: Sequence[Job], recipe: Recipe, device: str) -> dict[str, Any]:
    """Return what decides the weights beside what the loop knows by itself."""
    manifest = manifest_of(source, jobs, recipe, device)
    return {"subject": manifest["subject"], **{k: v for k, v in manifest["plan"].items() if k != "threads"}}


def _make(source: ActivationSource, job: Job, seed: int) -> SparseCoder:
    width = source.width(job.writes) if job.transcodes else None
    return make_coder(job.config, source.width(job.reads), width, seed=seed)
