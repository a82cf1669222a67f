"""Files written whole or not at all, and folders that one process writes at a time."""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from patchclamp.core.errors import PatchclampError

PIECE = r"(shard|state|batch|cases|values|measure-\d+)-\d{5,}|statistics|exemplars|contexts|scores|receipt|whole"
"""Names of pieces that this package writes."""
_TORN = re.compile(
    r"\.tmp[A-Za-z0-9]{6}"  # safetensors' own
    rf"|({PIECE}|basis-\d{{3}}\.safetensors|(manifest|basis|patching)\.json|journal\.jsonl|(patching|circuit)\.html)"
    r"\.part"
)
LARGEST_TEXT = 64 * 2**20
"""Bytes of a manifest, a journal or a head at most."""
_WEIGHTS = re.compile(r"basis-\d{3}\.safetensors")


def is_url(place: object) -> bool:
    """Say whether a place is named by a URL, and so is no folder.

    Example:
        >>> is_url("s3://bucket/recording"), is_url("recording")
        (True, False)
    """
    return isinstance(place, str) and "://" in place


def is_torn(name: str) -> bool:
    """Say whether a file is what a kill leaves of one that was never finished."""
    return _TORN.fullmatch(name) is not None


def begin_file(part: Path) -> BinaryIO:
    """Open a file under a passing name, always anew.

    What stands under that name is removed, never opened: a link that somebody put there leads to a file of theirs.
    """
    part.unlink(missing_ok=True)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "wb")


def write_durably(path: Path, data: bytes) -> None:
    """Write a file of a folder that is ours whole or not at all: beside its place, flushed to disk, then renamed.

    What a kill leaves is called as the file with ``.part`` behind it, and replaced by the next try.

    Raises:
        PatchclampError: no room, no permission, or no such folder; nothing is left behind.
    """
    _write_by_way_of(path.with_name(path.name + ".part"), path, data)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user named whole or not at all, by way of a name that nobody else has.

    Two who write the same file at once leave one of the two, and nothing else in the folder is touched.

    Raises:
        PatchclampError: no name of a file, no room, no permission, or no such folder; nothing is left behind.
    """
    if path.name in ("", ".."):
        raise PatchclampError(expected="the name of a file", got=str(path), remedy="Choose another --out.")
    _write_by_way_of(path.with_name(f".{secrets.token_hex(8)}.part"), path, data)


def _write_by_way_of(part: Path, path: Path, data: bytes) -> None:
    try:
        if path.exists() and not path.is_file():
            raise PatchclampError(
                expected="a file to write", got=f"{path}, which is a folder or a device", remedy="Name another file."
            )
        with begin_file(part) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as problem:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise refuse_write(path, problem) from problem


def refuse_write(path: Path, problem: OSError) -> PatchclampError:
    """Turn an operating-system error on writing into one with a remedy."""
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
    return PatchclampError(
        expected=f"to write {path}",
        got="a full disk" if full else str(problem.strerror or problem),
        remedy="Free some space and run it again, with --resume where there is one: what was committed is kept."
        if full
        else "Check the folder and its permissions.",
    )


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that a name in it outlives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain_file(path: Path) -> Path:
    """Return the path of a file that has an end: to open a pipe waits for a writer, and a device has no end.

    Raises:
        OSError: nothing there, a folder, a pipe, a socket or a device.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return path


