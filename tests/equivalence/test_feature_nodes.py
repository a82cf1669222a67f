"""Features as nodes: scores against plain hooks and autograd (tests/oracles/features.py), and what replaces them."""

import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles import features as oracle
from oracles import hooks, integrated
from patchclamp.ablate import Cases, First, UnitSets, measure_sets
from patchclamp.attribute import Baseline, attribute_nodes
from patchclamp.attribute.nodes import idle_units
from patchclamp.core.basis import Basis
from patchclamp.core.controls import draw_controls, strata_of
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.metric import Metric
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.families.spec import enlarge

PROMPT, CORRUPT = "w3 w17 w8 w40", "w3 w20 w8 w41"
T, C = 7, 11
METRIC = Metric("logit_difference", (T,), (C,))
SITE, N, K = "blocks.0.mlp.act", 9, 3
RNG = np.random.default_rng(4)
E, D = (RNG.normal(size=(N, 12)).astype(np.float32) for _ in range(2))


def difference(z):
    return z[0, -1, T] - z[0, -1, C]


@pytest.fixture(scope="module")
def model(tiny_language_model):
    import transformers as hf

    config = hf.GPT2Config(
        n_layer=2, n_embd=16, n_head=2, n_inner=12, vocab_size=61, n_positions=64, bos_token_id=0, eos_token_id=60
    )
    return tiny_language_model("gpt2", enlarge(hf.GPT2LMHeadModel(config), weight=0.25, seed=3))


@pytest.fixture(params=["relu", "topk"])
def with_basis(request, model):
    """The model with a basis at one site, whose encoder is not its decoder, and k of its oracle."""
    k = K if request.param == "topk" else None
    bare = dict(model.bases)
    model.add_dictionary(dictionary(model, Basis("lab", "directions", D, E, activation=request.param, k=k)))
    yield model, k
    model.bases = bare


def dictionary(model, basis, site=SITE, **subject):
    return Dictionary({site: basis}, {"slug": model.name, "hash": model.hash, **subject}, "by hand")


def told(model, k, corrupted):
    """Return module, ids, place, x, f, r, D and x′'s ids and values for the oracle."""
    place = hooks.places("gpt2", 2)[SITE]
    ids, other = (torch.tensor([list(model.tokenizer.bare(text)["input_ids"])]) for text in (PROMPT, CORRUPT))
    x, x_ = (integrated.value(model.module, each, place) for each in (ids, other))
    f = oracle.codes(x, torch.tensor(E), k)
    r = oracle.codes(x_, torch.tensor(E), k) if corrupted else torch.zeros_like(f)
    return place, ids, x, f, r, other, x_


@pytest.mark.parametrize("corrupted", [False, True])
def test_scores_are_those_of_one_feature_and_one_run_at_a_time(with_basis, corrupted):
    model, k = with_basis
    place, ids, x, f, r, other, x_ = told(model, k, corrupted)
    directions = torch.tensor(D)
    asked = {"corrupted": CORRUPT if corrupted else None, "levels": ("feature",)}
    gradient = integrated.gradient(model.module, ids, place, x, difference)
    expected = {
        "attribution_patching": oracle.patched(f, r, gradient, directions),
        "integrated_gradients": oracle.path(model.module, ids, place, x, f, r, directions, difference, 200),
    }
    for method, scores in expected.items():
        found = attribute_nodes(model, PROMPT, METRIC, method=method, steps=30, **asked)
        assert [(b.site, b.basis) for b in found.units.blocks] == [(SITE, "lab")]
        np.testing.assert_allclose(found.matrix(SITE, "lab"), scores, atol=2e-4)
        np.testing.assert_allclose(found.matrix(SITE, "lab", "activation"), f, atol=1e-5)
        np.testing.assert_allclose(found.matrix(SITE, "lab", "size"), (f - r).abs(), atol=1e-5)
    if corrupted:
        there = oracle.patched(f, r, integrated.gradient(model.module, other, place, x_, difference), directions)
        back = attribute_nodes(model, PROMPT, METRIC, method="attribution_patching", direction="denoise", **asked)
        np.testing.assert_allclose(back.matrix(SITE, "lab"), there, atol=2e-4)
    assert found.provenance.extra["gap"] < 1e-3
    together = oracle.effect(
        model.module, ids, place, x, f, r, directions, difference, [(p, u) for p in range(len(f)) for u in range(N)]
    )
    assert found.total == pytest.approx(together, abs=2e-3)
    exact = attribute_nodes(model, PROMPT, METRIC, method="activation_patching", **asked).matrix(SITE, "lab")
    for p, u in ((0, 0), (2, 4), (4, 8), *map(tuple, np.argwhere((f - r).numpy() != 0)[:4])):
        one = oracle.effect(model.module, ids, place, x, f, r, directions, difference, [(p, u)])
        assert exact[p, u] == pytest.approx(one, abs=1e-4)
    assert not exact[(f == r).numpy()].any()


