"""A bundle in an object store, or whatever else fsspec names by a URL; the pieces are those of a folder.

A store has no journal that grows line by line: here it is a row of small objects, of which the last is written anew
with every piece. Nor has it locks: whoever writes the same place twice at once destroys both runs.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from patchclamp.core.bundle import (
    FORMAT,
    VERSION,
    Bundle,
    check_manifest,
    parse_journal,
    refuse_lost_lines,
    seal_of,
)
from patchclamp.core.checks import check_plain
from patchclamp.core.disk import PIECE, is_url
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import canonical, parse

LINES = 1000
"""Lines of the journal in one object."""
_JOURNAL, _PIECES = re.compile(r"journal-\d{5}\.jsonl"), re.compile(rf"({PIECE})\.safetensors")


def open_bundle(place: str | Path, *, kind: str | None = None) -> Bundle:
    """Open a bundle for reading, in a folder or at a URL; see ``Bundle.open``.

    Returns:
        Bundle: with its pieces, none of which was read.
    """
    return StoreBundle.open_at(str(place), kind=kind) if is_url(place) else Bundle.open(place, kind=kind)


def create_bundle(place: str | Path, *, kind: str, manifest: Mapping[str, Any]) -> Bundle:
    """Start a bundle in a folder or at a URL; see ``Bundle.create``.

    Returns:
        Bundle: open for writing, without pieces.
    """
    if is_url(place):
        return StoreBundle.create_at(str(place), kind=kind, manifest=manifest)
    return Bundle.create(place, kind=kind, manifest=manifest)


class StoreBundle(Bundle):
    """A bundle at a URL; use ``create_bundle`` and ``open_bundle``, which give one where they are given a URL."""

    def __init__(
        self, url: str, manifest: dict[str, Any], entries: list[dict[str, Any]], seals: tuple[str, str]
    ) -> None:
        super().__init__(url, manifest, entries, seals)  # type: ignore[arg-type]
        self._fs, self._root = _open_store(url)

    @classmethod
    def create_at(cls, url: str, *, kind: str, manifest: Mapping[str, Any]) -> "StoreBundle":
        """Start a bundle where nothing is; see ``Bundle.create``.

        Returns:
            StoreBundle: open for writing, without pieces.
        """
        check_plain("manifest", manifest)
        whole = {"format": FORMAT, "version": VERSION, "kind": kind, **manifest}
        data = json.dumps(whole, sort_keys=True, indent=1, allow_nan=False).encode()
        seal = hashlib.sha256(data).hexdigest()
        bundle = cls(url, whole, [], (seal, seal))
        if held := bundle._names():
            raise PatchclampError(
                expected="a place where nothing is yet",
                got=f"{url}, which holds {', '.join(held[:3])}",
                remedy="Choose another --out, or add --resume to go on with an interrupted run.",
            )
        with _report(url):
            bundle._fs.makedirs(bundle._root, exist_ok=True)
        bundle._put("manifest.json", data)
        return bundle

    @classmethod
    def open_at(cls, url: str, *, kind: str | None = None) -> "StoreBundle":
        """Open a bundle for reading; see ``Bundle.open``."""
        fs, root = _open_store(url)
        with _report(url):
            names = (
                sorted(name.rstrip("/").rpartition("/")[2] for name in fs.ls(root, detail=False))
                if fs.exists(root)
                else []
            )
            if "manifest.json" not in names:
                raise PatchclampError(
                    expected=f"a place that patchclamp wrote ({kind or 'recording or survey'})",
                    got=f"{url}, where no manifest.json is",
                    remedy="Check the URL.",
                )
            data = fs.cat_file(f"{root}/manifest.json")
            lines = b"".join(fs.cat_file(f"{root}/{name}") for name in names if _JOURNAL.fullmatch(name))
        try:
            manifest = parse(data)
            check_manifest(manifest)
        except (ValueError, RecursionError) as problem:
            raise Damaged(
                expected="a manifest in JSON", got=f"{url}: {problem}", remedy="Restore it or record again."
            ) from problem
        stated = manifest.get("format"), manifest.get("version"), manifest.get("kind")
        if stated[:2] != (FORMAT, VERSION) or kind not in (None, stated[2]):
            raise PatchclampError(
                expected=f"a {kind or 'bundle'} of format {FORMAT!r} version {VERSION}",
                got=f"a {stated[2]} of format {stated[0]!r} version {stated[1]!r}",
                remedy="Name another place, or read it with the patchclamp that wrote it.",
            )
        first = hashlib.sha256(data).hexdigest()
        entries, last = parse_journal(lines, url, first)
        return cls(url, manifest, entries, (first, last))

    # -- writing ------------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Remove the piece that no line commits; see ``Bundle.resume``."""
        committed = {entry["piece"] for entry in self.pieces}
        loose = [name for name in self._names() if _PIECES.fullmatch(name) and name.partition(".")[0] not in committed]
        refuse_lost_lines(self.path, [Path(name) for name in loose], is_empty=not self.entries)
        self._rewrite()
        for name in loose:
            self._remove(name)

    def append(self, piece: str, tensors: Mapping[str, np.ndarray], **entry: Any) -> None:
        """Commit a piece: one object, then its line of the journal."""
        self._file(piece)
        data = save({name: np.asarray(t, order="C") for name, t in tensors.items()})
        self._put(f"{piece}.safetensors", data)
        self._commit({"piece": piece, "sha256": hashlib.sha256(data).hexdigest(), **entry})

    def attach(self, name: str, data: bytes) -> None:
        """Refuse a file for people: pages are written to folders."""
        raise PatchclampError(expected="a folder, for a page", got=str(self.path), remedy="Choose a folder for --out.")

    def drop(self, name: str) -> None:
        """Remove a piece that a later one replaces."""
        kept = [entry for entry in self.entries if entry.get("piece") != name]
        if len(kept) < len(self.entries):
            self.entries = kept
            self._rewrite()
            self._remove(f"{name}.safetensors")

    def discard(self) -> None:
        """Remove everything that was written."""
        for entry in self.pieces:
            self._remove(f"{entry['piece']}.safetensors")
        for name in [*filter(_JOURNAL.fullmatch, self._names()), "manifest.json"]:
            self._remove(name)
        self.entries = []

    def _commit(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        try:
            self._write_lines(len(self.entries) - 1)
        except PatchclampError:
            self.entries.pop()
            raise

    def _rewrite(self) -> None:
        self._lines: list[bytes] = []
        self._seal = self._first_seal
        for number in range(0, max(len(self.entries), 1), LINES):
            self._write_lines(number)
        least = -(-len(self.entries) // LINES)
        for name in self._names():
            if _JOURNAL.fullmatch(name) and int(name[8:13]) >= max(least, 1):
                self._remove(name)

    def _write_lines(self, number: int) -> None:
        """Write the object of the journal in which a line stands."""
        if not hasattr(self, "_lines") or len(self._lines) > len(self.entries):
            self._lines, self._seal = [], self._first_seal
        seal, lines = self._seal, list(self._lines)
        for entry in self.entries[len(lines) : number // LINES * LINES + LINES]:
            seal = seal_of(seal, entry)
            lines.append(canonical({**entry, "seal": seal}) + b"\n")
        first = number // LINES * LINES
        self._put(f"journal-{number // LINES:05d}.jsonl", b"".join(lines[first : first + LINES]))
        self._lines, self._seal = lines, seal

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, piece: str, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a piece's arrays; the object is fetched whole."""
        with self._open_piece(piece) as file:
            try:
                return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
            except (SafetensorError, AttributeError) as problem:
                raise _unreadable(piece, self.path, problem) from problem

    def shapes(self, piece: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a piece's arrays; the object is fetched whole."""
        with self._open_piece(piece) as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def find_damaged(self, only: Sequence[str] | None = None) -> list[str]:
        """Return the pieces whose bytes are not those committed. Cost: one fetch of everything."""
        return [
            entry["piece"]
            for entry in self.pieces
            if (only is None or entry["piece"] in only)
            and hashlib.sha256(self._get(f"{entry['piece']}.safetensors") or b"").hexdigest() != entry["sha256"]
        ]

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every object, by name."""
        with _report(self.path):
            found = self._fs.ls(self._root, detail=True)
        return {one["name"].rpartition("/")[2]: int(one["size"] or 0) for one in found if one["type"] == "file"}

    @contextmanager
    def _open_piece(self, piece: str) -> Iterator[Any]:
        """Give a piece as a file that is open, for as long as the context lasts."""
        data = self._get(f"{self._file(piece).stem}.safetensors")
        if data is None:
            raise _unreadable(piece, self.path, "no such object")
        handle, name = tempfile.mkstemp(suffix=".safetensors")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            try:
                opened = safe_open(name, "np")
            except SafetensorError as problem:
                raise _unreadable(piece, self.path, problem) from problem
            with opened as tensors:
                yield tensors
        finally:
            os.unlink(name)

    def _file(self, piece: str) -> Path:
        return Bundle._file(_Nowhere, piece)  # type: ignore[arg-type]

    def _names(self) -> list[str]:
        with _report(self.path):
            if not self._fs.exists(self._root):
                return []
            self._fs.invalidate_cache(self._root)
            return sorted(name.rstrip("/").rpartition("/")[2] for name in self._fs.ls(self._root, detail=False))

    def _put(self, name: str, data: bytes) -> None:
        with _report(self.path):
            self._fs.pipe_file(f"{self._root}/{name}", data)

    def _get(self, name: str) -> bytes | None:
        try:
            with _report(self.path):
                return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def _remove(self, name: str) -> None:
        with _report(self.path):
            if self._fs.exists(f"{self._root}/{name}"):
                self._fs.rm_file(f"{self._root}/{name}")


class _Nowhere:
    """The folder of a name that is only checked."""

    path = Path()


def _open_store(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there."""
    try:
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(url)
    except (ImportError, ValueError) as problem:
        raise PatchclampError(
            expected="a URL of a kind that fsspec knows, such as s3://bucket/name",
            got=f"{url}: {problem}"[:300],
            remedy="pip install 'patchclamp[scale]', and the package that fsspec names for that kind.",
        ) from problem
    return fs, str(root).rstrip("/")


@contextmanager
def _report(url: Any) -> Iterator[None]:
    """Report what a store answers in three parts; that an object is not there is for the caller."""
    try:
        yield
    except (FileNotFoundError, PatchclampError):
        raise
    except Exception as problem:  # every store has errors of its own
        raise PatchclampError(
            expected=f"an answer of the store at {url}",
            got=f"{type(problem).__name__}: {problem}"[:300],
            remedy="Check its name, the credentials and the network; what was committed is kept: go on with --resume.",
        ) from problem


def _unreadable(piece: str, url: Any, problem: object) -> Damaged:
    return Damaged(
        expected=f"the arrays of piece {piece!r}", got=f"{url}: {problem}", remedy="Record the damaged part again."
    )
