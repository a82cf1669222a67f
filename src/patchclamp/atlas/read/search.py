"""Find: which units match; words, tokens and ranges turned into one query."""

import base64
import re
from dataclasses import dataclass
from typing import Any

from patchclamp.atlas import pages
from patchclamp.atlas.read.reader import Absent, Reading, number_or_none
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError

Range = tuple[float | None, float | None]
_WORD = re.compile(r"\w+")
_CURSOR = re.compile(rb"after ([0-9]{1,15})")
MOST_WORDS = 12
_SORTED_BY = {
    "relevance": "h.rank", "key": "u.id", "frequency": "u.frequency", "maximum": "u.maximum", "mean": "u.mean",
    "score": "d.score", "concept": "u.auroc",
}  # fmt: skip
_RISING = ("relevance", "key")


@checked
@dataclass(frozen=True)
class Asked:
    """What Find was asked.

    Args:
        words: searched in descriptions, promoted tokens, tokens at top examples and concepts; or a unit's key.
        fires_on: a token at a top example, its leading space included or not.
        site: only units of this site, or, as ``site/basis``, of one basis at it.
        concept: only units whose best concept is this.
        frequency: lowest and highest share of tokens above zero.
        maximum: lowest and highest maximum.
        score: lowest and highest score of the best description.
        described: only units with (or without) a description.
        sort: what to sort by.
        descending: largest first; None for what is usual.
    """

    words: str = ""
    fires_on: str = ""
    site: str = ""
    concept: str = ""
    frequency: Range = (None, None)
    maximum: Range = (None, None)
    score: Range = (None, None)
    described: bool | None = None
    sort: pages.Sort = "key"
    descending: bool | None = None


def find(atlas: Reading, asked: Asked, cursor: str, limit: int) -> pages.UnitList:
    """Return a page of the units that match.

    Raises:
        PatchclampError: a cursor that nobody gave.
    """
    first = _read_cursor(cursor)
    sort: pages.Sort = asked.sort if asked.sort != "relevance" or asked.words.strip() else "key"
    falling = asked.descending if asked.descending is not None else sort not in _RISING
    hits, values = _hits(atlas, asked.words.strip())
    where, more = _where(atlas, asked)
    body = f"FROM units u LEFT JOIN temp.described d ON d.unit = u.id {hits} WHERE {where}"
    order = (
        f"{_SORTED_BY[sort] if hits or sort != 'relevance' else 'u.id'} {'DESC' if falling else 'ASC'} NULLS LAST, u.id"
    )
    # With words their number comes in the same query, so that they are searched once; without, an index gives the order
    # and a count beside it is quicker. Past the last row there is none to tell the number.
    found = atlas.rows(
        f"SELECT {'count(*) OVER ()' if hits else '-1'}, u.id, u.frequency, u.mean, u.maximum, u.fires_on "
        f"{body} ORDER BY {order} LIMIT ? OFFSET ?",
        [*values, *more, limit, first],
    )
    [(total,)] = [found[0][:1]] if hits and found else atlas.rows(f"SELECT count(*) {body}", [*values, *more])
    rows = [_row(atlas, *row[1:]) for row in found]
    return pages.UnitList(
        rows=rows, first=first + 1 if rows else 0, total=int(total), n_units=atlas.n_units,
        next=_cursor(first + limit) if first + limit < total else None,
        previous=_cursor(max(first - limit, 0)) if first > 0 else None,
        sort=sort, descending=falling, source=atlas.source(_python(asked, sort, falling)),
    )  # fmt: skip


def _hits(atlas: Reading, words: str) -> tuple[str, list[Any]]:
    """Return the join that keeps units whose words match, and its values."""
    if not words:
        return "", []
    if "/" in words:
        try:
            unit = atlas.number(words)
            return "JOIN (SELECT ? AS unit, 0.0 AS rank) h ON h.unit = u.id", [unit]
        except Absent:
            pass  # words with a stroke between them
    terms = _WORD.findall(words)[:MOST_WORDS]
    if not terms:
        return "JOIN (SELECT -1 AS unit, 0.0 AS rank) h ON h.unit = u.id", []
    # In quotation marks nothing is an operator; the star asks for words that begin so.
    match = " ".join(f'"{term}"*' for term in terms)
    # What people say of a unit weighs most, then what it fires on, then what it promotes.
    union = "SELECT rowid AS unit, 10 * bm25(said) - 100 AS rank FROM temp.said WHERE said MATCH ?" + "".join(
        f" UNION ALL SELECT rowid + {part.first - part.own}, bm25(words, 5.0, 1.0, 3.0) FROM {part.schema}.words "
        "WHERE words MATCH ?"
        for part in atlas.parts
    )
    join = f"JOIN (SELECT unit, sum(rank) AS rank FROM ({union}) GROUP BY unit) h ON h.unit = u.id"
    return join, [match] * (1 + len(atlas.parts))


