"""Unit: one unit's page, and its examples."""

from typing import Any, get_args

import numpy as np

from patchclamp.atlas import pages
from patchclamp.atlas.find import concepts_of
from patchclamp.atlas.parts import Part
from patchclamp.atlas.reading import Reading, Said, number_or_none
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph, Node
from patchclamp.core.method_index import find_title
from patchclamp.core.survey import PROBABILITIES
from patchclamp.core.unit import UnitKey

STORED: tuple[pages.Kind, ...] = ("top", "quantile", "random", "interval")
"""Kinds by the number that an atlas keeps: the first of ``core.exemplars.KINDS``."""
_NOTES: dict[str, str] = {
    "top": "The stimuli with the highest activation, marked at its token.",
    "quantile": "One token per decile of a uniform sample of tokens, from the lowest to the highest activation.",
    "random": "Tokens of a uniform sample, whatever the activation.",
    "interval": "Pieces of 32 tokens whose maximum lies in the interval, drawn at random, at most two for every bin.",
    "counter": "Where a description that names tokens is wrong, among the examples of this atlas: named yet below a "
    "tenth of the maximum, or above half of it yet not named.",
}
_TOKEN_PANELS = ("promotes", "suppresses", "excited_by", "inhibited_by")
_UNIT_PANELS = ("driven_by", "similar", "together")


def unit_page(atlas: Reading, key: str) -> pages.UnitPage:
    """Return a unit's page.

    Raises:
        Absent: the atlas has no such unit.
    """
    unit = atlas.number(key)
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
    shown: dict[str, Any] = {n: _weights(atlas, *panels[n]) if n in panels else [] for n in _TOKEN_PANELS}
    shown |= {n: _neighbours(atlas, part, *panels[n]) if n in panels else [] for n in _UNIT_PANELS}
    fires = atlas.rows(
        f"SELECT token, n FROM {part.schema}.fires WHERE unit = ? ORDER BY n DESC, token LIMIT 12", [own]
    )
    values = zip(PROBABILITIES, np.frombuffer(quantiles, "<f8").tolist(), strict=True)
    return pages.UnitPage(
        key=str(named), subject=atlas.slug, site=named.site, layer=layer, basis=named.basis, index=named.index,
        previous=str(atlas.key(unit - 1)) if unit > 0 else None,
        next=str(atlas.key(unit + 1)) if unit + 1 < atlas.n_units else None,
        statistics=pages.Statistics(
            counted=part.about["corpus"]["counted"], frequency=frequency, mean=mean, deviation=deviation,
            minimum=minimum, maximum=maximum, quantiles=[pages.Quantile(p, number_or_none(v)) for p, v in values],
        ),
        histogram=None if edges is None else pages.Histogram(
            edges=np.frombuffer(edges, "<f8").tolist(), tokens=np.frombuffer(tokens, "<i8").tolist(),
            pieces=np.frombuffer(pieces, "<i8").tolist(),
        ),
        silent=maximum is None or maximum <= 0,
        fires_on=[_weight(atlas, token, float(n)) for token, n in fires],
        descriptions=[_described(atlas, said) for said in atlas.said_of(unit)],
        concepts=concepts_of(atlas, unit), **shown, not_known=_not_known(part, named.site),
        examples=_counts(atlas, unit), graphs=_graphs_with(atlas, named),
        source=atlas.source(f".unit({str(named)!r})", part.id),
    )  # fmt: skip


def _not_known(part: Part, site: str) -> dict[str, str]:
    reasons = dict(part.about["reasons"].get(site, {}))
    if not part.about["corpus"]["labelled"]:
        reasons["concepts"] = "the text carries no labels"
    return reasons


def _weight(atlas: Reading, id: int, weight: float) -> pages.TokenWeight:
    token = atlas.token(id)
    return pages.TokenWeight(token.id, token.text, token.bytes, float(f"{weight:.4g}"))


def _weights(atlas: Reading, ids: bytes, weights: bytes) -> list[pages.TokenWeight]:
    pairs = zip(np.frombuffer(ids, "<i4").tolist(), np.frombuffer(weights, "<f4").tolist(), strict=True)
    return [_weight(atlas, id, weight) for id, weight in pairs]


