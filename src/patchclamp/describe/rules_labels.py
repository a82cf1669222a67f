"""What is true of every position of some stimuli, found in the labelled documents or images that they are of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from patchclamp.core.arguments import checked
from patchclamp.core.corpus import Corpus
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import PackedStimuli, Role
from patchclamp.subjects.images import gallery
from patchclamp.subjects.labelled import documents

END = -1
"""Between documents; no token has this id."""
IMAGES = "images"


@dataclass(frozen=True, eq=False)
class Labels:
    """Hold the labels of all positions of packed stimuli; a picture is one position.

    Args:
        names: of the columns.
        true: ``(position, concept)``.
    """

    names: tuple[str, ...]
    true: Bool[np.ndarray, "position concept"]

    def sets(self, first: int, last: int) -> tuple[frozenset[str], ...]:
        """Return the labels of some positions as sets of names, as windows hold them."""
        return tuple(frozenset(self.names[i] for i in np.flatnonzero(row)) for row in self.true[first:last])


@checked
def read_labels(subject: Any, corpus: Corpus, stimuli: PackedStimuli) -> Labels:
    """Return the labels of stimuli that were cut from labelled documents, or that are images with classes.

    Args:
        subject: the model that reads the documents, or whose classes name the labels of images.
        corpus: labelled JSON lines, or images with labels.
        stimuli: windows of these documents, or some of these images.

    Returns:
        Labels: of every position; none of special tokens.

    Raises:
        PatchclampError: a corpus without labels, labels of another tokenizer, or a stimulus that is not of it.

    Cost: one tokenisation of the documents; a search in their ids per stimulus.
    """
    return _of_images(subject, corpus, stimuli) if "ids" not in stimuli.arrays else _of_text(subject, corpus, stimuli)


def _of_images(subject: Any, corpus: Corpus, stimuli: PackedStimuli) -> Labels:
    shown = gallery(corpus.source) if corpus.kind == IMAGES else None
    classes = {} if shown is None else dict(zip(shown.names, shown.labels, strict=False))
    names = [stimuli.kind.label(stimuli[i])[1] for i in range(len(stimuli))]
    unknown = [name for name in names if name not in classes]
    if unknown or not classes:
        _refuse(corpus, "no labels" if not classes else f"no image {unknown[0]!r}")
    numbers = np.array([classes[name] for name in names], dtype=np.int64)
    distinct = np.unique(numbers)
    called = tuple(str(subject.answer_name(i)) if i < subject.n_answers else str(i) for i in distinct.tolist())
    return Labels(called, numbers[:, None] == distinct)


def _of_text(subject: Any, corpus: Corpus, stimuli: PackedStimuli) -> Labels:
    ids: list[int] = []
    held: list[frozenset[str]] = []
    for document in documents(corpus.path):
        stimulus = subject.tokenizer.stimulus(document.text)
        if len(stimulus) != len(document.concepts):
            _refuse(corpus, f"{len(document.concepts)} labels for the {len(stimulus)} tokens of {document.text[:40]!r}")
        ids += [*stimulus.ids.tolist(), END]
        held += [*document.concepts, frozenset()]
    names = tuple(sorted({name for true in held for name in true}))
    column = {name: i for i, name in enumerate(names)}
    known = np.zeros((len(held), len(names)), dtype=bool)
    for row, own_labels in enumerate(held):
        known[row, [column[name] for name in own_labels]] = True
    text = np.array(ids, dtype="<i4").tobytes()
    own, cuts = stimuli.arrays["ids"].astype("<i4"), stimuli.arrays["offsets"]
    counted = stimuli.arrays["roles"] == Role.TEXT if "roles" in stimuli.arrays else np.ones(len(own), dtype=bool)
    true = np.zeros((len(own), len(names)), dtype=bool)
    for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        at = first + np.flatnonzero(counted[first:last])
        place = _find(text, own[at].tobytes()) if len(at) else 0
        if place < 0:
            _refuse(corpus, f"no stretch of tokens {own[at][:8].tolist()}")
        true[at] = known[place : place + len(at)]
    return Labels(names, true)


def _find(text: bytes, part: bytes) -> int:
    """Return at which token a stretch begins; −1 where it is nowhere."""
    place = text.find(part)
    while place % 4 and place >= 0:  # bytes of two tokens may look like one
        place = text.find(part, place + 1)
    return place // 4 if place >= 0 else -1


def _refuse(corpus: Corpus, what: str) -> None:
    raise PatchclampError(
        expected="the labelled documents or images that the exemplars were drawn from",
        got=f"{corpus.source}, which has {what}"[:200],
        remedy="`patchclamp organism text NAME --labels` writes labelled documents.",
    )