def _where(atlas: Reading, asked: Asked) -> tuple[str, list[Any]]:
    clauses = ["1"]
    values: list[Any] = []
    if asked.fires_on:
        clauses.append(
            "u.id IN (SELECT unit FROM fires WHERE token IN (SELECT id FROM tokens WHERE text IN (?, ' ' || ?)))"
        )
        values += [asked.fires_on, asked.fires_on]
    if asked.site:
        named = [int(row[0]) for row in atlas.sites if asked.site in (row[1], f"{row[1]}/{row[4]}")]
        clauses.append(f"u.site IN ({', '.join('?' * len(named))})")
        values += named
    if asked.concept:
        clauses.append("u.concept = ?")
        values.append(asked.concept)
    if asked.described is not None:
        clauses.append(f"d.unit IS {'NOT ' if asked.described else ''}NULL")
    ranged = {"u.frequency": asked.frequency, "u.maximum": asked.maximum, "d.score": asked.score}
    for column, ends in ranged.items():
        for sign, end in zip((">=", "<="), ends, strict=True):
            if end is not None:
                clauses.append(f"{column} {sign} ?")
                values.append(end)
    return " AND ".join(clauses), values


def _row(
    atlas: Reading, unit: int, frequency: float | None, mean: float | None, maximum: float | None, fires_on: int | None
) -> pages.UnitRow:
    key = atlas.key(unit)
    said = atlas.said_of(unit)
    best = said[0] if said else None
    score = best.best if best else None
    concepts = concepts_of(atlas, unit)
    layer = next(row[3] for row in atlas.sites if row[1] == key.site)
    return pages.UnitRow(
        key=str(key), site=key.site, layer=layer, basis=key.basis, index=key.index,
        frequency=number_or_none(frequency), maximum=number_or_none(maximum), mean=number_or_none(mean),
        fires_on=None if fires_on is None else atlas.token(fires_on),
        description=best.description.text if best else None, author=best.description.author if best else None,
        score=number_or_none(score.value) if score else None,
        score_low=number_or_none(score.low) if score else None,
        score_high=number_or_none(score.high) if score else None,
        measure=score.unit if score else None, concept=concepts[0] if concepts else None,
    )  # fmt: skip


def concepts_of(atlas: Reading, unit: int) -> list[pages.ConceptScore]:
    """Return the labelled concepts that a unit tells best."""
    part, own = atlas.part(unit)
    return [
        pages.ConceptScore(name, float(area), float(low), float(high), n)
        for name, area, low, high, n in atlas.rows(
            f"SELECT concept, round(auroc, 4), round(low, 4), round(high, 4), n FROM {part.schema}.concepts "
            "WHERE unit = ? ORDER BY rank",
            [own],
        )
    ]


def _cursor(first: int) -> str:
    return base64.urlsafe_b64encode(b"after %d" % first).decode().rstrip("=")


def _read_cursor(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"==", altchars=b"-_", validate=False)
        matched = _CURSOR.fullmatch(raw)
    except ValueError:
        matched = None
    if matched is None:
        raise PatchclampError(
            expected="a cursor that an earlier page gave", got=repr(cursor[:60]), remedy="Begin without one."
        )
    return int(matched[1])


def _python(asked: Asked, sort: str, falling: bool) -> str:
    default = Asked()
    words = {n: getattr(asked, n) for n in Asked.__annotations__ if n not in ("sort", "descending")}
    given = {n: v for n, v in words.items() if v != getattr(default, n)} | {"sort": sort, "descending": falling}
    return f".find(pc.atlas.Asked({', '.join(f'{n}={v!r}' for n, v in given.items())}))"
