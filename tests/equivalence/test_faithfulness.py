"""Faithfulness equals what plain forward hooks give, one pair and one subset at a time."""

from dataclasses import replace

import numpy as np
import pytest

from hand_made import circuit as circuit_of
from oracles.faithfulness import faithfulness
from patchclamp.core.intervention import Intervention
from patchclamp.evaluate import evaluate_circuit
from patchclamp.evaluate.circuit_ablation import interchange
from patchclamp.loaders import open_task
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.residual_edges import edge_map
from replacing import with_edges_kept


@pytest.fixture(scope="session")
def model(organism):
    return organism("language-gpt2")


@pytest.fixture(scope="module")
def pairs(model):
    return model.read(open_task("task:ioi", model, n=3))


@pytest.fixture(scope="module")
def circuit(model):
    parts = tuple(
        f"{path}/{basis}/{unit}"
        for path, basis in model.of_level("node").items()
        for unit in range(count_units(model.basis_at(path, basis), model.site(path)))
    )
    scores = np.random.default_rng(0).normal(size=len(parts))
    return circuit_of(parts, scores, level="node", subject=model.name, subject_hash=model.hash)


def by_hand(part):
    """Return a part as the oracle names it."""
    site, _, index = part.split("/")
    block = site.split(".")[1:2]
    if not block:
        return ("embed",)
    return ("mlp", int(block[0])) if site.endswith("mlp.write") else ("head", int(block[0]), int(index))


def test_a_circuit_and_its_rest_equal_plain_hooks(model, pairs, circuit):
    sizes = (4, 10, 16)
    kept = np.array([circuit.first(n) for n in sizes])
    both = interchange(model, circuit, pairs).measure(np.concatenate([kept, ~kept])).mean(1)
    shares = (both - pairs.m_counterpart.mean()) / (pairs.m_clean.mean() - pairs.m_counterpart.mean())
    sets = [{by_hand(circuit.parts[i]) for i in np.flatnonzero(chosen)} for chosen in (*kept, *~kept)]
    for share, chosen in zip(shares, sets, strict=True):
        assert share == pytest.approx(faithfulness(model, pairs, chosen), abs=1e-5)
    assert np.ptp(shares) > 0.1


def test_an_evaluation_reports_what_was_measured(model, pairs, circuit):
    found = evaluate_circuit(model, circuit, pairs, shares=(0.2, 0.5), minimal=False)
    orders = interchange(model, circuit, pairs).measure(np.array([circuit.first(n) for n in (4, 10)]))
    np.testing.assert_allclose(found.m_kept, orders, atol=1e-5)
    whole = (pairs.m_clean - pairs.m_counterpart).mean()
    for point, m in zip(found.points, orders, strict=True):
        assert point.kept.value == pytest.approx((m - pairs.m_counterpart).mean() / whole, abs=1e-5)
    low, high = (point.kept.value for point in found.points)
    assert found.area.kept.value == pytest.approx((low + high) / 2, abs=1e-6)
    assert found.area.distance.value == pytest.approx((abs(1 - low) + abs(1 - high)) / 2, abs=1e-6)
    draws = (found.m_random.mean(-1) - pairs.m_counterpart.mean()) / whole
    assert found.area.random.value == pytest.approx(draws.mean(), abs=1e-5)
    assert found.area.ahead.value == pytest.approx(found.area.kept.value - draws.mean(), abs=1e-5)


def test_all_parts_are_the_model_and_none_the_corrupted_prompt(model, pairs, circuit):
    ends = np.repeat([[True], [False]], len(circuit), axis=1)
    whole, empty = interchange(model, circuit, pairs).measure(ends)
    np.testing.assert_allclose(whole, pairs.m_clean, atol=1e-5)
    np.testing.assert_allclose(empty, pairs.m_counterpart, atol=1e-5)


def test_a_mean_by_position_is_that_of_both_prompts_of_the_train_pairs(model, circuit):
    train = model.read(open_task("task:ioi/train", model, n=12))
    length = len(train.clean[0])
    alike = train.subset(np.array([len(x) == length for x in train.clean]))
    one = alike.subset(np.arange(len(alike)) == 0)
    measured = interchange(model, circuit, one, means=train).measure(np.zeros((1, len(circuit)), dtype=bool))
    # With no part left, the embedding and every write are the means: so is their sum, and m is that of one stream.
    paths = list(model.of_level("node"))
    run = model.run([*alike.clean, *alike.counterpart], record=paths, logits=False).recording
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
    held = [
        Intervention(path, "call", fn=lambda x, mean=mean: mean.repeat(len(x) // length, 1))
        for path, mean in means.items()
    ]
    expected = model.measure([one.clean[0]], one.metrics[0], interventions=held)
    assert measured[0, 0] == pytest.approx(float(expected[0]), abs=1e-4)
    assert abs(measured[0, 0] - one.m_counterpart[0]) > 0.5


@pytest.mark.parametrize("baseline", ["corrupted", "mean"])
def test_all_edges_into_heads_of_a_block_gone_is_those_heads_gone(model, pairs, baseline):
    """No edge to the queries, keys and values of the last block, or its heads replaced: m is the same."""
    train = model.read(open_task("task:ioi/train", model, n=60))
    one = pairs.subset(np.arange(len(pairs)) == 0)
    alike = train.subset(np.array([len(x) == len(one.clean[0]) for x in train.clean]))
    means = alike.subset(np.arange(len(alike)) == 0) if baseline == "mean" else None
    if baseline == "mean":  # of one pair, whose two prompts are one: attention of means is the mean of attention
        means = ReadTask(
            means.task, tuple(replace(x, counterpart=x.clean) for x in means.read), means.m_clean, means.m_clean
        )
    edges = tuple(part for part in edge_map(model).parts if part[1].startswith("blocks.3.attn."))
    heads = tuple(f"blocks.3.attn.z/heads/{h}" for h in range(4))
    gone = [
        interchange(model, circuit_of(parts, np.ones(len(parts))), one, means=means).measure(
            np.zeros((1, len(parts)), dtype=bool)
        )[0, 0]
        for parts in (edges, heads)
    ]
    assert gone[0] == pytest.approx(gone[1], abs=1e-4)
    assert abs(gone[0] - one.m_clean[0]) > 0.5


def test_edges_are_kept_by_name_whatever_their_order(model, pairs):
    one, edges = pairs.subset(np.arange(len(pairs)) == 0), edge_map(model).parts
    order = np.random.default_rng(0).permutation(len(edges))
    scores = np.arange(len(edges), 0, -1.0)
    circuit = circuit_of(tuple(edges[i] for i in order), scores)
    kept = np.stack([circuit.first(n) for n in (100, 400)])
    marks = np.zeros_like(kept)
    marks[0, order[:100]] = marks[1, order[:400]] = True
    found = interchange(model, circuit, one).measure(kept)
    np.testing.assert_allclose(found, with_edges_kept(model, one, marks), atol=1e-5)
    assert np.ptp(found) > 0.01
