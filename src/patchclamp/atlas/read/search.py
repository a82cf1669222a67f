"""Units whose words match what was searched, the surest reason first."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.atlas.read.unit_line import CHANCE, CLEAR, name_concept, spell, weakness_of

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


def terms_of(words: str) -> list[str]:
    """Return the words that are searched for."""
    return _WORD.findall(words)[:MOST_WORDS]


def hits_of(atlas: Reading, words: str) -> tuple[str, list[Any]]:
    """Return the join that keeps units ``u`` whose words match, as ``h`` with their rank, and its values.

    Ranks: what people wrote of a unit and what it clearly detects, then tokens at its peaks, then what it promotes,
    then the rest; units that never fired stand after all others.
    """
    if not words:
        return "", []
    if "/" in words:
        try:
            unit = atlas.index_of(words)
            return "JOIN (SELECT ? AS unit, 0.0 AS rank) h ON h.unit = u.id", [unit]
        except NotFound:
            pass  # words with a stroke between them
    terms = terms_of(words)
    if not terms:
        return _NOTHING, []
    # In quotation marks nothing is an operator; the star asks for words that begin so.
    match = " ".join(f'"{term}"*' for term in terms)
    named = " AND ".join("' ' || replace(lower(c.concept), '_', ' ') LIKE ? ESCAPE '!'" for _ in terms)
    likes = [f"% {term.lower().replace('_', '!_')}%" for term in terms]
    spelt = " OR ".join("ltrim(t.text) LIKE ? ESCAPE '!'" for _ in terms)
    begins = [f"{term.replace('_', '!_')}%" for term in terms]
    union = "SELECT rowid AS unit, bm25(said) - 10 AS rank FROM temp.said WHERE said MATCH ?"
    values: list[Any] = [match]
    for part in atlas.parts:
        moved = part.first - part.own
        own = _OF_PART.format(moved=moved, schema=part.schema, named=named, spelt=spelt, clear=CLEAR, chance=CHANCE)
        union += f" UNION ALL {own}"
        columns = ("concept", "fires_on", "promotes")
        concept, peak, promoted = (f"{{{column}}} : ({match})" for column in columns)
        values += [*likes, concept, *likes, *begins, peak, promoted, match]
    best = f"SELECT unit, min(rank) AS rank FROM ({union}) GROUP BY unit"
    silent = "SELECT t.unit, t.rank + 9000 * (coalesce(v.maximum, 0) <= 0) AS rank"
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
        "concept": first(clear),
        "peak": first([spelt for _, spelt in peaks]),
        "promotes": first([spell(atlas.weigh(id, 1.0)) for id in promoted_ids]),
        "weak": first(weak),
    }
    matching = [id for id, spelt in peaks if any_of.search(spelt)]
    return Found([(of, text) for of, text in found.items() if text is not None], matching)
