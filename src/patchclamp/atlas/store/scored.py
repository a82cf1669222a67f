"""Windows that descriptions get wrong, as a layer keeps them."""

import sqlite3
from collections.abc import Sequence

import numpy as np

from patchclamp.core.scoring import FailingWindow

MOST_FAILURES = 5
"""Failing windows that are kept of a description, the worst first."""
TABLE = """
CREATE TABLE failures (   -- a window of text that was not shown to the author, and that the words get wrong
    description INTEGER NOT NULL, rank INTEGER NOT NULL, stimulus INTEGER NOT NULL, start INTEGER NOT NULL,
    mark INTEGER NOT NULL, acts BLOB NOT NULL, ids BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (description, rank)
) STRICT, WITHOUT ROWID;
"""


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
