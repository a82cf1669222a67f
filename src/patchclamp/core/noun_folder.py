"""Write a noun to a folder, and read it from the folder or file that it was saved in, or say what is wrong with it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from patchclamp.core.arguments import checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import hold_folder
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import parse

Noun = TypeVar("Noun")


def load_noun(folder: str | Path, kind: str, build: Callable[[Bundle], Noun]) -> Noun:
    """Open a bundle, check that it is whole, and return what is built of it.

    Args:
        folder: where the noun was saved.
        kind: of bundle: ``scores``, ``readout``, ``edit``.
        build: makes the noun; whatever it misses in manifest or arrays may raise.

    Returns:
        Noun: what ``build`` returns.

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
    if damaged := bundle.find_damaged():
        raise Damaged(
            expected="parts and files as they were committed",
            got=f"damaged or missing: {', '.join(damaged[:8])}",
            remedy="Restore them from a copy, or make the folder again.",
        )
    try:
        return build(bundle)
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
        MemoryError,
        PatchclampError,
    ) as problem:
        raise Damaged(
            expected=f"a whole folder of kind {kind}",
            got=f"{folder}: {problem.got if isinstance(problem, PatchclampError) else problem}",
            remedy="Restore the folder, or make it again.",
        ) from problem


@checked
class InParts:
    """Save and load a noun that can be taken apart into JSON-ready data and arrays."""

    FOLDER: ClassVar[str]
    """Kind of the folder."""

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return everything as JSON-ready data and arrays, for a file."""
        raise NotImplementedError(f"{type(self).__name__} has no parts")

    @classmethod
    def of_parts(cls, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
        """Read what ``parts`` gave.

        Raises:
            PatchclampError, ValueError, TypeError, KeyError: it is something else.
        """
        raise NotImplementedError(f"{cls.__name__} has no parts")

    def save(self, folder: str | Path) -> None:
        """Write the noun to a new or empty folder, whole or not at all.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        head, arrays = self.parts()
        with hold_folder(folder):
            bundle = Bundle.create(folder, kind=self.FOLDER, manifest={self.FOLDER: head})
            bundle.append("arrays", arrays)
            bundle.finish()

    @classmethod
    def load(cls: type[Noun], folder: str | Path) -> Noun:
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no such noun there.
            Damaged: a part is missing or changed.
        """
        kind: Any = cls
        noun: Noun = load_noun(
            folder, kind.FOLDER, lambda bundle: kind.of_parts(bundle.manifest[kind.FOLDER], bundle.read("arrays"))
        )
        return noun


def read_object(path: str | Path, what: str) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Args:
        path: the file.
        what: the noun that was written there, in words.

    Raises:
        Damaged: no such file, or no JSON object.
    """
    try:
        data = parse(Path(path).read_bytes())
        if not isinstance(data, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as problem:
        raise Damaged(expected=f"a {what} in JSON", got=f"{path}: {problem}", remedy="Write it again.") from problem
    return data


def check_format(data: Mapping[str, Any], format: str, version: int, writer: str) -> None:
    """Refuse JSON of another format or version.

    Args:
        data: what was read.
        format: the format's name.
        version: the version that is read here.
        writer: what writes it, such as ``Task.save``.

    Raises:
        PatchclampError: it names another.
    """
    if data.get("format") != format or data.get("version") != version or data["version"] is True:
        raise PatchclampError(
            expected=f"{format} version {version}",
            got=f"{data.get('format')!r} version {data.get('version')!r}",
            remedy=f"`{writer}` writes one.",
        )
