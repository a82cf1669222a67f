"""How many different random sets there are for clamps or nodes, told before any is measured."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.clamps import interventions, on_prompt
from patchclamp.atlas.lab.random_controls import count_sets
from patchclamp.atlas.lab.verify import BLOCK, comparable_units, over_pairs
from patchclamp.atlas.read.reader import Reading
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.nodes import count_nodes
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.language import LanguageModel

MOST = 99
"""Sets that a comparison draws, where there are so many."""


def sets_for_clamps(model: LanguageModel, atlas: Reading, clamps: Sequence[messages.ClampAsked]) -> messages.Sets:
    """Return how many sets there are for the clamps of a run.

    Returns:
        messages.Sets: their number, at most as many as are drawn, and the least p in a sentence; none where clamps are
            neutral or act on generated tokens alone.

    Raises:
        NotFound: a clamp names a unit that the model has not.
        PatchclampError: no clamp at all.
    """
    # Only where a clamp acts is counted: what it puts there may need another prompt's run.
    acting = [replace(clamp, mode="ablate") if clamp.mode == "patch" else clamp for clamp in clamps]
    now = [own for _, change in interventions(model, atlas, acting) if (own := on_prompt(change)) is not None]
    if not clamps:
        raise PatchclampError(expected="clamps, or nodes of an answer", got="none", remedy="Clamp a unit first.")
    if not now:
        return messages.Sets(0, 1.0, "No clamp changes the prompt: there is nothing to compare.")
    return _tell(count_sets(model, now, MOST))


def sets_for_nodes(model: LanguageModel, graph: Graph, nodes: Sequence[str], n_positions: int) -> messages.Sets:
    """Return how many sets there are for nodes of an explained answer.

    Args:
        model: the subject.
        graph: the answer.
        nodes: keys of some of its nodes.
        n_positions: tokens of what was shown.

    Returns:
        messages.Sets: their number, at most as many as are drawn, and the least p in a sentence.
    """
    chosen = list(dict.fromkeys(UnitKey.parse(node) for node in nodes))
    own: Counter[Any] = Counter()
    left: Counter[Any] = Counter()
    for key in chosen:
        own[_kind(model, key)] += 1
    for key in {_kind(model, key): key for key in chosen}.values():
        if over_pairs(graph):
            left[_kind(model, key)] = len(set(comparable_units(model, [key])))
        else:
            kind = kind_of(key.basis)
            level = BLOCK.sub("blocks.*.", key.site) if kind == "neuron" else kind
            left[_kind(model, key)] = count_nodes(model, n_positions, [level])
    return _tell(min(MOST, math.prod(math.comb(max(left[kind] - n, 0), n) for kind, n in own.items())))


def _kind(model: LanguageModel, key: UnitKey) -> tuple[str, str]:
    return model.site(key.site).kind, key.basis


def _tell(different: int) -> messages.Sets:
    """Return the number, the floor of p and both in words."""
    floor = 1 / (1 + different)
    if not different:
        said = "No other units of these kinds exist: there is nothing to compare with."
    elif different < MOST:
        sets = f"{different} different random set{'s' * (different != 1)} exist{'s' * (different == 1)}"
        said = f"Only {sets}: p cannot fall below {floor:.2g}."
    else:
        said = f"{different} random sets: p can fall to {floor:.2g}."
    return messages.Sets(different, floor, said)
