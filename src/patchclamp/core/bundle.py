"""Bundle: a folder of one JSON manifest, append-only safetensors pieces and a journal that commits them.

The format is described, with its limits and their reasons, in ``docs/bundle.md``.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import ml_dtypes  # noqa: F401  NumPy, and safetensors through it, knows bfloat16 only once this is imported
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from patchclamp.core.errors import Damaged, PatchclampError

FORMAT, VERSION = "patchclamp", 1
MAX_MANIFEST = 64 * 2**20
_PIECE = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")
_OWN = re.compile(r"(shard|state)-\d{5,}|statistics|exemplars|contexts")  # a resume leaves every other file alone
_TORN = re.compile(rf"\.tmp[A-Za-z0-9]{{6}}|({_OWN.pattern}|manifest\.json|journal\.jsonl)\.part")  # .tmp…: safetensors


def write_durably(path: Path, data: bytes) -> None:
    """Write a file of a folder that is ours whole or not at all: beside its place, flushed to disk, then renamed.

    What a kill leaves is called as the file with ``.part`` behind it, and written over by the next try.

    Raises:
        PatchclampError: no room, no permission, or no such folder; nothing is left behind.
    """
    _write_by_way_of(path.with_name(path.name + ".part"), path, data, mode="wb")


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user named whole or not at all, by way of a name that nobody else has.

    Two who write the same file at once leave one of the two, and nothing else in the folder is touched.

    Raises:
        PatchclampError: no room, no permission, or no such folder; nothing is left behind.
    """
    _write_by_way_of(path.with_name(f".{secrets.token_hex(8)}.part"), path, data, mode="xb")


