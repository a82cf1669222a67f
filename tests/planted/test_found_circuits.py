"""What is planted comes first where every unit is replaced by itself, place by place."""

import numpy as np
import pytest

from patchclamp import organisms
from patchclamp.attribute.over_pairs import attribute_pairs
from patchclamp.explain.together import replace_together
from patchclamp.opening import load, open_pairs


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("name", ["copy", "induction", "mover"])
def test_what_is_planted_is_found_at_its_place(name, kind):
    model = load(f"organism:{name}-{kind}")
    pairs = open_pairs(model, "planted")
    found = attribute_pairs(model, pairs, level="neuron", method="patch", by_position=True)
    true = set(organisms.card(model.name)["true"])
    first = {found.parts[i] for i in found.order(signed=False)[: len(true)]}
    assert first == true
    # At all positions together the same units are found, and nothing else carries anything.
    whole = attribute_pairs(model, pairs, level="neuron", method="patch")
    units = {part.split("@")[0] for part in true}
    order = whole.order(signed=False)
    assert {whole.parts[i] for i in order[: len(units)]} == units
    rest = np.abs(whole.scores[order[len(units) :]])
    assert rest.max() < 0.05 * np.abs(whole.scores).max()


def test_either_of_two_that_stand_in_for_each_other_does_nothing_and_both_do_all():
    model = load("organism:backup-gpt2")
    pairs = open_pairs(model, "planted")
    found = attribute_pairs(model, pairs, level="neuron", method="patch")
    places = [found.parts.index(part.split("@")[0]) for part in organisms.card(model.name)["true"]]
    moved = float(pairs.m_clean[0] - pairs.m_corrupted[0])
    both = replace_together(model, found, pairs, places)
    assert max(abs(x) for x in both.alone) < 0.1 * moved
    assert both.measured > 0.9 * moved
    assert both.p == pytest.approx(1 / (both.distinct + 1))
