"""SmoothGrad beyond its card: without noise it is attribution patching, batches change nothing, draws do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.attribute.edges import attribute_edges
from patchclamp.attribute.methods.smoothgrad import SmoothedGradient
from patchclamp.attribute.pairs import attribute_pairs, cost_of
from patchclamp.core.errors import CannotIntervene
from patchclamp.organisms import planted


@pytest.fixture(scope="module")
def model():
    return pc.load("organism:mover-gpt2")


@pytest.fixture(scope="module")
def cases(model):
    [case] = planted.task("mover-gpt2", counterpart=True).cases
    other = replace(case, shown=case.counterpart, counterpart=case.shown)
    return model.read(pc.Task((case, other)))


def test_without_noise_it_is_attribution_patching(model, cases):
    plain = attribute_pairs(model, cases, level="neuron", method="attribution_patching")
    smooth = attribute_pairs(model, cases, level="neuron", method=SmoothedGradient(samples=3, noise=0.0))
    assert np.allclose(smooth.values, plain.values, rtol=1e-5, atol=1e-7)
    noisy = attribute_pairs(model, cases, level="neuron", method=SmoothedGradient(samples=3))
    assert not np.allclose(noisy.values, plain.values, rtol=1e-2)


def test_scores_do_not_depend_on_what_shares_a_batch(model, cases):
    rule = SmoothedGradient(samples=20)
    together, alone = (attribute_pairs(model, cases, level="node", method=rule, batch_size=size) for size in (2, 1))
    assert np.allclose(together.cases, alone.cases, rtol=1e-5, atol=1e-6)
    other = attribute_pairs(model, cases, level="node", method=SmoothedGradient(samples=20, seed=1))
    assert not np.allclose(other.values, together.values, rtol=1e-3)


def test_the_cost_that_is_foretold_is_that_of_all_copies(model, cases):
    cost = cost_of(model, cases, level="node", method="smoothgrad")
    assert (cost.forward, cost.backward) == (2 * (2 + 25), 2 * 25)


def test_a_network_without_an_embedding_is_refused():
    net = pc.wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)), torch.zeros(1, 4))
    with pytest.raises(CannotIntervene, match="embed"):
        pc.explain(net, torch.rand(1, 4), 0, contrast=1, levels=["module.0.out"], method="smoothgrad")


def test_edges_are_not_scored_by_a_gradient_of_one_s_own(model, cases):
    with pytest.raises(pc.PatchclampError, match="follows gradients"):
        attribute_edges(model, cases, method=SmoothedGradient(samples=2))
