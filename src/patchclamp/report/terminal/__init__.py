"""Results in a terminal: each file here that names a noun prints it, one sentence first, then a table."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

__all__ = ["show"]


def show(noun: Any, top: int) -> None:
    """Print a noun.

    Args:
        noun: what a method gave.
        top: rows at most.
    """
    from rich.markup import escape

    from patchclamp.report.terminal.table import open_console

    names = [kind.__name__ for kind in type(noun).__mro__]
    for renderer in _renderers():
        if renderer.NOUN in names and (not hasattr(renderer, "suits") or renderer.suits(noun)):
            renderer.show(noun, top)
            break
    if noun.provenance.tier == "experimental":
        open_console().print(
            f"{escape(noun.provenance.method)} is [bold]experimental[/]: docs/howto/method.md says why"
        )


@cache
def _renderers() -> tuple[ModuleType, ...]:
    """Return the files that name a NOUN, those first that print only some results of its kind."""
    modules = [importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return tuple(sorted((one for one in modules if hasattr(one, "NOUN")), key=lambda one: not hasattr(one, "suits")))
