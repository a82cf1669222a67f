"""What is planted comes first where every unit is replaced by itself, place by place."""

import numpy as np
import pytest

from patchclamp import organisms
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.loaders import load, open_task


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("name", ["copy", "induction", "mover"])
def test_what_is_planted_is_found_at_its_place(name, kind):
    model = load(f"organism:{name}-{kind}")
    pairs = model.read(open_task("planted", model))
    found = attribute_pairs(model, pairs, level="neuron", method="activation_patching", by_position=True)
    true = set(organisms.card(model.name)["true"])
    first = {found.parts[i] for i in found.order(signed=False)[: len(true)]}
    assert first == true
    # At all positions together the same units are found, and nothing else carries anything.
    whole = attribute_pairs(model, pairs, level="neuron", method="activation_patching")
    units = {part.split("@")[0] for part in true}
    order = whole.order(signed=False)
    assert {whole.parts[i] for i in order[: len(units)]} == units
    rest = np.abs(whole.values[order[len(units) :]])
    assert rest.max() < 0.05 * np.abs(whole.values).max()