def _neighbours(atlas: Reading, part: Part, ids: bytes, weights: bytes) -> list[pages.Neighbour]:
    numbers = [part.among_all(unit) for unit in np.frombuffer(ids, "<i4").tolist()]
    marks = ", ".join("?" * len(numbers))
    fires = dict(atlas.rows(f"SELECT id, fires_on FROM units WHERE id IN ({marks})", numbers))
    found = []
    for unit, weight in zip(numbers, np.frombuffer(weights, "<f4").tolist(), strict=True):
        said, token = atlas.said_of(unit), fires.get(unit)
        found.append(pages.Neighbour(
            key=str(atlas.key(unit)), value=float(f"{weight:.4g}"),
            fires_on=None if token is None else atlas.token(token),
            description=said[0].description.text if said else None,
        ))  # fmt: skip
    return found


def _described(atlas: Reading, said: Said) -> pages.DescriptionView:
    words, run = said.description, atlas.runs[said.layer]
    scores = [
        pages.ScoreView(s.unit, number_or_none(s.value), number_or_none(s.low), number_or_none(s.high), s.n)
        for s in words.scores
    ]
    return pages.DescriptionView(
        text=words.text, author=words.author, made=run.began, evidence=list(words.evidence), scores=scores,
        fails_on=len(said.counters), run=said.layer,
    )  # fmt: skip


def _counts(atlas: Reading, unit: int) -> list[pages.KindCount]:
    part, own = atlas.part(unit)
    found = dict(atlas.rows(f"SELECT kind, count(*) FROM {part.schema}.examples WHERE unit = ? GROUP BY kind", [own]))
    counts = {kind: found.get(number, 0) for number, kind in enumerate(STORED)}
    counts["counter"] = sum(len(said.counters) for said in atlas.said_of(unit))
    return [pages.KindCount(kind, counts[kind]) for kind in get_args(pages.Kind)]


# -- examples ---------------------------------------------------------------------------------------------------------


def examples(
    atlas: Reading, key: str, kind: pages.Kind, low: float | None, high: float | None, limit: int
) -> pages.Examples:
    """Return a unit's examples of one kind.

    An interval holds its lower end, and its upper end where that is the unit's maximum or above.

    Raises:
        Absent: the atlas has no such unit.
        PatchclampError: an interval without two ends, or ends with another kind.
    """
    unit = atlas.number(key)
    if (kind == "interval") != (low is not None and high is not None) or (low is None) != (high is None):
        raise PatchclampError(
            expected="low and high together, and only with kind=interval",
            got=f"kind={kind}, low={low}, high={high}",
            remedy="Give both ends, or leave both out.",
        )
    total: int | None = None
    if kind == "counter":
        found = _counters(atlas, unit)
        total = len(found)
    elif low is not None and high is not None:
        maximum, edges, pieces = atlas.row(unit, "maximum", "edges", "pieces")
        upper = "<=" if maximum is not None and high >= maximum else "<"
        found = _stored(atlas, unit, kind, f"AND e.value >= ? AND e.value {upper} ?", [low, high])
        # Both pieces of a bin before the next bin's would show one corner of a wide interval only.
        found = sorted(found, key=lambda one: one[1] % 2)
        total = _pieces_in(edges, pieces, low, high, upper)
    else:
        found = _stored(atlas, unit, kind)
    shown = [_example(atlas, kind, *row) for row in found[:limit]]
    python = f".examples({str(atlas.key(unit))!r}, {kind!r}" + (
        f", low={low!r}, high={high!r})" if low is not None else ")"
    )
    return pages.Examples(
        key=str(atlas.key(unit)), kind=kind, low=low, high=high, examples=shown, total=total,
        note=_note(atlas, unit, kind, bool(shown)), source=atlas.source(python, atlas.part(unit)[0].id),
    )  # fmt: skip


def _stored(
    atlas: Reading, unit: int, kind: pages.Kind, clause: str = "", values: list[Any] | None = None
) -> list[tuple[Any, ...]]:
    part, own = atlas.part(unit)
    return atlas.rows(
        "SELECT e.kind, e.rank, e.value, e.stimulus, e.position, e.start, e.acts, c.ids, c.counted, '' "
        f"FROM {part.schema}.examples e JOIN {part.schema}.contexts c USING (stimulus) "
        f"WHERE e.unit = ? AND e.kind = ? {clause} ORDER BY e.rank",
        [own, STORED.index(kind), *(values or [])],
    )


