"""Tasks of which it is known what learning them one after another costs; one file each, found here."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from patchclamp.core.checks import one_of

PREFIX = "learner-"


def names() -> tuple[str, ...]:
    """List the planted streams."""
    return tuple(sorted(PREFIX + module.name for module in pkgutil.iter_modules(__path__)))


def find_file(name: str) -> Path:
    """Return the file that makes a planted stream."""
    return Path(__file__).with_name(f"{name.removeprefix(PREFIX)}.py")


def make(name: str, **sizes: Any) -> Any:
    """Make a planted stream.

    Args:
        name: one of ``names()``.
        sizes: its numbers, as its own ``make`` takes them.

    Raises:
        PatchclampError: no such stream.
    """
    one_of("planted stream", name, names())
    return importlib.import_module(f"{__name__}.{name.removeprefix(PREFIX)}").make(**sizes)
