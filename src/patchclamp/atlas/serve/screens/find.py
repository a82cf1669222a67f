"""Words, tokens and ranges turned into one query."""

import base64
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query

from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none, page_of
from patchclamp.atlas.read.responses import ConceptScore, EstimateView, Source, TokenView
from patchclamp.atlas.serve.served import LONGEST, Number, Served
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError

Sort = Literal["relevance", "key", "frequency", "maximum", "mean", "score", "concept"]
"""What Find can be sorted by."""
Words = Annotated[str, Query(max_length=LONGEST)]
Range = tuple[float | None, float | None]
_WORD = re.compile(r"\w+")
_CURSOR = re.compile(rb"after ([0-9]{1,15})")
MOST_WORDS, MOST_ROWS = 12, 200
_SORTED_BY = {
    "relevance": "h.rank",
    "key": "u.id",
    "frequency": "u.frequency",
    "maximum": "u.maximum",
    "mean": "u.mean",
    "score": "d.score",
    "concept": "u.auroc",
}
_RISING = ("relevance", "key")


@dataclass(frozen=True)
class UnitRow:
    """One row of Find.

    Args:
        key: the unit's key, ``subject/site/basis/index``; its page is ``/units/{key}``.
        site: its site.
        layer: block number, or None.
        basis: its basis.
        index: its number in the basis.
        frequency: share of counted tokens above zero.
        maximum: highest activation.
        mean: mean activation.
        fires_on: the token that stands most often at its top examples; None where it never rose above zero.
        description: the best description, by score; None where there is none.
        author: who wrote it.
        score: its best score; None where it has none.
        concept: the labelled concept that it detects best; None where the text carries no labels.
        starred: whether somebody gave it a star.
    """

    key: str
    site: str
    layer: int | None
    basis: str
    index: int
    frequency: float | None
    maximum: float | None
    mean: float | None
    fires_on: TokenView | None
    description: str | None
    author: str | None
    score: EstimateView | None
    concept: ConceptScore | None
    starred: bool


@dataclass(frozen=True)
class UnitList:
    """Find: which units match this?

    Args:
        rows: this page of them.
        first: number of the first row, from 1; 0 where there are none.
        total: units that match.
        n_units: units in the atlas.
        next: cursor of the next page; None at the end.
        previous: cursor of the page before; None at the beginning.
        sort: what the rows are sorted by.
        descending: whether the largest comes first.
        source: where this page comes from.
    """

    rows: list[UnitRow]
    first: int
    total: int
    n_units: int
    next: str | None
    previous: str | None
    sort: Sort
    descending: bool
    source: Source


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
        starred: only units with (or without) a star.
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
    starred: bool | None = None
    sort: Sort = "key"
    descending: bool | None = None


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the address of the search."""

    @app.get("/api/units", operation_id="findUnits")
    def find_units(
        q: Words = "",
        fires_on: Words = "",
        site: Words = "",
        concept: Words = "",
        min_frequency: Number = None,
        max_frequency: Number = None,
        min_maximum: Number = None,
        max_maximum: Number = None,
        min_score: Number = None,
        max_score: Number = None,
        described: bool | None = None,
        starred: bool | None = None,
        sort: Sort | None = None,
        descending: bool | None = None,
        cursor: Words = "",
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    ) -> UnitList:
        """Find: which units match this?

        ``q`` searches descriptions, promoted tokens and tokens at top examples, or names a unit; ``fires_on`` wants a
        token, its space included or not. Without ``sort``, words sort by relevance and the rest by key.
        """
        asked = Asked(
            words=q,
            fires_on=fires_on,
            site=site,
            concept=concept,
            frequency=(min_frequency, max_frequency),
            maximum=(min_maximum, max_maximum),
            score=(min_score, max_score),
            described=described,
            starred=starred,
            sort=sort or ("relevance" if q.strip() else "key"),
            descending=descending,
        )
        return find(served.atlas(), asked, cursor, limit)


@page_of
def find(atlas: Reading, asked: Asked, cursor: str, limit: int) -> UnitList:
    """Return a page of the units that match.

    Returns:
        UnitList: at most ``limit`` rows, how many match in all, and the cursors around them.

    Raises:
        PatchclampError: a cursor that nobody gave.
    """
    first = _read_cursor(cursor)
    sort: Sort = asked.sort if asked.sort != "relevance" or asked.words.strip() else "key"
    falling = asked.descending if asked.descending is not None else sort not in _RISING
    hits, values = _hits(atlas, asked.words.strip())
    where, more = _where(atlas, asked)
    body = f"FROM units u LEFT JOIN temp.described d ON d.unit = u.id {hits} WHERE {where}"
    order = (
        f"{_SORTED_BY[sort] if hits or sort != 'relevance' else 'u.id'} {'DESC' if falling else 'ASC'} NULLS LAST, u.id"
    )
    # With words their number comes in the same query, so that they are searched once; without, an index gives the order
    # and a count beside it is quicker. Past the last row there is none to tell the number.
    matches = atlas.rows(
        f"SELECT {'count(*) OVER ()' if hits else '-1'}, u.id, u.frequency, u.mean, u.maximum, u.fires_on "
        f"{body} ORDER BY {order} LIMIT ? OFFSET ?",
        [*values, *more, limit, first],
    )
    [(total,)] = [matches[0][:1]] if hits and matches else atlas.rows(f"SELECT count(*) {body}", [*values, *more])
    rows = [_row(atlas, *row[1:]) for row in matches]
    return UnitList(
        rows=rows,
        first=first + 1 if rows else 0,
        total=int(total),
        n_units=atlas.n_units,
        next=_cursor(first + limit) if first + limit < total else None,
        previous=_cursor(max(first - limit, 0)) if first > 0 else None,
        sort=sort,
        descending=falling,
        source=atlas.source(_python(asked, sort, falling)),
    )


def _hits(atlas: Reading, words: str) -> tuple[str, list[Any]]:
    """Return the join that keeps units whose words match, and its values."""
    if not words:
        return "", []
    if "/" in words:
        try:
            unit = atlas.index_of(words)
            return "JOIN (SELECT ? AS unit, 0.0 AS rank) h ON h.unit = u.id", [unit]
        except NotFound:
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
    if asked.starred is not None:
        clauses.append(f"u.id {'' if asked.starred else 'NOT '}IN (SELECT unit FROM temp.starred)")
    ranged = {"u.frequency": asked.frequency, "u.maximum": asked.maximum, "d.score": asked.score}
    for column, ends in ranged.items():
        for sign, end in zip((">=", "<="), ends, strict=True):
            if end is not None:
                clauses.append(f"{column} {sign} ?")
                values.append(end)
    return " AND ".join(clauses), values


def _row(
    atlas: Reading, unit: int, frequency: float | None, mean: float | None, maximum: float | None, fires_on: int | None
) -> UnitRow:
    key = atlas.key(unit)
    said = atlas.descriptions_of(unit)
    best = said[0] if said else None
    score = best.best if best else None
    concepts = atlas.concepts(unit)
    layer = next(row[3] for row in atlas.sites if row[1] == key.site)
    return UnitRow(
        key=str(key),
        site=key.site,
        layer=layer,
        basis=key.basis,
        index=key.index,
        frequency=number_or_none(frequency),
        maximum=number_or_none(maximum),
        mean=number_or_none(mean),
        fires_on=None if fires_on is None else atlas.token(fires_on),
        description=best.description.text if best else None,
        author=best.description.author if best else None,
        score=EstimateView.of(score) if score else None,
        concept=concepts[0] if concepts else None,
        starred=any(note.kind == "star" for note in atlas.written.of(unit)),
    )


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
