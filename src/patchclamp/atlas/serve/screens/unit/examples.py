"""Windows of text, chosen in several ways."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from patchclamp.atlas.read.reader import Reading, number_or_none, page_of
from patchclamp.atlas.read.responses import Source
from patchclamp.atlas.store.layers import failing_windows, layer_path
from patchclamp.core.errors import PatchclampError

Kind = Literal["top", "lowest", "range", "quantile", "random", "counter", "interval"]
"""Why an example was chosen: see ``Examples``."""
STORED: tuple[Kind, ...] = ("top", "quantile", "random", "interval", "lowest")
"""Kinds by the number that an atlas keeps; all but the last are the first of ``core.exemplars.KINDS``."""
STEPS = 10
"""Equal intervals of activation from which ``range`` takes an example each."""
_NOTES: dict[str, str] = {
    "top": "The windows with the highest activation, marked at their peak.",
    "lowest": "The windows in which it goes furthest below zero, marked there.",
    "range": f"One place for each of {STEPS} equal intervals of activation from its lowest to its highest, where the "
    "text has one.",
    "quantile": "One token per decile of a uniform sample of tokens, from the lowest to the highest activation.",
    "random": "Tokens of a uniform sample, whatever the activation.",
    "interval": "Windows of 32 tokens whose maximum lies in the interval, drawn at random, at most two for every bin.",
    "counter": "Where a description is wrong: windows that its author was not shown and that it gets wrong; of words "
    "that nobody scored, tokens among the examples of this atlas that they name yet are below a tenth of the maximum, "
    "or above half of it yet not named.",
}


@dataclass(frozen=True)
class Example:
    """One place in the text, with the unit's activation at every token around it.

    Args:
        kind: why it was chosen.
        value: activation at the marked token; what ``data-act`` shows.
        mark: index of the marked token in ``tokens``.
        tokens: the tokens' text, as it is: spaces and line breaks are not marked.
        ids: their ids.
        acts: the unit's activation at each (float16); None where it is not finite.
        special: indices of tokens that no statistics count (beginning of text, special).
        bytes: indices of tokens that are parts of characters; their text is their bytes in hex.
        before: whether tokens of the same stimulus stand before the first.
        after: whether some stand after the last.
        stimulus: number of the stimulus in the text.
        position: logical position of the marked token in it.
        reason: of a counter-example, what the description gets wrong here; empty elsewhere.
    """

    kind: Kind
    value: float
    mark: int
    tokens: list[str]
    ids: list[int]
    acts: list[float | None]
    special: list[int]
    bytes: list[int]
    before: bool
    after: bool
    stimulus: int
    position: int
    reason: str


@dataclass(frozen=True)
class Examples:
    """Examples of one unit.

    ``top``: the windows with the highest activation, marked there. ``lowest``: those in which it goes furthest below
    zero. ``range``: a place for each of ten equal intervals of activation, from low to high. ``quantile``: one token
    per decile of a uniform sample, from low to high. ``random``: tokens of the same sample, whatever their activation.
    ``interval``: windows of 32 tokens whose maximum lies in the interval, marked there. ``counter``: where a
    description says that the unit fires and it does not, or the other way round: windows on which it was scored first.

    Args:
        key: the unit.
        kind: which kind.
        low: lower end of the interval asked for; None elsewhere.
        high: upper end.
        examples: the examples.
        total: how many places of the text qualify; None where nobody counted.
        note: a sentence about what is shown, or why there is nothing.
        source: where this comes from.
    """

    key: str
    kind: Kind
    low: float | None
    high: float | None
    examples: list[Example]
    total: int | None
    note: str
    source: Source


@dataclass(frozen=True)
class KindCount:
    """How many examples of a kind there are."""

    kind: Kind
    n: int


def count_examples(atlas: Reading, unit: int) -> list[KindCount]:
    """Return how many examples of each kind a unit has."""
    part, own = atlas.part(unit)
    stored = dict(atlas.rows(f"SELECT kind, count(*) FROM {part.schema}.examples WHERE unit = ? GROUP BY kind", [own]))
    counts = {kind: stored.get(number, 0) for number, kind in enumerate(STORED)}
    counts["range"] = len(_across(atlas, unit)) if sum(stored.values()) else 0
    counts["counter"] = sum(said.wrong for said in atlas.descriptions_of(unit))
    return [KindCount(kind, counts[kind]) for kind in get_args(Kind)]


@page_of
def examples(atlas: Reading, key: str, kind: Kind, low: float | None, high: float | None, limit: int) -> Examples:
    """Return a unit's examples of one kind.

    An interval holds its lower end, and its upper end where that is the unit's maximum or above.

    Returns:
        Examples: at most ``limit`` examples, and how many there are.

    Raises:
        NotFound: the atlas has no such unit.
        PatchclampError: an interval without two ends, or ends with another kind.
    """
    atlas.require_text("examples of this address are windows of tokens")
    unit = atlas.index_of(key)
    if (kind == "interval") != (low is not None and high is not None) or (low is None) != (high is None):
        raise PatchclampError(
            expected="low and high together, and only with kind=interval",
            got=f"kind={kind}, low={low}, high={high}",
            remedy="Give both ends, or leave both out.",
        )
    total: int | None = None
    failing: list[Example] = []
    if kind == "counter":
        failing, chosen = _failing(atlas, unit), _counters(atlas, unit)
        total = len(failing) + len(chosen)
    elif kind == "range":
        chosen = _across(atlas, unit)
    elif low is not None and high is not None:
        maximum, edges, pieces = atlas.row(unit, "maximum", "edges", "pieces")
        upper = "<=" if maximum is not None and high >= maximum else "<"
        chosen = _stored_examples(atlas, unit, kind, f"AND e.value >= ? AND e.value {upper} ?", [low, high])
        # Both pieces of a bin before the next bin's would show one corner of a wide interval only.
        chosen = sorted(chosen, key=lambda one: one[1] % 2)
        total = _pieces_in(edges, pieces, low, high, upper)
    else:
        chosen = _stored_examples(atlas, unit, kind)
    shown = [*failing, *(_example(atlas, kind, *row) for row in chosen[:limit])][:limit]
    python = f".examples({str(atlas.key(unit))!r}, {kind!r}" + (
        f", low={low!r}, high={high!r})" if low is not None else ")"
    )
    return Examples(
        key=str(atlas.key(unit)),
        kind=kind,
        low=low,
        high=high,
        examples=shown,
        total=total,
        note=_note(atlas, unit, kind, bool(shown)),
        source=atlas.source(python, atlas.part(unit)[0].id),
    )


def _stored_examples(
    atlas: Reading, unit: int, kind: Kind, clause: str = "", values: list[Any] | None = None
) -> list[tuple[Any, ...]]:
    part, own = atlas.part(unit)
    return atlas.rows(
        "SELECT e.kind, e.rank, e.value, e.stimulus, e.position, e.start, e.acts, c.ids, c.counted, '' "
        f"FROM {part.schema}.examples e JOIN {part.schema}.contexts c USING (stimulus) "
        f"WHERE e.unit = ? AND e.kind = ? {clause} ORDER BY e.rank",
        [own, STORED.index(kind), *(values or [])],
    )


def _across(atlas: Reading, unit: int) -> list[tuple[Any, ...]]:
    """Return an example for each equal interval of activation, from the lowest up.

    Windows with their peak in the interval first; places below every peak are among the lowest, or in the sample.
    """
    part, own = atlas.part(unit)
    minimum, maximum = atlas.row(unit, "minimum", "maximum")
    places = atlas.rows(f"SELECT kind, rank, value FROM {part.schema}.examples WHERE unit = ?", [own])
    if minimum is None or maximum is None or not maximum > minimum:
        return []
    order = [STORED.index(kind) for kind in ("interval", "lowest", "top", "quantile", "random")]
    best: dict[int, tuple[int, int, int]] = {}
    for kind, rank, value in places:
        step = min(max(int((value - minimum) / (maximum - minimum) * STEPS), 0), STEPS - 1)
        best[step] = min(best.get(step, (len(order), 0, 0)), (order.index(kind), rank, kind))
    wanted = [(kind, rank) for _, (_, rank, kind) in sorted(best.items())]
    clause = " OR ".join("(e.kind = ? AND e.rank = ?)" for _ in wanted)
    values = [own, *(x for pair in wanted for x in pair)]
    return atlas.rows(
        "SELECT e.kind, e.rank, e.value, e.stimulus, e.position, e.start, e.acts, c.ids, c.counted, '' "
        f"FROM {part.schema}.examples e JOIN {part.schema}.contexts c USING (stimulus) "
        f"WHERE e.unit = ? AND ({clause}) ORDER BY e.value",
        values,
    )


def _counters(atlas: Reading, unit: int) -> list[tuple[Any, ...]]:
    examples_found = []
    for said in atlas.descriptions_of(unit):
        for counter in said.counters:
            rows = _stored_examples(atlas, unit, STORED[counter.kind], "AND e.rank = ?", [counter.example])
            for kind, rank, _, stimulus, _, start, acts, ids, counted, _ in rows:
                value = float(np.frombuffer(acts, "<f2")[counter.place])
                position = start + counter.place
                examples_found.append(
                    (kind, rank, value, stimulus, position, start, acts, ids, counted, counter.reason)
                )
    return examples_found


def _failing(atlas: Reading, unit: int) -> list[Example]:
    """Return the windows that the unit's descriptions were scored on and get wrong."""
    found = []
    for said in atlas.descriptions_of(unit):
        for window in failing_windows(layer_path(atlas.folder, said.layer), said.number) if said.failures else ():
            ids = window.ids.tolist()
            tokens = [atlas.token(id) for id in ids]
            found.append(
                Example(
                    kind="counter",
                    value=float(window.acts[window.mark]),
                    mark=window.mark,
                    tokens=[t.text for t in tokens],
                    ids=ids,
                    acts=[number_or_none(a, 4) for a in window.acts.tolist()],
                    special=[],
                    bytes=[i for i, t in enumerate(tokens) if t.bytes],
                    before=window.start > 0,
                    after=False,
                    stimulus=window.stimulus,
                    position=window.start + window.mark,
                    reason=window.reason,
                )
            )
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
    atlas: Reading,
    kind: Kind,
    _kind: int,
    _rank: int,
    value: float,
    stimulus: int,
    position: int,
    start: int,
    acts: bytes,
    ids: bytes,
    counted: bytes,
    reason: str,
) -> Example:
    along = np.frombuffer(acts, "<f2").astype(np.float64).tolist()
    whole = np.frombuffer(ids, "<i4")
    shown = whole[start : start + len(along)].tolist()
    counts = np.frombuffer(counted, np.uint8)[start : start + len(along)]
    tokens = [atlas.token(id) for id in shown]
    return Example(
        kind=kind,
        value=float(value),
        mark=position - start,
        tokens=[t.text for t in tokens],
        ids=shown,
        acts=[number_or_none(a, 4) for a in along],
        special=np.flatnonzero(counts == 0).tolist(),
        bytes=[i for i, t in enumerate(tokens) if t.bytes],
        before=start > 0,
        after=start + len(along) < len(whole),
        stimulus=stimulus,
        position=position,
        reason=reason,
    )


def _note(atlas: Reading, unit: int, kind: Kind, any_shown: bool) -> str:
    if any_shown:
        return _NOTES[kind]
    if kind == "counter":
        if not atlas.descriptions_of(unit):
            return "There is no description to contradict."
        return "No window is known that the descriptions get wrong."
    return f"There is none. {_NOTES[kind]}"
