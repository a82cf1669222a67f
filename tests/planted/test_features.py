"""A planted feature that no single neuron is: explain with a basis finds it, and not the decoy."""

import copy

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.core.basis import Basis
from patchclamp.organisms.planted import cat as planted

SITE = "blocks.0.mlp.act"
GROUPS = {planted.CAT: (planted.CAT, 0, 1, 2), planted.DECOY: (planted.DECOY, 4, 6, 8)}
MEANING, DECOY, UNREAD = 0, 1, 2


@pytest.fixture(scope="module")
def spread():
    """The cat organism, its neuron and the decoy each spread over four neurons that fire alike."""
    cat = pc.load("organism:cat")
    module = copy.deepcopy(cat.module)
    mlp = module.transformer.h[0].mlp
    with torch.no_grad():
        for neuron, group in GROUPS.items():
            written = mlp.c_proj.weight[neuron].clone() / len(group)
            read, bias = mlp.c_fc.weight[:, neuron].clone(), mlp.c_fc.bias[neuron].clone()
            for each in group:
                mlp.c_fc.weight[:, each], mlp.c_fc.bias[each], mlp.c_proj.weight[each] = read, bias, written
    model = pc.wrap(module, tokenizer=cat.tokenizer.bare, name="spread")
    model.add_basis(Basis("groups", "directions", directions(), directions(), activation="relu"), SITE)
    return model


def directions():
    """The group that makes the cat sit, the louder group that does nothing, and a way within the first that is 0."""
    rows = np.zeros((3, planted.NEURONS), dtype=np.float32)
    rows[MEANING, list(GROUPS[planted.CAT])] = rows[DECOY, list(GROUPS[planted.DECOY])] = 0.5
    rows[UNREAD, list(GROUPS[planted.CAT])] = (0.5, -0.5, 0.5, -0.5)
    return rows


@pytest.mark.parametrize("method", ["integrated_gradients", "relp", "attribution_patching", "activation_patching"])
def test_explain_finds_the_direction_and_not_the_decoy(spread, method):
    why = pc.explain(
        spread, "the old cat", " sat", contrast=" ran", method=method, levels=("feature", "neuron", "head"), top=3
    )
    first, rest = why.causes[0], why.causes[1:]
    assert first.key == f"spread/{SITE}/groups/{MEANING}@3"
    assert first.kind == "feature"
    assert first.activation == pytest.approx(6.0, abs=1e-4)
    assert (first.predicted, first.measured) == pytest.approx((8.0, 8.0), abs=0.1)
    assert first.promotes[0] == " sat"
    assert all(abs(cause.measured) < 0.1 for cause in rest)
    # The decoy's feature is three times as active.
    loudest = next(rival for rival in why.receipts.rivals if rival.name == "largest activations")
    assert any(f"groups/{DECOY}@3" in key for key in loudest.keys)


def test_no_single_neuron_is_the_feature(spread):
    why = pc.explain(spread, "the old cat", " sat", contrast=" ran", levels=("neuron", "head"), top=4)
    assert {pc.UnitKey.parse(cause.key).index for cause in why.causes} == set(GROUPS[planted.CAT])
    assert all(cause.measured == pytest.approx(2.0, abs=0.05) for cause in why.causes)
