"""Everything about one unit."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from patchclamp.atlas.read.attached_layers import AttachedLayer
from patchclamp.atlas.read.graph_row import graph_row
from patchclamp.atlas.read.reader import Reading, ScoredDescription, number_or_none, page_of
from patchclamp.atlas.read.responses import ConceptScore, EstimateView, GraphRow, Source, TokenWeight
from patchclamp.atlas.read.unit_line import UnitLine
from patchclamp.atlas.serve.screens.unit.examples import KindCount, count_examples
from patchclamp.atlas.serve.screens.unit.head import HeadPanels, head_panels
from patchclamp.atlas.serve.screens.unit.neighbours import Neighbour, neighbours
from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_names import name_site
from patchclamp.core.survey import PROBABILITIES
from patchclamp.core.unit import UnitKey

_TOKEN_PANELS = ("promotes", "suppresses", "excited_by", "inhibited_by")
_UNIT_PANELS = ("driven_by", "similar", "together")


@dataclass(frozen=True)
class Quantile:
    """A probability and the activation at it, from the survey's uniform sample of tokens."""

    probability: float
    value: float | None


@dataclass(frozen=True)
class Statistics:
    """What the unit did over all counted tokens.

    Args:
        counted: number of tokens.
        frequency: share of them above zero.
        mean: mean activation.
        deviation: standard deviation.
        minimum: lowest.
        maximum: highest.
        quantiles: from the lowest probability up.
    """

    counted: int
    frequency: float | None
    mean: float | None
    deviation: float | None
    minimum: float | None
    maximum: float | None
    quantiles: list[Quantile]


@dataclass(frozen=True)
class Histogram:
    """Counts of activations in bins of equal width.

    A piece is 32 consecutive tokens of a stimulus. ``examples?interval=low,high`` gives pieces by their maximum, which
    ``pieces`` counts; ``tokens`` counts every token.

    Args:
        edges: ``len(tokens) + 1`` bin edges from the minimum to the maximum; the last bin holds its upper edge.
        tokens: counted tokens per bin.
        pieces: pieces per bin, by their maximum.
    """

    edges: list[float]
    tokens: list[int]
    pieces: list[int]


@dataclass(frozen=True)
class DescriptionView:
    """Words about the unit, with who wrote them, when, from what, and how well they hold.

    Args:
        text: the words.
        author: who wrote them.
        made: when, as ISO 8601 in UTC; None where the run is not known.
        evidence: what the author was shown: ids of stimuli, or a statement such as ``top 8, quantile 32``.
        scores: how well the words hold.
        fails_on: examples that the words get wrong; see ``Examples``, kind ``counter``.
        run: the run that wrote them.
        note: of words that were written on the page, the id that withdraws them; empty elsewhere.
    """

    text: str
    author: str
    made: str | None
    evidence: list[str]
    scores: list[EstimateView]
    fails_on: int
    run: str
    note: str


@dataclass(frozen=True)
class UnitPage:
    """Unit: what does it do, and how sure are we?

    Args:
        key: its key.
        name: the unit in words.
        site_name: its site in words.
        line: what is measured of it, in one line.
        modality: ``language``; ``image``: then tokens below are classes, and counts are those of places; or
            ``recording``: then counts are those of samples, and pieces are trials or blocks of time.
        subject: slug of the model.
        site: its site.
        layer: block number, or None.
        basis: its basis.
        index: its number.
        previous: key of the unit before; None at the first.
        next: key of the unit after; None at the last.
        statistics: over all counted tokens.
        histogram: of activations; None where it never changed or was not finite.
        silent: it never rose above zero; the page then says "never fired in N tokens".
        fires_on: tokens at its top examples, the most frequent first; ``weight`` counts them.
        descriptions: the best scored first.
        concepts: concepts or patterns of tokens that it detects best.
        promotes: tokens that its write direction promotes most, through the unembedding alone.
        suppresses: tokens that it suppresses most.
        excited_by: tokens whose embedding drives it most, straight through its read direction.
        inhibited_by: tokens whose embedding holds it down most.
        driven_by: earlier units whose write direction its read direction picks up most: w_read · w_write.
        similar: units with the nearest write direction (cosine).
        together: units that rise and fall with it (correlation over a sample of tokens).
        not_known: reason for each of the panels above that this site or model cannot have, by name of the field.
        approximate: how far panels of neighbours can be trusted that were not sought among all pairs, by name of the
            field.
        head: what only an attention head has; None of other units.
        examples: how many of each kind there are.
        graphs: explained answers in which it stands.
        source: where this page comes from.
    """

    key: str
    name: str
    site_name: str
    line: UnitLine
    modality: str
    subject: str
    site: str
    layer: int | None
    basis: str
    index: int
    previous: str | None
    next: str | None
    statistics: Statistics
    histogram: Histogram | None
    silent: bool
    fires_on: list[TokenWeight]
    descriptions: list[DescriptionView]
    concepts: list[ConceptScore]
    promotes: list[TokenWeight]
    suppresses: list[TokenWeight]
    excited_by: list[TokenWeight]
    inhibited_by: list[TokenWeight]
    driven_by: list[Neighbour]
    similar: list[Neighbour]
    together: list[Neighbour]
    not_known: dict[str, str]
    approximate: dict[str, str]
    head: HeadPanels | None
    examples: list[KindCount]
    graphs: list[GraphRow]
    source: Source


