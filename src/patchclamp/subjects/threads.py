"""How many compute, which decides how sums are rounded."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Compute with so many threads, and afterwards with as many as before.

    Example:
        >>> before = torch.get_num_threads()
        >>> with pinned_threads(1):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(threads, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
