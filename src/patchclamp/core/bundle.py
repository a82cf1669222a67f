"""A folder of one JSON manifest, append-only safetensors pieces and a journal that commits them.

The format is described, with its limits and their reasons, in ``docs/reference/bundle.md``.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  NumPy, and safetensors through it, knows bfloat16 only once this is imported
import numpy as np
from safetensors import SafetensorError, safe_open

from patchclamp.core.checks import check_plain
from patchclamp.core.disk import (
    PIECE,
    file_hash,
    is_torn,
    plain_file,
    read_text_file,
    refuse_occupied,
    refuse_write,
    sync_folder,
    write_durably,
)
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import canonical, parse
from patchclamp.core.safetensors_file import save_file

FORMAT, VERSION = "patchclamp", 2
LARGEST_JOURNAL = 256 * 2**20
"""Bytes of a journal at most: about a million lines."""
_PIECE = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")
_OWN = re.compile(PIECE)  # a resume leaves other files alone
_ATTACHED = re.compile(r"[a-z]{1,40}\.(json|html)")


class Bundle:
    """A folder being written or read. Use ``Bundle.create`` or ``Bundle.open``.

    Args:
        path: the folder.
        manifest: what was fixed before the first piece.
        entries: the journal so far, one mapping per committed piece or file, without their seals.
        seals: that of the manifest, and that of the last line.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], entries: list[dict[str, Any]], seals: tuple[str, str]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.entries = entries
        self._first_seal, self._seal = seals

    # -- life ---------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, *, kind: str, manifest: Mapping[str, Any]) -> "Bundle":
        """Start a bundle in a new or empty folder; the manifest is on disk when this returns.

        Returns:
            Bundle: open for writing, without pieces.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        folder = Path(path)
        check_plain("manifest", manifest)
        refuse_occupied(folder, begun=("manifest.json",))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise refuse_write(folder, problem) from problem
        whole = {"format": FORMAT, "version": VERSION, "kind": kind, **manifest}
        data = json.dumps(whole, sort_keys=True, indent=1, allow_nan=False).encode()
        write_durably(folder / "manifest.json", data)
        seal = hashlib.sha256(data).hexdigest()
        return cls(folder, whole, [], (seal, seal))

    @classmethod
    def open(cls, path: str | Path, *, kind: str | None = None) -> "Bundle":
        """Open a bundle for reading; checks format, version, and that manifest and journal are as they were written.

        The pieces' hashes are not checked yet.

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
            data = read_text_file(file)
            manifest = parse(data)
            check_manifest(manifest)
        except (OSError, ValueError, RecursionError) as problem:
            raise Damaged(
                expected="a manifest in JSON", got=f"{file}: {problem}", remedy="Restore the file or record again."
            ) from problem
        if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
            raise PatchclampError(
                expected=f"format {FORMAT!r} version {VERSION}",
                got=f"format {manifest.get('format')!r} version {manifest.get('version')!r}",
                remedy="Read it with the patchclamp that wrote it, or record again with this one.",
            )
        if kind is not None and manifest.get("kind") != kind:
            raise PatchclampError(
                expected=f"a {kind}",
                got=f"a {manifest.get('kind')} at {folder}",
                remedy=f"Name the folder of a {kind}.",
            )
        first = hashlib.sha256(data).hexdigest()
        # Listed before the journal is read: another process may be writing.
        loose = _find_pieces(folder)
        entries, last = _read_journal(folder / "journal.jsonl", first)
        if not entries:
            refuse_lost_lines(folder, loose, is_empty=True)
        return cls(folder, manifest, entries, (first, last))

    @property
    def pieces(self) -> list[dict[str, Any]]:
        """The journal's entries that commit a piece, in order."""
        return [e for e in self.entries if "piece" in e]

    @property
    def whole(self) -> bool:
        """Whether the last entry says that the run ended."""
        return bool(self.entries) and bool(self.entries[-1].get("done"))

    @property
    def seal(self) -> str:
        """SHA-256 of the manifest's bytes."""
        return self._first_seal

    @property
    def hash(self) -> str:
        """SHA-256 over manifest and journal; the journal holds every piece's own hash."""
        return hashlib.sha256(canonical([self.manifest, self.entries])).hexdigest()

    # -- writing ------------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Throw away what no journal line commits: a torn line, part files, at most one piece; nothing else.

        Raises:
            Damaged: more than one piece is uncommitted, or a later one without any that is committed, which no
                interruption leaves: the journal lost lines.
        """
        committed = {e["piece"] for e in self.pieces}
        try:
            loose = [f for f in _find_pieces(self.path) if f.stem not in committed]
            refuse_lost_lines(self.path, loose, is_empty=not self.entries)
            self._rewrite()
            for file in loose:
                file.unlink()
        except OSError as problem:
            raise refuse_write(self.path, problem) from problem
        self.remove_torn()

    def remove_torn(self) -> None:
        """Remove files that were never finished, such as a process leaves that died.

        Raises:
            PatchclampError: no permission.
        """
        try:
            for file in [f for f in self.path.iterdir() if (f.is_symlink() or f.is_file()) and is_torn(f.name)]:
                file.unlink()
        except OSError as problem:
            raise refuse_write(self.path, problem) from problem

    def append(self, piece: str, tensors: Mapping[str, np.ndarray], **entry: Any) -> None:
        """Commit a piece: file, flush, rename, then its journal line with its hash.

        Raises:
            PatchclampError: the disk is full; every earlier piece is kept and whole.
        """
        part = self._file(piece).with_suffix(".part")
        self.adopt(part, write_part(part, tensors), piece, **entry)

    def adopt(self, part: Path, digest: str, piece: str, **entry: Any) -> None:
        """Commit a piece that ``write_part`` wrote in the folder, in this process or another.

        Args:
            part: the file, under its passing name.
            digest: its SHA-256.
            piece: its name.
            entry: what else its journal line says.

        Raises:
            PatchclampError: it cannot be renamed.
        """
        path = self._file(piece)
        try:
            part.replace(path)
            sync_folder(self.path)
        except OSError as problem:
            part.unlink(missing_ok=True)
            raise refuse_write(path, problem) from problem
        self._commit({"piece": piece, "sha256": digest, **entry})

    def once(self, piece: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, Any]:
        """Return a piece's arrays, computed and committed first where the bundle does not hold them yet.

        Raises:
            PatchclampError: the disk is full.
            Damaged: the piece is not what was committed.
        """
        if all(entry["piece"] != piece for entry in self.pieces):
            self.append(piece, compute())
        self.check(piece)
        return self.read(piece)

    def attach(self, name: str, data: bytes) -> None:
        """Commit a file for people or other programs that was derived from the pieces, in place of an earlier one.

        Raises:
            PatchclampError: a name that is no small word with ``.json`` or ``.html``, or a full disk.
        """
        if not _ATTACHED.fullmatch(name) or name == "manifest.json":
            raise PatchclampError(expected="a name such as page.html", got=repr(name), remedy="Choose another.")
        self.drop(name)
        write_durably(self.path / name, data)
        self._commit({"file": name, "sha256": hashlib.sha256(data).hexdigest()})

    def finish(self, **entry: Any) -> None:
        """Write the journal's last line: the run is whole."""
        self._commit({"done": True, **entry})

    def drop(self, name: str) -> None:
        """Remove a piece or an attached file that a later one replaces, from folder and journal."""
        path = self.path / name if _ATTACHED.fullmatch(name) else self._file(name)
        kept = [e for e in self.entries if name not in (e.get("piece"), e.get("file"))]
        if len(kept) == len(self.entries):
            return
        self.entries = kept
        self._rewrite()
        path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove everything that was written, and leave the folder empty."""
        for name in [name for e in self.entries if (name := e.get("piece", e.get("file"))) is not None]:
            self.drop(name)
        for name in ("journal.jsonl", "manifest.json"):
            (self.path / name).unlink(missing_ok=True)

    def _rewrite(self) -> None:
        """Write the whole journal anew."""
        lines, seal = [], self._first_seal
        for entry in self.entries:
            seal = seal_of(seal, entry)
            lines.append(canonical({**entry, "seal": seal}) + b"\n")
        write_durably(self.path / "journal.jsonl", b"".join(lines))
        self._seal = seal

    def _commit(self, entry: dict[str, Any]) -> None:
        journal = self.path / "journal.jsonl"
        seal = seal_of(self._seal, entry)
        line = canonical({**entry, "seal": seal}) + b"\n"
        try:
            first = not journal.exists()
            before = 0 if first else journal.stat().st_size
            if before and not _ends_whole(journal):
                raise PatchclampError(
                    expected="a journal that ends with a whole line",
                    got=f"{journal}, cut off in the middle of one",
                    remedy="Bundle.resume() takes the torn line away; --resume does it for you.",
                )
            # Never through a link: it would lead to a file of somebody's.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(journal, flags, 0o666), "ab") as file:
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)
                    raise
            if first:
                sync_folder(self.path)
        except OSError as problem:
            raise refuse_write(journal, problem) from problem
        self.entries.append(entry)
        self._seal = seal

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, piece: str, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a piece's arrays, all or the named ones.

        Raises:
            Damaged: the piece is missing, unreadable, or lacks a name.
        """
        path = self._file(piece)
        try:
            with safe_open(plain_file(path), "np") as file:
                return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
        except (OSError, SafetensorError, AttributeError) as problem:  # AttributeError: a type that NumPy lacks
            raise _unreadable(piece, path, problem) from problem

    def check(self, piece: str) -> None:
        """Compare one piece with the hash that was committed.

        Raises:
            Damaged: the bytes are others, or the journal does not name it.
        """
        if piece in self.find_damaged([piece]):
            raise Damaged(
                expected=f"piece {piece!r} as it was committed",
                got=f"{self._file(piece)}, which was changed or is missing",
                remedy="Restore it from a copy, or begin again in another folder.",
            )

    def find_damaged(self, only: Sequence[str] | None = None) -> list[str]:
        """Return the pieces and attached files whose bytes are not those committed. Cost: one read of everything."""
        broken = []
        for entry in self.entries:
            name = entry.get("piece", entry.get("file"))
            if name is None or (only is not None and name not in only):
                continue
            path = self._file(name) if "piece" in entry else self.path / name
            if not path.is_file() or file_hash(path) != entry["sha256"]:
                broken.append(name)
        return broken

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file, by name."""
        return {file.name: file.stat().st_size for file in self.path.iterdir() if file.is_file()}

    def shapes(self, piece: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a piece's arrays, as its header tells them.

        Raises:
            Damaged: the piece is missing or unreadable.
        """
        path = self._file(piece)
        try:
            with safe_open(plain_file(path), "np") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as problem:
            raise _unreadable(piece, path, problem) from problem

    def _file(self, piece: str) -> Path:
        if not isinstance(piece, str) or not _PIECE.fullmatch(piece):
            raise Damaged(
                expected="a piece named in small letters, digits and dashes",
                got=f"{piece!r}"[:120],
                remedy="The journal was changed by something else; restore it or record again.",
            )
        return self.path / f"{piece}.safetensors"


