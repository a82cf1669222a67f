"""Labelled text as JSON lines: ``text``, ``tokens``, and ``concepts``, a list of names per token.

`patchclamp organism text NAME --labels` prints such lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import parse

LONGEST_LINE = 2**24


@dataclass(frozen=True)
class Document:
    """One labelled document: its text, and the concepts true of each token, special ones included."""

    text: str
    concepts: tuple[frozenset[str], ...]


def is_labelled(path: str | Path) -> bool:
    """Say whether a file is labelled text, by its first line.

    Raises:
        PatchclampError: a first line of JSON that is too long to be read.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            line = file.readline(LONGEST_LINE + 1)
        if line.startswith("{") and len(line) > LONGEST_LINE:
            raise PatchclampError(
                expected=f"documents of at most {LONGEST_LINE:,} characters, one a line",
                got=f"{path}, whose first line is longer",
                remedy="Cut it into more documents; plain text must not begin with such a line.",
            )
        first = parse(line) if line.startswith("{") else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and {"text", "tokens", "concepts"} <= first.keys()


def documents(path: str | Path) -> Iterator[Document]:
    """Yield the documents of a labelled file.

    Raises:
        PatchclampError: a line is no document.
    """
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = parse(line)
                concepts = tuple(frozenset(map(str, true)) for true in row["concepts"])
                if not isinstance(row["text"], str) or len(concepts) != len(row["tokens"]):
                    raise ValueError("not as many concepts as tokens")
            except (ValueError, KeyError, TypeError, RecursionError) as problem:
                raise PatchclampError(
                    expected='lines like {"text": "…", "tokens": ["…"], "concepts": [["…"]]}',
                    got=f"{path}, line {number}: {problem}"[:200],
                    remedy="`patchclamp organism text NAME --labels` writes such lines.",
                ) from problem
            yield Document(row["text"], concepts)
