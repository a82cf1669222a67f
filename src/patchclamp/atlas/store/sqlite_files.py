"""An atlas's files. SQLite written whole and renamed into place, read-only afterwards, named by content.

An atlas is a folder: ``atlas.json`` says what it is, ``base/base.sqlite`` holds what was baked, every file of
``layers/`` was added by one command, and ``runs.sqlite`` keeps times, hosts and logs, outside every hash.
"""

import errno
import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.disk import begin_file, plain_file, read_text_file, refuse_write, sync_folder, write_durably
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import check_seal, parse, seal

FORMAT, VERSION, HEAD_VERSION = "patchclamp-atlas", 2, 2
"""Version of the databases, and of ``atlas.json``."""
SUBJECT = "atlas.json"
CLUSTERED = "clustered by document"
"""How the intervals of the table ``concepts`` were computed."""
BASE = "base/base.sqlite"
HASHED = (
    *("about", "sites", "units", "tokens", "contexts", "examples", "panels", "heads", "pairs", "patterns", "concepts"),
    *("fires", "strongest"),
)
OF_OTHERS = (
    *("pictures", "recorded", "traces", "events", "courses", "tuning", "near", "together", "groups", "unit_labels"),
)
"""Tables of bases of images and of recordings, hashed where they are there."""
_WORD = re.compile(r"\w+")
_MODULE = re.compile(r"\s*CREATE\s+VIRTUAL", re.IGNORECASE)
_WORDS = re.compile(r"CREATE VIRTUAL TABLE words USING fts5 \(")
ROWS = 1024
"""Rows that are hashed at once."""
DAMAGED = "Restore the folder from a copy, or bake it again."


