"""Labelled: text whose tokens carry the concepts true of them.

Labelled text is JSON lines, as `patchclamp organism text NAME --labels` prints them: ``text``, ``tokens``, and
``concepts``, a list of names per token.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import parse
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.language import LanguageModel

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
                found = parse(line)
                concepts = tuple(frozenset(map(str, true)) for true in found["concepts"])
                if not isinstance(found["text"], str) or len(concepts) != len(found["tokens"]):
                    raise ValueError("not as many concepts as tokens")
            except (ValueError, KeyError, TypeError, RecursionError) as problem:
                raise PatchclampError(
                    expected='lines like {"text": "…", "tokens": ["…"], "concepts": [["…"]]}',
                    got=f"{path}, line {number}: {problem}"[:200],
                    remedy="`patchclamp organism text NAME --labels` writes such lines.",
                ) from problem
            yield Document(found["text"], concepts)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Counted tokens of labelled documents.

    Args:
        stimuli: the documents as stimuli.
        names: concepts, in the order of the columns of ``true``.
        true: ``(token, concept)``, counted tokens of all stimuli in order.
        document: number of each token's document.
    """

    stimuli: tuple[Stimulus, ...]
    names: tuple[str, ...]
    true: Bool[np.ndarray, "token concept"]
    document: Int[np.ndarray, " token"]


def read_labels(model: LanguageModel, path: str | Path, most: int) -> Labelled:
    """Read labelled documents until they hold ``most`` counted tokens.

    Raises:
        PatchclampError: labels of another tokenizer.
    """
    stimuli: list[Stimulus] = []
    held: list[list[frozenset[str]]] = []
    n = 0
    for document in documents(path):
        stimulus = model.tokenize(document.text)
        if len(stimulus) != len(document.concepts):
            raise PatchclampError(
                expected=f"labels for the {len(stimulus)} tokens of {model.name}",
                got=f"{len(document.concepts)} for {document.text[:40]!r}",
                remedy="Label the text with this model's tokenizer.",
            )
        stimuli.append(stimulus)
        held.append([true for true, counts in zip(document.concepts, stimulus.counted, strict=True) if counts])
        n += len(held[-1])
        if n >= most:
            break
    names = tuple(sorted({name for tokens in held for true in tokens for name in true}))
    column = {name: i for i, name in enumerate(names)}
    true = np.zeros((n, len(names)), dtype=bool)
    for row, concepts in enumerate(c for tokens in held for c in tokens):
        true[row, [column[name] for name in concepts]] = True
    return Labelled(tuple(stimuli), names, true, np.repeat(np.arange(len(held)), [len(t) for t in held]))
