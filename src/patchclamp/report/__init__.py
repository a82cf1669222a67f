"""Each file here that names a noun draws it as one HTML page, which asks for nothing outside."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.disk import write_file
from patchclamp.core.errors import PatchclampError

__all__ = ["draw", "save_report"]


@checked
def save_report(noun: Any, path: str | Path, *, command: str | None = None) -> None:
    """Write a page about a result, as one HTML file without script or outside reference.

    Args:
        noun: an Explanation, Scores, a Readout, a Similarity or Descriptions.
        path: the file, replaced whole or not at all.
        command: the command that makes the same result, to be shown.

    Raises:
        PatchclampError: a result that no renderer draws, or a file that cannot be written.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> from patchclamp.recipes import explain
        >>> found = explain(load("organism:cat"), "the old cat", " sat", contrast=" ran")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_report(found, f"{folder}/why.html")
    """
    write_file(Path(path), draw(noun, command=command).encode())


@checked
def draw(noun: Any, *, command: str | None = None) -> str:
    """Return a page about a result, as HTML.

    Args:
        noun: as for ``save_report``.
        command: the command that makes the same result, to be shown.

    Raises:
        PatchclampError: a result that no renderer draws.

    Example:
        >>> from patchclamp.core.estimate import Estimate
        >>> from patchclamp.core.similarity import Similarity
        >>> draw(Similarity(("one", "two"), Estimate(0.5, None, 9, "Pearson r")))[:15]
        '<!doctype html>'
    """
    names = [kind.__name__ for kind in type(noun).__mro__]
    for renderer in _renderers():
        if renderer.NOUN in names and _suits(renderer, noun):
            page: str = renderer.draw(noun, command=command)
            return page
    raise PatchclampError(
        expected=f"a result that can be drawn: {', '.join(sorted({one.NOUN for one in _renderers()}))}",
        got=type(noun).__name__,
        remedy="Give one of these, or add a file to patchclamp/report.",
    )


@cache
def _renderers() -> tuple[ModuleType, ...]:
    """Return the files that name a NOUN, those first that draw only some results of its kind."""
    modules = [importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return tuple(sorted((one for one in modules if hasattr(one, "NOUN")), key=lambda one: not hasattr(one, "suits")))


def _suits(renderer: ModuleType, noun: Any) -> bool:
    return not hasattr(renderer, "suits") or bool(renderer.suits(noun))
