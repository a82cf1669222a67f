"""What a file says that it unpacks to, asked before any of it is unpacked."""

import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.memory import free_memory

RATIO, SMALL = 100, 2**28
"""What unpacks to more than this many bytes may be this many times its file: recordings shrink to a tenth, bombs to a
thousandth."""
_CHUNK = 2**20


def most_bytes(path: Path) -> int:
    """Return the bytes that a file may unpack to: half of the memory that is free, and in proportion to the file."""
    free = free_memory()
    proportion = max(SMALL, RATIO * path.stat().st_size)
    return proportion if free is None else min(proportion, free // 2)


def refuse_if_larger(path: Path, declared: int) -> None:
    """Refuse a file that unpacks to more than it may.

    Raises:
        PatchclampError: it does; both sizes are said.
    """
    most, size = most_bytes(path), path.stat().st_size
    if declared > most:
        limit = f"half of the free memory, {most:,} bytes"
        if most == RATIO * size or most == SMALL:
            limit = f"{most:,} bytes ({RATIO} times its own {size:,}, or {SMALL:,})"
        raise PatchclampError(
            expected=f"a file that unpacks to at most {limit}",
            got=f"{path}, which says that it unpacks to {'more' if declared == most + 1 else f'{declared:,} bytes'}",
            remedy="Save it uncompressed where it really is so large, or in parts that fit.",
        )


def refuse_large_arrays(path: Path, names: Collection[str] | None = None) -> None:
    """Refuse an npz or npy file whose arrays are too large, before NumPy makes room for them.

    Args:
        path: the file.
        names: the arrays of an npz file that will be read (default: all).

    Raises:
        PatchclampError: too large.
        ValueError: a header says more than the file holds.
        zipfile.BadZipFile: it is a zip file, but a damaged one.
    """
    total = 0
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            total = _array_bytes(file, path.name, path.stat().st_size)
        else:
            with zipfile.ZipFile(file) as packed:
                for member in packed.infolist():
                    if names is not None and member.filename.removesuffix(".npy") not in names:
                        continue
                    with packed.open(member) as opened:
                        _array_bytes(opened, member.filename, member.file_size)
                    total += member.file_size
    refuse_if_larger(path, total)


def _array_bytes(file: Any, name: str, size: int) -> int:
    """Return the bytes of the array that a header says; what is no array is left for NumPy to refuse."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if file.read(6) != b"\x93NUMPY":
        return 0
    version = (file.read(1) + file.read(1)).ljust(2, b"\0")
    if (version[0], version[1]) not in readers:
        raise ValueError(f"{name} in format {version[0]}.{version[1]} of NumPy")
    shape, _, dtype = readers[version[0], version[1]](file)
    declared = math.prod(shape) * dtype.itemsize
    if declared > size and not dtype.hasobject:
        raise ValueError(f"{name}, whose header says {declared:,} bytes of {size:,}")
    return declared


def mat_bytes(path: Path) -> int:
    """Return the bytes that a MATLAB 5 file unpacks to, or one more than it may: counting stops there.

    Every element may be compressed, and says nothing of its size; each is unpacked once in pieces that are thrown away.

    Cost: a second unpacking, of files that are large enough to matter.
    """
    most, size = most_bytes(path), path.stat().st_size
    if size * 1032 <= SMALL:  # deflate shrinks no further
        return size
    total = 0
    with path.open("rb") as file:
        head = file.read(128)
        order: Any = {b"IM": "little", b"MI": "big"}.get(head[126:128])
        if order is None:
            return size  # version 4 does not compress
        while len(tag := file.read(8)) == 8 and total <= most:
            kind, length = (int.from_bytes(tag[i : i + 4], order) for i in (0, 4))
            total += _count_unpacked(file, length, most - total) if kind == 15 else length
            if kind != 15:
                file.seek(length, 1)
    return min(total, most + 1)


def _count_unpacked(file: Any, length: int, most: int) -> int:
    """Return what a compressed piece unpacks to, or a little more than ``most`` where it is more."""
    end, total, unpacker = file.tell() + length, 0, zlib.decompressobj()
    while file.tell() < end and total <= most:
        piece = file.read(min(_CHUNK, end - file.tell()))
        if not piece:
            break
        while piece and total <= most:
            total += len(unpacker.decompress(piece, _CHUNK))
            piece = unpacker.unconsumed_tail
    file.seek(end)
    return total


def hdf5_bytes(path: Path, dataset: Any) -> int:
    """Return the bytes that an HDF5 dataset unpacks to, which may be any number whatever the file's size.

    Raises:
        ValueError: its numbers lie in another file.
    """
    elsewhere = dataset.external or dataset.is_virtual or Path(dataset.file.filename).resolve() != path.resolve()
    if elsewhere:
        raise ValueError(f"{dataset.name}, whose numbers lie in another file")
    return int(dataset.size or 0) * int(dataset.dtype.itemsize)
