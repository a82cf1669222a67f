"""Documents as stimuli, each token with the concepts true of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from patchclamp.core.stimulus import Stimulus
from patchclamp.organisms.language.concepts import CONCEPTS
from patchclamp.organisms.language.documents import Document
from patchclamp.organisms.language.tokens import align_concepts
from patchclamp.subjects.text import Tokenizer


@dataclass(frozen=True, eq=False)
class Labelled:
    """Hold one document as a stimulus, and what is true of every token.

    Args:
        stimulus: ids, roles and spans.
        concepts: names out of ``CONCEPTS`` per token; every piece of a word has the word's.
        ends: whether the token is the last piece of its word.
    """

    stimulus: Stimulus
    concepts: tuple[frozenset[str], ...]
    ends: Bool[np.ndarray, " token"]

    def where(self, concept: str) -> Bool[np.ndarray, " token"]:
        """Return at which tokens a concept is true."""
        return np.array([concept in true for true in self.concepts], dtype=bool)

    def to_json(self, token: Callable[[int], str]) -> dict[str, Any]:
        """Return the document as a line of labelled text, JSON-ready.

        Args:
            token: names a token's id.
        """
        return {
            "text": self.stimulus.text,
            "tokens": [token(int(i)) for i in self.stimulus.ids],
            "concepts": [sorted(true) for true in self.concepts],
        }

    @property
    def matrix(self) -> Bool[np.ndarray, "token concept"]:
        """All concepts at once, in the order of ``CONCEPTS``."""
        return np.array([[name in true for name in CONCEPTS] for true in self.concepts], dtype=bool)


def label_documents(written: Iterable[Document], rules: Any) -> list[Labelled]:
    """Turn documents into stimuli with labels, with a tokenizer of transformers."""
    tokenizer = Tokenizer(rules)
    labelled = []
    for document in written:
        stimulus = tokenizer.stimulus(document.text)
        concepts, ends = align_concepts(stimulus.spans, document.text, document.marks)
        labelled.append(Labelled(stimulus, concepts, np.array(ends, dtype=bool)))
    return labelled
