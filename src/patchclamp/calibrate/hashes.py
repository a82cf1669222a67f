"""Hashes that say what calibrated figures were measured on: stable across machines, blind to comments."""

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import patchclamp
from patchclamp import organisms
from patchclamp.calibrate.trials import list_places
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.organisms import planted, populations

PACKAGE = Path(patchclamp.__file__).parent
LENGTH = 16
"""Hexadecimal digits that are kept."""
ASKED = ("prompt", "corrupt", "target", "contrast", "true", "effects", "either")
"""What of a planted organism's card decides figures."""


def hash_sources(files: Iterable[Path]) -> str:
    """Return one hash of Python files: their code, without comments, documentation and blank lines.

    Raises:
        PatchclampError: a file that there is not.
    """
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            raise PatchclampError(
                expected="the file that a card names", got=str(file), remedy="Mend the card's oracle or sources."
            )
        digest.update(f"{file.name}\n{strip_source(file.read_text(encoding='utf-8'))}".encode())
    return digest.hexdigest()[:LENGTH]


def strip_source(text: str) -> str:
    r"""Return Python code without comments, documentation, blank lines and spaces at line ends.

    Example:
        >>> strip_source("'Doc.'\n\nx = 1  # one\n")
        'x = 1'
    """
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for first in body if isinstance(body, list) else ():
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.value.value is not ...:
                for i in range(first.lineno - 1, first.end_lineno or first.lineno):
                    lines[i] = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def hash_method(method: Method, tests: Path) -> dict[str, str]:
    """Return the hashes of what decides a method's figures, organisms apart.

    That is its own file or folder with the sources that its card names, its oracle, and what is measured of the noun
    that it gives. Files that many methods share (the engine, the subjects) are not among them: a row that is run anew
    in the tests shows whether their figures still hold.

    Args:
        method: of the package, or one of your own.
        tests: folder in which ``oracles`` lies.
    """
    own = PACKAGE.parent / method.file
    folder = own.with_suffix("")
    files = [*sorted(folder.glob("*.py"))] if folder.is_dir() else [own]
    oracle, _, _ = method.oracle.partition(":")
    return {
        "method": hash_sources([*files, *(PACKAGE / source for source in method.sources)]),
        "oracle": hash_sources([tests / f"{oracle.replace('.', '/')}.py"]),
        "measure": hash_sources([PACKAGE / "calibrate" / "measures" / f"{method.gives.lower()}.py"]),
    }


@cache
def hash_organism(name: str) -> str:
    """Return the hash of an organism: of its weights and what is asked of it, or of the code that makes it."""
    if name in populations.names():
        return hash_sources(sorted((PACKAGE / "organisms" / "populations").glob("*.py")))
    card = organisms.card(name)
    if name in planted.names():
        about: Any = [planted.build(name).hash, {part: card.get(part) for part in ASKED}]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:LENGTH]
    return str(card["hash"])[:LENGTH]


def hash_organisms(method: Method) -> dict[str, str]:
    """Return the hashes of all organisms that a method's card names."""
    names = dict.fromkeys(place.partition(":")[0] for place, _ in list_places(method))
    return {name: hash_organism(name) for name in names}
