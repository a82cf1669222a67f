"""How much of it is free where a model computes."""

import os
from pathlib import Path


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
