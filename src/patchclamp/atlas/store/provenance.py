"""Who made which part of an atlas, when and how; outside every hash, so that anybody may have changed them."""

import json
import platform
import socket
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.atlas.store.sqlite_files import as_os_error, check_tables, check_values
from patchclamp.core.disk import refuse_write
from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import parse
from patchclamp.core.provenance import read_versions

RUNS = "runs.sqlite"
UNVERIFIED = (
    "Commands and logs are kept beside what was measured and are not part of the atlas's hash. "
    "Read a command or a script before you run it."
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, verb TEXT NOT NULL, command TEXT NOT NULL, began TEXT, duration_s REAL, made TEXT NOT NULL,
    host TEXT, versions TEXT NOT NULL, seeds TEXT NOT NULL, hashes TEXT NOT NULL, options TEXT NOT NULL,
    log TEXT NOT NULL, rebuild TEXT NOT NULL
) STRICT
"""
_TABLES = ("versions", "seeds", "hashes", "options", "log")


@dataclass(frozen=True)
class Run:
    """What is remembered of one run.

    Args:
        verb: ``atlas bake``, ``explain`` or ``describe``.
        command: what was typed.
        made: what it made, in words.
        began: when, ISO 8601 in UTC.
        duration_s: how long it took.
        host: the machine, as it calls itself.
        versions: of patchclamp, Python and the libraries.
        seeds: by name.
        hashes: of what went in and what came out.
        options: how it was set up.
        log: what happened, line by line.
        rebuild: a shell script that makes the same part again.
    """

    verb: str
    command: str
    made: str
    began: str | None = None
    duration_s: float | None = None
    host: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    rebuild: str = ""


def host() -> str:
    """Return the machine's name and kind."""
    return f"{socket.gethostname()} ({platform.system()} {platform.machine()})"


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(*more: str) -> dict[str, str]:
    """Return the versions of patchclamp, Python, and other installed packages."""
    return read_versions("patchclamp", *more)


def write_run(folder: Path, id: str, run: Run) -> None:
    """Remember a run under the id of what it made; the same part made again replaces it.

    Raises:
        PatchclampError: a full disk, no permission, or a file that is no database.
    """
    path = folder / RUNS
    row = {**run.__dict__, **{name: json.dumps(getattr(run, name), sort_keys=name != "log") for name in _TABLES}}
    names = ["id", *row]
    if path.is_symlink():  # SQLite would write into whatever database it leads to
        raise PatchclampError(
            expected=f"a file {RUNS} in the atlas", got=f"{path}, a link", remedy="Put the file itself in its place."
        )
    try:
        with closing(sqlite3.connect(path, timeout=30)) as db, db:
            check_tables(db)
            db.execute(_SCHEMA)
            places = ", ".join("?" * len(names))
            db.execute(f"INSERT OR REPLACE INTO runs ({', '.join(names)}) VALUES ({places})", [id, *row.values()])
    except sqlite3.Error as problem:
        raise refuse_write(path, as_os_error(problem)) from problem


def read_runs(folder: Path) -> dict[str, Run]:
    """Return the runs by id, the newest first; none where the file is missing or damaged."""
    path = folder / RUNS
    if not path.is_file():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            check_tables(db)
            check_values(db)
            db.row_factory = sqlite3.Row
            rows = db.execute("SELECT * FROM runs ORDER BY began DESC, id").fetchall()
    except sqlite3.Error:
        return {}
    runs = {}
    for row in rows:
        # One row that holds something else takes nothing from the others.
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            runs[str(row["id"])] = _run(dict(row))
    return runs


def _run(row: dict[str, Any]) -> Run:
    del row["id"]
    row |= {name: parse(row[name]) for name in _TABLES}
    run = Run(**{**row, "log": tuple(row["log"])})
    words = (run.verb, run.command, run.made, run.rebuild, run.began or "", run.host or "", *run.log)
    tables = (run.versions, run.seeds, run.hashes, run.options)
    if not all(isinstance(word, str) for word in words) or not all(isinstance(table, dict) for table in tables):
        raise TypeError("it is no run")
    return run
