"""Circuit: parts of a network in the order in which a circuit takes them, each with its score over many pairs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import Damaged, PatchclampError

FOLDER = "circuit"

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
        per_pair: ``(pair, part)`` the scores of every pair, whose mean ``scores`` are; None where they were not kept.

    Raises:
        PatchclampError: not as many scores as parts, or an unknown level.

    Example:
        >>> found = Circuit("node", "patch", ("embed/whole/0", "blocks.0.attn.z/heads/1"), np.array([1.0, 2.0]), {})
        >>> found.first(1).tolist()
        [False, True]
    """

    level: Level
    method: str
    parts: tuple[Part, ...]
    scores: Float[np.ndarray, " part"]
    subject: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)
    per_pair: Float[np.ndarray, "pair part"] | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS or len(self.parts) != len(self.scores):
            raise PatchclampError(
                expected=f"a level among {', '.join(LEVELS)} and one score for each part",
                got=f"{self.level!r}, {len(self.parts):,} parts, {len(self.scores):,} scores",
                remedy="`patchclamp circuit find` writes one.",
            )
        if self.per_pair is not None and self.per_pair.shape[1:] != self.scores.shape:
            raise PatchclampError(
                expected=f"scores of {len(self.parts):,} parts for every pair",
                got=f"an array of shape {self.per_pair.shape}",
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

    def names(self) -> tuple[str, ...]:
        """Return the parts as people write them: a key, or ``source → target``."""
        return tuple(part if isinstance(part, str) else " → ".join(part) for part in self.parts)

    def save(self, folder: str | Path) -> None:
        """Write the circuit to a new or empty folder, whole or not at all: a bundle, whose journal ends with ``done``.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        arrays: dict[str, np.ndarray] = {
            "scores": np.asarray(self.scores, dtype=np.float64),
            "parts": np.frombuffer(json.dumps(self.parts).encode(), dtype=np.uint8),
        }
        if self.per_pair is not None:
            arrays["per_pair"] = np.asarray(self.per_pair, dtype=np.float32)
        manifest = {
            "level": self.level, "method": self.method, "subject": dict(self.subject), "about": dict(self.about),
            "n_parts": len(self),
        }  # fmt: skip
        bundle = Bundle.create(folder, kind=FOLDER, manifest=manifest)
        bundle.append("scores", arrays)
        bundle.finish()

    @classmethod
    def load(cls, folder: str | Path) -> "Circuit":
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no circuit there, or one of a newer version.
            Damaged: a part is missing or changed.
        """
        bundle = Bundle.open(folder, kind=FOLDER)
        try:
            if not bundle.whole:
                raise ValueError("its writing was cut off")
            bundle.check("scores")
            arrays = bundle.read("scores")
            told = json.loads(arrays["parts"].tobytes())
            parts = tuple(part if isinstance(part, str) else (str(part[0]), str(part[1])) for part in told)
            known = bundle.manifest
            per_pair = arrays.get("per_pair")
            return cls(
                known["level"], str(known["method"]), parts, np.asarray(arrays["scores"], dtype=np.float64),
                dict(known["subject"]), dict(known["about"]),
                None if per_pair is None else np.asarray(per_pair, dtype=np.float32),
            )  # fmt: skip
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, PatchclampError) as problem:
            raise Damaged(
                expected="a whole circuit",
                got=f"{folder}: {problem.got if isinstance(problem, PatchclampError) else problem}",
                remedy="Restore the folder, or find the circuit again.",
            ) from problem
