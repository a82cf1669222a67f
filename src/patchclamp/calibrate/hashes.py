"""Hashes that say what calibrated figures were measured on: stable across machines, blind to comments."""

import ast
import hashlib
import io
import json
import re
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from patchclamp.calibrate.trials import find_home, list_places
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.rooms import FOLDERS

PACKAGE = Path(__file__).parents[1]
LENGTH = 16
"""Hexadecimal digits that are kept."""
ASKED = ("prompt", "corrupt", "target", "contrast", "true", "effects", "either")
"""What decides figures, on the card of an organism that states no hash of its weights."""


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
    r"""Return what Python code does, line by logical line with its depth, however it is laid out.

    Comments, documentation, imports, spaces, line breaks within a statement and the card are left out: what of the card
    decides figures is compared by itself.

    Example:
        >>> strip_source("'Doc.'\n\nif x:\n    y = f(1,  # one\n          2)\n")
        '0ifx:\n1y=f(1,2)'
    """
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else ():
            if _decides_nothing(one):
                stop = one.end_lineno or one.lineno
                lines[one.lineno - 1 : stop] = [""] * (stop - one.lineno + 1)
    kept, depth, begun = [], 0, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row = token.start[0] - 1
        if token.type == tokenize.COMMENT and lines[row]:
            lines[row] = lines[row][: token.start[1]]
        depth += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        if token.type == tokenize.NEWLINE:
            # A formatter adds a comma where it breaks a list, and takes it away where it joins one.
            whole = re.sub(r",\s*\n\s*(?=[)\]}])", "", "\n".join(lines[begun : row + 1]))
            if line := re.sub(r"\s", "", whole):
                kept.append(f"{depth}{line}")
            begun = row + 1
    return "\n".join(kept)


def _decides_nothing(statement: ast.stmt) -> bool:
    """Return whether a statement is prose, an import or the card."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    if isinstance(statement, ast.Assign):
        return [ast.unparse(target) for target in statement.targets] == ["METHOD"]
    return isinstance(statement, ast.Import | ast.ImportFrom)


def hash_method(method: Method, tests: Path) -> dict[str, str]:
    """Return the hashes of what decides a method's figures, organisms apart.

    That is its own file or folder (but for the card) with the sources that its card names, its oracle, and what is
    measured of the noun that it gives. Files that many methods share (an engine, the subjects) are not among them, or
    every change there would make every method stale: a row that the tests run anew shows whether figures still hold.

    Args:
        method: of the package, or one of your own.
        tests: folder in which ``oracles`` lies.
    """
    oracle, _, _ = method.oracle.partition(":")
    return {
        "method": hash_sources([*_own_files(method), *(PACKAGE / source for source in method.sources)]),
        "oracle": hash_sources([tests / f"{oracle.replace('.', '/')}.py"]),
        "measure": hash_sources([PACKAGE / "calibrate" / "measures" / f"{method.gives.lower()}.py"]),
    }


def _own_files(method: Method) -> list[Path]:
    """Return a method's file, or all files of its folder."""
    file = PACKAGE.parent / method.file
    for folder in (PACKAGE / one for one in FOLDERS[method.kind]):
        if file.is_relative_to(folder):
            top = folder / file.relative_to(folder).parts[0]
            return sorted(top.rglob("*.py")) if top.is_dir() else [top]
    return [file]


@cache
def hash_organism(name: str) -> str:
    """Return the hash of an organism: of its weights and what is asked of it, or of the code that makes it."""
    home: Any = find_home(name)
    if hasattr(home, "find_file"):
        return hash_sources([home.find_file(name)])
    if not hasattr(home, "card"):
        return hash_sources(sorted(Path(str(home.__file__)).parent.glob("*.py")))
    card = home.card(name)
    if "hash" in card:
        return str(card["hash"])[:LENGTH]
    about: Any = [home.build(name).hash, {part: card.get(part) for part in ASKED}]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:LENGTH]


def hash_organisms(method: Method) -> dict[str, str]:
    """Return the hashes of all organisms that a method's card names."""
    names = dict.fromkeys(place.partition(":")[0] for place, _ in list_places(method))
    return {name: hash_organism(name) for name in names}
