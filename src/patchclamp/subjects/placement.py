"""Where weights lie: one device, or several as accelerate shares them out, with a bound for each."""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from patchclamp.core.errors import PatchclampError

AUTO = "auto"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]i?B|B)")


def refuse_device(device: str) -> None:
    """Refuse devices that nothing can be loaded on.

    Raises:
        PatchclampError: meta tensors, a bound that says nothing or is for a GPU that is not there, or ``auto`` without
            the package that places weights.
    """
    if device == "meta":
        raise PatchclampError(expected="a device that computes", got="'meta'", remedy="Use --device cpu.")
    if is_shared(device) and importlib.util.find_spec("accelerate") is None:
        raise PatchclampError(
            expected=f"the package accelerate, which places weights for --device {AUTO}",
            got="none installed",
            remedy="pip install 'patchclamp[adapters]', or name a device: cpu, cuda, mps.",
        )
    numbers = [place for place in arrange_weights(device).get("max_memory", {}) if isinstance(place, int)]
    if numbers:
        import torch

        there = torch.accelerator.device_count()
        if lacking := [str(number) for number in numbers if number >= there]:
            raise PatchclampError(
                expected=f"bounds for GPUs of this machine, which has {there or 'none'}",
                got=f"GPU {', '.join(lacking)} in {device!r}",
                remedy="Leave those bounds out.",
            )


def is_shared(device: str) -> bool:
    """Return whether accelerate places the weights.

    Example:
        >>> is_shared("auto"), is_shared("auto:cpu=2GiB"), is_shared("cuda:1")
        (True, True, False)
    """
    return device.partition(":")[0] == AUTO


def arrange_weights(device: str) -> dict[str, Any]:
    """Return what transformers needs to place weights; nothing where one device takes them all.

    Args:
        device: a device, ``auto``, or ``auto:cpu=8GiB,cuda:0=20GiB``: at most so much on each. What fits nowhere stays
            on the disk, and is read when a block runs.

    Returns:
        dict: ``device_map`` and ``max_memory``.

    Raises:
        PatchclampError: a bound that says nothing.

    Example:
        >>> arrange_weights("auto:cpu=2GiB,cuda:0=10GiB")
        {'device_map': 'auto', 'max_memory': {'cpu': 2147483648, 0: 10737418240}}
        >>> arrange_weights("cpu")
        {}
    """
    if not is_shared(device):
        return {}
    _, bounded, bounds = device.partition(":")
    if not bounded:
        return {"device_map": AUTO}
    most: dict[str | int, int] = {}
    for bound in bounds.split(","):
        place, _, size = bound.strip().rpartition("=")
        number = re.fullmatch(r"(?:cuda:|xpu:)?(\d+)", place)
        amount = _SIZE.fullmatch(size)
        if amount is None or not (number or place in ("cpu", "mps")):
            raise PatchclampError(
                expected="bounds such as auto:cpu=8GiB,cuda:0=20GiB",
                got=f"{bound!r} in {device!r}",
                remedy="Name a device and a size in B, KiB, MiB, GiB or TiB.",
            )
        step = 1024 if "i" in amount[2] else 1000
        power = "BKMGT".index(amount[2][0])
        key: str | int = int(number[1]) if number else place
        if key in most:
            raise PatchclampError(
                expected="one bound for each device",
                got=f"a second one for {place} in {device!r}",
                remedy="Leave one of them out.",
            )
        most[key] = int(float(amount[1]) * step**power)
    return {"device_map": AUTO, "max_memory": most}


@contextmanager
def bring_weights(module: Any) -> Iterator[None]:
    """Hold a module's own weights in memory while the context lasts, where accelerate keeps them elsewhere.

    Args:
        module: one that has weights of its own, such as a norm or an embedding. It is not to be run meanwhile: it would
            let go of them.
    """
    if not any(p.is_meta for p in module.parameters(recurse=False)):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(module):
        yield
