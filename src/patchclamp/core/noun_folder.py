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
        PatchclampError: no such bundle there, or one whose writing was interrupted.
        Damaged: a part is missing, changed, or of another type.
    """
    bundle = Bundle.open(folder, kind=kind)
    if not bundle.whole:
        raise PatchclampError(
            expected=f"a whole folder of kind {kind}",
            got=f"{folder}, interrupted after {len(bundle.pieces)} parts",
            remedy="Go on with --resume where the command has it, or make it again in another folder.",
        )
    if damaged := bundle.damaged():
        raise Damaged(
            expected="parts and files as they were committed",
            got=f"damaged or missing: {', '.join(damaged[:8])}",
            remedy="Restore them from a copy, or make the folder again.",
        )
    try:
        return build(bundle)
    except (
        KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError, MemoryError, PatchclampError
    ) as problem:  # fmt: skip
        raise Damaged(
            expected=f"a whole folder of kind {kind}",
            got=f"{folder}: {problem.got if isinstance(problem, PatchclampError) else problem}",
            remedy="Restore the folder, or make it again.",
        ) from problem
