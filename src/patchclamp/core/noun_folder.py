"""Read a noun from the folder that it was saved in, or say what is wrong with the folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import Damaged, PatchclampError

Noun = TypeVar("Noun")


def load_noun(folder: str | Path, kind: str, build: Callable[[Bundle], Noun]) -> Noun:
    """Open a bundle, check that it is whole, and return what is built of it.

    Args:
        folder: where the noun was saved.
        kind: of bundle: ``scores``, ``readout``, ``edit``.
        build: makes the noun; whatever it misses in manifest or arrays may raise.

    Raises:
        PatchclampError: no such bundle there.
        Damaged: a part is missing, changed, or of another type.
    """
    bundle = Bundle.open(folder, kind=kind)
    try:
        if not bundle.whole:
            raise ValueError("its writing was cut off")
        if damaged := bundle.damaged():
            raise ValueError(f"{', '.join(damaged)} was changed or is missing")
        return build(bundle)
    except (
        KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError, MemoryError, PatchclampError
    ) as problem:  # fmt: skip
        raise Damaged(
            expected=f"a whole folder of kind {kind}",
            got=f"{folder}: {problem.got if isinstance(problem, PatchclampError) else problem}",
            remedy="Restore the folder, or make it again.",
        ) from problem
