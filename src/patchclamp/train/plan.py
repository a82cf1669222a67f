"""What a training minimises, for how long, at which rate, and when it stops."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.checks import at_least
from patchclamp.core.errors import PatchclampError

Measured = Tensor | Mapping[str, Any]
"""The loss of a batch, or numbers by name of which ``loss`` is minimised and the others are followed."""


@checked
@dataclass(frozen=True)
class Plan:
    """Say how long and how fast modules are trained.

    Args:
        steps: batches in all; they are gone through again where there are fewer.
        passes: how often the batches are gone through, in the place of ``steps``; once where both are left out.
        warmup: share of the steps over which the learning rate rises to what the optimizer was given.
        decay: share of the steps, at the end, over which it falls.
        clip: largest norm of a module's gradient (default: as it comes).
        seed: of torch's generators: dropout, and the order in which a ``DataLoader`` mixes.
        threads: that compute, since other numbers may round differently (default: as many as now).

    Raises:
        PatchclampError: numbers that make no sense.

    Example:
        >>> plan = Plan(steps=10, warmup=0.2, decay=0.5)
        >>> [round(plan.share(step, 10), 2) for step in range(10)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """

    steps: Positive | None = None
    passes: Positive | None = None
    warmup: float = 0.0
    decay: float = 0.0
    clip: float | None = None
    seed: Natural = 0
    threads: Positive | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.passes is not None:
            raise PatchclampError(
                expected="steps or passes", got=f"{self.steps} and {self.passes}", remedy="Leave one of them out."
            )
        if not (0 <= self.warmup < 1 and 0 <= self.decay < 1):
            raise PatchclampError(
                expected="warm-up and decay from 0 to below 1",
                got=f"{self.warmup}, {self.decay}",
                remedy="Shorten them.",
            )
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise PatchclampError(
                expected="a positive largest norm", got=str(self.clip), remedy="Give another clip, or none."
            )

    def warm(self, step: int, n_steps: int) -> float:
        """Return the share of the warm-up that has passed once a step, counted from 0, is taken."""
        return min((step + 1) / max(self.warmup * n_steps, 1.0), 1.0)

    def share(self, step: int, n_steps: int) -> float:
        """Return the share of the full learning rate at a step: up in a line, level, down in a line."""
        return min(self.warm(step, n_steps), (n_steps - step) / max(self.decay * n_steps, 1.0), 1.0)


@checked
@dataclass(frozen=True, eq=False)
class Objective:
    """Say what is minimised, over which module, and how.

    Args:
        module: the network, in the mode (training or evaluation) in which it is to be trained.
        loss: a batch and the number of steps taken → its loss, a number with a gradient; or such numbers by name, of
            which ``loss`` is minimised and the others are followed.
        optimizer: the parameters that need a gradient → their optimizer, such as
            ``functools.partial(torch.optim.AdamW, lr=0.01)``. What is to be done to gradients before a step or to
            weights after it is registered there, as its step hook.
        schedule: a step, counted from 0, and the number of steps → share of the optimizer's learning rate, in the place
            of the plan's.
    """

    module: nn.Module
    loss: Callable[[Any, int], Measured]
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = torch.optim.Adam
    schedule: Callable[[int, int], float] | None = None


@checked
@dataclass(frozen=True, eq=False)
class EarlyStop:
    """Say when further steps no longer help, measured on what training never shows.

    It is measured before the first step, every ``every`` steps and after the last one; the weights of the best
    measurement are those that are kept.

    Args:
        measure: gives the number; it is called with the modules in evaluation mode and without gradients, and what it
            draws changes no later draw.
        every: steps from one measurement to the next.
        patience: so many measurements in a row that are no better end the training.
        better: whether ``lower`` numbers are better, or ``higher`` ones.
        least: by how much a number must be better to count.

    Raises:
        PatchclampError: a ``least`` below zero or not finite.

    Example:
        >>> EarlyStop(lambda: 0.0, every=100, patience=3, least=0.01).is_better(0.5, than=0.505)
        False
    """

    measure: Callable[[], float]
    every: Positive
    patience: Positive
    better: Literal["lower", "higher"] = "lower"
    least: float = 0.0

    def __post_init__(self) -> None:
        at_least("a least improvement", self.least, 0, remedy="Give 0, or a small number.")

    def is_better(self, value: float, than: float) -> bool:
        """Return whether a measurement counts as better than another."""
        gain = than - value if self.better == "lower" else value - than
        return gain > self.least
