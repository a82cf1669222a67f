"""Networks that the package brings as code: one file each, found by listing this folder.

A file holds an ``nn.Module``, a function ``tiny`` that makes a small one, and a function ``example`` that gives inputs
which it accepts.
"""

import importlib
import pkgutil
from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.plain import PlainNetwork


def names() -> tuple[str, ...]:
    """List the networks."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def build(name: str) -> PlainNetwork:
    """Return a small network of a kind, with weights of chance, in the rig.

    Args:
        name: one of ``names()``.

    Raises:
        PatchclampError: no such network.

    Example:
        >>> [site.path for site in build("elm").sites()][:2]
        ['module.branch.in', 'module.branch.out']
    """
    if name not in names():
        raise PatchclampError(
            expected=f"a network among {', '.join(names())}", got=repr(name), remedy="`net:NAME` loads one of these."
        )
    file: Any = importlib.import_module(f"{__name__}.{name}")
    module = file.tiny()
    return PlainNetwork(module, file.example(module), name=name)
