"""What an atlas holds of comparisons: two networks over one text, or two recordings of the same stimuli."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Path, Query

from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none, page_of
from patchclamp.atlas.read.responses import EstimateView, Source
from patchclamp.atlas.serve.served import Served
from patchclamp.atlas.store.comparisons import Comparison, kind_of
from patchclamp.core.lens_difference import LensDifference, Likely
from patchclamp.core.model_comparison import ModelComparison
from patchclamp.core.plain_names import name_site, name_unit
from patchclamp.core.similarity import Similarity

MOST_ROWS, MOST_CONDITIONS = 200, 48
"""Rows of a list, and conditions of a matrix, that a page shows."""


@dataclass(frozen=True)
class ComparisonRow:
    """One comparison.

    Args:
        id: the layer that holds it, and its run.
        kind: ``models`` or ``recordings``.
        first: what the first is called.
        second: what the second is called.
        sentence: what was found, in one sentence.
    """

    id: str
    kind: str
    first: str
    second: str
    sentence: str


@dataclass(frozen=True)
class ComparisonList:
    """All comparisons of the atlas."""

    rows: list[ComparisonRow]
    total: int
    source: Source


@dataclass(frozen=True)
class ComparedUnit:
    """A unit of one of two networks.

    Args:
        key: its key, without a subject.
        name: what it is, in words.
        label: what the atlas knows of it, in a few words; empty where it is another's.
        unit: its key in this atlas; None where it is another's.
    """

    key: str
    name: str
    label: str
    unit: str | None


@dataclass(frozen=True)
class UnitPair:
    """A unit and the most correlated unit of the other network.

    Args:
        first: of the first.
        second: its partner.
        r: Pearson correlation of their activations over the same tokens.
        mutual: whether each is the other's best partner at its site.
    """

    first: ComparedUnit
    second: ComparedUnit
    r: float
    mutual: bool


@dataclass(frozen=True)
class PairList:
    """Paired units, the highest correlation first.

    Args:
        rows: as many as a page holds.
        total: units of the first that change at all over the text.
        above: of them, how many have a partner above chance.
        threshold: 97.5 % of best partners with shuffled tokens lie below this correlation.
        row: layer of the first whose units these are; None for all.
        column: likewise of the second.
    """

    rows: list[UnitPair]
    total: int
    above: int
    threshold: float | None
    row: int | None
    column: int | None


@dataclass(frozen=True)
class MovedUnit:
    """A unit that both networks have, and how far what it writes moved.

    Args:
        unit: which.
        r: correlation of its activations in both; None where it never changes.
        mean_first: mean activation in the first.
        mean_second: in the second.
        max_first: largest activation in the first.
        max_second: in the second.
        cosine: of what it writes in both; None where it writes nothing.
        change: root mean square of the change in what it writes to the stream.
        share: of what it writes in both.
    """

    unit: ComparedUnit
    r: float | None
    mean_first: float | None
    mean_second: float | None
    max_first: float | None
    max_second: float | None
    cosine: float | None
    change: float
    share: float


@dataclass(frozen=True)
class TokenShift:
    """A next token: probability by the first network and by the second."""

    token: str
    first: float
    second: float


@dataclass(frozen=True)
class PlacedShift:
    """A next token whose probability differs, and the text before it."""

    token: str
    first: float
    second: float
    context: str


@dataclass(frozen=True)
class TextShift:
    """Some consecutive tokens and the divergence of the next token after each, in nats.

    Args:
        tokens: their texts.
        ids: their numbers.
        divergence: after each.
        shifts: after each the tokens whose probability differs most.
        stimulus: which stretch of the text they stand in.
        start: position of the first of them.
    """

    tokens: list[str]
    ids: list[int]
    divergence: list[float]
    shifts: list[list[TokenShift]]
    stimulus: int
    start: int


@dataclass(frozen=True)
class LikelyToken:
    """A next token and its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class LensSpot:
    """A place where the two logit lenses differ.

    Args:
        context: the text up to and with the token there.
        divergence: KL divergence of the next token, in nats.
        first: what the first lens finds likeliest.
        second: what the second finds likeliest.
    """

    context: str
    divergence: float
    first: list[LikelyToken]
    second: list[LikelyToken]


