"""How descriptions were made and judged: what each scorer says of all of them, and windows that they get wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.json_text import read_list, read_mapping, read_number, read_whole, read_word


@checked
@dataclass(frozen=True, eq=False)
class FailingWindow:
    """Hold a window that a description gets wrong.

    Args:
        ids: ``(token,)`` its tokens.
        acts: ``(token,)`` the unit's activation at each.
        mark: index of the token that shows what is wrong.
        stimulus: number of the stimulus in the text; −1 where it has none.
        start: position of the first token in it.
        reason: what is wrong.

    Raises:
        PatchclampError: activations of another number of tokens, or a mark outside.
    """

    ids: Int[np.ndarray, " token"]
    acts: Float[np.ndarray, " token"]
    mark: int
    stimulus: int
    start: int
    reason: str

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.acts) or not 0 <= self.mark < len(self.ids):
            raise PatchclampError(
                expected="one activation per token and a mark among them",
                got=f"{len(self.ids)} tokens, {len(self.acts)} activations, mark {self.mark}",
                remedy="Cut all of them from one window.",
            )


@checked
@dataclass(frozen=True)
class ScorerRow:
    """Hold what one scorer says of all descriptions of a layer.

    Args:
        scorer: its name: ``detection``.
        judge: who answered: ``rule``, ``llm/NAME``; empty where nobody is asked.
        described: mean score of the descriptions over units.
        shuffled: the same where each unit has the description of another; None where it was not measured.
        random: the same of descriptions of nothing in particular.
        missing: share of answers that could not be read.
        calls: how often a language model was asked.
        tokens: that it read and wrote.
        seconds: that scoring took.
    """

    scorer: str
    judge: str
    described: Estimate
    shuffled: Estimate | None = None
    random: Estimate | None = None
    missing: float = 0.0
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What is measured, in words: ``detection: balanced accuracy``."""
        return measure_name(self.scorer, self.described.unit)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready data, without seconds."""
        estimates = {name: getattr(self, name) for name in ("described", "shuffled", "random")}
        plain = {name: getattr(self, name) for name in ("scorer", "judge", "missing", "calls", "tokens")}
        return plain | {name: None if one is None else one.to_json() for name, one in estimates.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ScorerRow":
        """Read a row; the inverse of ``to_json``."""
        shuffled, random = (
            None if data[name] is None else Estimate.from_json(read_mapping(data[name]))
            for name in ("shuffled", "random")
        )
        return cls(
            read_word(data["scorer"]),
            read_word(data["judge"]),
            Estimate.from_json(read_mapping(data["described"])),
            shuffled,
            random,
            read_number(data["missing"]),
            read_whole(data["calls"]),
            read_whole(data["tokens"]),
        )


def measure_name(scorer: str, unit: str) -> str:
    """Return what a score measures, in words.

    Example:
        >>> measure_name("detection", "balanced accuracy"), measure_name("detection_auroc", "AUROC")
        ('detection: balanced accuracy', 'detection: AUROC')
    """
    return f"{scorer.removesuffix('_auroc')}: {unit}"


@checked
@dataclass(frozen=True)
class Scoring:
    """Hold how the descriptions of a layer were made and judged.

    Args:
        method: of the room describe: ``rule``.
        rows: one per scorer.
        calls: how often a language model was asked for descriptions.
        tokens: that it read and wrote.
        seconds: that drawing the evidence and describing took.
        failed: units that could not be described, each reason with their number.
    """

    method: str
    rows: tuple[ScorerRow, ...] = ()
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    failed: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready data; seconds are left out, for they differ between equal runs."""
        return {
            "method": self.method,
            "calls": self.calls,
            "tokens": self.tokens,
            "failed": dict(self.failed),
            "rows": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Scoring":
        """Read a scoring; the inverse of ``to_json``.

        Raises:
            ValueError, KeyError, TypeError, Damaged: something else.
        """
        rows = tuple(map(ScorerRow.from_json, map(read_mapping, read_list(data["rows"]))))
        failed = {read_word(reason): read_whole(n) for reason, n in read_mapping(data["failed"]).items()}
        calls, tokens = read_whole(data["calls"]), read_whole(data["tokens"])
        return cls(read_word(data["method"]), rows, calls, tokens, failed=failed)
