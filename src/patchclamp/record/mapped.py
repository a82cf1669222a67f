"""Arrays that lie in a file and not in memory: the system writes out and reads again what is not used."""

import mmap
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch

from patchclamp.core.disk import refuse_write

ALIGNED = 64
HELD = 2**30
"""Bytes of such files that are in memory at once: what is let go of is mapped page by page when it is used again."""
Release = Callable[[], None]


def move_to_file(arrays: MutableMapping[str, Any], folder: Path) -> Release:
    """Move tensors and arrays into a file that is gone with them; what else is there stays as it is.

    Args:
        arrays: by name, such as the attributes of an object; changed in place.
        folder: where the file lies.

    Returns:
        Release: takes their pages out of this process' memory; values are read again from the file when they are asked
            for.

    Raises:
        PatchclampError: a full disk.

    Cost: one write of the arrays.
    """
    moved = {name: x for name, x in arrays.items() if isinstance(x, torch.Tensor | np.ndarray) and x.nbytes}
    starts, end = {}, 0
    for name, x in moved.items():
        starts[name], end = end, end + -(-x.nbytes // ALIGNED) * ALIGNED
    if not moved:
        return lambda: None
    try:
        with TemporaryFile(dir=folder) as file:
            file.truncate(end)
            held = mmap.mmap(file.fileno(), end)
    except OSError as problem:
        raise refuse_write(folder, problem) from problem
    for name, x in moved.items():
        kind = x.dtype if isinstance(x, np.ndarray) else x.numpy().dtype
        own = np.frombuffer(held, dtype=kind, count=int(np.prod(x.shape)), offset=starts[name]).reshape(tuple(x.shape))
        own[...] = x
        arrays[name] = own if isinstance(x, np.ndarray) else torch.from_numpy(own)

    def release() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            held.madvise(mmap.MADV_DONTNEED)

    release()
    return release


class Mapped:
    """States of which each lies in a file of its own, so that at most some ``HELD`` bytes of them are in memory.

    Args:
        folder: where the files lie; None where everything stays in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._release: list[Release] = []
        self._sizes: dict[str, int] = {}
        self._used = 0

    def move(self, name: str, state: MutableMapping[str, Any]) -> None:
        """Move the arrays of a state into a file; see ``move_to_file``."""
        if self.folder is not None:
            self._release.append(move_to_file(state, self.folder))
            self._sizes[name] = sum(x.nbytes for x in state.values() if isinstance(x, torch.Tensor | np.ndarray))

    def note_use(self, name: str) -> None:
        """Say that a state was used; where not all have room, they leave memory once enough were."""
        self._used += self._sizes.get(name, 0)
        if self._used > HELD and sum(self._sizes.values()) > HELD:
            self.release()

    def release(self) -> None:
        """Take all states out of memory."""
        for release in self._release:
            release()
        self._used = 0


class OneAtATime(Mapping[str, np.ndarray]):
    """Arrays by name, of which one is in memory: to ask for one lets go of the one before.

    Args:
        arrays: arrays, some of which lie in files.
        release: takes the pages of all of them out of memory.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], release: Release) -> None:
        self.arrays, self.release = arrays, release

    def __getitem__(self, name: str) -> np.ndarray:
        self.release()
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)