@dataclass(frozen=True)
class LensDepth:
    """How far the two logit lenses differ at one depth.

    Args:
        first: where the stream of the first was read, in words.
        second: where that of the second was read.
        value: mean KL divergence of the next token, in nats.
        low: lower end of its 95 % interval over stimuli; None of one stimulus.
        high: upper end.
        agreement: share of tokens after which both find the same token likeliest.
        places: where they differ most.
    """

    first: str
    second: str
    value: float
    low: float | None
    high: float | None
    agreement: float
    places: list[LensSpot]


@dataclass(frozen=True)
class LensView:
    """How the logit lenses of two networks differ.

    Args:
        sentence: the difference in one sentence.
        layers: every depth, in forward order; the last is what the networks themselves answer.
        part: the depth where they part; None where they are the same everywhere.
        n_tokens: tokens at which the lenses were read.
    """

    sentence: str
    layers: list[LensDepth]
    part: int | None
    n_tokens: int


@dataclass(frozen=True)
class LayerGrid:
    """Rows and columns with a number in every cell.

    Args:
        rows: what the rows are, in words.
        columns: what the columns are.
        value: row by row; None where it is undefined.
        low: lower ends of 95 % intervals; empty where there are none.
        high: upper ends.
    """

    rows: list[str]
    columns: list[str]
    value: list[list[float | None]]
    low: list[list[float | None]]
    high: list[list[float | None]]


