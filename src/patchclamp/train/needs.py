"""What a training takes, stated before it begins, and refused where it is not there."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from patchclamp.core.arguments import checked
from patchclamp.core.disk import free_bytes
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.memory import free_memory
from patchclamp.train.plan import EarlyStop, Objective


class Needs(NamedTuple):
    """What a training takes.

    Args:
        memory: bytes beside the weights that exist already: gradients, the optimizers' averages, and the best weights
            where it may stop early. What a step itself needs depends on the batch and is not in it.
        disk: bytes at most, of two states.
    """

    memory: int
    disk: int


@checked
def needs_of(objectives: Objective | Mapping[str, Objective], early_stop: EarlyStop | None = None) -> Needs:
    """Return what a training will take in memory and, where it has a folder, on disk.

    Args:
        objectives: as for ``train``.
        early_stop: as for ``train``.

    Example:
        >>> net = nn.Linear(9, 1, bias=False)
        >>> needs_of(Objective(net, lambda batch, step: net(batch).mean())).memory  # gradient and two averages
        108
    """
    memory = disk = 0
    for one in objectives.values() if isinstance(objectives, Mapping) else [objectives]:
        trained = [p for p in one.module.parameters() if p.requires_grad]
        held = _bytes([*one.module.parameters(), *one.module.buffers()])
        averages = _averages(one.optimizer(trained)) * _bytes(trained)
        best = held if early_stop is not None else 0
        memory += _bytes(trained) + averages + best
        disk += 2 * (held + averages + best)
    return Needs(memory, disk)


@checked
def refuse_if_no_memory(n_bytes: int, device: str = "cpu", *, remedy: str = "Train a smaller module.") -> None:
    """Refuse what does not fit into the memory that is free.

    Raises:
        PatchclampError: with the two sizes.
    """
    free = free_memory(device)
    if free is not None and n_bytes > free:
        raise PatchclampError(
            expected=f"{n_bytes / 1e9:,.1f} GB of memory", got=f"{free / 1e9:,.1f} GB free", remedy=remedy
        )


@checked
def refuse_if_no_disk(out: Path, n_bytes: int, *, remedy: str = "Free some space, or train a smaller module.") -> None:
    """Refuse what does not fit onto the disk; states that lie in the folder already will give way.

    Raises:
        PatchclampError: with the two sizes.
    """
    free = free_bytes(out) + sum(file.stat().st_size for file in out.glob("*.safetensors"))
    if n_bytes > free:
        raise PatchclampError(
            expected=f"{n_bytes / 1e9:,.1f} GB free for {out}, two states of the training",
            got=f"{free / 1e9:,.1f} GB",
            remedy=remedy,
        )


def _averages(optimizer: torch.optim.Optimizer) -> int:
    """Return how many numbers an optimizer keeps of every weight: momentum where there is one, else as Adam does."""
    if isinstance(optimizer, torch.optim.SGD):
        return int(any(group["momentum"] for group in optimizer.param_groups))
    return 3 if optimizer.defaults.get("amsgrad") else 2


def _bytes(tensors: list[nn.Parameter] | list[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