@contextmanager
def write_database(path: Path, script: str) -> Iterator[sqlite3.Connection]:
    """Write a database beside its place; it is there, whole, flushed and read-only, once the context ends well.

    Raises:
        PatchclampError: a full disk, or no permission; nothing is left behind.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        begin_file(part).close()  # SQLite takes an empty file for a new database
        with closing(sqlite3.connect(part, isolation_level=None)) as db:
            # Nobody reads the part, and a kill leaves one that is thrown away: no journal is needed.
            db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 8192;")
            db.executescript(f"{script}\nPRAGMA user_version = {VERSION};")
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o444)
        part.replace(path)
        sync_folder(path.parent)
    except (sqlite3.Error, OSError) as problem:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise refuse_write(path, as_os_error(problem)) from problem
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def as_os_error(problem: Exception) -> OSError:
    """Name the cause of a database that could not be written."""
    if isinstance(problem, OSError):
        return problem
    full = "full" in str(problem) or "disk I/O" in str(problem)
    return OSError(errno.ENOSPC if full else errno.EIO, f"SQLite: {problem}")


def open_database(path: Path) -> sqlite3.Connection:
    """Open a database for reading only; nobody can change it meanwhile.

    Raises:
        Damaged: it is no database.
        PatchclampError: it is of a newer version.
    """
    try:
        plain_file(path)
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        check_tables(db)
    except (sqlite3.Error, OSError) as problem:
        raise Damaged(expected="a database of an atlas", got=f"{path}: {problem}", remedy=DAMAGED) from problem
    if version != VERSION:
        db.close()
        raise newer_version_error(path, version)
    return db


def check_tables(db: sqlite3.Connection) -> None:
    """Refuse what computes when it is read: a view can run without an end, and a column's name can be an expression.

    Raises:
        sqlite3.DatabaseError: views, triggers, computed columns, columns whose name is no word, tables that take values
            of any type, or modules other than full-text search.
    """
    db.execute("PRAGMA trusted_schema = OFF")
    for kind, name, script in db.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
        foreign = _MODULE.match(script or "") and not _WORDS.match(script)
        if kind not in ("table", "index") or foreign or not _WORD.fullmatch(name):
            raise sqlite3.DatabaseError(f"it holds {kind} {name!r:.60}, which no atlas has")
        for column, hidden in db.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", [name]):
            # Full-text search hides two columns of its own.
            if not _WORD.fullmatch(column) or hidden > 1:
                raise sqlite3.DatabaseError(f"column {column!r:.60} of {name} is computed, or its name is no word")
    for name, kind, strict in db.execute("SELECT name, type, strict FROM pragma_table_list WHERE schema = 'main'"):
        if kind == "table" and not strict and not name.startswith("sqlite_"):
            raise sqlite3.DatabaseError(f"table {name!r:.60} takes values of any type")


def check_values(db: sqlite3.Connection) -> None:
    """Refuse a file whose pages are no whole tables, or whose values are of other types than their columns.

    Raises:
        sqlite3.DatabaseError: the first that SQLite finds.

    Cost: one read of everything.
    """
    [(outcome,)] = db.execute("PRAGMA quick_check(1)").fetchall()
    if outcome != "ok":
        raise sqlite3.DatabaseError(str(outcome)[:200])


def newer_version_error(path: Path, version: Any, known: int = VERSION) -> PatchclampError:
    """Return the refusal of another version.

    Returns:
        PatchclampError: to be raised.

    Example:
        >>> newer_version_error(Path("cat.atlas"), 9, known=2).expected
        'an atlas of version 2'
    """
    return PatchclampError(
        expected=f"an atlas of version {known}",
        got=f"{path}, of version {version!r}",
        remedy="Serve it with the patchclamp that wrote it, or bake it again with this one.",
    )


def content_hash(db: sqlite3.Connection, tables: tuple[str, ...] = HASHED) -> str:
    """SHA-256 over the rows of tables in the order of their keys; files of other bytes may hold the same rows.

    Cost: one read of everything, some 2 µs a row.
    """
    digest = hashlib.sha256()
    for table in tables:
        named = db.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall()
        columns = [name for (name,) in named]
        keys = [
            name for (name,) in db.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk > 0 ORDER BY pk")
        ]
        digest.update(json.dumps([table, columns]).encode())
        rows = db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {', '.join(keys)}")
        while some := rows.fetchmany(ROWS):
            digest.update(_spell(some))
    return digest.hexdigest()


def _spell(rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Return rows one after the other, of every value its type, and of words and bytes how many follow."""
    columns = list(zip(*rows, strict=True))
    kinds = [set(map(type, column)) for column in columns]
    if any(len(kind) > 1 for kind in kinds):  # some are missing
        return _spell(rows[: len(rows) // 2]) + _spell(rows[len(rows) // 2 :])
    form: list[tuple[str, Any]] = []
    values: list[Any] = []
    cuts: list[int] = []
    words: list[list[bytes]] = []
    for number, ([kind], column) in enumerate(zip(kinds, columns, strict=True)):
        tag, code = _SPELT[kind]
        form.append((f"tag{number}", "S1"))
        values.append(tag)
        if kind in (str, bytes):
            raw = [word.encode() for word in column] if kind is str else list(column)
            words.append(raw)
            column = tuple(map(len, raw))
        if kind is not type(None):
            form.append((f"value{number}", code))
            values.append(np.array(column, dtype=code))
        if kind in (str, bytes):
            cuts.append(np.dtype(form).itemsize)
    packed = np.empty(len(rows), dtype=form)
    for (name, _), value in zip(form, values, strict=True):
        packed[name] = value
    if not words:
        return packed.tobytes()
    size = packed.dtype.itemsize
    numbers, ends = packed.tobytes(), [*cuts, size]
    parts: list[bytes] = []
    for start, row in zip(range(0, len(numbers), size), zip(*words, strict=True), strict=True):
        parts.append(numbers[start : start + cuts[0]])
        for place, word in enumerate(row):
            parts += (word, numbers[start + ends[place] : start + ends[place + 1]])
    return b"".join(parts)


_SPELT = {int: (b"i", "<i8"), float: (b"f", "<f8"), str: (b"s", "<i8"), bytes: (b"b", "<i8"), type(None): (b"n", "")}


def write_head(folder: Path, base: str, sha256: str) -> None:
    """Write ``atlas.json``: format, version, the base's content hash and its file's, and the head's own."""
    head = {"format": FORMAT, "version": HEAD_VERSION, "base": base, "files": {BASE: sha256}}
    write_durably(folder / SUBJECT, seal(head))


def read_head(folder: Path) -> dict[str, Any]:
    """Read ``atlas.json``.

    Raises:
        PatchclampError: no atlas there, or one of another version.
        Damaged: the file cannot be read.
    """
    file = folder / SUBJECT
    if not file.is_file():
        baking = staging_path(folder)
        begun = baking.is_dir()
        raise PatchclampError(
            expected="a folder that `patchclamp atlas bake` wrote",
            got=f"{folder}, {'whose baking was interrupted' if begun else f'which holds no {SUBJECT}'}"
            if folder.is_dir() or begun
            else f"{folder}, which is not there",
            remedy="Go on with `patchclamp atlas bake … --resume`." if begun else "Check the path, or bake one.",
        )
    try:
        data = read_text_file(file)
        head = parse(data)
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        if head.get("version") != HEAD_VERSION:
            raise newer_version_error(folder, head.get("version"), HEAD_VERSION)
        check_seal(head, data)
        if not isinstance(head.get("base"), str) or not isinstance(head.get("files", {}).get(BASE), str):
            raise ValueError("hashes are missing")
    except (OSError, ValueError, RecursionError, AttributeError) as problem:
        raise Damaged(expected=f"a whole {SUBJECT}", got=f"{file}: {problem}", remedy=DAMAGED) from problem
    return head


def staging_path(folder: Path) -> Path:
    """Return where an atlas is built until it is whole."""
    return folder.parent / f"{folder.name}.baking"