def write_part(part: Path, tensors: Mapping[str, np.ndarray]) -> str:
    """Write the arrays of a piece under a passing name, flushed to disk, and return their SHA-256.

    Args:
        part: a name such as a kill leaves (``is_torn``), beside the manifest.
        tensors: arrays by name.

    Returns:
        str: in hexadecimal digits.

    Raises:
        PatchclampError: the disk is full.
    """
    try:
        part.unlink(missing_ok=True)  # a link that somebody put there leads to a file of theirs
        save_file({name: np.asarray(array) for name, array in tensors.items()}, part)
        shutil.copymode(part.with_name("manifest.json"), part)
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        return digest
    except (OSError, SafetensorError) as problem:
        part.unlink(missing_ok=True)
        raise refuse_write(part.with_suffix(".safetensors"), _as_os_error(problem, part.parent)) from problem


def reaches(folder: str, seal: str) -> bool:
    """Say whether a bundle's folder is there for this process, which may run on another machine.

    Args:
        folder: its path.
        seal: SHA-256 of its manifest.
    """
    file = Path(folder) / "manifest.json"
    return file.is_file() and file_hash(file) == seal


def _unreadable(piece: str, path: Path, problem: Exception) -> Damaged:
    return Damaged(
        expected=f"the arrays of piece {piece!r}",
        got=f"{path}: {problem}",
        remedy="`patchclamp info` checks every piece; record the damaged part again.",
    )


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


