"""Base and layers of features as one set of units, each attached to the same connection.

A unit's number among all is its number in its part, moved; pages ask a part by its own numbers, so that every index
serves, and Find asks tables in memory that hold what it sorts and filters by.
"""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError

Ask = Callable[..., list[tuple[Any, ...]]]
"""Answers a query with its values."""
_FOUND = """
CREATE TEMP TABLE units (
    id INTEGER PRIMARY KEY, site INTEGER NOT NULL, frequency REAL, mean REAL, maximum REAL, fires_on INTEGER,
    concept TEXT, auroc REAL
) STRICT;
"""
_SORTED = ("frequency", "mean", "maximum", "auroc")


@dataclass(frozen=True)
class AttachedLayer:
    """The base, or a layer of features.

    Args:
        schema: what its tables are called by, in SQL.
        id: the run that made it.
        first: number of its first unit among all,
        own: and in its own tables.
        n: how many units it has.
        about: its table ``about``.
        sites: rows ``id path kind layer basis first units``; the first unit's number is that among all.
    """

    schema: str
    id: str
    first: int
    own: int
    n: int
    about: dict[str, Any]
    sites: list[tuple[Any, ...]]

    def global_index(self, unit: int) -> int:
        """Return a unit's number among all from its number in this part; those before its own are the base's."""
        return unit if unit < self.own else unit - self.own + self.first


def read_part(db: sqlite3.Connection, schema: str, id: str, first: int, n_sites: int) -> AttachedLayer:
    """Read what a part is, whose file is attached.

    Args:
        db: the connection.
        schema: the part's name in it.
        id: the run that made it.
        first: number that its first unit takes among all.
        n_sites: number that its first site takes.

    Returns:
        AttachedLayer: its sites, units and what is known about it.
    """
    about = {name: json.loads(value) for name, value in db.execute(f"SELECT name, value FROM {schema}.about")}
    rows = db.execute(f"SELECT path, kind, layer, basis, first, units FROM {schema}.sites ORDER BY id").fetchall()
    own = int(rows[0][4]) if rows else 0
    sites = [
        (n_sites + i, path, kind, layer, basis, start - own + first, units)
        for i, (path, kind, layer, basis, start, units) in enumerate(rows)
    ]
    n = sum(row[6] for row in sites)
    [held] = db.execute(f"SELECT count(*), min(id), max(id) FROM {schema}.units").fetchall()
    # Each site's units follow those of the site before.
    ends = [row[5] + row[6] - first for row in sites]
    if not n or [row[5] - first for row in sites] != [0, *ends[:-1]] or held != (n, own, own + n - 1):
        raise ValueError("its sites are not those of its units")
    return AttachedLayer(schema, id, first, own, n, about, sites)


def attach(db: sqlite3.Connection, path: Path, id: str, base: str, parts: list[AttachedLayer]) -> AttachedLayer:
    """Attach a layer of features after the parts that are there.

    Args:
        db: the connection.
        path: the layer's file.
        id: the run that made it.
        base: content hash of the base that it must have been made beside.
        parts: those that are there, the base first.

    Returns:
        AttachedLayer: with the global number of its first unit.

    Raises:
        PatchclampError: it was made beside another base, its keys are taken, or too many are attached.
    """
    schema = f"features{len(parts)}"
    try:
        db.execute(f"ATTACH ? AS {schema}", [f"{path.resolve().as_uri()}?mode=ro&immutable=1"])
    except sqlite3.OperationalError as problem:
        raise PatchclampError(
            expected="no more layers of features than SQLite attaches at once",
            got=f"{path}: {problem}",
            remedy="Remove layers that nobody needs.",
        ) from problem
    n_sites = sum(len(part.sites) for part in parts)
    try:
        layer = read_part(db, schema, id, parts[-1].first + parts[-1].n, n_sites)
    except Exception:
        db.execute(f"DETACH {schema}")
        raise
    taken = {(row[1], row[4]) for part in parts for row in part.sites}
    twice = [f"{row[1]}/{row[4]}" for row in layer.sites if (row[1], row[4]) in taken]
    if twice or layer.about.get("beside", {}).get("base") != base:
        db.execute(f"DETACH {schema}")
        raise PatchclampError(
            expected="features made beside this base, under names of their own",
            got=f"{path}, {'whose ' + twice[0] + ' is there already' if twice else 'made beside another base'}",
            remedy="Remove it, and add the basis to this atlas.",
        )
    return layer


def join(db: sqlite3.Connection, parts: list[AttachedLayer]) -> None:
    """Put what Find asks for before the base's own tables; where there are no features these stay as they are."""
    if len(parts) == 1:
        return
    db.executescript(_FOUND)
    for part in parts:
        first_site = int(db.execute(f"SELECT min(id) FROM {part.schema}.sites").fetchone()[0])
        db.execute(
            f"INSERT INTO temp.units SELECT id + ?, site + ?, frequency, mean, maximum, fires_on, concept, auroc "
            f"FROM {part.schema}.units",
            [part.first - part.own, part.sites[0][0] - first_site],
        )
    for column in _SORTED:
        db.execute(f"CREATE INDEX temp.units_by_{column} ON units ({column})")
    moved = {part.schema: part.first - part.own for part in parts}
    union = " UNION ALL ".join(f"SELECT token, unit + {by} AS unit, n FROM {name}.fires" for name, by in moved.items())
    db.execute(f"CREATE TEMP VIEW fires AS {union}")
    union = " UNION ALL ".join(f"SELECT id, text, bytes FROM {name}.tokens" for name in moved)
    db.execute(f"CREATE TEMP VIEW tokens AS {union}")


def part_bases(rows: Ask, schema: str) -> list[tuple[str, Basis]]:
    """Return the bases that a layer keeps, each with the site that it writes; none where they were too large.

    Args:
        rows: answers a query.
        schema: the layer's name in it.
    """
    bases = []
    for number, path, name, activation, k, reads in rows(
        f"SELECT b.site, s.path, s.basis, b.activation, b.k, b.reads FROM {schema}.bases b "
        f"JOIN {schema}.sites s ON s.id = b.site ORDER BY b.site"
    ):
        arrays: dict[str, Any] = {
            part: np.frombuffer(data, dtype).reshape(json.loads(shape)).copy()
            for part, dtype, shape, data in rows(
                f"SELECT name, dtype, shape, data FROM {schema}.arrays WHERE site = ?", [number]
            )
        }
        if arrays:
            bases.append((path, Basis(name, "directions", **arrays, activation=activation, k=k, reads=reads)))
    return bases
