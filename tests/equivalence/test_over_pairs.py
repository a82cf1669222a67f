"""Scores over pairs: equal to those of one prompt at a time, and to plain hooks, one run per pair and unit."""

import inspect

import numpy as np
import pytest
import torch

from oracles import hooks, integrated
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute import pairs as over
from patchclamp.attribute.pairs import attribute_pairs, cost_of
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task
from patchclamp.core.unit import UnitKey
from replacing import with_units_replaced

PAIRS = [
    Case("w3 w17 w8 w40", "w3 w20 w8 w41", (" w5",), (" w9",)),
    Case("w1 w2 w3", "w4 w2 w7", (" w11", " w12"), (" w20",)),
    Case("w30 w31 w32 w33", "w30 w9 w32 w50", (" w1",), (" w2",)),
    Case("w1 w2 w3", "w4 w2", (" w11",), (" w20",)),
]
ALIKE = [PAIRS[0], PAIRS[2]]
SITE = "blocks.0.mlp.act"


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def told(request, models):
    """A model and pairs of two lengths, which it was shown by itself."""
    model = models[request.param]
    return request.param, model, model.read(Task(tuple(PAIRS)), least=0.0)


def parts_of(model, circuit):
    return [UnitKey.parse(part) for part in circuit.parts]


def test_pairs_that_cannot_be_compared_are_counted(told):
    _, _, pairs = told
    assert len(pairs) == 3
    assert pairs.count_skipped() == {"prompts of unequal length": 1}