def _read_journal(path: Path, seal: str) -> tuple[list[dict[str, Any]], str]:
    """Read the committed lines and the last one's seal; a torn last line was never committed and is left out."""
    try:
        data = read_text_file(path, LARGEST_JOURNAL) if os.path.lexists(path) else b""
    except (OSError, ValueError) as problem:
        raise _torn_journal(path, 1, problem) from problem
    return parse_journal(data, path, seal)


def parse_journal(data: bytes, path: object, seal: str) -> tuple[list[dict[str, Any]], str]:
    """Return a journal's committed lines without their seals, and the last one's seal.

    Args:
        data: its bytes.
        path: where they stand, in words.
        seal: the manifest's.

    Returns:
        tuple[list[dict[str, Any]], str]: the entries in order, and the seal.

    Raises:
        Damaged: a line is not what was written.

    Source: Haber and Stornetta (1991), *How to time-stamp a digital document*: each seal covers the one before it.
    """
    entries: list[dict[str, Any]] = []
    try:
        for line in data.split(b"\n")[:-1]:
            entry = parse(line)
            _check_entry(entry, entries)
            stored, seal = entry.pop("seal", None), seal_of(seal, entry)
            if stored != seal:
                raise ValueError("manifest.json, this line or one before it is not what was written")
            entries.append(entry)
    except (ValueError, RecursionError) as problem:
        raise _torn_journal(path, len(entries) + 1, problem) from problem
    return entries, seal


