"""Labelled text as one model reads it: its counted tokens, and the concepts true of each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.labelled import documents
from patchclamp.subjects.language import LanguageModel


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

    Args:
        model: the language model that tokenizes them.
        path: a file of labelled documents.
        most: number of counted tokens to read.

    Returns:
        Labelled: stimuli, and concepts of every counted token.

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
