"""What only an attention head has: shares and pairs of its attention, tokens through its weights, and its patterns."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from patchclamp.atlas.read.attached_layers import AttachedLayer
from patchclamp.atlas.read.attention import AttentionPage, head_pattern
from patchclamp.atlas.read.reader import NotFound, Reading, page_of
from patchclamp.atlas.read.responses import TokenView, TokenWeight
from patchclamp.atlas.serve.screens.unit.examples import STORED, Kind
from patchclamp.atlas.serve.screens.unit.neighbours import Neighbour, neighbours

MOST_READ = 8
"""Units that a page lists of what queries, or keys, read."""


@dataclass(frozen=True)
class AttentionShares:
    """Mean attention per target token; each weight is counted in the first of these that is true of its source.

    None where they are not finite.

    Args:
        targets: tokens whose attention was measured: counted ones, the first of each text left out.
        first: on the first token of the text, where heads rest.
        itself: on the target itself.
        previous: on the token before.
        next: on the token after; 0 where attention is causal.
        same: on other tokens of the same text as the target.
        others: on all others.
    """

    targets: int
    first: float | None
    itself: float | None
    previous: float | None
    next: float | None
    same: float | None
    others: float | None


@dataclass(frozen=True)
class HeadPair:
    """A source token and a target token that attends to it.

    Args:
        source: what is attended to.
        target: what attends.
        weight: of measured pairs the mean attention; of matched ones q · k, by how much it exceeds the target's mean.
        n: how often the source was the one with the largest weight, the target and the text's first token left
            out; 0 of matched ones.
    """

    source: TokenView
    target: TokenView
    weight: float
    n: int


@dataclass(frozen=True)
class HeadWrite:
    """What the head writes where it attends to a token, by its weights: the tokens whose logits that raises most."""

    source: TokenView
    promoted: list[TokenWeight]


@dataclass(frozen=True)
class HeadPanels:
    """What only an attention head has.

    Args:
        shares: where its attention goes.
        attends: pairs of tokens with the largest sums of attention over the text.
        writes: for frequent tokens as sources what W_V W_O W_U promotes; the strongest sources first.
        matches: frequent tokens whose queries and keys match most by W_Q W_K, positions left out.
        query_reads: earlier units whose write direction its queries read most: |W_Q · norm(w)| of a direction at unit
            length, relative to the root mean square over all units of the same site.
        key_reads: the same of its keys.
        tried: frequent tokens that the weights were tried on.
        copies: share of them that the head promotes most where it attends to them.
        erases: share of them that it suppresses most.
        patterns: ranks of the examples whose pattern is kept, by kind.
    """

    shares: AttentionShares
    attends: list[HeadPair]
    writes: list[HeadWrite]
    matches: list[HeadPair]
    query_reads: list[Neighbour]
    key_reads: list[Neighbour]
    tried: int
    copies: float
    erases: float
    patterns: dict[str, list[int]]


def head_panels(atlas: Reading, part: AttachedLayer, own: int) -> HeadPanels | None:
    """Return what only a head has; None of other units.

    Args:
        atlas: the atlas.
        part: what holds the unit.
        own: its number there.

    Returns:
        HeadPanels | None: shares, pairs, tokens through its weights, and which patterns are kept.
    """
    rows = atlas.rows(
        "SELECT targets, first, itself, previous, next, same, tokens, copies, erases "
        f"FROM {part.schema}.heads WHERE unit = ?",
        [own],
    )
    if not rows:
        return None
    targets, *shares, tried, copies, erases = rows[0]
    pairs = {
        name: list(group)
        for name, group in groupby(
            atlas.rows(
                f"SELECT name, source, target, weight, n FROM {part.schema}.pairs WHERE unit = ? ORDER BY name, rank",
                [own],
            ),
            key=lambda row: row[0],
        )
    }
    kept: dict[str, list[int]] = {}
    for kind, rank in atlas.rows(
        f"SELECT kind, rank FROM {part.schema}.patterns WHERE unit = ? ORDER BY kind, rank", [own]
    ):
        kept.setdefault(STORED[kind], []).append(rank)
    return HeadPanels(
        shares=AttentionShares(targets, *_with_rest(shares)),
        attends=[_pair(atlas, *row[1:]) for row in pairs.get("attends", [])],
        writes=[
            HeadWrite(
                atlas.token(source),
                [TokenWeight(id, *_spelt(atlas, id), float(f"{weight:.4g}")) for _, _, id, weight, _ in group],
            )
            for source, group in groupby(pairs.get("writes", []), key=lambda row: row[1])
        ],
        matches=[_pair(atlas, *row[1:]) for row in pairs.get("matches", [])],
        query_reads=_read_units(atlas, part, own, "query_reads"),
        key_reads=_read_units(atlas, part, own, "key_reads"),
        tried=tried,
        copies=round(copies, 4),
        erases=round(erases, 4),
        patterns=kept,
    )


def _read_units(atlas: Reading, part: AttachedLayer, own: int, panel: str) -> list[Neighbour]:
    """Return what a head's queries or keys read, of the base and of every layer of features beside it."""
    found = []
    # A layer of features counts the units of the base as the base does.
    for one in atlas.parts if part is atlas.parts[0] else [part]:
        for ids, weights in atlas.rows(
            f"SELECT ids, weights FROM {one.schema}.panels WHERE unit = ? AND name = ?", [own, panel]
        ):
            found += neighbours(atlas, one, ids, weights)
    return sorted(found, key=lambda unit: -unit.value)[:MOST_READ]