@pytest.mark.parametrize(
    ("level", "method", "batch_size"),
    [
        ("node", "relp", 1),
        ("node", "relp", 2),
        ("neuron", "attribution_patching", 2),
        ("node", "integrated_gradients", 2),
        ("neuron", "integrated_gradients", 1),
    ],
)
def test_they_are_the_scores_of_one_prompt_at_a_time(told, level, method, batch_size):
    _, model, pairs = told
    found = attribute_pairs(model, pairs, level=level, method=method, batch_size=batch_size, steps=2)
    levels = ["node"] if level == "node" else ["neuron", "head"]
    for row, clean, other, metric in zip(found.per_case, pairs.clean, pairs.counterpart, pairs.metrics, strict=True):
        options = {"steps": 2} if method == "integrated_gradients" else {}
        alone = attribute_nodes(model, clean, metric, corrupted=other, method=method, levels=levels, **options)
        own = np.concatenate([alone.matrix(b.site, b.basis).sum(0) for b in alone.units.blocks])
        assert [(b.site, b.basis) for b in alone.units.blocks] == list(
            dict.fromkeys((k.site, k.basis) for k in parts_of(model, found))
        )
        np.testing.assert_allclose(row, own, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(found.values, found.per_case.mean(0), rtol=1e-5, atol=1e-6)


def test_by_position_they_are_those_of_every_place(told):
    _, model, _ = told
    pairs = model.read(Task(tuple(ALIKE)), least=0.0)
    found = attribute_pairs(model, pairs, level="neuron", method="attribution_patching", by_position=True)
    whole = attribute_pairs(model, pairs, level="neuron", method="attribution_patching")
    alone = attribute_nodes(
        model, pairs.clean[0], pairs.metrics[0], corrupted=pairs.counterpart[0], method="attribution_patching"
    )
    for key, score in zip(parts_of(model, found), found.per_case[0], strict=True):
        own = alone.matrix(key.site, key.basis)[key.position, key.index]
        assert score == pytest.approx(own, rel=2e-4, abs=2e-5)
    places = {str(key.without_place()): 0.0 for key in parts_of(model, found)}
    for key, score in zip(parts_of(model, found), found.values, strict=True):
        places[str(key.without_place())] += score
    np.testing.assert_allclose([places[part] for part in whole.parts], whole.values, rtol=1e-4, atol=1e-5)


def test_patching_is_one_run_with_a_plain_hook_per_case_and_unit(told):
    name, model, pairs = told
    module, where = model.module, hooks.places(name, model.n_layers)
    found = attribute_pairs(model, pairs, level="node", method="activation_patching")
    for i in range(len(pairs)):
        x, other = (torch.tensor(ends[i].ids[None]) for ends in (pairs.clean, pairs.counterpart))
        t, c = list(pairs.metrics[i].target), list(pairs.metrics[i].contrast)

        def m(z, t=t, c=c):
            return z[0, -1, t].mean() - z[0, -1, c].mean()

        for key, score in zip(parts_of(model, found), found.per_case[i], strict=True):
            there = integrated.value(module, other, where[key.site])
            width = there.shape[1] // {"heads": model.site(key.site).n_heads, "whole": 1}[key.basis]
            columns = slice(key.index * width, (key.index + 1) * width)
            own = integrated.replaced(module, x, where[key.site], there, m, (slice(None), columns))
            assert score == pytest.approx(own, rel=1e-4, abs=2e-5), str(key)


def test_denoising_puts_the_clean_value_into_the_corrupted_run(told):
    _, model, pairs = told
    forth = attribute_pairs(model, pairs, method="activation_patching", direction="denoise")
    turned = model.read(
        Task(tuple(Case(p.counterpart, p.shown, p.targets, p.contrasts) for p in pairs.task.cases)), least=0.0
    )
    back = attribute_pairs(model, turned, method="activation_patching")
    np.testing.assert_allclose(forth.values, -back.values, rtol=1e-4, atol=1e-5)
    assert forth.provenance.options["direction"] == "denoise"


def test_integrated_gradients_miss_their_sum_by_what_they_say(told):
    _, model, pairs = told
    coarse, fine = (
        attribute_pairs(model, pairs, method="integrated_gradients", steps=steps).provenance.extra["gap"]
        for steps in (1, 6)
    )
    assert 2 * fine < coarse


@pytest.mark.parametrize("method", ["attribution_patching", "relp", "integrated_gradients"])
def test_scoring_writes_no_key_of_a_unit(told, method, monkeypatch):
    _, model, _ = told
    pairs = model.read(Task(tuple(ALIKE)), least=0.0)
    written = []
    bare = UnitKey.__str__
    monkeypatch.setattr(UnitKey, "__str__", lambda key: written.append(key) or bare(key))
    found = attribute_pairs(model, pairs, level="neuron", method=method, by_position=True, steps=1)
    assert len(written) < 10 < len(found.values)  # a check of types looks at one or two
    monkeypatch.undo()
    assert len(found.parts) == len(set(found.parts)) == len(found.values)
    assert [found.parts[i] for i in range(-3, 3)] == [*found.parts[-3:], *found.parts[:3]]
    assert found.parts == tuple(found.parts[i] for i in range(len(found)))
    assert all(str(UnitKey.parse(part)) == part for part in found.parts)


def test_without_a_method_few_parts_are_measured_and_many_predicted(told, monkeypatch):
    _, model, pairs = told
    assert attribute_pairs(model, pairs).method == cost_of(model, pairs).method == "activation_patching"
    assert attribute_pairs(model, pairs, rules=("ln",)).method == "relp"
    monkeypatch.setattr(over, "MEASURED", 5)
    assert attribute_pairs(model, pairs).method == cost_of(model, pairs).method == "relp"
    assert attribute_pairs(model, pairs, level="neuron").method == "attribution_patching"


def test_rules_are_those_that_are_named(told):
    _, model, pairs = told
    bare, ruled = (attribute_pairs(model, pairs, method="relp", rules=rules).values for rules in ((), ("ln",)))
    np.testing.assert_allclose(bare, attribute_pairs(model, pairs, method="attribution_patching").values, rtol=1e-5)
    assert np.abs(bare - ruled).max() > 1e-3


def test_without_room_for_every_pair_the_mean_is_the_same(told, monkeypatch):
    _, model, pairs = told
    kept = attribute_pairs(model, pairs, method="attribution_patching")
    monkeypatch.setattr(over, "MOST_KEPT", 0)
    bare = attribute_pairs(model, pairs, method="attribution_patching")
    assert bare.per_case is None
    np.testing.assert_array_equal(bare.values, kept.values)


# -- features ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_features(told):
    _, model, pairs = told
    draw = np.random.default_rng(4)
    width, before = model.site(SITE).width, dict(model.bases)
    decoder, encoder = (draw.normal(size=(9, width)).astype(np.float32) for _ in range(2))
    basis = Basis("lab", "directions", decoder, encoder, activation="topk", k=3)
    model.add_dictionary(Dictionary({SITE: basis}, {"slug": model.name, "hash": model.hash}, "by hand"))
    yield model, pairs
    model.bases = before


@pytest.mark.parametrize("method", ["attribution_patching", "integrated_gradients", "activation_patching"])
def test_features_stand_in_the_place_of_their_sites_neurons(with_features, method):
    model, pairs = with_features
    found = attribute_pairs(model, pairs, level="feature", method=method, steps=3)
    keys = parts_of(model, found)
    assert {key.basis for key in keys if key.site == SITE} == {"lab"}
    features = [i for i, key in enumerate(keys) if key.basis == "lab"]
    assert found.provenance.hashes == {f"{SITE}/lab": model.basis_at(SITE, "lab").hash}
    for i in range(len(pairs)):
        asked = {"corrupted": pairs.counterpart[i], "levels": ["feature"]}
        if method != "activation_patching":
            options = {"steps": 3} if method == "integrated_gradients" else {}
            alone = attribute_nodes(model, pairs.clean[i], pairs.metrics[i], method=method, **asked, **options)
            np.testing.assert_allclose(
                found.per_case[i, features], alone.matrix(SITE, "lab").sum(0), rtol=2e-4, atol=2e-5
            )
    if method == "activation_patching":
        parts = [found.parts[i] for i in features]
        effects = pairs.m_clean - with_units_replaced(model, pairs, parts, np.eye(len(parts), dtype=bool))
        np.testing.assert_allclose(found.per_case[:, features].T, effects, rtol=1e-4, atol=2e-5)
        assert np.abs(effects).max() > 1e-2


# -- many at once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("denoise", [False, True])
def test_all_nodes_replaced_are_the_other_run_and_none_is_this_one(told, denoise):
    _, model, pairs = told
    parts = attribute_pairs(model, pairs, method="attribution_patching").parts
    marks = np.zeros((2, len(parts)), dtype=bool)
    marks[1] = True
    none, all_ = with_units_replaced(model, pairs, parts, marks, denoise=denoise, batch_size=1)
    ends = (pairs.m_counterpart, pairs.m_clean) if denoise else (pairs.m_clean, pairs.m_counterpart)
    np.testing.assert_allclose(none, ends[0], atol=1e-4)
    np.testing.assert_allclose(all_, ends[1], atol=1e-4)


def test_at_positions_only_these_are_replaced(told):
    _, model, _ = told
    pairs = model.read(Task(tuple(ALIKE)), least=0.0)
    found = attribute_pairs(model, pairs, method="activation_patching", level="node", by_position=True)
    some = found.order(signed=False)[:6]
    marks = np.eye(len(found), dtype=bool)[some]
    effects = pairs.m_clean - with_units_replaced(model, pairs, list(found.parts), marks)
    np.testing.assert_allclose(effects.mean(1), found.values[some], rtol=1e-4, atol=2e-5)


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"level": "edge"}, "level among"),
        ({"method": "eap"}, "a method that scores units"),
        ({"method": "integrated_gradients", "rules": ("ln",)}, "rules with relp"),
        ({"method": "integrated_gradients", "steps": 0}, "number of steps of at least 1"),
        ({"batch_size": 0}, "batch size of at least 1"),
        ({"by_position": True}, "pairs of one length"),
        ({"level": "feature"}, "a basis for the level feature"),
    ],
)
def test_what_cannot_be_asked_is_said(told, asked, said):
    _, model, pairs = told
    bare = inspect.unwrap(attribute_pairs)
    with pytest.raises(PatchclampError, match=said):
        bare(model, pairs, **asked)


@pytest.mark.parametrize("part", ["blocks.0.mlp.act/neurons/99999", "blocks.0.attn.z/heads/0@9", "other/embed/whole/0"])
def test_what_is_not_there_cannot_be_replaced(told, part):
    _, model, pairs = told
    with pytest.raises(PatchclampError):
        with_units_replaced(model, pairs, [part], np.ones((1, 1), dtype=bool))


def test_the_cost_is_counted(told):
    _, model, pairs = told
    n = 1 + model.n_layers * (model.site("blocks.0.attn.z").n_heads + 1)
    assert cost_of(model, pairs, method="relp").parts == n
    assert cost_of(model, pairs, method="attribution_patching").forward == 2 * len(pairs)
    assert cost_of(model, pairs, method="activation_patching").forward == len(pairs) * (3 + n)
    assert cost_of(model, pairs, level="neuron").bytes > cost_of(model, pairs).bytes > 0
