"""Write arrays as a safetensors file one after another, so that no copy of them all is made."""

import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  NumPy knows bfloat16 only once this is imported
import numpy as np

TYPES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
"""The format's name of each of NumPy's types, in the order in which arrays lie in a file."""
WRITTEN_AT_ONCE = 2**24


def save_file(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write arrays by name; the bytes are those of ``safetensors.numpy.save_file``.

    Args:
        tensors: arrays of the format's types.
        path: the file.

    Raises:
        OSError: a full disk.

    Cost: one write; memory of one array where it does not lie row by row, else of a few megabytes.
    """
    rank = {kind: number for number, kind in enumerate(TYPES)}
    names = sorted(tensors, key=lambda name: (rank[tensors[name].dtype.name], name.encode()))
    header, end = {}, 0
    for name in names:
        array = tensors[name]
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            # Not ascontiguousarray, which gives a single number an axis.
            array = np.asarray(tensors[name], order="C")
            data = array.reshape(-1).view(np.uint8).data if array.size else b""
            for first in range(0, array.nbytes, WRITTEN_AT_ONCE):
                file.write(data[first : first + WRITTEN_AT_ONCE])