@pytest.mark.parametrize("corrupted", [False, True])
def test_features_are_replaced_together_not_one_after_another(with_basis, corrupted):
    model, k = with_basis
    place, ids, x, f, r, *_ = told(model, k, corrupted)
    nodes = [(4, u) for u in range(N)] + [(2, 1), (2, 3)]
    baseline = Baseline("zero")
    if corrupted:
        baseline = Baseline("corrupted", model.run(CORRUPT, record=SITE).recording)
    keys, cases = [UnitKey(SITE, u, "lab", None, p) for p, u in nodes], Cases.of(model.stimuli(PROMPT), METRIC)
    [[clean, changed]] = measure_sets(model, cases, UnitSets.of([[], keys]), baseline)
    expected = oracle.effect(model.module, ids, place, x, f, r, torch.tensor(D), difference, nodes)
    assert clean - changed == pytest.approx(expected, abs=1e-4)
    # E D is far from the identity here: one after another they do something else.
    source = {"source": baseline.values} if corrupted else {}
    operation = "patch" if corrupted else "ablate"
    singly = [change(operation, SITE, u, basis="lab", at=p, **source) for p, u in nodes]
    assert abs(float(model.measure(PROMPT, METRIC, interventions=singly)[0]) - changed) > 1e-3


def test_keeping_none_replaces_all_and_keeping_all_changes_nothing(with_basis):
    model, _ = with_basis
    baseline, ranks = Baseline("zero"), np.arange(5 * N)
    others = [[change("ablate", SITE, range(4, N), basis="lab", at=2)], [change("ablate", SITE, basis="lab", at="3:5")]]
    clean, site, half = (
        float(model.measure(PROMPT, METRIC, interventions=changes)[0])
        for changes in ([], [baseline.replace_site(SITE, "lab")], [*others[0], *others[1]])
    )
    sets = UnitSets(UnitIndex([Block(SITE, "lab", N, 5)]), [First(ranks, size) for size in (0, 5 * N, 2 * N + 4)])
    [[none, every, some]] = measure_sets(model, Cases.of(model.stimuli(PROMPT), METRIC), sets, baseline, keep=True)
    assert every == pytest.approx(clean, abs=1e-6)
    assert (none, some) == pytest.approx((site, half), abs=1e-5)
    assert abs(some - clean) > 1e-3


@pytest.mark.parametrize("method", ["integrated_gradients", "relp", "attribution_patching", "activation_patching"])
def test_features_stand_beside_heads_and_in_the_place_of_their_sites_neurons(with_basis, method):
    model, _ = with_basis
    levels = ("feature", "neuron", "head")
    found = pc.explain(model, PROMPT, metric=METRIC, method=method, levels=levels, top=6)
    blocks = attribute_nodes(model, PROMPT, METRIC, method="attribution_patching", levels=levels).units.blocks
    sites = {(one.site, one.basis): one for one in blocks}
    assert [key for key in sites if "mlp" in key[0]] == [(SITE, "lab"), ("blocks.1.mlp.act", "neurons")]
    assert found.receipts.kept.measured[-1] == pytest.approx(found.metric_clean, abs=1e-5)
    alone = pc.explain(model, PROMPT, metric=METRIC, method=method, levels=("feature",), top=3)
    assert {cause.kind for cause in alone.causes} == {"feature"}
    assert alone.bases == {f"{SITE}/lab": model.basis_at(SITE, "lab").hash}
    graph = alone.graph()
    assert {node.kind for node in graph.nodes} == {"feature", "input", "error", "output"}
    assert graph.about["bases"] == alone.bases
    for cause in alone.causes:
        key = UnitKey.parse(cause.key)
        without = model.measure(
            PROMPT, METRIC, interventions=[change("ablate", SITE, key.index, basis="lab", at=key.position)]
        )
        assert cause.measured == pytest.approx(alone.metric_clean - float(without[0]), abs=1e-4)


