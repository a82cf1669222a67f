"""The recipe of sparse coders: which are trained, how, and what that takes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import read_versions
from patchclamp.decompose.activation_store import ActivationSource
from patchclamp.decompose.sparse_coder import CoderConfig
from patchclamp.train import Plan

MOST_DEAD = 10_000_000


@checked
@dataclass(frozen=True)
class Job:
    """One coder to train.

    Args:
        reads: site that it reads.
        writes: site that it writes; of an autoencoder the one that it reads.
        config: kind and size.
    """

    reads: str
    writes: str
    config: CoderConfig

    @property
    def transcodes(self) -> bool:
        """Whether it writes another site than it reads."""
        return self.reads != self.writes


@checked
@dataclass(frozen=True)
class Recipe:
    """Hold how coders are trained.

    Args:
        batch_size: activations per step.
        learning_rate: of Adam; the default is 0.0015 · √(4096 / latents), at most 0.005.
        warmup: share of the steps over which the learning rate and the sparsity penalty rise.
        decay: share of the steps, at the end, over which the learning rate falls.
        passes: how often the text is used.
        buffer_bytes: most memory of the mixing buffer.
        dead_after: activations without firing after which a latent is dead; the default is a tenth of all, at most ten
            million.
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

    def peak(self, n_latents: int) -> float:
        """Return the full learning rate of a coder."""
        return self.learning_rate or min(1.5e-3 * (4096 / n_latents) ** 0.5, 5e-3)

    def plan(self, n_steps: int) -> Plan:
        """Return the steps, and the rise and fall of the learning rate."""
        return Plan(steps=n_steps, warmup=self.warmup, decay=self.decay, seed=self.seed)

    def age_of_dead(self, n_rows: int) -> int:
        """Return the number of activations without firing that make a latent dead."""
        return self.dead_after or min(max(n_rows // 10, self.batch_size), MOST_DEAD)


def manifest_of(source: ActivationSource, jobs: Sequence[Job], recipe: Recipe, device: str) -> dict[str, Any]:
    """Return everything that decides the weights, as JSON-ready data.

    Args:
        source: activations.
        jobs: the coders.
        recipe: how they are trained.
        device: where.

    Returns:
        dict: source, jobs, recipe, device and versions.
    """
    coders = [{"reads": j.reads, "writes": j.writes, "method": j.config.method, **asdict(j.config)} for j in jobs]
    return {
        "subject": dict(source.subject),
        "plan": {
            **source.about,
            "recipe": asdict(recipe),
            "coders": coders,
            "device": torch.device(device).type,
            "threads": torch.get_num_threads(),
        },
        "versions": read_versions("patchclamp", "torch"),
    }


def memory_bytes(source: ActivationSource, jobs: Sequence[Job], recipe: Recipe) -> int:
    """Estimate the bytes of a training: buffer and chunk; weights, gradients and Adam's moments; one step.

    Args:
        source: activations.
        jobs: the coders.
        recipe: how they are trained.

    Returns:
        int: bytes.
    """
    sites = list(dict.fromkeys(site for job in jobs for site in (job.reads, job.writes)))
    widths = sum(source.width(site) for site in sites)
    rows = recipe.batch_size * min(
        buffer_batches(source, sites, recipe), max(source.n_rows * recipe.passes // recipe.batch_size, 1)
    )
    held, step = 4 * widths * (rows + recipe.batch_size), 0
    for job in jobs:
        read, width, n = source.width(job.reads), source.width(job.writes), job.config.n_latents
        weights = 4 * _n_weights(source, job)
        held += 3 * weights
        # Gradients are there when what a step computes has been given up.
        values = job.config.dense * n + 3 * (read + width)
        step = max(step, 4 * recipe.batch_size * values, weights)
    return held + step


def disk_bytes(source: ActivationSource, jobs: Sequence[Job]) -> int:
    """Return what a training takes on disk at most: two states, each of weights and both moments of Adam."""
    return sum(2 * 3 * 4 * _n_weights(source, job) for job in jobs)


def _n_weights(source: ActivationSource, job: Job) -> int:
    read, width, n = source.width(job.reads), source.width(job.writes), job.config.n_latents
    return n * (read + width + 2) + read + width + (read * width if job.config.skip else 0)


def buffer_batches(source: ActivationSource, sites: Sequence[str], recipe: Recipe) -> int:
    """Return the number of batches that the shuffle buffer holds.

    Args:
        source: activations.
        sites: that it holds.
        recipe: names its bytes and the batch.

    Returns:
        int: batches, at least one.
    """
    widths = sum(source.width(site) for site in dict.fromkeys(sites))
    return min(max(recipe.buffer_bytes // (4 * widths * recipe.batch_size), 1), 64)