def _counters(atlas: Reading, unit: int) -> list[tuple[Any, ...]]:
    found = []
    for said in atlas.said_of(unit):
        for counter in said.counters:
            rows = _stored(atlas, unit, STORED[counter.kind], "AND e.rank = ?", [counter.example])
            for kind, rank, _, stimulus, _, start, acts, ids, counted, _ in rows:
                value = float(np.frombuffer(acts, "<f2")[counter.place])
                position = start + counter.place
                found.append((kind, rank, value, stimulus, position, start, acts, ids, counted, counter.reason))
    return found


def _pieces_in(edges: bytes | None, pieces: bytes | None, low: float, high: float, upper: str) -> int | None:
    """Return how many pieces have their maximum in an interval, where its ends are edges of bins."""
    if edges is None or pieces is None:
        return None
    cuts = np.frombuffer(edges, "<f8")
    first, last = np.searchsorted(cuts, [low, high])
    aligned = low <= cuts[0] or (first < len(cuts) and cuts[first] == low)
    closed = upper == "<=" or (last < len(cuts) and cuts[last] == high)
    return int(np.frombuffer(pieces, "<i8")[first:last].sum()) if aligned and closed else None


def _example(
    atlas: Reading, kind: pages.Kind, _kind: int, _rank: int, value: float, stimulus: int, position: int, start: int,
    acts: bytes, ids: bytes, counted: bytes, reason: str,
) -> pages.Example:  # fmt: skip
    along = np.frombuffer(acts, "<f2").astype(np.float64).tolist()
    whole = np.frombuffer(ids, "<i4")
    shown = whole[start : start + len(along)].tolist()
    counts = np.frombuffer(counted, np.uint8)[start : start + len(along)]
    tokens = [atlas.token(id) for id in shown]
    return pages.Example(
        kind=kind, value=float(value), mark=position - start, tokens=[t.text for t in tokens], ids=shown,
        acts=[number_or_none(a, 4) for a in along], special=np.flatnonzero(counts == 0).tolist(),
        bytes=[i for i, t in enumerate(tokens) if t.bytes], before=start > 0, after=start + len(along) < len(whole),
        stimulus=stimulus, position=position, reason=reason,
    )  # fmt: skip


def _note(atlas: Reading, unit: int, kind: pages.Kind, any_shown: bool) -> str:
    if any_shown:
        return _NOTES[kind]
    if kind == "counter":
        if not atlas.said_of(unit):
            return "There is no description to contradict."
        return "No example of this atlas contradicts the descriptions, as far as they name tokens in quotation marks."
    return f"There is none. {_NOTES[kind]}"


# -- graphs -----------------------------------------------------------------------------------------------------------

_TOGETHER = ("predicted", "measured", "control_low", "control_high", "p")


def graph_row(id: str, graph: Graph, asking: Node | None = None) -> pages.GraphRow:
    """Return an explained answer as a row, from the side of a unit where one asks."""
    about = graph.about
    position = UnitKey.parse(asking.key).position if asking else None
    contrast = about.get("contrast")
    whole = {name: number_or_none(graph.measures.get(name)) for name in _TOGETHER}
    return pages.GraphRow(
        id=id, prompt=str(about.get("prompt", "")), target=str(about.get("target", "")),
        contrast=None if contrast is None else str(contrast),
        method=find_title(str(about.get("method", "")), "attribute"),
        n_nodes=len(graph.nodes), metric=number_or_none(graph.measures.get("metric_clean")),
        score=number_or_none(asking.score) if asking else None,
        measured=number_or_none(asking.measures.get("measured")) if asking else None, position=position,
        predicted_together=whole["predicted"], measured_together=whole["measured"], control_low=whole["control_low"],
        control_high=whole["control_high"], p=whole["p"], verdict=str(about.get("verdict") or ""),
    )  # fmt: skip


def _graphs_with(atlas: Reading, unit: UnitKey) -> list[pages.GraphRow]:
    found = []
    for layer in atlas.layers:
        for node in layer.graph.nodes if layer.graph else ():
            if layer.graph and is_unit(node.key, unit):
                found.append(graph_row(layer.id, layer.graph, node))
    return found


def is_unit(key: str, unit: UnitKey) -> bool:
    """Say whether a node's key names a unit, wherever it stands."""
    try:
        parsed = UnitKey.parse(key)
    except PatchclampError:
        return False
    return (parsed.site, parsed.basis, parsed.index) == (unit.site, unit.basis, unit.index)