def test_random_features_are_drawn_among_active_ones_first():
    sizes = np.zeros(1000)
    active = RNG.choice(1000, 40, replace=False)
    sizes[active] = np.arange(1, 41)
    strata = strata_of([(SITE, "lab", None, 1000)], sizes, {"lab": True})
    drawn = {place for one in draw_controls(strata, active[:5].tolist(), 20).sets for place in one}
    assert drawn <= set(active[5:].tolist())
    for unit, own in zip(active, sizes[active], strict=True):  # four of 40 are a decile; five are drawn among
        like = draw_controls(strata, [int(unit)], 4).sets
        assert all(abs(sizes[place] - own) < 8 for [place] in like)
    # All active ones chosen: what is idle stands in, as from elsewhere.
    controls = draw_controls(strata, active.tolist(), 20)
    assert controls.outside == controls.idle == 1.0
    assert not {place for one in controls.sets for place in one} & set(active.tolist())


def test_most_features_of_a_sparse_basis_are_idle_and_said_to_be(with_basis):
    model, k = with_basis
    found = attribute_nodes(model, PROMPT, METRIC, method="attribution_patching", levels=("feature", "head"))
    idle = found.matrix(SITE, "lab", "size") == 0
    assert idle_units(found).sum() == idle.sum() >= (5 * (N - K) if k else 1)
    why = pc.explain(model, PROMPT, metric=METRIC, levels=("feature",), top=20)
    assert why.receipts.randoms.idle > 0
    assert why.receipts.kept.sizes[-2] <= (~idle).sum()


def test_trouble_has_three_parts(with_basis):
    model, _ = with_basis
    means = model.run(PROMPT, record="blocks.*.mlp.act").recording
    with pytest.raises(PatchclampError, match="baseline of features"):
        attribute_nodes(model, PROMPT, METRIC, levels=("feature",), means=means)
    lab = model.basis_at(SITE, "lab")
    with pytest.raises(PatchclampError, match="one of toy"):
        model.add_dictionary(dictionary(model, lab, slug="toy", hash="0" * 64))
    with pytest.raises(PatchclampError, match="width 16"):
        model.add_dictionary(dictionary(model, lab, "blocks.0.resid_out"))
    with pytest.raises(PatchclampError, match="twice"):
        model.add_dictionary(dictionary(model, Basis("lab", "directions", 2 * D, E)))
    with pytest.raises(PatchclampError, match="'neurons', twice"):
        model.add_dictionary(dictionary(model, Basis("neurons", "directions", D, E)))
    model.add_dictionary(dictionary(model, Basis("second", "directions", D, E)))
    with pytest.raises(PatchclampError, match="one basis at a site"):
        attribute_nodes(model, PROMPT, METRIC, levels=("feature",))
    del model.bases[f"{SITE}/second"], model.bases[f"{SITE}/lab"]
    with pytest.raises(PatchclampError, match="a basis for the level feature"):
        attribute_nodes(model, PROMPT, METRIC, levels=("feature",))
    transcoder = Basis("through", "directions", D, E, reads="blocks.0.mlp.pre")
    model.add_dictionary(dictionary(model, transcoder))
    with pytest.raises(CannotIntervene, match=r"reads blocks\.0\.mlp\.pre and writes"):
        attribute_nodes(model, PROMPT, METRIC, levels=("feature",))
