"""A byte-level byte-pair tokenizer, trained on the microworld itself."""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Int

from patchclamp.core.errors import PatchclampError
from patchclamp.organisms.language import words
from patchclamp.organisms.language.concepts import KINDS
from patchclamp.organisms.language.documents import documents
from patchclamp.organisms.language.labelled_line import Mark
from patchclamp.organisms.language.tasks import SUBJECTS
from patchclamp.organisms.language.world import CITIES, COUNTRIES, DISHES, JOBS

VOCABULARY = 2048
BEGINNING = "<bos>"
"""Before every document, and so the end of the one before it."""
# Words, two digits at a time, single signs, and runs of blanks of which the last stays with what follows.
_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]|\s+(?!\S)|\s+"
_DOCUMENTS, _SEED, _PROMISED_TIMES = 12_000, 7, 400


@cache
def single_token_words() -> tuple[str, ...]:
    """List the words that are one token each, with the space before them."""
    verbs = words.split_words("is are was were has have looks look she he to of in on the The a and")
    return tuple(
        dict.fromkeys(
            (
                *words.NAMES,
                *words.DAYS["english"],
                *words.MONTHS,
                *verbs,
                *CITIES,
                *COUNTRIES,
                *DISHES,
                *JOBS,
                *KINDS,
                *(form for noun in SUBJECTS for form in (noun.word, noun.plural)),
                "French",
                "German",
                "Spanish",
                *(f"{i:02d}" for i in range(100)),
            )
        )
    )


def train_tokenizer() -> Any:
    """Train the tokenizer; the same one every time.

    Returns:
        tokenizers.Tokenizer: byte-level, ``<bos>`` put before every text.

    Raises:
        PatchclampError: a promised word came out in several pieces.

    Cost: some five seconds the first time.
    """
    from tokenizers import Tokenizer

    return Tokenizer.from_str(_train_tokenizer())


@cache
def _train_tokenizer() -> str:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    rules = Tokenizer(models.BPE())
    # The first word of a text is the same token as elsewhere.
    rules.normalizer = normalizers.Prepend(" ")
    rules.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rules.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGINNING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rules.train_from_iterator(_corpus(), trainer)
    rules.post_processor = processors.TemplateProcessing(single=f"{BEGINNING} $A", special_tokens=[(BEGINNING, 0)])
    broken = [word for word in single_token_words() if len(rules.encode(word, add_special_tokens=False).ids) != 1]
    if broken:
        raise PatchclampError(
            expected="one token for every promised word",
            got=f"{len(broken)} in several, such as {broken[0]}",
            remedy="Raise VOCABULARY, or show the trainer the promised words more often.",
        )
    return str(rules.to_str())


def _corpus() -> Iterator[str]:
    for document in islice(documents(_SEED), _DOCUMENTS):
        yield document.text
    for word in single_token_words():
        yield f" {word}" * _PROMISED_TIMES
        if word.isdigit():
            yield f"{word}." * _PROMISED_TIMES  # the second half of a year has no space before it


def align_concepts(
    spans: Int[np.ndarray, "token 2"], text: str, marks: tuple[Mark, ...]
) -> tuple[tuple[frozenset[str], ...], tuple[bool, ...]]:
    """Give every token the concepts of the word that it is a piece of, and flag each word's last piece.

    A token's leading blanks belong to no word; a token that holds no word (a line's end) has no concept.

    Returns:
        tuple: concepts per token, and whether the token ends its word.
    """
    concepts: list[frozenset[str]] = []
    ends: list[bool] = []
    i = 0
    for a, b in spans.tolist():
        piece = text[a:b] if a >= 0 else ""
        a += len(piece) - len(piece.lstrip())
        while i < len(marks) and marks[i][1] <= a:
            i += 1
        inside = bool(piece.strip()) and i < len(marks) and marks[i][0] < b
        concepts.append(marks[i][2] if inside else frozenset())
        ends.append(inside and marks[i][1] <= b)
    return tuple(concepts), tuple(ends)
