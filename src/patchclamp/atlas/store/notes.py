"""What people wrote about units: a journal of sealed lines that only grows, outside the hash of the base.

A file of lines and not a database: a kill leaves at most half a line, which nobody reads and the next writer cuts off,
and whoever opens a stranger's atlas rolls back no journal of theirs. The same lines are what is exported and added.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from patchclamp.atlas.store.provenance import now
from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.disk import LARGEST_TEXT, read_text_file, refuse_write, sync_folder
from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import canonical, parse
from patchclamp.core.unit import UnitKey

NOTES = "notes.jsonl"
NoteKind = Literal["note", "star", "description", "tag", "withdraw"]
LONGEST_NOTE, LONGEST_TAG, LONGEST_AUTHOR, MOST_NOTES = 2000, 40, 80, 20_000
ANONYMOUS = "anonymous"
_WORDLESS = ("star", "withdraw")
_WAIT_S = 10.0


@checked
@dataclass(frozen=True)
class Note:
    """One line of the journal.

    Args:
        unit: key of the unit, with its subject.
        kind: ``note``, ``star``, ``description``, ``tag``, or ``withdraw``, which takes ``replaces`` back.
        text: the words; empty for a star and for what withdraws.
        author: who wrote it.
        time: when, as ISO 8601 in UTC.
        id: 16 hexadecimal digits, given when it was written.
        replaces: id of an earlier line of the same unit, which stands no longer while this one stands; else empty.
    """

    unit: str
    kind: NoteKind
    text: str = ""
    author: str = ANONYMOUS
    time: str = ""
    id: str = ""
    replaces: str = ""


_FIELDS = {field.name for field in fields(Note)}


def read_notes(folder: Path) -> tuple[list[Note], str]:
    """Return every line of an atlas's journal, and what is wrong with the file; empty where nothing is.

    Lines that are not what was written are left out, and so is the end of a line that a kill left.
    """
    path = folder / NOTES
    if not os.path.lexists(path):
        return [], ""
    try:
        if path.is_symlink():
            raise OSError(errno.ELOOP, "a link")
        rows, broken = _read_lines(read_text_file(path))
    except (OSError, ValueError) as problem:
        return [], f"{path} was left out: {getattr(problem, 'strerror', None) or problem}."
    if not broken:
        return rows, ""
    lines = "1 line" if broken == 1 else f"{broken:,} lines"
    return rows, f"{lines} of {path} left out: not what was written. Restore the file from a copy."


def standing(rows: Sequence[Note]) -> list[Note]:
    """Return the lines that say something still: those that no line which stands itself replaces.

    Example:
        >>> star = Note("cat/embed/neurons/1", "star", id="a")
        >>> [row.id for row in standing([star, Note(star.unit, "withdraw", id="b", replaces="a")])]
        []
    """
    replaced: set[str] = set()
    kept = []
    for row in reversed(rows):  # a line replaces an earlier one only
        if row.id not in replaced:
            if row.replaces:
                replaced.add(row.replaces)
            if row.kind != "withdraw":
                kept.append(row)
    return kept[::-1]


def add_notes(folder: Path, notes: Sequence[Note]) -> list[Note]:
    """Append lines to an atlas's journal and flush them to disk; all of them, or none where it fails.

    A kill may leave the first of several: adding them again adds the rest.

    Args:
        folder: the atlas.
        notes: the lines; those without ``id`` and ``time`` get them here, and lines that are there already are left
            out.

    Returns:
        list[Note]: the lines that were added, as they are kept.

    Raises:
        PatchclampError: words that are too long or missing, nothing that it could replace, a full journal, a full disk,
            or no permission; nothing is added.
    """
    path = folder / NOTES
    with _hold(path) as handle:
        data = _whole(handle, path)
        rows, _ = _read_lines(data)
        units = {row.id: row.unit for row in rows}
        added = []
        for note in notes:
            given = replace(note, id=note.id or secrets.token_hex(8), time=note.time or now())
            if given.id not in units:
                _check(given)
                if not _may_replace(given, units):
                    raise PatchclampError(
                        expected="the id of an earlier note of the same unit",
                        got=repr(given.replaces[:40]),
                        remedy="`/api/notes` lists them.",
                    )
                units[given.id] = given.unit
                added.append(given)
        lines = b"".join(map(_spell, added))
        if len(units) > MOST_NOTES or len(data) + len(lines) > LARGEST_TEXT:
            raise PatchclampError(
                expected=f"at most {MOST_NOTES:,} notes and {LARGEST_TEXT / 2**20:g} MiB of them in an atlas",
                got=f"{len(units):,} and {(len(data) + len(lines)) / 2**20:.1f} MiB",
                remedy="Export them with --format notes, and go on in a new file.",
            )
        _append(handle, path, len(data), lines)
    return added


def spell_notes(notes: Sequence[Note]) -> bytes:
    """Return lines as a journal holds them."""
    return b"".join(map(_spell, notes))


def read_exported(path: Path) -> list[Note]:
    """Return the lines of an exported file.

    Raises:
        PatchclampError: it cannot be read, or a line is not what was written.
    """
    try:
        data = read_text_file(path)
        rows, broken = _read_lines(data)
    except (OSError, ValueError) as problem:
        raise PatchclampError(
            expected="a file that `patchclamp atlas export --format notes` wrote",
            got=f"{path}: {getattr(problem, 'strerror', None) or problem}",
            remedy="Check the path.",
        ) from problem
    if broken or not data.endswith(b"\n"):
        raise PatchclampError(
            expected="a whole file that `patchclamp atlas export --format notes` wrote",
            got=f"{path}, with {broken or 'half'} line{'s' if broken > 1 else ''} that it did not write",
            remedy="Export it again.",
        )
    return rows


def _spell(row: Note) -> bytes:
    data = asdict(row)
    return canonical({**data, "sha256": hashlib.sha256(canonical(data)).hexdigest()}) + b"\n"


def _read_lines(data: bytes) -> tuple[list[Note], int]:
    """Return the whole lines of a journal, and how many are not what was written."""
    rows: list[Note] = []
    units: dict[str, str] = {}
    broken = 0
    for line in data.split(b"\n")[:-1]:  # behind the last line's end there is nothing, or what a kill left
        row = _read_line(line)
        if row is None or row.id in units or not _may_replace(row, units):
            broken += 1
            continue
        units[row.id] = row.unit
        rows.append(row)
    return rows, broken


@lru_cache(maxsize=2 * MOST_NOTES)
def _read_line(line: bytes) -> Note | None:
    """Return a line that is what was written, None for another; a server reads the same lines after every write."""
    try:
        read = parse(line)
        read.pop("sha256")
        if set(read) != _FIELDS or not all(isinstance(value, str) for value in read.values()):
            return None
        row = Note(**read)
        _check(row)
        return row if _spell(row) == line + b"\n" else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, PatchclampError):
        return None


def _may_replace(row: Note, units: dict[str, str]) -> bool:
    return units.get(row.replaces) == row.unit if row.replaces else row.kind != "withdraw"


def _check(row: Note) -> None:
    """Refuse a line that no journal holds.

    Raises:
        PatchclampError: it says what.
    """
    one_of("kind", row.kind, get_args(NoteKind))
    if len(row.unit) > 300 or UnitKey.parse(row.unit) != UnitKey.parse(row.unit).without_place():
        raise PatchclampError(expected="the key of a unit", got=row.unit[:120], remedy="Leave its place out.")
    most = LONGEST_TAG if row.kind == "tag" else LONGEST_NOTE
    wordless = row.kind in _WORDLESS
    if bool(row.text.strip()) == wordless or len(row.text) > most:
        raise PatchclampError(
            expected=f"a {row.kind} without words" if wordless else f"1 to {most:,} characters for a {row.kind}",
            got=f"{len(row.text):,} characters",
            remedy="Leave the text out." if wordless else "Write some, or shorten it.",
        )
    if not row.author.strip() or len(row.author) > LONGEST_AUTHOR:
        raise PatchclampError(
            expected=f"an author of 1 to {LONGEST_AUTHOR} characters",
            got=f"{len(row.author):,} characters",
            remedy="Give a short name.",
        )
    if not 0 < len(row.id) <= 40 or len(row.time) > 40:
        raise PatchclampError(
            expected="id and time of at most 40 characters", got=row.id[:60], remedy="Leave both out: they are given."
        )
    try:
        "".join((row.text, row.author, row.time, row.id)).encode()
    except UnicodeEncodeError as problem:
        raise PatchclampError(
            expected="whole characters", got=ascii(row.text[:80]), remedy="Take the half character out."
        ) from problem


@contextmanager
def _hold(path: Path) -> Iterator[int]:
    """Open a journal for one writer at a time, of all processes and threads.

    Raises:
        PatchclampError: no permission, a link or no plain file, or another writer that does not end.
    """
    began = not path.exists()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as problem:
        raise refuse_write(path, problem) from problem
    try:
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as problem:
                if time.monotonic() > until:
                    raise PatchclampError(
                        expected="notes that nobody else holds", got=f"{path}, held", remedy="Try again."
                    ) from problem
                time.sleep(0.002)
        if began:
            sync_folder(path.parent)
        yield handle
    finally:
        os.close(handle)


def _whole(handle: int, path: Path) -> bytes:
    """Return what a journal holds up to its last whole line.

    Raises:
        PatchclampError: it is too large, or no plain file.
    """
    try:
        size = os.fstat(handle).st_size
        if size > LARGEST_TEXT:
            raise OSError(errno.EFBIG, "larger than notes are")
        data = b""
        while len(data) < size and (more := os.pread(handle, size - len(data), len(data))):
            data += more
    except OSError as problem:
        raise refuse_write(path, problem) from problem
    return data[: data.rfind(b"\n") + 1]


def _append(handle: int, path: Path, end: int, lines: bytes) -> None:
    """Write lines behind the last whole one; what was begun and failed is cut off again.

    Raises:
        PatchclampError: a full disk.
    """
    if not lines:
        return
    try:
        os.ftruncate(handle, end)  # half a line that a kill left
        written = 0
        while written < len(lines):
            written += os.pwrite(handle, lines[written:], end + written)
        os.fsync(handle)
    except OSError as problem:
        with suppress(OSError):
            os.ftruncate(handle, end)
        raise refuse_write(path, problem) from problem
