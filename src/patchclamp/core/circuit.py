"""Circuit: parts of a network in the order in which a circuit takes them, each with its score over many pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.errors import PatchclampError

Level = Literal["node", "edge", "neuron", "feature"]
LEVELS: tuple[Level, ...] = ("node", "edge", "neuron", "feature")
Part = str | tuple[str, str]
"""A unit's key without subject and place, or an edge: the keys of who writes and who reads."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """Hold parts and their scores; the circuit of size n is the n that score highest.

    | level | parts |
    |---|---|
    | node | the embedding, every head, every MLP: ``embed/whole/0``, ``blocks.1.attn.z/heads/3``, |
    |      | ``blocks.1.mlp.write/whole/0`` |
    | edge | node to reader: a head's query, key or value ``blocks.2.attn.q/heads/0``, an MLP |
    |      | ``blocks.2.mlp.pre/whole/0``, the logits ``final/whole/0`` |
    | neuron | every MLP neuron and every head |
    | feature | the features of added bases, neurons where a site has none, heads |

    Args:
        level: what the parts are.
        method: how they were scored.
        parts: keys, or pairs of keys.
        scores: ``(part,)`` mean over pairs of the predicted m(x) − m(x with this part as in x′), summed over positions.
        subject: slug and hash of the model.
        about: ids of the pairs (``pairs``), metric, mean m of both ends, settings; what is stated beside every result.

    Raises:
        PatchclampError: not as many scores as parts, or an unknown level.
    """

    level: Level
    method: str
    parts: tuple[Part, ...]
    scores: Float[np.ndarray, " part"]
    subject: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.level not in LEVELS or len(self.parts) != len(self.scores):
            raise PatchclampError(
                expected=f"a level among {', '.join(LEVELS)} and one score for each part",
                got=f"{self.level!r}, {len(self.parts):,} parts, {len(self.scores):,} scores",
                remedy="`patchclamp circuit find` writes one.",
            )

    def __len__(self) -> int:
        return len(self.parts)

    def order(self, *, signed: bool = True) -> Int[np.ndarray, " part"]:
        """Return places of ``parts`` from the highest score down; by magnitude where not ``signed``."""
        return np.argsort(-self.scores if signed else -np.abs(self.scores), kind="stable")

    def first(self, n: int, *, signed: bool = True) -> Bool[np.ndarray, " part"]:
        """Return which parts the circuit of size ``n`` has."""
        chosen = np.zeros(len(self), dtype=bool)
        chosen[self.order(signed=signed)[:n]] = True
        return chosen
