"""How much of it is free where a model computes, and work in batches that make do with it."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from patchclamp.core.errors import PatchclampError, lacks_memory

Part = TypeVar("Part")
SHARE = 0.5
"""Share of the free memory that a batch may take by its estimate: what else is loaded meanwhile needs some too."""


def free_memory(device: str = "cpu") -> int | None:
    """Return the memory that is free on a device; None where nobody tells.

    Args:
        device: as PyTorch names it.

    Returns:
        Bytes: of a GPU its own, else what the operating system could give, or all that there is.

    Example:
        >>> free_memory() is None or free_memory() > 2**20
        True
    """
    if device.startswith("cuda"):
        import torch  # files are read without it

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None


def count_fitting(bytes_of_row: int, most: int, device: str = "cpu") -> int:
    """Return how many rows a batch may have: at most so many, at least one, of half the memory that is free.

    Args:
        bytes_of_row: what a row takes, by estimate.
        most: rows of a batch where memory is no matter.
        device: where the model computes.

    Returns:
        int: rows.

    Example:
        >>> count_fitting(1, 16), count_fitting(2**60, 16)
        (16, 1)
    """
    free = free_memory(device)
    if free is None or bytes_of_row <= 0:
        return most
    return max(1, min(most, int(free * SHARE) // bytes_of_row))


def run_in_batches(n: int, most: int, run: Callable[[int, int], Part], *, remedy: str = "") -> Iterator[Part]:
    """Yield what ``run(first, end)`` returns for one batch after another; where memory runs out, batches are halved.

    Rows that were done stay done: the work goes on with half as many at once, down to a single one.

    Args:
        n: rows.
        most: rows of a batch.
        run: does a batch: the rows from ``first`` up to ``end``.
        remedy: what else saves memory, where a single row takes too much.

    Yields:
        What ``run`` returns, in order.

    Raises:
        PatchclampError: a single row does not fit.

    Example:
        >>> list(run_in_batches(5, 2, lambda first, end: list(range(first, end))))
        [[0, 1], [2, 3], [4]]
    """
    first = 0
    while first < n:
        end, problem = min(n, first + most), None
        try:
            part = run(first, end)
        except (MemoryError, OSError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            problem = str(error)[:160]
        # Behind the handler, where the failed batch is no longer held by its traceback.
        if problem is None:
            yield part
            first = end
            continue
        _free_cached()
        if end - first == 1:
            raise PatchclampError(
                expected="memory for one row of a forward pass",
                got=problem,
                remedy=remedy or "Shorten the prompt, load with --dtype bfloat16, or free memory.",
            )
        most = (end - first) // 2


def _free_cached() -> None:
    """Give back what a failed batch left behind."""
    import torch  # files are read without it

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
