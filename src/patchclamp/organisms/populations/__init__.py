"""Planted brains: recordings whose truth is known, made in code and never shipped."""

from collections.abc import Callable, Mapping
from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.organisms.populations import linear

MAKERS: Mapping[str, Callable[..., Any]] = {"brain-linear": linear.make}


def names() -> tuple[str, ...]:
    """List the planted brains."""
    return tuple(MAKERS)


def make(name: str, **sizes: Any) -> Any:
    """Make a planted brain.

    Args:
        name: one of ``names()``.
        sizes: its numbers, as its own ``make`` takes them.

    Raises:
        PatchclampError: no such brain.
    """
    if name not in MAKERS:
        raise PatchclampError(
            expected=f"a planted brain among {', '.join(MAKERS)}", got=repr(name), remedy="Choose one of these."
        )
    return MAKERS[name](**sizes)
