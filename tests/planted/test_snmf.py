"""Planted groups of neurons are recovered at the true sparsity and not without it; merges and concepts likewise."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.concepts import (
    describe_outputs,
    detect_concepts,
    detection_score,
    random_directions,
    sentence_scores,
)
from patchclamp.decompose.hierarchy import build_hierarchy, core_and_exclusive, neuron_overlap
from patchclamp.decompose.nmf import NMF
from patchclamp.decompose.snmf import SNMF
from patchclamp.organisms import language

WIDTH, TOKENS, GROUPS, NEURONS, NOISE = 256, 3000, 12, 8, 0.05
TRUE = NEURONS / WIDTH


def planted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve groups of eight neurons, signed and free to overlap, each on in a fifth of the tokens."""
    rng = np.random.default_rng(seed)
    groups = np.zeros((GROUPS, WIDTH))
    for group in groups:
        group[rng.choice(WIDTH, NEURONS, replace=False)] = rng.normal(size=NEURONS)
    codes = rng.exponential(size=(TOKENS, GROUPS)) * (rng.random((TOKENS, GROUPS)) < 0.2)
    return (codes @ groups + NOISE * rng.normal(size=(TOKENS, WIDTH))).astype(np.float32), groups


def matched(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|cos| of every planted direction with the found one that Hungarian matching gives it."""
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (found, truth)]
    cosines = np.abs(unit[1] @ unit[0].T)
    return cosines[linear_sum_assignment(-cosines)]


def recovered(seed: int, sparsity: float, max_iter: int = 1000) -> float:
    x, groups = planted(seed)
    found = SNMF(GROUPS, sparsity, max_iter=max_iter, patience=300, seed=seed).fit(x)
    return float((matched(found.components_, groups) >= 0.9).mean())


@pytest.mark.soak
def test_planted_groups_are_recovered_at_the_true_sparsity_only(soak):
    seeds, most = (range(8), 1000) if soak else (range(2), 500)
    right = [recovered(seed, TRUE, most) for seed in seeds]
    without = [recovered(seed, 1.0, most) for seed in seeds]
    print("recovered at the true sparsity", right, "without winner-take-all", without)
    assert np.mean(right) >= 0.85
    assert np.mean(without) <= 0.05


def test_reconstruction_prefers_what_recovers_nothing():
    x, _ = planted(0)
    errors = [SNMF(GROUPS, p, max_iter=150, seed=0).fit(x).reconstruction_err_ for p in (TRUE, 1.0)]
    assert errors[1] < errors[0]


# -- NMF --------------------------------------------------------------------------------------------------------------


def test_nmf_recovers_planted_parts_and_refuses_negative_values():
    rng = np.random.default_rng(0)
    parts = np.zeros((5, 60))
    for i, part in enumerate(parts):
        part[12 * i : 12 * (i + 1)] = rng.uniform(0.5, 1, size=12)
    codes = rng.exponential(size=(300, 5)) * (rng.random((300, 5)) < 0.4)
    x = codes @ parts + 0.01 * rng.random((300, 60))
    one, again = NMF(5, seed=2).fit(x), NMF(5, seed=2).fit(x)
    assert matched(one.components_, parts).min() > 0.99
    assert np.array_equal(one.components_, again.components_)
    assert one.converged_
    assert not NMF(5, seed=2, max_iter=2).fit(x).converged_
    basis = one.to_basis()
    assert (basis.activation, basis.n_units) == ("nonnegative", 5)
    np.testing.assert_allclose(one.transform(x), one.codes_, atol=0.05)
    with pytest.raises(PatchclampError, match="below zero"):
        NMF(2).fit(x - 1)
    with pytest.raises(PatchclampError, match="solver"):
        NMF(2, solver="none").fit(x)


# -- features of features ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constrained", [True, False])
def test_planted_families_merge(constrained):
    """Six features in two families; all of a family share four neurons and have two of their own."""
    rng = np.random.default_rng(1)
    features = np.zeros((6, 64))
    for i, feature in enumerate(features):
        feature[20 * (i // 3) : 20 * (i // 3) + 4] = (1.5, -1.2, 1.8, 1.3)
        feature[20 * (i // 3) + 4 + 2 * (i % 3) : 20 * (i // 3) + 6 + 2 * (i % 3)] = (1.0, -0.8)
    codes = rng.exponential(size=(900, 6)) * (rng.random((900, 6)) < 0.25)
    x = (codes @ features + 0.01 * rng.normal(size=(900, 64))).astype(np.float32)
    found = build_hierarchy(
        x, [6, 2], sparsity=[6 / 64, 10 / 64], constrained=constrained, steps=20, seed=0, options={"max_iter": 400}
    )
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (found.features[0], features)]
    family = (unit[0] @ unit[1].T).argmax(1) // 3
    merged = [{one["feature"] for one in node["merges"]} for node in found.tree(least=0.5)]
    assert sorted(map(sorted, merged)) == sorted(sorted(np.flatnonzero(family == f).tolist()) for f in (0, 1))
    assert found.errors[1] < found.errors[0]
    if constrained:
        assert min(part.min() for part in (found.codes, *found.merges)) >= 0
        assert ((found.features[1] != 0).sum(1) <= 10).all()
    core, own = core_and_exclusive(features[:3])
    assert core.tolist() == [0, 1, 2, 3]
    assert [one.tolist() for one in own] == [[4, 5], [6, 7], [8, 9]]
    assert neuron_overlap(features)[0].tolist() == [6, 4, 4, 0, 0, 0]


def test_levels_that_do_not_fall_are_told():
    for wrong in ({"n_features": [3, 3]}, {"n_features": []}, {"n_features": [4, 2], "sparsity": [0.1]}):
        with pytest.raises(PatchclampError, match="falling"):
            build_hierarchy(np.ones((9, 4)), **wrong)


# -- concepts ---------------------------------------------------------------------------------------------------------


def test_a_sentence_is_its_most_active_token():
    values = np.array([[1.0, 0], [0, 2], [3, 3], [-1, 0]])
    scores = sentence_scores(values, np.array([[1.0, 0], [0, 0]]), np.array([0, 0, 1, -1]))
    np.testing.assert_allclose(scores, [[1, -1], [np.sqrt(0.5), -1]])
    assert detection_score(np.array([0.5, 0.1]), np.array([0.1, 0.1])) == pytest.approx(np.log(3))
    assert detection_score(np.array([0.5]), np.array([-0.1, 0.05])) is None
    assert detection_score(np.zeros(0), np.ones(3)) is None
    with pytest.raises(PatchclampError, match="counted"):
        sentence_scores(values, np.ones((1, 2)), np.full(4, -1))


def test_planted_concepts_are_named_and_detected_and_random_directions_are_not():
    rng = np.random.default_rng(0)
    sentences = np.repeat(np.arange(200), 6)
    truth = rng.random((1200, 4)) < 0.05
    directions = random_directions(4, 64, 0.1, seed=1)
    values = 3 * truth @ directions + 0.3 * np.abs(rng.normal(size=(1200, 64)))
    found = detect_concepts(values, directions, truth, sentences)
    assert found.concepts == (0, 1, 2, 3)
    assert found.share_positive == 1
    assert min(found.scores) > 0.3
    chance = detect_concepts(values, random_directions(100, 64, 0.1, seed=2), truth, sentences)
    strong = [score for score in chance.scores if score is not None and score > 0.3]
    assert len(strong) < 50
    with pytest.raises(PatchclampError, match="one of even"):
        detect_concepts(values, directions, truth, np.zeros(1200, dtype=np.int64))


def sentences_of(model, texts) -> tuple[np.ndarray, np.ndarray]:
    """Number the sentences of labelled documents, -1 for what does not count, and say what is true of every token."""
    numbers, start = [], 0
    for one in texts:
        ends = one.where("sentence_end")
        number = np.concatenate([[0], np.cumsum(ends)[:-1]]) + start
        start = int(number.max()) + 1
        numbers.append(np.where(one.stimulus.counted, number, -1))
    return np.concatenate(numbers), np.concatenate([one.matrix for one in texts])


def test_features_of_the_organism_detect_more_than_random_directions():
    model, site = pc.load("organism:language-gpt2"), "blocks.2.mlp.act"
    texts = language.text(160, seed=5, model=model)
    values = model.run([one.stimulus for one in texts], record=site, logits=False).recording[site].numpy()
    sentences, truth = sentences_of(model, texts)
    found = SNMF(30, 0.05, max_iter=60, seed=0).fit(values[sentences >= 0])
    scored = detect_concepts(values, found.components_, truth, sentences)
    chance = detect_concepts(values, random_directions(30, values.shape[1], 0.05, seed=0), truth, sentences)
    assert scored.share_positive >= chance.share_positive
    assert np.mean([s or 0 for s in scored.scores]) > np.mean([s or 0 for s in chance.scores])
    [(promoted, suppressed)] = describe_outputs(model, site, found.components_[:1], top=5)
    assert len(set(promoted) | set(suppressed)) == 10
