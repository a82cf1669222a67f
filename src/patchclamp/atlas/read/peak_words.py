"""The whole words at which units peak, where a vocabulary has them in pieces only."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from patchclamp.atlas.read.reader import Reading

HIGHEST = 3
"""Top examples of a unit whose words are told."""
MOST_UNITS = 100_000
PIECES = 6
"""Tokens before and after a peak among which its word is looked for."""
_PEAK = (
    "e.position, c.ids FROM {schema}.examples e JOIN {schema}.contexts c USING (stimulus) "
    "WHERE e.kind = 0 AND e.value > 0"
)
_WORD = re.compile(r"\w+")


def peak_words(atlas: Reading) -> Iterator[tuple[int, str]]:
    """Yield units with the words at their highest peaks; none of an atlas that is very large, or not of text.

    Yields:
        tuple[int, str]: number among all, and a word.
    """
    if atlas.n_units > MOST_UNITS or atlas.about["modality"] != "language":
        return
    for part in atlas.parts:
        peaks = atlas.rows(f"SELECT unit, {_PEAK.format(schema=part.schema)} AND e.rank < ?", [HIGHEST])
        for own, position, ids in peaks:
            if word := _word_in(atlas, ids, position):
                yield part.first + own - part.own, word


def peak_words_of(atlas: Reading, unit: int) -> list[str]:
    """Return the words at a unit's highest peaks, the highest first."""
    if atlas.about["modality"] != "language":
        return []
    part, own = atlas.part(unit)
    peaks = atlas.rows(
        f"SELECT {_PEAK.format(schema=part.schema)} AND e.rank < ? AND e.unit = ? ORDER BY e.rank", [HIGHEST, own]
    )
    return [word for position, ids in peaks if (word := _word_in(atlas, ids, position))]


def _word_in(atlas: Reading, ids: bytes, position: int) -> str:
    first = max(position - PIECES, 0)
    pieces = [atlas.token(id) for id in np.frombuffer(ids, "<i4")[first : position + PIECES].tolist()]
    return word_at(["" if piece.bytes else piece.text for piece in pieces], position - first)


def word_at(pieces: Sequence[str], at: int) -> str:
    """Return the word that a piece of a text is a part of; empty where it is none.

    Example:
        >>> word_at([" the", " k", "ing", " ran"], 2)
        'king'
    """
    if at >= len(pieces):
        return ""
    start = sum(map(len, pieces[:at]))
    end = start + len(pieces[at])
    for found in _WORD.finditer("".join(pieces)):
        if found.start() < end and found.end() > start:
            return found[0]
    return ""
