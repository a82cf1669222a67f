"""The rows of an atlas's base about attention heads: what they attend to, write and match."""

import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np

from patchclamp.atlas.bake.attention_pass import SHARES, BlockAttention, WantedPattern, measure_attention
from patchclamp.atlas.bake.head_weights import MOST_SOURCES, HeadWeights, head_weights
from patchclamp.atlas.bake.look import KINDS
from patchclamp.atlas.bake.read_text import TextRead
from patchclamp.core.site import Site
from patchclamp.subjects.language import LanguageModel

KEPT = {"top": 6, "random": 4}
"""Examples of each kind whose pattern is kept; random ones are the same tokens for all heads, and so cost little."""


def write_head_rows(
    db: sqlite3.Connection, model: LanguageModel, text: TextRead, sites: Sequence[Site], firsts: Mapping[str, int]
) -> set[int]:
    """Write what heads attend to, write and match; their units and examples are there.

    Args:
        db: the base.
        model: the subject.
        text: what was read of the text.
        sites: sites of heads, ``blocks.N.attn.z/heads``.
        firsts: by site, number of its head 0 among all units.

    Returns:
        set[int]: ids of the tokens in these rows.
    """
    wanted = {site.path: _choose_patterns(db, firsts[site.path], site.width) for site in sites}
    measured, counts = measure_attention(model, text, sites, wanted), text.counts
    special = model.special_answers
    ranked = sorted((id for id in counts if id not in special), key=lambda id: (-counts[id], id))
    tokens = ranked[:MOST_SOURCES]
    ids: set[int] = set()
    for site in sites:
        block = measured[site.path]
        for head, weights in enumerate(head_weights(model, site, tokens) if tokens else []):
            ids |= _head(db, firsts[site.path] + head, head, block, weights, len(tokens))
        db.executemany(
            "INSERT INTO patterns VALUES (?, ?, ?, ?, ?, ?)",
            (
                (one.unit, one.kind, one.rank, kept.weights.tobytes(), kept.first.tobytes(), kept.elsewhere.tobytes())
                for one, kept in block.patterns.items()
            ),
        )
    return ids


def _choose_patterns(db: sqlite3.Connection, first: int, n_heads: int) -> list[WantedPattern]:
    """Return the strips of examples whose patterns are kept."""
    return [
        WantedPattern(unit, kind, rank, unit - first, stimulus, start, length)
        for name, most in KEPT.items()
        for unit, kind, rank, stimulus, start, length in db.execute(
            "SELECT unit, kind, rank, stimulus, start, length(acts) / 2 FROM examples "
            "WHERE unit >= ? AND unit < ? AND kind = ? AND rank < ? ORDER BY unit, rank",
            (first, first + n_heads, KINDS.index(name), most),
        )
    ]


def _head(
    db: sqlite3.Connection, unit: int, head: int, block: BlockAttention, weights: HeadWeights, n_tokens: int
) -> set[int]:
    finite = bool(np.isfinite(block.shares[head]).all())
    shares = block.shares[head].tolist() if finite else [None] * len(SHARES)
    db.execute(
        "INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (unit, block.n_targets, *shares, n_tokens, weights.copies, weights.erases),
    )
    pairs = block.pairs[head]
    attends = zip(*(a.tolist() for a in (pairs.source, pairs.target, pairs.weight, pairs.n)), strict=True)
    named = [("attends", list(attends))] + [
        (name, [(*row, 0) for row in rows]) for name, rows in (("matches", weights.matches), ("writes", weights.writes))
    ]
    for name, rows in named:
        db.executemany(
            "INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((unit, name, rank, *row) for rank, row in enumerate(rows)),
        )
    return {int(id) for _, rows in named for source, target, *_ in rows for id in (source, target)}
