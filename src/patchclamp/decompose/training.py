"""Training: several sparse coders on one pass of activations, stated first, followed, and resumable at every moment."""

import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.bundle import Bundle
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import free_bytes, refuse_occupied, writing
from patchclamp.core.errors import PatchclampError
from patchclamp.core.subject import Progress
from patchclamp.decompose.buffer import Filling, Position, ShuffleBuffer, Source
from patchclamp.decompose.first_tokens import measure_first_tokens
from patchclamp.decompose.sparse_coder import CoderConfig, SparseCoder, make_coder
from patchclamp.subjects.memory import free_memory

STATE = "training"
BEGUN = (STATE, "basis.json")
"""What a training that can go on leaves in its folder."""
POINTS = 100
MOST_DEAD = 10_000_000
MEASURES = ("loss", "unexplained", "l0", "dead")


@dataclass(frozen=True)
class Job:
    """One coder to train.

    Args:
        reads: site that it reads.
        writes: site that it writes; the one that it reads for an autoencoder.
        config: kind and size.
    """

    reads: str
    writes: str
    config: CoderConfig

    @property
    def transcodes(self) -> bool:
        """Whether it writes another site than it reads."""
        return self.reads != self.writes


@dataclass(frozen=True)
class Recipe:
    """How coders are trained.

    Args:
        batch_size: activations per step.
        learning_rate: of Adam; 0.0015 · √(4096 / latents), at most 0.005, where left out.
        warmup: share of the steps over which the learning rate and the sparsity penalty rise.
        decay: share of the steps, at the end, over which the learning rate falls.
        passes: how often the text is gone through.
        buffer_bytes: most memory of the mixing buffer.
        dead_after: activations without firing that make a latent dead; a tenth of all, at most ten million, where
            left out.
        seed: of the directions at first and of the order of activations.

    Raises:
        PatchclampError: numbers that make no sense.
    """

    batch_size: int = 2048
    learning_rate: float | None = None
    warmup: float = 0.05
    decay: float = 0.2
    passes: int = 1
    buffer_bytes: int = 2**28
    dead_after: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        numbers: dict[str, float] = {
            "batch size": self.batch_size,
            "number of passes": self.passes,
            "buffer": self.buffer_bytes,
        }
        numbers |= {"learning rate": 1 if self.learning_rate is None else self.learning_rate}
        numbers |= {"age of dead latents": 1 if self.dead_after is None else self.dead_after}
        for what, value in numbers.items():
            if not 0 < value < float("inf"):
                raise PatchclampError(expected=f"a positive {what}", got=str(value), remedy="Give another.")
        if not (0 <= self.warmup < 1 and 0 <= self.decay < 1):
            raise PatchclampError(
                expected="warm-up and decay from 0 to below 1",
                got=f"{self.warmup}, {self.decay}",
                remedy="Shorten them.",
            )

    def rate(self, step: int, n_steps: int, n_latents: int) -> float:
        """Return the learning rate of a step: up in a line, level, down in a line."""
        top = self.learning_rate or min(1.5e-3 * (4096 / n_latents) ** 0.5, 5e-3)
        up = self.warm(step, n_steps)
        down = (n_steps - step) / max(self.decay * n_steps, 1.0)
        return top * min(up, down, 1.0)

    def warm(self, step: int, n_steps: int) -> float:
        """Return the share of the warm-up that has passed at a step."""
        return min((step + 1) / max(self.warmup * n_steps, 1.0), 1.0)


@dataclass
class Trained:
    """A coder and how it came about.

    Args:
        job: what was asked.
        coder: the coder.
        curves: measure to ``[step, value]`` pairs; each value is the mean since the one before.
    """

    job: Job
    coder: SparseCoder
    curves: dict[str, list[list[int | float]]] = field(default_factory=lambda: {name: [] for name in MEASURES})


