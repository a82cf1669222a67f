"""Files of recorded brains: CSV, MATLAB, NWB and NumPy, read as named arrays. Nothing in them is run."""

import csv
import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.subjects.unpacked_sizes import hdf5_bytes, mat_bytes, refuse_if_larger, refuse_large_arrays

SUFFIXES = (".csv", ".mat", ".nwb", ".npy", ".npz")
TABLE = "table"
"""The name of a CSV's columns together, and of a bare array."""
CELLS = 8
"""Bytes of memory for a byte of a CSV, once each cell is a string of its own."""
_BLANK = {"", "nan", "na", "n/a", "null"}
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds, before anybody says which of it is what.

    Args:
        arrays: numeric arrays by name, at most three axes.
        events: event times in seconds by name, one array per unit or trial.
        columns: names of the last axis of an array, by the array's name.
        facts: what the file itself states of a variable: rate, start, measure.
        skipped: variables that are no numbers, with what they are.
    """

    arrays: Mapping[str, np.ndarray]
    events: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the variables with their shapes, as an error names them."""
        parts = [f"{n} {' × '.join(map(str, a.shape))} {a.dtype}" for n, a in self.arrays.items()]
        parts += [f"{n} {len(e)} lists of event times" for n, e in self.events.items()]
        parts += [f"{n} ({what}, not read)" for n, what in self.skipped.items()]
        return "; ".join(parts[:12]) + (" …" if len(parts) > 12 else "") if parts else "nothing"


def read(path: Path) -> Contents:
    """Read a file's variables.

    Raises:
        PatchclampError: not there, empty, of another format, or a package that reads it is not installed.
        Damaged: it ends early, or is not what its name says.
    """
    readers = {".csv": _csv, ".mat": _mat, ".nwb": _nwb, ".npy": _npy, ".npz": _npy}
    if path.suffix.lower() not in readers:
        raise PatchclampError(
            expected=f"a recording in one of {', '.join(SUFFIXES)}",
            got=str(path),
            remedy="Save it as one of these, or make a NeuralRecording of its array in Python.",
        )
    if not path.is_file() or not path.stat().st_size:
        raise PatchclampError(
            expected="a file with a recording",
            got=f"{path}, {'which is empty' if path.is_file() else 'which is no file'}",
            remedy="Check the path.",
        )
    return readers[path.suffix.lower()](path)


def rows_of(path: Path) -> list[list[str]]:
    """Return the cells of a CSV, line by line, blank lines left out; lines may differ in length.

    Raises:
        Damaged: it is no text, or no CSV.
    """
    refuse_if_larger(path, CELLS * path.stat().st_size)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise _unreadable(path, "a CSV in UTF-8", problem) from problem


def number(cell: str, where: str) -> float:
    """Return a cell as a float; an empty one, ``nan`` and ``na`` are missing samples.

    Raises:
        PatchclampError: it is a word, or too large for a float.
    """
    if cell.lower() in _BLANK:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise PatchclampError(
            expected="finite numbers in every line below the header, and missing samples empty or NaN",
            got=f"{cell[:40]!r} in {where}",
            remedy="Take words out of the table, and write decimals with a point and columns with a comma.",
        )
    return value


def _csv(path: Path) -> Contents:
    rows = rows_of(path)
    header: list[str] | None = None
    if rows and not any(_is_number(cell) for cell in rows[0]):
        header, rows = rows[0], rows[1:]
    if not rows:
        raise PatchclampError(
            expected="lines of numbers", got=f"{path}, which has none", remedy="Check that it is the right file."
        )
    width, top = len(header or rows[0]), 1 if header is None else 2
    for line, row in enumerate(rows, top):
        if len(row) != width:
            raise PatchclampError(
                expected=f"{width} columns in every line of {path.name}",
                got=f"{len(row)} in line {line}",
                remedy="Mend that line; a missing sample is an empty cell between two commas.",
            )
    columns = {} if header is None else {TABLE: tuple(header)}
    try:
        plain = np.array([[float(cell) for cell in row] for row in rows])
        if not np.isinf(plain).any():
            return Contents({TABLE: plain}, columns=columns)
    except ValueError:
        pass  # a gap or a word: cell by cell, several times slower, it is told which and where
    at = f"{path.name} line {{}}, column {{}}"
    values = [[number(cell, at.format(i, j)) for j, cell in enumerate(row, 1)] for i, row in enumerate(rows, top)]
    return Contents({TABLE: np.array(values)}, columns=columns)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _mat(path: Path) -> Contents:
    with path.open("rb") as file:
        head = file.read(520)
    # MATLAB puts 512 bytes of its own before the HDF5 file that a v7.3 file is.
    if _HDF5 in (head[:8], head[512:520]):
        return _mat_hdf5(path)
    io = _need("scipy.io", path)
    try:
        refuse_if_larger(path, mat_bytes(path))
        found = io.loadmat(path, struct_as_record=True)
    except PatchclampError:
        raise
    # What a damaged file makes of the parser is any of a dozen errors; none of them runs anything.
    except Exception as problem:
        raise _unreadable(path, "a MATLAB file", problem) from problem
    return _name_variables({name: value for name, value in found.items() if not name.startswith("__")})


