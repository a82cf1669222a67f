"""Words, tokens and ranges turned into one query."""

import base64
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query

from patchclamp.atlas.read.reader import Reading, page_of
from patchclamp.atlas.read.responses import Source
from patchclamp.atlas.read.search import hits_of, unknown_words
from patchclamp.atlas.read.unit_row import UnitRow, unit_row
from patchclamp.atlas.serve.served import LONGEST, Number, Served
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError

Sort = Literal["relevance", "key", "frequency", "maximum", "mean", "score", "concept"]
"""What Find can be sorted by."""
Words = Annotated[str, Query(max_length=LONGEST)]
Range = tuple[float | None, float | None]
_CURSOR = re.compile(rb"after ([0-9]{1,15})")
MOST_ROWS = 200
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
        unknown: words that no token begins with, where nothing was found.
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
    unknown: list[str]
    source: Source


@checked
@dataclass(frozen=True)
class Asked:
    """What Find was asked.

    Args:
        words: searched in descriptions, notes, concepts, heads' lines, tokens at top examples and promoted tokens; or a
            unit's key or a part of it, its name, or block and number: ``2/16``.
        fires_on: a token at a top example, its leading space included or not.
        site: only units of this site, or, as ``site/basis``, of one basis at it.
        concept: only units whose best concept is this, or has it among its tokens.
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

        ``q`` searches descriptions, notes, concepts, heads' lines, tokens at top examples and promoted tokens, or names
        units: a key or a part of one, ``2/16``, ``Block 0 · MLP neuron 9``; ``fires_on`` wants a token, its space
        included or not. Without ``sort``, words sort by relevance and the rest by key.
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
    hits, values = hits_of(atlas, asked.words.strip())
    if (unknown := unknown_words(atlas, asked.words)) and not atlas.rows(
        f"SELECT 1 FROM units u {hits} LIMIT 1", values
    ):
        hits, values = hits_of(atlas, asked.words.strip(), whole_words=True)
    where, more = _where(atlas, asked)
    body = f"FROM units u LEFT JOIN temp.described d ON d.unit = u.id {hits} WHERE {where}"
    order = (
        f"{_SORTED_BY[sort] if hits or sort != 'relevance' else 'u.id'} {'DESC' if falling else 'ASC'} NULLS LAST, u.id"
    )
    # With words their number comes in the same query, so that they are searched once; without, an index gives the order
    # and a count beside it is quicker. Past the last row there is none to tell the number.
    matches = atlas.rows(
        f"SELECT {'count(*) OVER ()' if hits else '-1'}, u.id {body} ORDER BY {order} LIMIT ? OFFSET ?",
        [*values, *more, limit, first],
    )
    [(total,)] = [matches[0][:1]] if hits and matches else atlas.rows(f"SELECT count(*) {body}", [*values, *more])
    rows = [unit_row(atlas, row[1], asked.words.strip()) for row in matches]
    return UnitList(
        rows=rows,
        first=first + 1 if rows else 0,
        total=int(total),
        n_units=atlas.n_units,
        next=_cursor(first + limit) if first + limit < total else None,
        previous=_cursor(max(first - limit, 0)) if first > 0 else None,
        sort=sort,
        descending=falling,
        unknown=[] if total else unknown,
        source=atlas.source(_python(asked, sort, falling)),
    )


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
        clauses.append("instr(' ' || u.concept || ' ', ' ' || ? || ' ') > 0")
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