def _with_rest(shares: list[float | None]) -> list[float | None]:
    known = [x for x in shares if x is not None]
    rest = max(round(1 - sum(known), 4), 0.0) if len(known) == len(shares) else None
    return [*(None if x is None else round(x, 4) for x in shares), rest]


def _pair(atlas: Reading, source: int, target: int, weight: float, n: int) -> HeadPair:
    return HeadPair(atlas.token(source), atlas.token(target), float(f"{weight:.4g}"), n)


def _spelt(atlas: Reading, id: int) -> tuple[str, bool]:
    token = atlas.token(id)
    return token.text, token.bytes


@page_of
def example_attention(atlas: Reading, key: str, kind: Kind, rank: int) -> AttentionPage:
    """Return a head's attention along one of its examples, as the bake measured it.

    Returns:
        AttentionPage: the strip's tokens, and the head's weights among them.

    Raises:
        NotFound: no such head, or no pattern of that example.
    """
    unit = atlas.index_of(key)
    named, (part, own) = atlas.key(unit), atlas.part(unit)
    rows = atlas.rows(
        "SELECT p.weights, p.first, p.elsewhere, e.start, e.position, c.ids, c.counted, s.layer "
        f"FROM {part.schema}.patterns p JOIN {part.schema}.examples e USING (unit, kind, rank) "
        f"JOIN {part.schema}.contexts c USING (stimulus) JOIN {part.schema}.units u ON u.id = p.unit "
        f"JOIN {part.schema}.sites s ON s.id = u.site WHERE p.unit = ? AND p.kind = ? AND p.rank = ?",
        [own, STORED.index(kind) if kind in STORED else -1, rank],
    )
    if not rows:
        raise NotFound(
            expected="an example of an attention head whose pattern was kept",
            got=f"{kind} example {rank} of {named}"[:160],
            remedy="The page lists those that were; with a model attached /api/lab/attention computes any.",
        )
    weights, first, elsewhere, start, position, ids, counted, layer = rows[0]
    flat = np.frombuffer(weights, "<f2").astype(np.float64)
    n = len(first) // 2
    causal = len(flat) < n * n or n == 1
    square = np.zeros((n, n))
    square[np.tril_indices(n) if causal else tuple(np.indices((n, n)).reshape(2, -1))] = flat
    shown = np.frombuffer(ids, "<i4")[start : start + n].tolist()
    spelt = [atlas.token(id) for id in shown]
    return AttentionPage(
        layer=layer,
        tokens=[one.text for one in spelt],
        ids=shown,
        special=np.flatnonzero(np.frombuffer(counted, np.uint8)[start : start + n] == 0).tolist(),
        bytes=[i for i, one in enumerate(spelt) if one.bytes],
        start=start,
        mark=position - start,
        heads=[
            head_pattern(
                str(named),
                named.index,
                square,
                np.frombuffer(first, "<f2").tolist(),
                np.frombuffer(elsewhere, "<f2").tolist(),
                causal=causal,
            )
        ],
        source=atlas.source(f".attention({str(named)!r}, {kind!r}, {rank})", part.id),
    )