def read_text_file(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """Return the bytes of a file of text, whose size is checked before any are read.

    Raises:
        OSError: nothing there, or no plain file.
        ValueError: it is larger than such files are.
    """
    size = plain_file(path).stat().st_size
    if size > most:
        raise ValueError(f"{size:,} bytes, above {most:,}")
    return path.read_bytes()


def file_hash(path: Path) -> str:
    """SHA-256 of a plain file, read in pieces."""
    with plain_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def real_folder(folder: str | Path) -> Path:
    """Return where a folder lies, without links and ``..``: ``a/new/../b`` is ``a/b``, though ``a/new`` is made later.

    Args:
        folder: as it was named.
    """
    return Path(os.path.realpath(folder))


def refuse_occupied(folder: Path, *, begun: Collection[str] = (), resume: bool = False) -> None:
    """Refuse a folder that holds something, unless a run that was begun there is to go on.

    Files that a kill left unfinished belong to nobody: a folder that holds nothing else counts as empty.

    Args:
        folder: where something is to be written.
        begun: names of which a run that can go on leaves one at least; none where nothing can go on.
        resume: whether such a run is to go on.

    Raises:
        PatchclampError: the folder is occupied, a file, or cannot be read.
    """
    if folder.is_symlink() and not folder.exists():
        raise PatchclampError(
            expected="a new or empty folder",
            got=f"{folder}, a link to what is not there",
            remedy="Choose another --out.",
        )
    there = real_folder(folder)
    try:
        held = sorted(file.name for file in there.iterdir()) if there.is_dir() else []
    except OSError as problem:
        raise refuse_write(folder, problem) from problem
    held = _names_kept(held)
    is_begun = any(name in begun for name in held)
    if (held and not (resume and is_begun)) or (there.exists() and not there.is_dir()):
        raise PatchclampError(
            expected="a new or empty folder",
            got=f"{folder}, which holds {', '.join(held[:3])}" if held else f"{folder}, a file",
            remedy="Choose another --out, or add --resume to go on with an interrupted run."
            if is_begun
            else "Choose another --out" + (": no run was begun there." if resume else "."),
        )


def refuse_unwritable(folder: str | Path) -> None:
    """Refuse, before anything is computed, a folder that cannot be written; leave none behind.

    Raises:
        PatchclampError: it cannot be made, or another process writes there.
    """
    path = real_folder(folder)
    is_new = not path.exists()
    with hold_folder(path):
        if is_new:
            path.rmdir()


def _names_kept(names: Collection[str]) -> list[str]:
    """Return the names of what belongs to somebody: not what was never finished, nor weights that no head names."""
    headless = "basis.json" not in names
    return [name for name in names if not is_torn(name) and not (headless and _WEIGHTS.fullmatch(name))]


def put_in_place(part: Path, out: Path) -> None:
    """Rename a folder that is whole to where it belongs, in place of a folder that holds nothing of anybody's.

    Raises:
        OSError: something came to stand there, or no permission.
    """
    if out.is_dir() and not out.is_symlink():
        names = [file.name for file in out.iterdir()]
        for name in [] if _names_kept(names) else names:
            (out / name).unlink()
    part.rename(out)
    sync_folder(out.absolute().parent)


def refuse_interrupted(aside: Path, what: str, *, resume: bool) -> None:
    """Refuse to begin what is built aside until it is whole, where an interrupted run left such a folder.

    Args:
        aside: where it is built.
        what: what nobody may have begun, in words.
        resume: whether the interrupted run is to go on.

    Raises:
        PatchclampError: the folder holds something, or another process writes there.
    """
    there = real_folder(aside)
    try:
        held = there.is_dir() and any(there.iterdir())
    except OSError as problem:
        raise refuse_write(aside, problem) from problem
    if held and not resume:
        # One that still runs holds the folder, or the one in it where it keeps what it knows.
        for place in (there, *(one for one in there.iterdir() if one.is_dir() and not one.is_symlink())):
            with hold_folder(place):
                pass
    if (held and not resume) or (there.exists() and not there.is_dir()):
        raise PatchclampError(
            expected=f"{what} that nobody began",
            got=f"{aside}, which an interrupted run left" if held else f"{aside}, a file",
            remedy="Go on with --resume, or remove that folder." if held else "Remove it, or choose another --out.",
        )


@contextmanager
def build_aside(out: Path) -> Iterator[Path]:
    """Give a folder to write in, which becomes ``out`` once the context ends well and vanishes otherwise.

    A folder that came meanwhile and holds something is not replaced. What a kill leaves has a name of its own.

    Raises:
        PatchclampError: no name of a folder.
        OSError: no permission, or a full disk.
    """
    if out.name in ("", ".."):
        raise PatchclampError(expected="the name of a folder", got=str(out), remedy="Choose another --out.")
    part = out.with_name(f".{secrets.token_hex(8)}.part")
    parents = [folder for folder in part.parents if not folder.exists()]
    try:
        part.mkdir(parents=True)
        yield part
        put_in_place(part, out)
    finally:
        with suppress(OSError):
            shutil.rmtree(part)
        # What was made on the way is not left behind empty.
        for folder in parents if not out.exists() else []:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def hold_folder(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for one writer while the context lasts; the system lets go of it however the process ends.

    Args:
        folder: it is made where it is not there.
        wait: until another writer has ended, instead of refusing.

    Raises:
        PatchclampError: another writer holds it.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise PatchclampError(expected="a folder to write", got=f"{path}, a file", remedy="Choose another --out.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
    except OSError as problem:
        raise refuse_write(path, problem) from problem
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError as problem:
        raise PatchclampError(
            expected="a folder that nobody else writes",
            got=f"{path}, which another process holds",
            remedy="Wait for it to end.",
        ) from problem
    finally:
        os.close(handle)


def free_bytes(path: Path) -> int:
    """Return the free space on the disk that holds ``path``, or will."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
