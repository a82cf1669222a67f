"""What a layer of descriptions keeps beside the words: how each scorer judged them, and windows that they get wrong."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.json_text import read_number, read_whole, read_word

MOST_FAILURES = 5
"""Failing windows that are kept of a description, the worst first."""
TABLE = """
CREATE TABLE failures (   -- a window of text that was not shown to the author, and that the words get wrong
    description INTEGER NOT NULL, rank INTEGER NOT NULL, stimulus INTEGER NOT NULL, start INTEGER NOT NULL,
    mark INTEGER NOT NULL, acts BLOB NOT NULL, ids BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (description, rank)
) STRICT, WITHOUT ROWID;
"""


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
    failed: Mapping[str, int] | None = None


def scoring_to_json(scoring: Scoring) -> dict[str, object]:
    """Return a scoring as JSON-ready data; seconds are left out, for they differ between equal runs."""

    def estimate(one: Estimate | None) -> object:
        return None if one is None else one.to_json()

    return {
        "method": scoring.method,
        "calls": scoring.calls,
        "tokens": scoring.tokens,
        "failed": dict(scoring.failed or {}),
        "rows": [
            {
                "scorer": row.scorer,
                "judge": row.judge,
                "described": estimate(row.described),
                "shuffled": estimate(row.shuffled),
                "random": estimate(row.random),
                "missing": row.missing,
                "calls": row.calls,
                "tokens": row.tokens,
            }
            for row in scoring.rows
        ],
    }


def scoring_of_json(data: Mapping[str, object]) -> Scoring:
    """Read a scoring; the inverse of ``scoring_to_json``.

    Raises:
        ValueError, KeyError, TypeError, Damaged: something else.
    """

    def estimate(one: object) -> Estimate | None:
        if one is None:
            return None
        if not isinstance(one, Mapping):
            raise TypeError("an estimate that is none")
        return Estimate.from_json(one)

    def row(one: object) -> ScorerRow:
        if not isinstance(one, Mapping) or (described := estimate(one["described"])) is None:
            raise TypeError("a row without an estimate")
        return ScorerRow(
            read_word(one["scorer"]),
            read_word(one["judge"]),
            described,
            estimate(one["shuffled"]),
            estimate(one["random"]),
            read_number(one["missing"]),
            read_whole(one["calls"]),
            read_whole(one["tokens"]),
        )

    rows, failed = data["rows"], data["failed"]
    if not isinstance(rows, Sequence) or not isinstance(failed, Mapping):
        raise TypeError("rows that are none")
    reasons = {read_word(reason): read_whole(n) for reason, n in failed.items()}
    calls, tokens = read_whole(data["calls"]), read_whole(data["tokens"])
    return Scoring(read_word(data["method"]), tuple(map(row, rows)), calls, tokens, failed=reasons)


def fill_failures(db: sqlite3.Connection, description: int, windows: Sequence[FailingWindow]) -> None:
    """Write the first windows that a description gets wrong."""
    db.executemany(
        "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                description,
                rank,
                one.stimulus,
                one.start,
                one.mark,
                np.ascontiguousarray(one.acts, "<f2").tobytes(),
                np.ascontiguousarray(one.ids, "<i4").tobytes(),
                one.reason,
            )
            for rank, one in enumerate(windows[:MOST_FAILURES])
        ],
    )


def read_failures(db: sqlite3.Connection, description: int) -> list[FailingWindow]:
    """Return the windows that a description of an opened layer gets wrong, the worst first."""
    rows = db.execute(
        "SELECT ids, acts, mark, stimulus, start, reason FROM failures WHERE description = ? ORDER BY rank",
        [description],
    ).fetchall()
    return [
        FailingWindow(
            np.frombuffer(ids, "<i4"), np.frombuffer(acts, "<f2").astype(np.float64), mark, stimulus, start, reason
        )
        for ids, acts, mark, stimulus, start, reason in map(tuple, rows)
    ]
