"""Read what a plain network is shown: rows, positions, and how to name them in errors."""

from typing import Any

import numpy as np
from torch import Tensor

from patchclamp.core.stimulus import Stimulus


def rows_of(first: Tensor) -> tuple[Stimulus, ...]:
    """Return a batch's rows as stimuli: token ids where these are shown, else the row's number."""
    if first.ndim == 2 and first.shape[1] and not (first.is_floating_point() or first.is_complex()):
        return tuple(Stimulus.of(row) for row in first.detach().cpu().numpy().astype(np.int64))
    return tuple(Stimulus.of(np.array([i])) for i in range(len(first)))


def positions_of(first: Tensor) -> int | None:
    """Return how many positions an input has: ids ``(batch, position)`` or vectors ``(batch, position, unit)``."""
    ids = first.ndim == 2 and not first.is_floating_point()
    return int(first.shape[1]) if ids or first.ndim == 3 else None


def describe_inputs(inputs: Any) -> str:
    """Return types and shapes of some inputs, as people read them."""
    listed = inputs if isinstance(inputs, tuple) else (inputs,)
    return (
        ", ".join(
            f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
            if isinstance(x, Tensor)
            else f"{type(x).__name__}"
            for x in listed
        )
        or "nothing"
    )
