"""Where on a picture the causes of an answer lie."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from patchclamp.attribute.nodes import BYTES_PER_NODE, level_sites
from patchclamp.attribute.prompt import attribute_nodes
from patchclamp.attribute.rules import Gradient, PathIntegral, find_rule
from patchclamp.core.picture_heat import HeatMap, NodePlace, PictureHeat
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Picture
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.picture_places import places_of, shown_pixels

MOST_BYTES = 10**9
"""Of scores by place beyond which no map is made."""


def heat_of(
    model: Any, case: ReadCase, scores: Scores, nodes: Sequence[UnitKey], *, method: str, seed: int, **common: Any
) -> PictureHeat | None:
    """Return the scores of an explained picture summed by place; None where they have none.

    Units of a transformer have places already. A channel is scored over its whole map: the same method scores it place
    by place, whose sum is the channel's score, for methods that integrate gradients; others would give another sum.

    Args:
        model: the subject.
        case: what was explained.
        scores: of its units.
        nodes: those whose places are wanted, too; a channel's is the place that carries most of it.
        method: how they were scored.
        seed: of its draws.
        common: baseline and levels, as ``attribute_nodes`` takes them.

    Returns:
        PictureHeat | None: the picture, a map for each grid of places, and the places of nodes.

    Cost: nothing for a transformer; else one more attribution, and ``places_of`` for each site of a node.

    Example:
        >>> from patchclamp.loaders import load
        >>> from patchclamp.recipes import explain
        >>> found = explain(load("organism:digits-vit"), "digits:17", "7", contrast="4", top=3, n_controls=20)
        >>> found.heat.together().shape, bool(abs(found.heat.together().sum() + found.heat.apart - found.total) < 1e-3)
        ((4, 4), True)
    """
    shown = case.clean
    if model.stimulus_kind != "images" or not isinstance(shown, Picture) or shown.pixels is None:
        return None
    channels = [block.site for block in scores.units.blocks if block.basis == "channels"]
    if channels:
        _, rule = find_rule(method, "unit", rules=None, steps=None, seed=seed)
        sizes = [model.site(path) for path in channels]
        n_bytes = sum(BYTES_PER_NODE * site.width * math.prod(site.places) for site in sizes)
        if not isinstance(rule, Gradient | PathIntegral) or n_bytes > MOST_BYTES:
            return None
        levels = [f"{path}/neurons" for path in channels]
        assert set(level_sites(model, levels)) == set(channels)
        found = attribute_nodes(model, shown, case.metric, method=method, **{**common, "levels": levels}, seed=seed)
        by_place = {path: found.values[found.units.grid(path, "neurons")] for path in channels}
        maps = [HeatMap(path, by_place[path].sum(1).reshape(model.site(path).places)) for path in channels]
        peaks = {str(node): int(np.abs(by_place[node.site][:, node.index]).argmax()) for node in nodes}
        return PictureHeat(shown_pixels(model.prepare, shown), tuple(maps), _places(model, nodes, peaks))
    sums, site = scores.by_place(), model.site(scores.units.blocks[0].site)
    places = places_of(model, site)
    n_cells = places.grid[0] * places.grid[1]
    if n_cells < 2 or len(sums) != places.before + n_cells:
        return None
    values = np.asarray(sums[places.before :], dtype=np.float64).reshape(places.grid)
    heat = HeatMap("", values, float(sums[: places.before].sum()))
    positions = {str(node): node.position for node in nodes if node.position is not None}
    return PictureHeat(shown_pixels(model.prepare, shown), (heat,), _places(model, nodes, positions))


def _places(model: Any, nodes: Sequence[UnitKey], positions: Mapping[str, int]) -> dict[str, NodePlace]:
    """Return where nodes lie; those that lie nowhere, as at a class token, are left out."""
    at_sites = {site: places_of(model, model.site(site)) for site in dict.fromkeys(node.site for node in nodes)}
    found = {}
    for node in nodes:
        places, position = at_sites[node.site], positions.get(str(node))
        if position is None or (box := places.box(position)) is None or (cell := places.cell_box(position)) is None:
            continue
        found[str(node)] = NodePlace(position, places.name(position), box, cell)
    return found
