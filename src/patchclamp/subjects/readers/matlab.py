"""Files before 7.3 with SciPy, files of 7.3, which are HDF5, with h5py."""

from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.neural_files import Contents, Reader, import_reader, sort_arrays, unreadable
from patchclamp.subjects.unpacked_sizes import hdf5_bytes, mat_bytes, refuse_if_larger

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read(path: Path) -> Contents:
    """Read the variables of a file, structs apart.

    Raises:
        PatchclampError: larger than memory, or no package that reads it.
        Damaged: it is no MATLAB file.
    """
    with path.open("rb") as file:
        head = file.read(520)
    # MATLAB puts 512 bytes of its own before the HDF5 file that a v7.3 file is.
    if _HDF5 in (head[:8], head[512:520]):
        return _mat_hdf5(path)
    io = import_reader("scipy.io", path)
    try:
        refuse_if_larger(path, mat_bytes(path))
        variables = io.loadmat(path, struct_as_record=True)
    except PatchclampError:
        raise
    # What a damaged file makes of the parser is any of a dozen errors; none of them runs anything.
    except Exception as problem:
        raise unreadable(path, "a MATLAB file", problem) from problem
    return sort_arrays({name: value for name, value in variables.items() if not name.startswith("__")})


def _mat_hdf5(path: Path) -> Contents:
    h5py = import_reader("h5py", path)
    try:
        with h5py.File(path, "r") as file:
            variables: dict[str, Any] = {}
            _check_hdf5(path, h5py, file)
            for name in file:
                item = file[name]
                if name.startswith("#"):
                    continue
                if not isinstance(item, h5py.Dataset):
                    variables[name] = "a struct"
                elif item.dtype.kind == "O":
                    cells = [file[ref][()] for ref in item[()].ravel() if isinstance(ref, h5py.Reference)]
                    variables[name] = np.empty(len(cells), dtype=object)
                    variables[name][:] = cells
                else:
                    # MATLAB keeps columns together, so HDF5 shows the axes in reverse.
                    variables[name] = item[()].T
    except (OSError, KeyError, ValueError, RuntimeError) as problem:
        raise unreadable(path, "a MATLAB 7.3 file", problem) from problem
    return sort_arrays(variables)


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


READER = Reader((".mat",), read)