def _torn_journal(path: object, line: int, problem: Exception) -> Damaged:
    return Damaged(
        expected="a journal of JSON lines, one per piece, then one that says done",
        got=f"{path} line {line}: {problem}",
        remedy="Something else changed it: restore it, or record again.",
    )


def _find_pieces(folder: Path) -> list[Path]:
    """Return the files of pieces that this package wrote."""
    return [f for f in folder.glob("*.safetensors") if f.is_file() and _OWN.fullmatch(f.stem)]


def refuse_lost_lines(folder: Path, loose: Sequence[Path], *, is_empty: bool) -> None:
    """Refuse pieces that no journal line commits, where no interruption leaves them."""
    # Before anything was committed only a first piece can be there.
    later = [f for f in loose if is_empty and f.stem.rpartition("-")[2].strip("0").isdigit()]
    if len(loose) > 1 or later:
        raise Damaged(
            expected="at most one piece that the journal does not name"
            + (", a first one where it names none" if later else ""),
            got=f"{len(loose)}, such as {loose[0].name}: the journal of {folder} lost lines",
            remedy="Restore the journal, or record again in another folder; nothing was deleted.",
        )


def seal_of(before: str, entry: Mapping[str, Any]) -> str:
    """Return a line's seal: SHA-256 over the seal before it (of the first: the manifest's bytes) and what it says."""
    return hashlib.sha256(before.encode() + canonical(entry)).hexdigest()


def check_manifest(manifest: Any) -> None:
    """Refuse a manifest whose parts are not of the types that this package writes.

    Raises:
        ValueError: names the part.
    """
    if not isinstance(manifest, dict):
        raise ValueError("not an object")
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        return  # another format's manifest is recognised by its caller
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
    if not isinstance(entry, dict) or sum(name in entry for name in ("piece", "file", "done")) != 1:
        raise ValueError("neither a piece nor a file nor the end")
    if "done" in entry and entry["done"] is not True:
        raise ValueError("done is not true")
    if "piece" in entry:
        whole = isinstance(entry["piece"], str) and isinstance(entry.get("sha256"), str)
        if not whole or any(entry["piece"] == e.get("piece") for e in before):
            raise ValueError("a piece without name or hash, or named twice")
    if "file" in entry:
        named = isinstance(entry["file"], str) and _ATTACHED.fullmatch(entry["file"])
        if not named or not isinstance(entry.get("sha256"), str):
            raise ValueError("a file without name or hash")
    for name in ("stimuli", "tokens", "counted"):
        if name in entry and not _count(entry[name]):
            raise ValueError(f"{name} is no number of things")
    nonfinite = entry.get("nonfinite", {})
    if not isinstance(nonfinite, dict) or not all(map(_count, nonfinite.values())):
        raise ValueError("nonfinite is no table of counts")


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
