"""Faithfulness equals what plain forward hooks give, one pair and one subset at a time."""

import numpy as np
import pytest
from oracles.faithfulness import faithfulness

from patchclamp import organisms
from patchclamp.core.circuit import Circuit
from patchclamp.evaluate import evaluate_circuit
from patchclamp.evaluate.interchange import interchange
from patchclamp.opening import open_pairs
from patchclamp.subjects.bases import count_units


@pytest.fixture(scope="module")
def model():
    return organisms.build("language-gpt2")


@pytest.fixture(scope="module")
def pairs(model):
    return open_pairs(model, "task:ioi", n=6)


@pytest.fixture(scope="module")
def circuit(model):
    parts = tuple(
        f"{path}/{basis}/{unit}"
        for path, basis in model.of_level("node").items()
        for unit in range(count_units(model.basis_at(path, basis), model.site(path)))
    )
    scores = np.random.default_rng(0).normal(size=len(parts))
    return Circuit("node", "drawn", parts, scores, {"slug": model.name, "hash": model.hash})


def by_hand(part):
    """Return a part as the oracle names it."""
    site, _, index = part.split("/")
    block = site.split(".")[1:2]
    if not block:
        return ("embed",)
    return ("mlp", int(block[0])) if site.endswith("mlp.write") else ("head", int(block[0]), int(index))


def test_every_size_equals_plain_hooks_on_kept_and_on_rest(model, pairs, circuit):
    found = evaluate_circuit(model, circuit, pairs, minimal=False)
    for point in found.points:
        first = {by_hand(circuit.parts[i]) for i in circuit.order()[: point.size]}
        rest = {by_hand(part) for part in circuit.parts} - first
        assert point.kept.value == pytest.approx(faithfulness(model, pairs, first), abs=1e-5)
        assert point.rest.value == pytest.approx(faithfulness(model, pairs, rest), abs=1e-5)
    assert max(abs(point.kept.value) for point in found.points) > 0.05
    assert all(1e-4 < abs(point.rest.value) for point in found.points)


def test_all_parts_are_the_model_and_none_the_corrupted_prompt(model, pairs, circuit):
    ends = np.repeat([[True], [False]], len(circuit), axis=1)
    whole, empty = interchange(model, circuit, pairs).measure(ends)
    np.testing.assert_allclose(whole, pairs.m_clean, atol=1e-5)
    np.testing.assert_allclose(empty, pairs.m_corrupted, atol=1e-5)


def test_a_mean_by_position_is_that_of_both_prompts_of_the_train_pairs(model, circuit):
    train = open_pairs(model, "task:ioi/train", n=12)
    length = len(train.clean[0])
    alike = train.some(np.array([len(x) == length for x in train.clean]))
    one = alike.some(np.arange(len(alike)) == 0)
    measured = interchange(model, circuit, one, means=train).measure(np.zeros((1, len(circuit)), dtype=bool))
    # With no part left, the embedding and every write are the means: so is their sum, and m is that of one stream.
    paths = list(model.of_level("node"))
    run = model.run([*alike.clean, *alike.corrupted], record=paths, logits=False).recording
    means = {
        path: run[path]
        .unflatten(
            0,
            (
                2 * len(alike),
                length,
            ),
        )
        .mean(0)
        for path in paths
    }
    from patchclamp.core.intervention import Intervention

    held = [
        Intervention(path, "call", fn=lambda x, mean=mean: mean.repeat(len(x) // length, 1))
        for path, mean in means.items()
    ]
    expected = model.measure([one.clean[0]], one.metrics[0], interventions=held)
    assert measured[0, 0] == pytest.approx(float(expected[0]), abs=1e-4)
    assert abs(measured[0, 0] - one.m_corrupted[0]) > 0.5
