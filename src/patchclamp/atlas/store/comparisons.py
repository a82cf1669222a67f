"""A comparison in a layer's file: what was compared as JSON, and its arrays."""

import json
import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import numpy as np

from patchclamp.atlas.store.sqlite_files import open_database
from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import parse
from patchclamp.core.model_comparison import ModelComparison
from patchclamp.core.similarity import Similarity

Comparison = ModelComparison | Similarity
ARRAYS = """
CREATE TABLE arrays (           -- little-endian
    name TEXT PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL
) STRICT;
"""
_DTYPES = ("<f8", "<f4", "<i8", "<i4")
_KINDS: dict[str, type[ModelComparison] | type[Similarity]] = {"models": ModelComparison, "recordings": Similarity}


def kind_of(comparison: Comparison) -> str:
    """Return what was compared, in a word: ``models`` or ``recordings``."""
    return "models" if isinstance(comparison, ModelComparison) else "recordings"


def fill_arrays(db: sqlite3.Connection, comparison: Comparison) -> None:
    """Write the arrays of a comparison."""
    for name, array in comparison.parts()[1].items():
        plain = array.astype(array.dtype.newbyteorder("<"))
        row = (name, plain.dtype.str, json.dumps(list(plain.shape)), plain.tobytes())
        db.execute("INSERT INTO arrays VALUES (?, ?, ?, ?)", row)


@lru_cache(maxsize=16)
def read_comparison(path: Path, *_seen: int) -> Comparison:
    """Read the comparison of a layer, once for each state of its file.

    Raises:
        ValueError, KeyError, TypeError, sqlite3.Error: it is something else.
    """
    with closing(open_database(path)) as db:
        about = {name: parse(value) for name, value in db.execute("SELECT name, value FROM about")}
        arrays = {}
        for name, dtype, shape, data in db.execute("SELECT name, dtype, shape, data FROM arrays"):
            if dtype not in _DTYPES:
                raise ValueError(f"an array of type {dtype!r:.20}")
            arrays[name] = (
                np.frombuffer(data, dtype).reshape(json.loads(shape)).astype(np.dtype(dtype).newbyteorder("="))
            )
    try:
        return _KINDS[about["of"]].of_parts(about["comparison"], arrays)
    except (PatchclampError, AttributeError) as problem:
        raise ValueError(problem.got if isinstance(problem, PatchclampError) else str(problem)) from problem
