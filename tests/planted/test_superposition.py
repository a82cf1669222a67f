"""Planted superposition: 512 sparse features in 128 dimensions, which TopK finds and random directions do not."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from patchclamp.decompose import ArraySource, Job, Recipe, TopKConfig, train
from patchclamp.decompose.baselines import random_directions

FEATURES, WIDTH, ACTIVE = 512, 128, 5


@pytest.fixture(scope="module")
def planted():
    """Return the features' directions and activity in which about five of them are on at a time."""
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(FEATURES, WIDTH))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = []
    for _ in range(8):
        on = draw.random((10_000, FEATURES)) < ACTIVE / FEATURES
        rows.append(((on * draw.uniform(0.5, 1.5, on.shape)) @ directions).astype(np.float32))
    return directions, np.concatenate(rows)


def recovered(directions, found):
    """Return the share of planted directions that have a found one of their own with |cos| of at least 0.9."""
    cosines = np.abs(directions @ (found / np.linalg.norm(found, axis=1, keepdims=True)).T)
    rows, columns = linear_sum_assignment(-cosines)
    return (cosines[rows, columns] >= 0.9).mean()


@pytest.mark.slow
def test_topk_recovers_what_was_planted_and_chance_does_not(planted):
    directions, activity = planted
    job = Job("x", "x", TopKConfig(768, k=ACTIVE))
    [one] = train(ArraySource({"x": activity}), [job], Recipe(batch_size=512, passes=5, learning_rate=5e-3))
    assert recovered(directions, one.coder.to_basis("found").decoder) >= 0.95
    chance = random_directions(activity, 768, ACTIVE, seed=7)
    assert recovered(directions, chance.decoder) <= 0.1