@dataclass(frozen=True)
class ComparisonPage:
    """A comparison: do these two represent the same thing?

    Args:
        comparison: the row.
        n: tokens compared, or conditions.
        n_conditions: tokens or conditions between which dissimilarities were measured.
        layers: similarity of layers; None for recordings.
        shuffled: mean similarity with shuffled tokens; None for recordings.
        shuffled_low: lower end of its 95 % interval.
        shuffled_high: upper end.
        ceiling: the largest similarity that noise allows; None where it is not known.
        estimate: mean divergence of models, or similarity of recordings.
        agreement: share of tokens after which both find the same token likeliest; None for recordings.
        random: mean divergence of random changes of the same size.
        pairs: paired units of all layers; None for recordings.
        moved: units that both have, the most moved first.
        n_moved: how many units both have.
        shifts: next tokens whose probability differs most.
        texts: stretches of the text, those that differ most first.
        lens: how the logit lenses differ; None where none were compared.
        matrices: of recordings: dissimilarities of conditions, of the first and of the second.
        notice: what was cut because it is larger than a page; empty where nothing was.
        cautions: what a reader should know.
        source: where this page comes from.
    """

    comparison: ComparisonRow
    n: int
    n_conditions: int
    layers: LayerGrid | None
    shuffled: float | None
    shuffled_low: float | None
    shuffled_high: float | None
    ceiling: float | None
    estimate: EstimateView
    agreement: float | None
    random: list[float]
    pairs: PairList | None
    moved: list[MovedUnit]
    n_moved: int
    shifts: list[PlacedShift]
    texts: list[TextShift]
    lens: LensView | None
    matrices: list[LayerGrid]
    notice: str
    cautions: list[str]
    source: Source


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of the comparisons."""

    @app.get("/api/compare", operation_id="listComparisons")
    def list_comparisons() -> ComparisonList:
        """List the comparisons."""
        return comparison_list(served.atlas())

    @app.get("/api/compare/{id}", operation_id="readComparison")
    def read_comparison(id: str) -> ComparisonPage:
        """Read a comparison: do these two represent the same thing?"""
        return comparison_page(served.atlas(), id)

    @app.get("/api/compare/{id}/pairs/{row}/{column}", operation_id="readUnitPairs")
    def read_pairs(
        id: str,
        row: Annotated[int, Path(ge=0)],
        column: Annotated[int, Path(ge=0)],
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 20,
    ) -> PairList:
        """Read the best pairs of units of two layers."""
        return pair_list(served.atlas(), id, row, column, limit)


@page_of
def comparison_list(atlas: Reading) -> ComparisonList:
    """Return the comparisons."""
    rows = [_row(layer.id, layer.comparison) for layer in atlas.layers if layer.comparison is not None]
    return ComparisonList(rows, len(rows), atlas.source(".comparisons()"))


@page_of
def comparison_page(atlas: Reading, id: str) -> ComparisonPage:
    """Return a comparison.

    Raises:
        NotFound: there is no such layer.
    """
    found, source = _find(atlas, id), atlas.source(f".comparison({id!r})", id)
    return _recordings(id, found, source) if isinstance(found, Similarity) else _models(atlas, id, found, source)


@page_of
def pair_list(atlas: Reading, id: str, row: int, column: int, limit: int) -> PairList:
    """Return the best pairs of units of a layer of the first and one of the second.

    Returns:
        PairList: the highest correlation first.

    Raises:
        NotFound: there is no such layer.
    """
    found = _find(atlas, id)
    if isinstance(found, Similarity) or row >= len(found.layers[0]) or column >= len(found.layers[1]):
        raise NotFound(
            expected="a pair of layers that were compared",
            got=f"row {row}, column {column} of {id[:80]!r}",
            remedy="Count both from 0, as /api/compare/ID lists them.",
        )
    first, second = (_unit_site(found, side, found.layers[side][place]) for side, place in ((0, row), (1, column)))
    if first is None or second is None:
        return PairList([], 0, 0, number_or_none(found.threshold), row, column)
    return _pairs(atlas, found, first, second, limit, row, column)


def _find(atlas: Reading, id: str) -> Comparison:
    found = next((layer.comparison for layer in atlas.layers if layer.id == id), None)
    if found is None:
        raise NotFound(expected="a comparison of this atlas", got=repr(id[:80]), remedy="/api/compare lists them.")
    return found


def _row(id: str, found: Comparison) -> ComparisonRow:
    return ComparisonRow(id, kind_of(found), *found.names, found.sentence)


def _unit_site(found: ModelComparison, side: int, layer: str) -> str | None:
    """Return the site of a layer's units: that of the same block."""
    block = layer.rpartition(".")[0]
    return next((site for site in found.units[side] if site.startswith(f"{block}.")), None)


def _pairs(
    atlas: Reading,
    found: ModelComparison,
    first: str | None,
    second: str | None,
    limit: int,
    row: int | None = None,
    column: int | None = None,
) -> PairList:
    listed = found.pairs(first, second)
    above = sum(r > found.threshold for *_, r, _ in listed)
    rows = [
        UnitPair(_unit(atlas, found, 0, i), _unit(atlas, found, 1, j), _round(r), mutual)
        for i, j, r, mutual in listed[:limit]
    ]
    return PairList(rows, len(listed), above, number_or_none(found.threshold, 4), row, column)


def _unit(atlas: Reading, found: ModelComparison, side: int, number: int) -> ComparedUnit:
    key = found.key(side, number)
    unit, label = None, ""
    if found.hashes[side] == atlas.about["subject"]["hash"]:
        try:
            index = atlas.index_of(key)
            unit, label = str(atlas.key(index)), atlas.label(index)
        except NotFound:  # a site that was not baked
            pass
    return ComparedUnit(key, name_unit(key), label, unit)


