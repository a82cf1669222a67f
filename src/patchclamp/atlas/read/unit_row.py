"""One unit as a row of a list: what is measured of it, its best example, and why it was found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from patchclamp.atlas.read.reader import Reading, number_or_none
from patchclamp.atlas.read.recorded import RECORDING, Spark, spark_of
from patchclamp.atlas.read.responses import EstimateView, TokenView
from patchclamp.atlas.read.search import matches_of
from patchclamp.atlas.read.unit_line import LinePart, UnitLine

AROUND = 7
"""Tokens before a peak that a row shows; after it, half as many."""


@dataclass(frozen=True)
class ExampleLine:
    """The tokens about a unit's peak.

    Args:
        tokens: their text.
        acts: the unit's activation at each, to three digits; None where it is not finite.
        bytes: indices of tokens that are parts of characters.
        mark: index of the peak.
        value: activation there.
    """

    tokens: list[str]
    acts: list[float | None]
    bytes: list[int]
    mark: int
    value: float


@dataclass(frozen=True)
class Match:
    """Why a unit was found.

    Args:
        of: ``description``, ``note``, ``attends`` (a head's line), ``concept``, ``peak`` (a token at its top examples),
            ``promotes``, or ``weak``, a concept that it barely detects.
        text: the words that match.
    """

    of: str
    text: str


@dataclass(frozen=True)
class UnitRow:
    """One row of Find; long lists of them are sent, so it holds what a row shows and no more.

    Args:
        key: the unit's key, ``subject/site/basis/index``; its page is ``/units/{key}``.
        name: the unit in words.
        site: its site.
        layer: block number, or None.
        basis: its basis.
        index: its number in the basis.
        frequency: share of counted tokens above zero.
        maximum: highest activation.
        mean: mean activation.
        line: what is measured of it, in parts.
        example: its highest example, the tokens about its peak; None where it has none.
        matched: which of its words matched what was searched.
        fires_on: the token that stands most often at its top examples; None where it never rose above zero.
        description: the best description, by score; None where there is none.
        author: who wrote it.
        score: its best score; None where it has none.
        concept: the concept or pattern of tokens that it detects best; None where none was measured.
        auroc: how well it detects that.
        starred: whether somebody gave it a star.
        spark: of a recorded unit a small trace; None of others.
    """

    key: str
    name: str
    site: str
    layer: int | None
    basis: str
    index: int
    frequency: float | None
    maximum: float | None
    mean: float | None
    line: list[LinePart]
    example: ExampleLine | None
    matched: list[Match]
    fires_on: TokenView | None
    description: str | None
    author: str | None
    score: EstimateView | None
    concept: str | None
    auroc: float | None
    starred: bool
    spark: Spark | None


def unit_row(atlas: Reading, unit: int, words: str = "") -> UnitRow:
    """Gather what a row of a list shows of a unit.

    Args:
        atlas: the atlas.
        unit: its number among all.
        words: what was searched, for the reasons why it was found.

    Returns:
        UnitRow: the row.
    """
    frequency, mean, maximum, fires_on = atlas.row(unit, "frequency", "mean", "maximum", "fires_on")
    key = atlas.key(unit)
    said = atlas.descriptions_of(unit)
    best = said[0] if said else None
    score = best.best if best else None
    line = atlas.line(unit)
    best_concept = line.detects
    found = matches_of(atlas, unit, words)
    layer = next(row[3] for row in atlas.sites if row[1] == key.site)
    return UnitRow(
        key=str(key),
        name=atlas.name(unit),
        site=key.site,
        layer=layer,
        basis=key.basis,
        index=key.index,
        frequency=number_or_none(frequency),
        maximum=number_or_none(maximum),
        mean=number_or_none(mean),
        line=line.parts,
        example=example_line(
            atlas, unit, [found.peaks, _named_tokens(atlas, line), [] if fires_on is None else [fires_on]]
        ),
        matched=[Match(of, text) for of, text in found.texts],
        fires_on=None if fires_on is None else atlas.token(fires_on),
        description=best.description.text if best else None,
        author=best.description.author if best else None,
        score=EstimateView.of(score) if score else None,
        concept=best_concept.concept if best_concept else None,
        auroc=best_concept.auroc.value if best_concept else None,
        starred=any(note.kind == "star" for note in atlas.written.of(unit)),
        spark=spark_of(atlas, unit) if atlas.about["modality"] == RECORDING else None,
    )


def example_line(atlas: Reading, unit: int, preferred: Sequence[Sequence[int]] = ()) -> ExampleLine | None:
    """Choose a unit's best example, a few tokens about its peak; the lowest one where it is never above zero.

    Args:
        atlas: the atlas.
        unit: its number among all.
        preferred: tokens by id, in groups: the highest example marked at one of the first group, else of the second,
            else the highest of all.

    Returns:
        ExampleLine | None: the example; None where the unit has none.
    """
    part, own = atlas.part(unit)
    # Ids as they lie in the context.
    groups = [[int(id).to_bytes(4, "little", signed=True) for id in group] for group in preferred if group]
    case = " ".join(
        f"WHEN substr(c.ids, e.position * 4 + 1, 4) IN ({', '.join('?' * len(g))}) THEN {i}"
        for i, g in enumerate(groups)
    )
    agrees = f"CASE {case} ELSE 9 END" if case else "9"
    rows = atlas.rows(
        f"SELECT e.value, e.position, e.start, e.acts, c.ids, {agrees} AS agrees "
        f"FROM {part.schema}.examples e JOIN {part.schema}.contexts c USING (stimulus) WHERE e.unit = ? "
        "AND (e.value > 0 AND (e.kind = 0 OR agrees < 9) OR e.kind = 4 AND e.rank = 0) "
        "ORDER BY e.value <= 0, agrees, e.value DESC LIMIT 1",
        [*(id for group in groups for id in group), own],
    )
    if not rows:
        return None
    [(value, position, start, acts, ids, _)] = rows
    along = np.frombuffer(acts, "<f2").astype(np.float64)
    mark = position - start
    first, last = max(mark - AROUND, 0), min(mark + AROUND // 2, len(along) - 1)
    tokens = [atlas.token(id) for id in np.frombuffer(ids, "<i4")[start + first : start + last + 1].tolist()]
    return ExampleLine(
        tokens=[token.text for token in tokens],
        acts=[number_or_none(a, 3) for a in along[first : last + 1].tolist()],
        bytes=[i for i, token in enumerate(tokens) if token.bytes],
        mark=mark - first,
        value=float(f"{value:.4g}"),
    )


def _named_tokens(atlas: Reading, line: UnitLine) -> list[int]:
    """Return the tokens that a unit is said to detect, by id; none of a concept that is not one of tokens."""
    if line.detects is None or line.weak or line.detects.kind != "token":
        return []
    return [id for word in line.detects.concept.split(" ") for id in atlas.spelt.get(word, ())]