def _write_by_way_of(part: Path, path: Path, data: bytes, *, mode: Literal["wb", "xb"]) -> None:
    try:
        if path.exists() and not path.is_file():
            raise PatchclampError(
                expected="a file to write", got=f"{path}, which is a folder or a device", remedy="Name another file."
            )
        with part.open(mode) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
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
        remedy="Free some space and go on with --resume: what was committed is kept."
        if full
        else "Check the folder and its permissions.",
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(data: Any) -> bytes:
    """Return JSON with one spelling per value: sorted keys, no spaces. NaN and infinity are refused."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class Bundle:
    """A folder being written or read. Use ``Bundle.create`` or ``Bundle.open``.

    Args:
        path: the folder.
        manifest: what was fixed before the first piece.
        entries: the journal so far, one mapping per committed piece.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], entries: list[dict[str, Any]]) -> None:
        self.path = path
        self.manifest = manifest
        self.entries = entries

    # -- life ---------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, *, kind: str, manifest: Mapping[str, Any]) -> "Bundle":
        """Start a bundle in a new or empty folder; the manifest is on disk when this returns.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        folder = Path(path)
        refuse_occupied(folder, resume=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise refuse_write(folder, problem) from problem
        whole = {"format": FORMAT, "version": VERSION, "kind": kind, **manifest}
        write_durably(folder / "manifest.json", json.dumps(whole, sort_keys=True, indent=1, allow_nan=False).encode())
        return cls(folder, whole, [])

    @classmethod
    def open(cls, path: str | Path, *, kind: str | None = None) -> "Bundle":
        """Open a bundle for reading; checks format, version and the journal's shape, not yet the pieces' hashes.

        Raises:
            PatchclampError: no bundle there, of another kind, or of a newer version.
            Damaged: manifest or journal cannot be read.
        """
        folder = Path(path)
        file = folder / "manifest.json"
        if not file.is_file():
            raise PatchclampError(
                expected=f"a folder that patchclamp wrote ({kind or 'recording, survey or bundle'})",
                got=f"{folder}, {'which has no manifest.json' if folder.is_dir() else 'which is not there'}",
                remedy="Check the path; `patchclamp record` and `patchclamp survey` write such folders.",
            )
        try:
            if file.stat().st_size > MAX_MANIFEST:
                raise ValueError(f"more than {MAX_MANIFEST} bytes")
            manifest = _parse(file.read_bytes())
            if not isinstance(manifest, dict):
                raise ValueError("not an object")
            if manifest.get("format") == FORMAT and not isinstance(manifest.get("kind"), str):
                raise ValueError("it names no kind")
        except (OSError, ValueError, RecursionError) as problem:
            raise Damaged(
                expected="a manifest in JSON", got=f"{file}: {problem}", remedy="Restore the file or record again."
            ) from problem
        if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
            raise PatchclampError(
                expected=f"format {FORMAT!r} version {VERSION}",
                got=f"format {manifest.get('format')!r} version {manifest.get('version')!r}",
                remedy="Update patchclamp, or record again with this version.",
            )
        if kind is not None and manifest.get("kind") != kind:
            raise PatchclampError(
                expected=f"a {kind}",
                got=f"a {manifest.get('kind')} at {folder}",
                remedy=f"Name the folder of a {kind}.",
            )
        return cls(folder, manifest, _read_journal(folder / "journal.jsonl"))

    @property
    def pieces(self) -> list[dict[str, Any]]:
        """The journal's entries that commit a piece, in order."""
        return [e for e in self.entries if "piece" in e]

    @property
    def whole(self) -> bool:
        """Whether the last entry says that the run ended."""
        return bool(self.entries) and bool(self.entries[-1].get("done"))

    @property
    def hash(self) -> str:
        """SHA-256 over manifest and journal; the journal holds every piece's own hash."""
        return hashlib.sha256(canonical([self.manifest, self.entries])).hexdigest()

    # -- writing ------------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Throw away what no journal line commits: a torn line, part files, at most one piece; nothing else.

        Raises:
            Damaged: more than one piece is uncommitted, which no interruption leaves: the journal lost lines.
        """
        committed = {e["piece"] for e in self.pieces}
        try:
            loose = [
                f
                for f in self.path.glob("*.safetensors")
                if f.is_file() and _OWN.fullmatch(f.stem) and f.stem not in committed
            ]
            if len(loose) > 1:
                raise Damaged(
                    expected="at most one piece that the journal does not name",
                    got=f"{len(loose)}, such as {loose[0].name}: {self.path / 'journal.jsonl'} lost lines",
                    remedy="Restore the journal, or record again in another folder; nothing was deleted.",
                )
            write_durably(self.path / "journal.jsonl", b"".join(canonical(e) + b"\n" for e in self.entries))
            torn = [f for f in self.path.iterdir() if f.is_file() and _TORN.fullmatch(f.name)]
            for file in (*loose, *torn):
                file.unlink()
        except OSError as problem:
            raise refuse_write(self.path, problem) from problem

    def append(self, piece: str, tensors: Mapping[str, np.ndarray], **entry: Any) -> None:
        """Commit a piece: file, flush, rename, then its journal line with its hash.

        Raises:
            PatchclampError: the disk is full; every earlier piece is kept and whole.
        """
        path = self._file(piece)
        part = path.with_suffix(".part")
        try:
            save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, part)
            # safetensors makes files that only their owner can read
            shutil.copymode(self.path / "manifest.json", part)
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(self.path)
        except (OSError, SafetensorError) as problem:
            part.unlink(missing_ok=True)
            raise refuse_write(path, _as_os_error(problem, self.path)) from problem
        self._commit({"piece": piece, "sha256": digest, **entry})

    def finish(self, **entry: Any) -> None:
        """Write the journal's last line: the run is whole."""
        self._commit({"done": True, **entry})

    def drop(self, piece: str) -> None:
        """Remove a piece that a later one replaces, from folder and journal."""
        self.entries = [e for e in self.entries if e.get("piece") != piece]
        write_durably(self.path / "journal.jsonl", b"".join(canonical(e) + b"\n" for e in self.entries))
        self._file(piece).unlink(missing_ok=True)

    def _commit(self, entry: dict[str, Any]) -> None:
        journal = self.path / "journal.jsonl"
        line = canonical(entry) + b"\n"
        try:
            first = not journal.exists()
            before = 0 if first else journal.stat().st_size
            if before and not _ends_whole(journal):
                raise PatchclampError(
                    expected="a journal that ends with a whole line",
                    got=f"{journal}, cut off in the middle of one",
                    remedy="Bundle.resume() takes the torn line away; --resume does it for you.",
                )
            with journal.open("ab") as file:
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)
                    raise
            if first:
                _sync_folder(self.path)
        except OSError as problem:
            raise refuse_write(journal, problem) from problem
        self.entries.append(entry)

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, piece: str, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a piece's arrays, all or the named ones.

        Raises:
            Damaged: the piece is missing, unreadable, or lacks a name.
        """
        path = self._file(piece)
        try:
            with safe_open(path, "np") as file:
                return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
        except (OSError, SafetensorError, AttributeError) as problem:  # AttributeError: a type that NumPy lacks
            raise Damaged(
                expected=f"the arrays of piece {piece!r}",
                got=f"{path}: {problem}",
                remedy="`patchclamp info` checks every piece; record the damaged part again.",
            ) from problem

    def check(self, piece: str) -> None:
        """Compare one piece with the hash that was committed.

        Raises:
            Damaged: the bytes are others, or the journal does not name it.
        """
        if piece in self.damaged([piece]):
            raise Damaged(
                expected=f"piece {piece!r} as it was committed",
                got=f"{self._file(piece)}, which was changed or is missing",
                remedy="Restore it from a copy, or begin again in another folder.",
            )

    def damaged(self, only: Sequence[str] | None = None) -> list[str]:
        """Return the pieces whose bytes are not those that were committed. Cost: one read of everything."""
        broken = []
        for entry in self.pieces:
            if only is not None and entry["piece"] not in only:
                continue
            path = self._file(entry["piece"])
            if not path.is_file() or file_hash(path) != entry["sha256"]:
                broken.append(entry["piece"])
        return broken

    def _file(self, piece: str) -> Path:
        if not isinstance(piece, str) or not _PIECE.fullmatch(piece):
            raise Damaged(
                expected="a piece named in small letters, digits and dashes",
                got=f"{piece!r}"[:120],
                remedy="The journal was changed by something else; restore it or record again.",
            )
        return self.path / f"{piece}.safetensors"


def refuse_occupied(folder: str | Path, *, resume: bool) -> None:
    """Refuse a folder that holds something, unless it is a bundle that is gone on with.

    Raises:
        PatchclampError: it does.
    """
    path = Path(folder)
    if not path.exists() or (resume and (path / "manifest.json").is_file()):
        return
    # A manifest that a kill left half written is nobody's.
    if not path.is_dir() or {file.name for file in path.iterdir()} - {"manifest.json.part"}:
        raise PatchclampError(
            expected="a new or empty folder",
            got=f"{path}, which holds something",
            remedy="Choose another --out, or add --resume to go on with an interrupted run.",
        )


def refuse_unwritable(folder: str | Path) -> None:
    """Refuse, before anything is computed, a folder that cannot be written; leave none behind.

    Raises:
        PatchclampError: it cannot be made, or another process writes there.
    """
    path = Path(folder)
    is_new = not path.exists()
    with writing(path):
        if is_new:
            path.rmdir()


@contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Hold a folder for one writer while the context lasts; the system lets go of it however the process ends.

    Raises:
        PatchclampError: another process writes there.
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
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def _as_os_error(problem: Exception, folder: Path) -> OSError:
    """Name the cause of a failed piece; safetensors reports a full disk only in words."""
    if isinstance(problem, OSError):
        return problem
    if "No space" in str(problem) or shutil.disk_usage(folder).free < 2**20:
        return OSError(errno.ENOSPC, "No space left on device")
    return OSError(str(problem))


def _ends_whole(journal: Path) -> bool:
    with journal.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _read_journal(path: Path) -> list[dict[str, Any]]:
    """Read the committed lines; a torn last line was never committed and is left out."""
    entries: list[dict[str, Any]] = []
    try:
        if path.exists() and not path.is_file():  # a pipe or a device gives no end
            raise ValueError("no plain file")
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        for line in lines[:-1]:
            entry = _parse(line)
            _check_entry(entry, entries)
            entries.append(entry)
    except (OSError, ValueError, RecursionError) as problem:
        raise Damaged(
            expected="a journal of JSON lines, one per piece, then one that says done",
            got=f"{path} line {len(entries) + 1}: {problem}",
            remedy="Something else changed it: restore it, or record again.",
        ) from problem
    return entries


def _parse(text: str | bytes) -> Any:
    """Read JSON; NaN, infinity and numbers beyond a float's range are refused, as they are when it is written."""

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number[:20]} is no finite number")
        return value

    return json.loads(text, parse_constant=finite, parse_float=finite)