def _mat_hdf5(path: Path) -> Contents:
    h5py = _need("h5py", path)
    try:
        with h5py.File(path, "r") as file:
            found: dict[str, Any] = {}
            _check_hdf5(path, h5py, file)
            for name in file:
                item = file[name]
                if name.startswith("#"):
                    continue
                if not isinstance(item, h5py.Dataset):
                    found[name] = "a struct"
                elif item.dtype.kind == "O":
                    cells = [file[ref][()] for ref in item[()].ravel() if isinstance(ref, h5py.Reference)]
                    found[name] = np.empty(len(cells), dtype=object)
                    found[name][:] = cells
                else:
                    # MATLAB keeps columns together, so HDF5 shows the axes in reverse.
                    found[name] = item[()].T
    except (OSError, KeyError, ValueError, RuntimeError) as problem:
        raise _unreadable(path, "a MATLAB 7.3 file", problem) from problem
    return _name_variables(found)


def _check_hdf5(path: Path, h5py: Any, file: Any) -> None:
    """Refuse variables, and then cells, that lie in other files or are larger than memory."""
    if any(isinstance(file.get(name, getlink=True), h5py.ExternalLink) for name in file):
        raise ValueError("a variable that lies in another file")
    stored = [file[name] for name in file if not name.startswith("#") and isinstance(file[name], h5py.Dataset)]
    total = sum(hdf5_bytes(path, one) for one in stored)
    refuse_if_larger(path, total)
    lists = [one[()].ravel() for one in stored if one.dtype.kind == "O"]
    cells = [file[ref] for refs in lists for ref in refs if isinstance(ref, h5py.Reference)]
    # One cell may be named many times, and is then read as often.
    refuse_if_larger(path, total + sum(hdf5_bytes(path, cell) for cell in cells))


def _name_variables(found: Mapping[str, Any]) -> Contents:
    """Tell numeric arrays, cell arrays of event times and the rest apart."""
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


def _npy(path: Path) -> Contents:
    try:
        refuse_large_arrays(path)
        found = np.load(path, allow_pickle=False)
        named = {TABLE: found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except PatchclampError:
        raise
    except Exception as problem:  # zip files and headers fail in as many ways as they can be damaged
        raise _unreadable(path, "a NumPy array without pickled objects", problem) from problem
    return _name_variables(named)


def _nwb(path: Path) -> Contents:
    pynwb = _need("pynwb", path)
    try:
        with pynwb.NWBHDF5IO(str(path), mode="r") as io:
            found = io.read()
            refuse_if_larger(path, sum(hdf5_bytes(path, one) for one in _nwb_datasets(pynwb, found)))
            return _nwb_contents(pynwb, found)
    except PatchclampError:
        raise
    except Exception as problem:  # pynwb, hdmf and HDF5 each have errors of their own
        raise _unreadable(path, "an NWB file", problem) from problem


def _nwb_datasets(pynwb: Any, nwb: Any) -> list[Any]:
    """Return the datasets of a file that are read whole."""
    series = [one for one in nwb.objects.values() if isinstance(one, pynwb.TimeSeries)]
    found = [data for one in series for data in (one.data, one.timestamps)]
    if nwb.units is not None and "spike_times" in nwb.units.colnames:
        times = nwb.units["spike_times"]
        found += [times.data, getattr(getattr(times, "target", None), "data", None)]
    return [one for one in found if hasattr(one, "is_virtual")]


def _nwb_contents(pynwb: Any, nwb: Any) -> Contents:
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for series in nwb.objects.values():
        if not isinstance(series, pynwb.TimeSeries):
            continue
        stored = np.asarray(series.data[:]) if series.data is not None else np.zeros(0)
        if stored.dtype.kind not in "biuf" or not stored.size or stored.ndim > 2:
            skipped[series.name] = "no numbers over time"
            continue
        name = series.name if series.name not in arrays else f"{series.parent.name}/{series.name}"
        values = stored if stored.ndim == 2 else stored[:, None]
        scaled = series.conversion != 1.0 or series.offset != 0.0
        arrays[name] = values * series.conversion + series.offset if scaled else values
        facts[name] = {"measure": _measure(series), "axes": ("time", "unit"), **_clock(series, len(values))}
    events: dict[str, tuple[np.ndarray, ...]] = {}
    if nwb.units is not None and "spike_times" in nwb.units.colnames:
        events["units"] = tuple(np.asarray(nwb.units["spike_times"][i], dtype=float) for i in range(len(nwb.units)))
        facts["units"] = {"axes": ("unit", "time")}
    return Contents(arrays, events, facts=facts, skipped=skipped)


def _measure(series: Any) -> str | None:
    """Return the unit that a series states; words for none leave it unknown, but ΔF/F has none by nature."""
    stated = str(series.unit or "").strip()
    if stated.lower() not in {"", "n.a.", "n/a", "na", "a.u.", "au", "arbitrary", "unknown", "none"}:
        return stated
    return "ΔF/F" if type(series.parent).__name__ == "DfOverF" else None


def _clock(series: Any, n: int) -> dict[str, Any]:
    if series.rate is not None:
        return {"rate": float(series.rate), "start": float(series.starting_time or 0.0)}
    return {"clock": np.asarray(series.timestamps[:], dtype=float)} if series.timestamps is not None and n > 1 else {}


def _need(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise PatchclampError(
            expected=f"the package {module.split('.')[0]}, which reads {path.suffix} files",
            got="none installed",
            remedy="pip install 'patchclamp[brains]', or save the recording as CSV.",
        ) from problem


def _unreadable(path: Path, kind: str, problem: Exception) -> Damaged:
    told = " ".join(str(problem).split())[:160]
    return Damaged(
        expected=kind,
        got=f"{path}, which cannot be read as one ({type(problem).__name__}: {told})",
        remedy="Copy the file again where it ended early, or give it the ending of its format.",
    )
