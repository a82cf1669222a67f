"""Find: rows of units."""

from dataclasses import dataclass
from typing import Literal

from patchclamp.atlas.pages.parts import ConceptScore, Source, TokenView

Sort = Literal["relevance", "key", "frequency", "maximum", "mean", "score", "concept"]
"""What Find can be sorted by."""


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
        score: its best score.
        score_low: lower end of its interval.
        score_high: upper end.
        measure: what the score measures.
        concept: the labelled concept that it tells best; None where the text carries no labels.
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
    score: float | None
    score_low: float | None
    score_high: float | None
    measure: str | None
    concept: ConceptScore | None


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