@page_of
def unit_page(atlas: Reading, key: str) -> UnitPage:
    """Return a unit's page.

    Raises:
        NotFound: the atlas has no such unit.
    """
    unit = atlas.index_of(key)
    named = atlas.key(unit)
    part, own = atlas.part(unit)
    [row] = atlas.rows(
        "SELECT u.frequency, u.mean, u.deviation, u.minimum, u.maximum, u.quantiles, u.edges, u.tokens, u.pieces, "
        f"s.layer FROM {part.schema}.units u JOIN {part.schema}.sites s ON s.id = u.site WHERE u.id = ?",
        [own],
    )
    *numbers, quantiles, edges, tokens, pieces, layer = row
    frequency, mean, deviation, minimum, maximum = map(number_or_none, numbers)
    beside = atlas.rows(f"SELECT name, ids, weights FROM {part.schema}.panels WHERE unit = ?", [own])
    panels = {name: (ids, weights) for name, ids, weights in beside}
    shown: dict[str, Any] = {n: atlas.token_weights(*panels[n]) if n in panels else [] for n in _TOKEN_PANELS}
    shown |= {n: neighbours(atlas, part, *panels[n]) if n in panels else [] for n in _UNIT_PANELS}
    fires = atlas.rows(
        f"SELECT token, n FROM {part.schema}.fires WHERE unit = ? ORDER BY n DESC, token LIMIT 12", [own]
    )
    values = zip(PROBABILITIES, np.frombuffer(quantiles, "<f8").tolist(), strict=True)
    return UnitPage(
        key=str(named),
        name=atlas.name(unit),
        site_name=name_site(named.site, named.basis),
        line=atlas.line(unit),
        modality=str(atlas.about["modality"]),
        subject=atlas.slug,
        site=named.site,
        layer=layer,
        basis=named.basis,
        index=named.index,
        previous=str(atlas.key(unit - 1)) if unit > 0 else None,
        next=str(atlas.key(unit + 1)) if unit + 1 < atlas.n_units else None,
        statistics=Statistics(
            counted=part.about["corpus"]["counted"],
            frequency=frequency,
            mean=mean,
            deviation=deviation,
            minimum=minimum,
            maximum=maximum,
            quantiles=[Quantile(p, number_or_none(v)) for p, v in values],
        ),
        histogram=None
        if edges is None
        else Histogram(
            edges=np.frombuffer(edges, "<f8").tolist(),
            tokens=np.frombuffer(tokens, "<i8").tolist(),
            pieces=np.frombuffer(pieces, "<i8").tolist(),
        ),
        silent=maximum is None or maximum <= 0,
        fires_on=[atlas.weigh(token, float(n)) for token, n in fires],
        descriptions=[_view_description(atlas, said) for said in atlas.descriptions_of(unit)],
        concepts=atlas.concepts(unit),
        **shown,
        not_known=_not_known(part, named, changes=maximum != minimum),
        approximate=_approximate(part),
        head=head_panels(atlas, part, own),
        examples=count_examples(atlas, unit),
        graphs=_graphs_with(atlas, named),
        source=atlas.source(f".unit({str(named)!r})", part.id),
    )


def _not_known(part: AttachedLayer, unit: UnitKey, *, changes: bool) -> dict[str, str]:
    known = part.about["reasons"]
    reasons = dict(known.get(f"{unit.site}/{unit.basis}", known.get(unit.site, {})))
    reasons["concepts"] = (
        "too little text was read to measure one" if changes else "it did the same at every token that was read"
    )
    return reasons


def _approximate(part: AttachedLayer) -> dict[str, str]:
    found = part.about.get("neighbours")
    recall = found.get("recall") if isinstance(found, dict) else None
    notes = {}
    for panel, row in recall.items() if isinstance(recall, dict) else ():
        if isinstance(row, list) and len(row) == 4 and all(isinstance(one, int | float) for one in row):
            share, low, high, n = row
            notes[panel] = (
                f"approximate: {share_of(share)} of the nearest were found, 95 % interval {share_of(low)} to "
                f"{share_of(high)}, {n:,} looked up"
            )
    return notes


def share_of(value: float) -> str:
    """Return a share as a whole percentage, never rounded up to all.

    Example:
        >>> share_of(0.874), share_of(0.999), share_of(1.0)
        ('87 %', '99 %', '100 %')
    """
    return f"{int(100 * value + 1e-9)} %" if value > 0.99 else f"{100 * value:.0f} %"


def _view_description(atlas: Reading, said: ScoredDescription) -> DescriptionView:
    words, run = said.description, atlas.runs[said.layer]
    return DescriptionView(
        text=words.text,
        author=words.author,
        made=said.made or run.began,
        evidence=list(words.evidence),
        scores=[EstimateView.of(score) for score in words.scores],
        fails_on=said.wrong,
        run=said.layer,
        note=said.note,
    )


def _graphs_with(atlas: Reading, unit: UnitKey) -> list[GraphRow]:
    rows = []
    for layer in atlas.layers:
        for node in layer.graph.nodes if layer.graph else ():
            if layer.graph and is_unit(node.key, unit):
                rows.append(graph_row(layer.id, layer.graph, node))
    return rows


def is_unit(key: str, unit: UnitKey) -> bool:
    """Say whether a node's key names a unit, wherever it stands."""
    try:
        parsed = UnitKey.parse(key)
    except PatchclampError:
        return False
    return (parsed.site, parsed.basis, parsed.index) == (unit.site, unit.basis, unit.index)
