"""One array, or several by name, without pickled objects."""

from pathlib import Path

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.neural_files import TABLE, Contents, Reader, sort_arrays, unreadable
from patchclamp.subjects.unpacked_sizes import refuse_large_arrays


def read(path: Path) -> Contents:
    """Read an array, or several.

    Raises:
        PatchclampError: larger than memory.
        Damaged: it holds pickled objects, or is no file of NumPy.
    """
    try:
        refuse_large_arrays(path)
        array = np.load(path, allow_pickle=False)
        named = {TABLE: array} if isinstance(array, np.ndarray) else {name: array[name] for name in array.files}
    except PatchclampError:
        raise
    except Exception as problem:  # zip files and headers fail in as many ways as they can be damaged
        raise unreadable(path, "a NumPy array without pickled objects", problem) from problem
    return sort_arrays(named)


READER = Reader((".npy", ".npz"), read)
