"""Two halves of the microworld's text that share no template and no filler: one to learn from, one to be tested on."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.checks import within
from patchclamp.organisms.language.documents import Document, documents
from patchclamp.organisms.language.labelled import Labelled, label_documents
from patchclamp.organisms.language.labelled_line import Line

SALT = "72"
"""With it every task has templates in both halves."""


def half_of(*words: str) -> int:
    """Return the half of a template or filler, 0 or 1; a fixed draw, the same on every machine."""
    return hashlib.sha256("\n".join((words[0], SALT, *words[1:])).encode()).digest()[0] % 2


def is_in_half(line: Line, half: int) -> bool:
    """Say whether a line's template and its filler are both of a half; a line without filler is by its template."""
    sides = {half_of("template", line.task, line.template)}
    if line.filler:
        sides.add(half_of("filler", line.task, *line.filler))
    return sides == {half}


def documents_of_half(half: int, seed: int) -> Iterator[Document]:
    """Yield documents without end, all of whose lines are of a half; about one in four of those that are written."""
    for document in documents(seed):
        if all(is_in_half(line, half) for line in document.lines):
            yield document


@checked
def text_of_half(half: int, n: Natural = 1000, *, seed: int = 0, model: Any) -> list[Labelled]:
    """Write documents of one half as stimuli whose every token carries the concepts true of it.

    Words stand in both halves; templates, and what fills them together, stand in one.

    Args:
        half: 0 or 1.
        n: how many documents.
        seed: the same seed writes the same documents.
        model: a language organism, whose tokenizer cuts them.

    Returns:
        list[Labelled]: the first ``n`` documents of the seed.

    Raises:
        PatchclampError: another half.

    Cost: about four documents are written for each that is kept.
    """
    within("half", half, 0, 1)
    return label_documents(islice(documents_of_half(half, seed), n), model.tokenizer.bare)
