"""Units whose words match what was searched, the surest reason first."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchclamp.atlas.read.notes import SEARCHED
from patchclamp.atlas.read.peak_words import peak_words, peak_words_of
from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.atlas.read.unit_line import CHANCE, CLEAR, name_concept, spell, weakness_of
from patchclamp.atlas.read.unit_names import named_units

MOST_WORDS = 12
_WORD = re.compile(r"\w+")
_NOTHING = "JOIN (SELECT -1 AS unit, 0.0 AS rank) h ON h.unit = u.id"
# Tiers of 1000, and within each the stronger first. bm25 is negative, and the lower the better. Tokens at peaks are
# ranked by the share of the peaks that they are; a concept counts only where it is clearly detected.
_OF_PART = """
SELECT rowid + {moved} AS unit, 0 + bm25(words) * 0.001 - coalesce((
    SELECT max(c.auroc) FROM {schema}.concepts c WHERE c.unit = words.rowid AND {named}
), 0) AS rank FROM {schema}.words WHERE words MATCH ? AND EXISTS (
    SELECT 1 FROM {schema}.concepts c WHERE c.unit = words.rowid AND {named} AND c.auroc >= {clear} AND c.low > {chance}
)
UNION ALL SELECT rowid + {moved}, 1000 + 0.001 * bm25(words) - coalesce((
    SELECT 100.0 * sum(f.n * (f.token IN (SELECT t.id FROM {schema}.tokens t WHERE {spelt}))) / sum(f.n)
    FROM {schema}.fires f WHERE f.unit = words.rowid
), 0) FROM {schema}.words WHERE words MATCH ?
UNION ALL SELECT rowid + {moved}, 2000 + bm25(words) FROM {schema}.words WHERE words MATCH ?
UNION ALL SELECT rowid + {moved}, 3000 + bm25(words) FROM {schema}.words WHERE words MATCH ?
"""


def head_lines(atlas: Reading) -> Iterator[tuple[int, str]]:
    """Yield attention heads with where they attend to, in words."""
    for row in atlas.sites:
        for unit in range(row[5], row[5] + row[6]) if row[4] == "heads" else ():
            if line := atlas.attends(unit):
                yield unit, line


def unknown_words(atlas: Reading, words: str) -> list[str]:
    """Return the words that no token of the atlas begins with: nothing can fire on them, or promote them, whole."""
    begins = "SELECT 1 FROM tokens WHERE ltrim(text) LIKE ? ESCAPE '!' LIMIT 1"
    return [term for term in terms_of(words) if not atlas.rows(begins, [f"{term.replace('_', '!_')}%"])]


def terms_of(words: str) -> list[str]:
    """Return the words that are searched for."""
    return _WORD.findall(words)[:MOST_WORDS]


def hits_of(atlas: Reading, words: str, *, whole_words: bool = False) -> tuple[str, list[Any]]:
    """Return the join that keeps units ``u`` whose words match, as ``h`` with their rank, and its values.

    With ``whole_words`` the words at which units peak are searched too, which the vocabulary has in pieces.

    Ranks: units that are named, then what people wrote of a unit and what it clearly detects, then where a head attends
    to, tokens at its peaks, what it promotes, and the rest; sites that are named whole stand behind, and units that
    never fired after all others.

    Returns:
        tuple[str, list[Any]]: SQL, empty without words, and the values that it takes.
    """
    if not words:
        return "", []
    if "/" in words:
        try:
            unit = atlas.index_of(words)
            return "JOIN (SELECT ? AS unit, 0.0 AS rank) h ON h.unit = u.id", [unit]
        except NotFound:
            pass  # a part of a key, or words with a stroke between them
    named = named_units(atlas.sites, atlas.slug, words)
    terms = terms_of(words)
    if not terms and not named.units:
        return _NOTHING, []
    # In quotation marks nothing is an operator; the star asks for words that begin so.
    match = " ".join(f'"{term}"*' for term in terms)
    concept_is = " AND ".join("' ' || replace(lower(c.concept), '_', ' ') LIKE ? ESCAPE '!'" for _ in terms)
    likes = [f"% {term.lower().replace('_', '!_')}%" for term in terms]
    spelt = " OR ".join("ltrim(t.text) LIKE ? ESCAPE '!'" for _ in terms)
    begins = [f"{term.replace('_', '!_')}%" for term in terms]
    union = "SELECT rowid AS unit, bm25(said) - 10 AS rank FROM temp.said WHERE said MATCH ?"
    union += " UNION ALL SELECT rowid, 500 + bm25(heads_said) FROM temp.heads_said WHERE heads_said MATCH ?"
    values: list[Any] = [match, match]
    if named.units:
        union += f" UNION ALL SELECT id, -9000 FROM units WHERE id IN ({', '.join('?' * len(named.units))})"
        values += named.units
    for first, end in named.sites:
        union += " UNION ALL SELECT id, 6000 FROM units WHERE id >= ? AND id < ?"
        values += [first, end]
    atlas.tell("heads_said", lambda: head_lines(atlas))
    if whole_words:
        atlas.tell("peaks_said", lambda: peak_words(atlas))
        union += " UNION ALL SELECT rowid, 1500 FROM temp.peaks_said WHERE peaks_said MATCH ?"
        values.append(match)
    for part in atlas.parts:
        moved = part.first - part.own
        own = _OF_PART.format(
            moved=moved, schema=part.schema, named=concept_is, spelt=spelt, clear=CLEAR, chance=CHANCE
        )
        union += f" UNION ALL {own}"
        columns = ("concept", "fires_on", "promotes")
        concept, peak, promoted = (f"{{{column}}} : ({match})" for column in columns)
        values += [*likes, concept, *likes, *begins, peak, promoted, match]
    best = f"SELECT unit, min(rank) AS rank FROM ({union}) GROUP BY unit"
    silent = "SELECT t.unit, t.rank + 9000 * (t.rank > -9000 AND coalesce(v.maximum, 0) <= 0) AS rank"
    return f"JOIN ({silent} FROM ({best}) t JOIN units v ON v.id = t.unit) h ON h.unit = u.id", values


@dataclass(frozen=True)
class Found:
    """Why a unit was found.

    Args:
        texts: what matched, each with what it is of; the surest first, at most one of each.
        peaks: tokens at its peaks that match, by id.
    """

    texts: list[tuple[str, str]]
    peaks: list[int]


def matches_of(atlas: Reading, unit: int, words: str) -> Found:
    """Look up why a unit matches what was searched.

    Returns:
        Found: its words that match; none where a key was searched.
    """
    terms = terms_of(words) if "/" not in words else []
    if not terms:
        return Found([], [])
    any_of = re.compile("|".join(rf"\b{re.escape(term)}" for term in terms), re.IGNORECASE)

    def first(texts: list[str]) -> str | None:
        return next((text for text in texts if any_of.search(text.replace("_", " "))), None)

    part, own = atlas.part(unit)
    concepts = atlas.concepts(unit)
    clear = [name_concept(one) for one in concepts if not weakness_of(one)]
    weak = [name_concept(one) for one in concepts if weakness_of(one)]
    fires = atlas.rows(f"SELECT token, n FROM {part.schema}.fires WHERE unit = ? ORDER BY n DESC, token", [own])
    promoted = atlas.rows(f"SELECT ids FROM {part.schema}.panels WHERE unit = ? AND name = 'promotes'", [own])
    promoted_ids = np.frombuffer(promoted[0][0], "<i4").tolist() if promoted else []
    peaks = [(id, spell(atlas.weigh(id, n))) for id, n in fires]
    found = {
        "description": first([said.description.text for said in atlas.descriptions_of(unit)]),
        "note": first([note.text for note in atlas.written.of(unit) if note.kind in SEARCHED]),
        "attends": first([atlas.attends(unit)]),
        "concept": first(clear),
        "peak": first([spelt for _, spelt in peaks]),
        "promotes": first([spell(atlas.weigh(id, 1.0)) for id in promoted_ids]),
        "weak": first(weak),
    }
    if not any(found.values()):
        found["peak"] = first(peak_words_of(atlas, unit))
    matching = [id for id, spelt in peaks if any_of.search(spelt)]
    return Found([(of, text) for of, text in found.items() if text is not None], matching)