def _models(atlas: Reading, id: str, found: ModelComparison, source: Source) -> ComparisonPage:
    moved = []
    starts = dict(zip(found.units[0], found.starts(0).tolist(), strict=True))
    for key, values in found.moved_units(50):
        site, _, index = key.split("/")
        measured: dict[str, Any] = {name: number_or_none(value, 4) for name, value in values.items()}
        measured |= {"change": measured["change"] or 0.0, "share": measured["share"] or 0.0}
        side = int(found.hashes[0] != atlas.about["subject"]["hash"])
        start = starts[site] if side == 0 else dict(zip(found.units[1], found.starts(1).tolist(), strict=True))[site]
        moved.append(MovedUnit(_unit(atlas, found, side, start + int(index)), **measured))
    return ComparisonPage(
        comparison=_row(id, found),
        n=found.n_tokens,
        n_conditions=found.n_conditions,
        layers=LayerGrid(
            [name_site(site) for site in found.layers[0]],
            [name_site(site) for site in found.layers[1]],
            _grid(found.similarity),
            _grid(found.low),
            _grid(found.high),
        ),
        shuffled=number_or_none(found.shuffled_mean, 4),
        shuffled_low=number_or_none(found.shuffled.low, 4),
        shuffled_high=number_or_none(found.shuffled.high, 4),
        ceiling=1.0,
        estimate=EstimateView.of(found.divergence),
        agreement=found.agreement,
        random=[_round(value) for value in found.random],
        pairs=_pairs(atlas, found, None, None, 50) if found.n_live else None,
        moved=moved,
        n_moved=len(found.moved),
        shifts=[PlacedShift(one.token, one.first, one.second, one.context) for one in found.changes],
        texts=[
            TextShift(
                list(text.tokens),
                list(text.ids),
                [_round(value) for value in text.divergence],
                [[TokenShift(one.token, _round(one.first), _round(one.second)) for one in row] for row in text.changes],
                text.stimulus,
                text.start,
            )
            for text in found.texts
        ],
        lens=_lens(found.lens) if found.lens.layers else None,
        matrices=[],
        notice="",
        cautions=list(found.cautions),
        source=source,
    )


def _lens(found: LensDifference) -> LensView:
    layers = [
        LensDepth(
            name_site(layer.sites[0]),
            name_site(layer.sites[1]),
            _round(layer.divergence.value),
            number_or_none(layer.divergence.low, 4),
            number_or_none(layer.divergence.high, 4),
            layer.agreement,
            [
                LensSpot(place.context, _round(place.divergence), _likely(place.first), _likely(place.second))
                for place in layer.places
            ],
        )
        for layer in found.layers
    ]
    return LensView(found.sentence, layers, found.part, found.n_tokens)


def _likely(tokens: Likely) -> list[LikelyToken]:
    return [LikelyToken(token, _round(p)) for token, p in tokens]


def _recordings(id: str, found: Similarity, source: Source) -> ComparisonPage:
    matrices, notice = [], ""
    for matrix in (found.first, found.second):
        if matrix is None:
            continue
        n = min(len(matrix), MOST_CONDITIONS)
        labels = [found.labels[i] if i < len(found.labels) else str(i) for i in range(n)]
        matrices.append(LayerGrid(labels, labels, _grid(matrix[:n, :n]), [], []))
        if n < len(matrix):
            notice = f"The matrices show the first {n} of {len(matrix):,} {found.over}; the similarity is over all."
    own = found.estimate
    return ComparisonPage(
        comparison=_row(id, found), n=own.n, n_conditions=own.n, layers=None, shuffled=None,
        shuffled_low=None if own.null is None else number_or_none(own.null.low),
        shuffled_high=None if own.null is None else number_or_none(own.null.high),
        ceiling=number_or_none(own.ceiling), estimate=EstimateView.of(own), agreement=None, random=[], pairs=None,
        moved=[], n_moved=0, shifts=[], texts=[], lens=None, matrices=matrices, notice=notice, cautions=[],
        source=source,
    )  # fmt: skip


def _grid(array: np.ndarray) -> list[list[float | None]]:
    return [[number_or_none(float(x), 4) for x in row] for row in array]


def _round(value: float) -> float:
    return float(f"{value:.4g}")
