"""Units that stand beside a unit: near it, before it, or read by it."""

from dataclasses import dataclass

import numpy as np

from patchclamp.atlas.read.attached_layers import AttachedLayer
from patchclamp.atlas.read.reader import Reading


@dataclass(frozen=True)
class Neighbour:
    """Another unit, how near it is, and what is known of it in a few words; empty where nothing is."""

    key: str
    name: str
    value: float
    label: str


def neighbours(atlas: Reading, part: AttachedLayer, ids: bytes, weights: bytes) -> list[Neighbour]:
    """Return the units of a panel, as a part of the atlas keeps them.

    Returns:
        list[Neighbour]: in the panel's order.
    """
    numbers = [part.global_index(unit) for unit in np.frombuffer(ids, "<i4").tolist()]
    return [
        Neighbour(str(atlas.key(unit)), atlas.name(unit), float(f"{weight:.4g}"), atlas.label(unit))
        for unit, weight in zip(numbers, np.frombuffer(weights, "<f4").tolist(), strict=True)
    ]