def _check_manifest(manifest: Any) -> None:
    if not isinstance(manifest, dict):
        raise ValueError("not an object")
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        return  # another format's manifest is told apart by its caller
    shapes = {"kind": str, "subject": dict, "plan": dict, "versions": dict, "dtype": str, "sites": list}
    for name, kind in shapes.items():
        if name in manifest and not isinstance(manifest[name], kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    if "kind" not in manifest:
        raise ValueError("no kind")
    for site in manifest.get("sites", []):
        if not isinstance(site, dict) or not isinstance(site.get("path"), str) or not _count(site.get("width")):
            raise ValueError("sites are not paths and widths")
    for name, value in manifest.get("plan", {}).items():
        if (name.startswith("n_") or name == "threads") and not _count(value):
            raise ValueError(f"plan.{name} is no number of things")


def _check_entry(entry: Any, before: Sequence[Mapping[str, Any]]) -> None:
    if not isinstance(entry, dict) or ("piece" in entry) == ("done" in entry):
        raise ValueError("neither a piece nor the end")
    if "done" in entry and entry["done"] is not True:
        raise ValueError("done is not true")
    if "piece" in entry:
        whole = isinstance(entry["piece"], str) and isinstance(entry.get("sha256"), str)
        if not whole or any(entry["piece"] == e.get("piece") for e in before):
            raise ValueError("a piece without name or hash, or named twice")
    for name in ("stimuli", "tokens", "counted"):
        if name in entry and not _count(entry[name]):
            raise ValueError(f"{name} is no number of things")
    nonfinite = entry.get("nonfinite", {})
    if not isinstance(nonfinite, dict) or not all(map(_count, nonfinite.values())):
        raise ValueError("nonfinite is no table of counts")


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