class _Run:
    """A training between two checkpoints: coders, optimizers, sums since the last point of the curves."""

    def __init__(self, source: Source, jobs: Sequence[Job], recipe: Recipe, device: str) -> None:
        self.recipe, self.jobs = recipe, list(jobs)
        sites = [site for job in jobs for site in (job.reads, job.writes)]
        self.buffer = ShuffleBuffer(
            source, sites, batch_size=recipe.batch_size, n_batches=_buffer_batches(source, sites, recipe),
            seed=recipe.seed, passes=recipe.passes, device=device,
        )  # fmt: skip
        self.n_steps = self.buffer.n_steps
        self.dead_after = recipe.dead_after or min(max(self.buffer.rows // 10, recipe.batch_size), MOST_DEAD)
        self.trained = [Trained(job, _make(source, job, recipe.seed).to(device)) for job in jobs]
        # The learning rate is set anew at every step.
        fused = torch.device(device).type in ("cpu", "cuda")
        self.optimizers = [torch.optim.Adam(one.coder.parameters(), lr=1e-3, fused=fused) for one in self.trained]
        self.sums = torch.zeros(len(self.trained), len(MEASURES), dtype=torch.float64)
        self.step = self.since = 0
        self.every = max(self.n_steps // POINTS, 1)

    def begin(self, filling: Filling) -> None:
        """Set scales and biases by the buffer's first filling, in the order that the text has."""
        for one in self.trained:
            n = len(filling.order)
            x, y = filling.rows[one.job.reads][:n], filling.rows[one.job.writes][:n]
            one.coder.begin(x, y, at_once=self.recipe.batch_size)

    def advance(self, rows: Mapping[str, Tensor]) -> None:
        """Take one step of every coder."""
        for i, (one, optimizer) in enumerate(zip(self.trained, self.optimizers, strict=True)):
            coder, config = one.coder, one.job.config
            x = rows[one.job.reads]
            y = rows[one.job.writes] if one.job.transcodes else x
            warm = self.recipe.warm(self.step, self.n_steps)
            found = coder.losses(x, y, dead_after=self.dead_after, warm=warm)
            optimizer.zero_grad(set_to_none=True)
            found.total.backward()
            coder.project()
            optimizer.param_groups[0]["lr"] = self.recipe.rate(self.step, self.n_steps, config.n_latents)
            optimizer.step()
            coder.renormalise()
            coder.note_fired(found.fired, len(x))
            dead = len(coder.dead(self.dead_after)) / config.n_latents
            values = [float(found.total.detach()), float(found.unexplained), float(found.l0), dead]
            self.sums[i] += torch.tensor(values, dtype=torch.float64)
            if not np.isfinite(values[0]):
                raise PatchclampError(
                    expected="a finite loss",
                    got=f"{values[0]} at step {self.step} of {one.job.writes}",
                    remedy="Give a smaller --learning-rate.",
                )
        self.step += 1
        self.since += 1
        if self.since == self.every or self.step == self.n_steps:
            for i, one in enumerate(self.trained):
                for name, value in zip(MEASURES, (self.sums[i] / self.since).tolist(), strict=True):
                    one.curves[name].append([self.step, value])
            self.sums.zero_()
            self.since = 0

    # -- state --------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, np.ndarray]:
        """Return everything that the next steps depend on, and the data's position does not say."""
        found: dict[str, Tensor] = {"sums": self.sums}
        for i, (one, optimizer) in enumerate(zip(self.trained, self.optimizers, strict=True)):
            found |= {f"{i}/coder/{name}": t for name, t in one.coder.state_dict().items()}
            for name, parameter in one.coder.named_parameters():
                found |= {f"{i}/adam/{name}/{k}": t for k, t in optimizer.state[parameter].items()}
        return {name: t.detach().cpu().numpy() for name, t in found.items()}

    def restore(self, tensors: Mapping[str, np.ndarray], entry: Mapping[str, Any]) -> None:
        """Go back to a state that ``tensors`` described."""
        self.step, self.since = int(entry["step"]), int(entry["since"])
        self.sums = torch.tensor(tensors["sums"])
        for i, (one, optimizer) in enumerate(zip(self.trained, self.optimizers, strict=True)):
            own = {k.removeprefix(f"{i}/coder/"): torch.tensor(t) for k, t in tensors.items() if k.startswith(f"{i}/c")}
            one.coder.load_state_dict(own)
            one.curves = {name: [list(p) for p in points] for name, points in entry["curves"][i].items()}
            for name, parameter in one.coder.named_parameters():
                start = f"{i}/adam/{name}/"
                optimizer.state[parameter] = {
                    k.removeprefix(start): torch.tensor(t).to(parameter.device)
                    for k, t in tensors.items() if k.startswith(start)
                }  # fmt: skip


def train(
    source: Source,
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
        out: folder whose ``training`` holds the state while it runs; none is kept where left out.
        resume: go on with an interrupted training in ``out``.
        checkpoint_s: seconds between states.
        progress: called with activations done and activations in all.

    Returns:
        One ``Trained`` per job, in their order.

    Raises:
        PatchclampError: memory that is not there, NaN activations, too little text, or a resume with other options.

    Cost: what ``memory_bytes`` says, on disk what ``disk_bytes`` says; one forward pass of the model per chunk, and
    per step one product of a batch with each encoder forward (TopK, BatchTopK), or six dense ones (L1, JumpReLU).

    Example:
        >>> from patchclamp.decompose import ArraySource, TopKConfig
        >>> x = np.random.default_rng(0).normal(size=(512, 4)).astype(np.float32)
        >>> [one] = train(ArraySource({"x": x}), [Job("x", "x", TopKConfig(8, k=2))], Recipe(batch_size=64))
        >>> one.coder.encode(torch.tensor(x[:1])).count_nonzero().item() <= 2
        True
    """
    recipe = recipe or Recipe()
    if not jobs:
        raise PatchclampError(expected="at least one coder to train", got="none", remedy="Name a site.")
    refuse_if_no_room(memory_bytes(source, jobs, recipe), device)
    if out is not None:
        _refuse_if_no_disk(Path(out), disk_bytes(source, jobs))
    run = _Run(source, jobs, recipe, device)
    if out is None:
        _go(run, None, Position(), 0.0, progress)
        return run.trained
    with writing(out):
        manifest = manifest_of(source, jobs, recipe, device)
        with _begun(Path(out) / STATE, manifest, resume=resume) as bundle:
            threads = torch.get_num_threads()
            # A resume computes with the threads that the run was begun with: others may round differently.
            torch.set_num_threads(max(int(bundle.manifest["plan"]["threads"]), 1))
            try:
                _go(run, bundle, _restored(run, bundle), checkpoint_s, progress)
            finally:
                torch.set_num_threads(threads)
    return run.trained


def train_dictionary(
    source: Source, jobs: Sequence[Job], recipe: Recipe | None = None, *, out: str | Path, name: str | None = None,
    resume: bool = False, **options: Any,
) -> Dictionary:  # fmt: skip
    """Train sparse coders as ``train`` does, and keep them as a Dictionary in a folder.

    Args:
        source: where activations come from.
        jobs: the coders, each writing another site.
        recipe: how they are trained.
        out: a new or empty folder; or an interrupted one, with ``resume``.
        name: slug of the bases; ``METHOD-LATENTS`` where left out.
        resume: go on with an interrupted training; a finished one is returned as it is.
        options: device, checkpoint_s and progress, as for ``train``.

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
        _refuse_other(place, about["plan"], kept.about.get("plan", {}))
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


def manifest_of(source: Source, jobs: Sequence[Job], recipe: Recipe, device: str) -> dict[str, Any]:
    """Return everything that decides the weights, as JSON-ready data."""
    coders = [{"reads": j.reads, "writes": j.writes, "method": j.config.method, **asdict(j.config)} for j in jobs]
    return {
        "subject": dict(source.subject),
        "plan": {
            **source.about, "recipe": asdict(recipe), "coders": coders, "device": torch.device(device).type,
            "threads": torch.get_num_threads(),
        },
        "versions": {
            "patchclamp": version("patchclamp"), "python": platform.python_version(), "torch": torch.__version__
        },
    }  # fmt: skip


def memory_bytes(source: Source, jobs: Sequence[Job], recipe: Recipe) -> int:
    """Return what a training takes: buffer, a chunk; weights, gradients and Adam's two moments; one step's own."""
    sites = list(dict.fromkeys(site for job in jobs for site in (job.reads, job.writes)))
    widths = sum(source.width(site) for site in sites)
    rows = recipe.batch_size * min(
        _buffer_batches(source, sites, recipe), max(source.n_rows * recipe.passes // recipe.batch_size, 1)
    )
    held, step = 4 * widths * (rows + recipe.batch_size), 0
    for job in jobs:
        read, width, n = source.width(job.reads), source.width(job.writes), job.config.n_latents
        held += 16 * _n_weights(source, job)
        # TopK and BatchTopK form the pre-activations alone; the others keep them, the latents and both gradients.
        dense = 2 if job.config.method in ("topk", "batchtopk") else 6
        step = max(step, 4 * recipe.batch_size * (dense * n + 4 * (read + width)))
    return held + step


def disk_bytes(source: Source, jobs: Sequence[Job]) -> int:
    """Return what a training takes on disk at most: two states, each of weights and both moments of Adam."""
    return sum(2 * 3 * 4 * _n_weights(source, job) for job in jobs)


def _n_weights(source: Source, job: Job) -> int:
    read, width, n = source.width(job.reads), source.width(job.writes), job.config.n_latents
    return n * (read + width + 2) + read + width + (read * width if job.config.skip else 0)


def _refuse_if_no_disk(out: Path, n_bytes: int) -> None:
    free = free_bytes(out) + sum(file.stat().st_size for file in out.glob(f"{STATE}/*.safetensors"))
    if n_bytes > free:
        raise PatchclampError(
            expected=f"{n_bytes / 1e9:,.1f} GB free for {out}, two states of the training",
            got=f"{free / 1e9:,.1f} GB",
            remedy="Free some space, or give fewer features or sites.",
        )


def refuse_if_no_room(n_bytes: int, device: str = "cpu") -> None:
    """Refuse what does not fit into the memory that is free.

    Raises:
        PatchclampError: with the two sizes.
    """
    free = free_memory(device)
    if free is not None and n_bytes > free:
        raise PatchclampError(
            expected=f"{n_bytes / 1e9:,.1f} GB of memory",
            got=f"{free / 1e9:,.1f} GB free",
            remedy="Give fewer features or sites, a smaller --coder-batch or a smaller --buffer.",
        )


def _buffer_batches(source: Source, sites: Sequence[str], recipe: Recipe) -> int:
    widths = sum(source.width(site) for site in dict.fromkeys(sites))
    return min(max(recipe.buffer_bytes // (4 * widths * recipe.batch_size), 1), 64)


def _make(source: Source, job: Job, seed: int) -> SparseCoder:
    width = source.width(job.writes) if job.transcodes else None
    return make_coder(job.config, source.width(job.reads), width, seed=seed)


def _go(run: _Run, bundle: Bundle | None, position: Position, checkpoint_s: float, progress: Progress | None) -> None:
    """Train from a position to the end, with states on the way."""
    saved = time.monotonic()
    batch_size = run.recipe.batch_size
    for filling in run.buffer.fillings(position):
        if run.step == 0:
            run.begin(filling)
        # Every filling but the last is full, so its first step is known.
        first = filling.begins.filling * (run.buffer.size // batch_size)
        for number in range(run.step - first, filling.n_batches):
            run.advance(filling.batch(number))
            if progress is not None:
                progress(run.step * batch_size, run.n_steps * batch_size)
            if bundle is not None and (time.monotonic() - saved >= checkpoint_s or run.step == run.n_steps):
                _save(run, bundle, filling.begins)
                saved = time.monotonic()


def _save(run: _Run, bundle: Bundle, position: Position) -> None:
    before = [entry["piece"] for entry in bundle.pieces]
    bundle.append(
        f"state-{run.step:08d}", run.tensors(), step=run.step, since=run.since, position=position.to_json(),
        curves=[one.curves for one in run.trained],
    )  # fmt: skip
    for piece in before:
        bundle.drop(piece)


def _restored(run: _Run, bundle: Bundle) -> Position:
    """Put the last state back and return where its filling begins."""
    if not bundle.pieces:
        return Position()
    entry = bundle.pieces[-1]
    bundle.check(entry["piece"])
    run.restore(bundle.read(entry["piece"]), entry)
    return Position(**entry["position"])


@contextmanager
def _begun(folder: Path, manifest: dict[str, Any], *, resume: bool) -> Iterator[Bundle]:
    """Start a training's bundle, or open the interrupted one that was begun with the same options."""
    if not resume or not (folder / "manifest.json").exists():
        yield Bundle.create(folder, kind="training", manifest=manifest)
        return
    bundle = Bundle.open(folder, kind="training")
    _refuse_other(folder, manifest, bundle.manifest)
    bundle.resume()
    yield bundle


def _refuse_other(place: Path, now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """Refuse to go on with another model, text or options.

    Raises:
        PatchclampError: each difference is named.
    """
    fresh, kept = (_flat({k: m.get(k) for k in ("subject", "plan", "versions")}) for m in (now, then))
    fresh["plan.threads"] = kept.get("plan.threads")
    changed = [
        f"{k}: {kept.get(k)!s:.60} then, {fresh.get(k)!s:.60} now"
        for k in dict.fromkeys([*fresh, *kept])
        if fresh.get(k) != kept.get(k)
    ]
    if changed:
        raise PatchclampError(
            expected=f"the same model, text and options as {place} was begun with",
            got="; ".join(changed[:4]),
            remedy="Resume with the same options, or choose a new --out.",
        )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, Mapping):
        return {k: v for name, value in data.items() for k, v in _flat(value, f"{prefix}{name}.").items()}
    if isinstance(data, list):
        return {k: v for i, value in enumerate(data) for k, v in _flat(value, f"{prefix}{i}.").items()}
    return {prefix.rstrip("."): data}
