"""The units of one kind in all blocks against places, as views of the scores' index."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from patchclamp.core.arguments import Natural
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, Key, UnitIndex
from patchclamp.core.scores import Scores
from patchclamp.core.stats_columns import mean_columns
from patchclamp.core.unit import UnitKey

SHARES = {"denoise": "share of m restored", "noise": "share of m lost"}
"""Units of measure of what patching gives, by its direction."""
_BLOCK = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """Say which scores stand in one map, in which row and column.

    Args:
        name: the sites' path without its block, and the basis where a site has several units.
        rows: the block of each row, ``3``, and where a site has several units which, ``3.1``.
        keys: the unit of each row, without place.
        places: what each column is called.
        at: ``(row, place)`` where the scores stand among ``values``.
        left_out: rows that are not shown; those that are have the largest scores.
    """

    name: str
    rows: tuple[str, ...]
    keys: tuple[str, ...]
    places: tuple[str, ...]
    at: Int[np.ndarray, "row place"]
    left_out: int = 0


def map_scores(scores: Scores, most: Natural = 40) -> list[ScoreMap]:
    """Return a map for each kind of site.

    Args:
        scores: of units.
        most: rows of a map.

    Raises:
        PatchclampError: scores of edges.

    Example:
        >>> index = UnitIndex([Block(f"blocks.{i}.mlp.act", "neurons", 2, 3) for i in range(2)])
        >>> one = map_scores(Scores(index, np.arange(12.0)), 3)[0]
        >>> one.name, one.rows, one.at[0].tolist()
        ('mlp.act/neurons', ('0.1', '1.0', '1.1'), [1, 3, 5])
    """
    index = scores.index
    if not isinstance(index, UnitIndex):
        raise PatchclampError(
            expected="scores of units", got="scores of edges", remedy="An edge stands at no one position."
        )
    kinds: dict[tuple[str, int | None], list[Block]] = {}
    for block in index.blocks:
        kind = _BLOCK.sub("", block.site)
        kind = "resid" if kind in ("resid_in", "resid_out") else kind
        name = kind if block.basis == "whole" else f"{kind}/{block.basis}"
        kinds.setdefault((name, block.n_places), []).append(block)
    maps = []
    for (name, _), blocks in kinds.items():
        at = np.concatenate([index.grid(block.site, block.basis).T for block in blocks])
        units = [(block, unit) for block in blocks for unit in range(block.n_units)]
        shown = np.sort(np.argsort(-np.abs(scores.values[at]).max(1), kind="stable")[:most])
        maps.append(
            ScoreMap(
                name,
                tuple(_row(*units[i]) for i in shown),
                tuple(str(UnitKey(units[i][0].site, units[i][1], units[i][0].basis)) for i in shown),
                index.places_of(blocks[0]),
                at[shown],
                len(at) - len(shown),
            )
        )
    return maps


def split_key(key: Key) -> tuple[str, str]:
    """Return a unit's key without its place, and the place; ``all`` where it stands for all places."""
    unit, _, place = str(key).partition("@")
    return unit, place or "all"


def tokens_at(scores: Scores) -> dict[str, str]:
    """Return the token at each place of what patching gave, empty where cases differ."""
    return dict(zip(scores.provenance.options["positions"], scores.provenance.extra["tokens"], strict=True))


def count_run(scores: Scores) -> tuple[int, int]:
    """Return how many patches were run, over all cases, and in how many more the two runs agree already.

    Raises:
        PatchclampError: scores that patching did not give.
    """
    if "run" not in scores.measures:
        raise PatchclampError(
            expected="scores of all cases that patching gave",
            got=f"scores in units of {scores.unit}",
            remedy="Count before you choose some cases.",
        )
    run = int(scores.measures["run"].sum())
    return run, int(mean_columns(scores.cases)[1].sum()) - run


def _row(block: Block, unit: int) -> str:
    matched = _BLOCK.match(block.site)
    place = matched[1] if matched else block.site
    if block.basis != "whole":
        return f"{place}.{unit}"
    return f"{place} out" if block.site.endswith(".resid_out") else place
