"""Files of recorded brains, read as named arrays by the readers in ``readers/``. Nothing in them is run."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.subjects import readers as folder

TABLE = "table"
"""The name of a CSV's columns together, and of a bare array."""


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds, before anybody says which of it is what.

    Args:
        arrays: numeric arrays by name, at most three axes.
        events: event times in seconds by name, one array per unit or trial.
        columns: names of the last axis of an array, by the array's name.
        facts: what the file itself states of a variable: rate, start, measure.
        skipped: variables that are no numbers, with what they are.
        is_table: whether the array ``table`` is all there is, each column a variable over time.
    """

    arrays: Mapping[str, np.ndarray]
    events: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    is_table: bool = False

    def describe(self) -> str:
        """Return the variables with their shapes, as an error names them."""
        parts = [f"{n} {' × '.join(map(str, a.shape))} {a.dtype}" for n, a in self.arrays.items()]
        parts += [f"{n} {len(e)} lists of event times" for n, e in self.events.items()]
        parts += [f"{n} ({what}, not read)" for n, what in self.skipped.items()]
        return "; ".join(parts[:12]) + (" …" if len(parts) > 12 else "") if parts else "nothing"


@dataclass(frozen=True)
class Reader:
    """Say which files a reader reads, and how.

    Args:
        suffixes: ends of their names, in lower case, with the dot.
        read: the path of a file that is there and not empty → what it holds.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path], Contents]


@cache
def all_readers() -> tuple[Reader, ...]:
    """Return every reader: the files of their folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    return tuple(importlib.import_module(f"{folder.__name__}.{name}").READER for name in names)


def list_suffixes() -> tuple[str, ...]:
    """Return how the names of files end that can be read.

    Example:
        >>> ".csv" in list_suffixes()
        True
    """
    return tuple(suffix for reader in all_readers() for suffix in reader.suffixes)


def read(path: Path) -> Contents:
    """Read a file's variables.

    Raises:
        PatchclampError: not there, empty, of another format, or a package that reads it is not installed.
        Damaged: it ends early, or is not what its name says.
    """
    reader_of_suffix = next((reader for reader in all_readers() if path.suffix.lower() in reader.suffixes), None)
    if reader_of_suffix is None:
        raise PatchclampError(
            expected=f"a recording in one of {', '.join(list_suffixes())}",
            got=str(path),
            remedy="Save it as one of these, or make a NeuralRecording of its array in Python.",
        )
    if not path.is_file() or not path.stat().st_size:
        raise PatchclampError(
            expected="a file with a recording",
            got=f"{path}, {'which is empty' if path.is_file() else 'which is no file'}",
            remedy="Check the path.",
        )
    return reader_of_suffix.read(path)


def sort_arrays(found: Mapping[str, Any]) -> Contents:
    """Return what a file holds from its variables: numeric arrays, cell arrays of event times, and the rest by name."""
    arrays, events, skipped = {}, {}, {}
    for name, value in found.items():
        a = np.asarray(value)
        if a.dtype.kind == "O":
            cells = [np.asarray(cell) for cell in a.ravel()]
            if cells and all(cell.dtype.kind in "biuf" and cell.size == max(cell.shape, default=1) for cell in cells):
                events[name] = tuple(cell.ravel().astype(np.float64) for cell in cells)
            else:
                skipped[name] = "a cell array"
        elif a.dtype.kind in "biuf" and a.size and a.ndim <= 3:
            arrays[name] = a.astype(np.uint8) if a.dtype.kind == "b" else a
        else:
            kinds = {"U": "text", "S": "text", "V": "a struct"}
            skipped[name] = kinds.get(a.dtype.kind, "empty" if not a.size else f"{a.ndim} axes of {a.dtype}")
    return Contents(arrays, events, skipped=skipped)


def import_reader(module: str, path: Path) -> Any:
    """Return a package that reads a format.

    Raises:
        PatchclampError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise PatchclampError(
            expected=f"the package {module.split('.')[0]}, which reads {path.suffix} files",
            got="none installed",
            remedy="pip install 'patchclamp[brains]', or save the recording as CSV.",
        ) from problem


def unreadable(path: Path, kind: str, problem: Exception) -> Damaged:
    """Return the error of a file that ended early or is not what its name says.

    Returns:
        Damaged: to be raised from the reader's own error.
    """
    reason = " ".join(str(problem).split())[:160]
    return Damaged(
        expected=kind,
        got=f"{path}, which cannot be read as one ({type(problem).__name__}: {reason})",
        remedy="Copy the file again where it ended early, or give it the ending of its format.",
    )
