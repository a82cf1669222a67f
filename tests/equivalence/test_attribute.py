"""Scores of nodes against plain hooks, autograd and one run per node (tests/oracles/integrated.py)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import patchclamp as pc
from oracles import hooks, relevance
from oracles import integrated as oracle
from patchclamp.ablate import Cases, First, UnitSets, measure_sets
from patchclamp.attribute import Baseline, attribute_nodes
from patchclamp.attribute.gradients import make_baseline
from patchclamp.attribute.rules import Gradient
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.method_index import list_names
from patchclamp.core.metric import Metric
from patchclamp.core.recording import Recording
from patchclamp.core.scores import Scores
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.families.spec import enlarge
from patchclamp.subjects.relevance_rules import RELP

METHODS = list_names("attribute", "unit")
PROMPT, CORRUPT = "w3 w17 w8 w40", "w3 w20 w8 w41"
TEXTS = ("w1 w2 w3 w4 w5", "w50 w40", "w8 w8 w17 w33")
REFERENCES = ("zero", "corrupted", "mean")
T, C = 7, 11
METRIC = Metric("logit_difference", (T,), (C,))


def difference(z):
    return z[0, -1, T] - z[0, -1, C]


def small(name):
    """Make a model of two blocks, 12 neurons and 2 heads each: few enough nodes for one run per node."""
    import transformers as hf

    if name == "gpt2":
        config = hf.GPT2Config(
            n_layer=2, n_embd=16, n_head=2, n_inner=12, vocab_size=61, n_positions=64, bos_token_id=0, eos_token_id=60
        )
        return enlarge(hf.GPT2LMHeadModel(config), weight=0.25, seed=3)
    config = hf.LlamaConfig(
        num_hidden_layers=2, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=12,
        vocab_size=61, max_position_embeddings=64, bos_token_id=0, eos_token_id=60,
    )  # fmt: skip
    return enlarge(hf.LlamaForCausalLM(config), weight=0.25, seed=3)


@pytest.fixture(scope="module")
def models(tiny_language_model):
    return {name: tiny_language_model(name, small(name)) for name in ("gpt2", "llama")}


@pytest.fixture(scope="module")
def means(models):
    """A recording of a few prompts per model: what the mean is taken over."""
    return {name: model.run(list(TEXTS), record=list(places(model))).recording for name, model in models.items()}


def places(model):
    """Return the scored sites with the modules where they pass."""
    name = "llama" if "Llama" in type(model.module).__name__ else "gpt2"
    where = hooks.places(name, model.n_layers)
    return {path: place for path, place in where.items() if path.endswith(("mlp.act", "attn.z"))}


def ids(model, text):
    return torch.tensor([list(model.tokenizer.bare(text)["input_ids"])])


def block(model, site):
    """Return how many columns a site's unit has: a head's width, or one."""
    return model.site(site).width // model.site(site).n_heads if site.endswith("attn.z") else 1


def reference_values(model, kind):
    """Return every site's r, read with plain hooks: zeros, the corrupted run, or the mean over words."""
    found = {}
    for site, place in places(model).items():
        if kind == "mean":  # the first token of a text is bos, which counts for nothing
            r = torch.cat([oracle.value(model.module, ids(model, text), place)[1:] for text in TEXTS]).mean(0)
            found[site] = r.expand(5, -1)
        else:
            n = oracle.value(model.module, ids(model, CORRUPT), place)
            found[site] = n if kind == "corrupted" else torch.zeros_like(n)
    return found


def given_as(kind, means):
    """Return the arguments that name a baseline."""
    return {"zero": {}, "corrupted": {"corrupted": CORRUPT}, "mean": {"means": means}}[kind]


def keyed(model, site):
    return site, "heads" if site.endswith("attn.z") else "neurons"


def blocks_of(found):
    """Return the sites of scores, each with its basis."""
    return [(one.site, one.basis) for one in found.units.blocks]


def assert_scores(model, found, expected, rel=1e-4):
    """Compare every site's ``(position, unit)`` scores, to a share of the largest."""
    assert blocks_of(found) == [keyed(model, site) for site in places(model) if site in expected]
    for site, scores in expected.items():
        own = found.matrix(*keyed(model, site))
        summed = oracle.blocks(scores, block(model, site)).detach().double().numpy()
        assert own.shape == summed.shape
        assert np.abs(own - summed).max() <= rel * np.abs(summed).max(), site


# -- gradient methods -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("method", ["attribution_patching", "relp"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_atp_and_relp_are_the_change_times_the_coefficient_of_the_run_patched_into(models, means, name, method, kind):
    model = models[name]
    backward = model.module if method == "attribution_patching" else relevance.rewritten(model.module, RELP)
    x, r = ids(model, PROMPT), reference_values(model, kind)
    y = ids(model, CORRUPT)
    expected, other = {}, {}
    for site, place in places(model).items():
        n = oracle.value(model.module, x, place)
        expected[site] = (n - r[site]) * oracle.gradient(backward, x, place, n, difference)
        if kind == "corrupted":
            other[site] = (n - r[site]) * oracle.gradient(backward, y, place, r[site], difference)
    found = attribute_nodes(model, PROMPT, METRIC, method=method, **given_as(kind, means[name]))
    assert_scores(model, found, expected)
    assert (found.method, found.baseline, found.units.subject) == (method, kind, model.name)
    assert "gap" not in found.provenance.extra
    if kind == "corrupted":  # the corrupted run's gradient foretells what is patched into that run
        with pytest.raises(AssertionError):
            assert_scores(model, found, other, rel=1e-2)
        back = attribute_nodes(model, PROMPT, METRIC, method=method, corrupted=CORRUPT, direction="denoise")
        assert_scores(model, back, other)


@pytest.mark.parametrize("rules", [(), ("ln",), ("identity", "half"), RELP])
@pytest.mark.parametrize("kind", ["zero", "corrupted"])
def test_rules_may_be_given_in_place_of_the_method_s_own(models, rules, kind):
    model = models["llama"]
    backward = relevance.rewritten(model.module, rules)
    r = reference_values(model, kind)
    expected = {}
    for site, place in places(model).items():
        n = oracle.value(model.module, ids(model, PROMPT), place)
        expected[site] = (n - r[site]) * oracle.gradient(backward, ids(model, PROMPT), place, n, difference)
    found = [
        attribute_nodes(model, PROMPT, METRIC, **asked, **given_as(kind, None))
        for asked in ({"method": "relp", "rules": rules}, {"method": Gradient(rules)})
    ]
    assert_scores(model, found[0], expected)
    assert np.array_equal(found[0].values, found[1].values)


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_direct_scores_are_what_the_change_writes_to_the_logits(models, means, name, kind):
    """(n − r) W_downᵀ N_fᵀ (W_U[t] − W_U[c]) at the last token, σ of x held; nothing elsewhere."""
    model, centre = models[name], name == "gpt2"
    module, x, r = model.module, ids(model, PROMPT), reference_values(model, kind)
    norm = module.transformer.ln_f if centre else module.model.norm
    epsilon = norm.eps if centre else norm.variance_epsilon
    before = oracle.value(module, x, ("transformer.ln_f" if centre else "model.norm", "in"))
    N_f = relevance.norm(before[-1:].double(), norm.weight.detach().double(), epsilon, centre, True)
    rho = relevance.back(N_f, (module.lm_head.weight[T] - module.lm_head.weight[C]).detach().double()[None])
    expected = {}
    for i in range(2):
        _, _, W_O, _, _, _, W_down = relevance.weights(module, name, i)
        for site, W in ((f"blocks.{i}.attn.z", W_O), (f"blocks.{i}.mlp.act", W_down)):
            change = (oracle.value(module, x, places(model)[site]) - r[site]).double()
            expected[site] = torch.zeros_like(change)
            expected[site][-1] = change[-1] * (rho @ W.detach().double())[0]
    found = attribute_nodes(model, PROMPT, METRIC, method="direct_logit", **given_as(kind, means[name]))
    assert_scores(model, found, expected)
    assert not found.by_place()[:-1].any()


def metrics(model):
    """Return every kind of metric with the same written out on whole logits ``(1, position, token)``."""
    q = [math.sin(float(i)) for i in range(61)]
    log_q = torch.tensor(q).log_softmax(-1)

    def log_p(z, at=-1):
        return z[0, at].log_softmax(-1)

    return {
        "logit": (Metric("logit", (3, 5)), lambda z: (z[0, -1, 3] + z[0, -1, 5]) / 2),
        "logit_difference": (
            Metric("logit_difference", (3, 5), (9,), (2,)), lambda z: (z[0, 2, 3] + z[0, 2, 5]) / 2 - z[0, 2, 9]
        ),
        "log_probability": (
            Metric("log_probability", (3, 5)), lambda z: (log_p(z)[3].exp() + log_p(z)[5].exp()).log()
        ),
        "probability_difference": (
            Metric("probability_difference", (3,), (9, 8)),
            lambda z: log_p(z)[3].exp() - log_p(z)[9].exp() - log_p(z)[8].exp(),
        ),
        "sequence_log_probability": (
            Metric("sequence_log_probability", (3, 5, 9), positions=(-3, -2, 4)),
            lambda z: log_p(z, -3)[3] + log_p(z, -2)[5] + log_p(z, 4)[9],
        ),
        "kl": (
            Metric("kl", reference=tuple(q)), lambda z: (log_q.exp() * (log_q - log_p(z))).sum()
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["zero", "corrupted"])
@pytest.mark.parametrize("measured", sorted(metrics(None)))
def test_metrics_of_every_kind_are_scored(models, measured, kind):
    model = models["llama"]
    metric, m = metrics(model)[measured]
    x, r = ids(model, PROMPT), reference_values(model, kind)
    expected = {}
    for site, place in places(model).items():
        n = oracle.value(model.module, x, place)
        expected[site] = (n - r[site]) * oracle.gradient(model.module, x, place, n, m)
    found = attribute_nodes(model, PROMPT, metric, method="attribution_patching", **given_as(kind, None))
    assert_scores(model, found, expected)
    with torch.no_grad():
        assert found.metric_clean == pytest.approx(float(m(model.module(x).logits)), abs=1e-4)
    for method in ("relp", "integrated_gradients", "direct_logit") if kind == "zero" else ():
        scores = attribute_nodes(model, PROMPT, metric, method=method, **given_as(kind, None))
        assert np.isfinite(scores.values).all()
        assert scores.values.any()


# -- activation, exact ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_activation_scores_and_the_sizes_beside_every_method(models, means, name, kind):
    model, r = models[name], reference_values(models[name], kind)
    x = ids(model, PROMPT)
    with torch.no_grad():
        m = float(difference(model.module(x).logits))
    for method in ("activation", "relp", "integrated_gradients"):
        found = attribute_nodes(model, PROMPT, METRIC, method=method, **given_as(kind, means[name]))
        assert found.metric_clean == pytest.approx(m, abs=1e-4)
        assert list(found.measures) == ["size", "activation"]
        for site, place in places(model).items():
            n, key, width = oracle.value(model.module, x, place), keyed(model, site), block(model, site)
            size = oracle.blocks((n - r[site]) ** 2, width).sqrt().numpy()
            norm = oracle.blocks(n**2, width).sqrt().numpy()
            assert found.matrix(*key, "size") == pytest.approx(size, rel=1e-4, abs=1e-6)
            assert found.matrix(*key, "activation") == pytest.approx(
                n.numpy() if width == 1 else norm, rel=1e-4, abs=1e-6
            )
            if method == "activation":
                assert found.matrix(*key) == pytest.approx(norm, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_exact_scores_are_one_run_per_node(models, means, name, kind):
    model, r, told = models[name], reference_values(models[name], kind), []
    options = {"method": "activation_patching", "progress": lambda done, total: told.append((done, total))}
    found = attribute_nodes(model, PROMPT, METRIC, **options, **given_as(kind, means[name]))
    x, n_nodes = ids(model, PROMPT), 2 * 5 * (12 + 2)
    assert len(found) == n_nodes
    assert told[-1] == (n_nodes, n_nodes)
    for i in range(n_nodes):
        key = found.key(i)
        width = block(model, key.site)
        chosen = (key.position, slice(key.index * width, (key.index + 1) * width))
        one = oracle.replaced(model.module, x, places(model)[key.site], r[key.site], difference, chosen)
        assert found.score(key) == pytest.approx(one, abs=1e-4), key


# -- integrated gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), [("gpt2", "zero"), ("gpt2", "mean"), ("llama", "zero"), ("llama", "corrupted")]
)
def test_ig_is_the_integral_along_the_path_and_sums_to_the_whole_site_s_effect(models, means, name, kind):
    model, x, r = models[name], ids(models[name], PROMPT), reference_values(models[name], kind)
    found = attribute_nodes(
        model, PROMPT, METRIC, method="integrated_gradients", steps=40, **given_as(kind, means[name])
    )
    expected = {
        site: oracle.integrated(model.module, x, place, r[site], difference, 40)
        for site, place in places(model).items()
    }
    assert_scores(model, found, expected, rel=1e-2)
    for site, place in places(model).items():
        whole = oracle.replaced(model.module, x, place, r[site], difference)
        assert found.matrix(*keyed(model, site)).sum() == pytest.approx(whole, abs=1e-4), site
    assert found.provenance.extra["gap"] <= 1e-4


@pytest.mark.parametrize(("name", "kind"), [("gpt2", "zero"), ("gpt2", "corrupted"), ("llama", "mean")])
def test_the_completeness_gap_is_the_worst_site_s_and_closes_with_more_steps(models, means, name, kind):
    model, x, r = models[name], ids(models[name], PROMPT), reference_values(models[name], kind)
    whole = {
        keyed(model, site): oracle.replaced(model.module, x, place, r[site], difference)
        for site, place in places(model).items()
    }
    gaps = []
    for steps in (1, 4, 16):
        found = attribute_nodes(
            model, PROMPT, METRIC, method="integrated_gradients", steps=steps, **given_as(kind, means[name])
        )
        missed = [abs(float(found.matrix(*key).sum()) - effect) for key, effect in whole.items()]
        assert found.provenance.extra["gap"] == pytest.approx(max(missed), abs=1e-4)
        gaps.append(found.provenance.extra["gap"])
    assert gaps[0] > 0.1 > 1e-2 > gaps[2]
    assert gaps[0] > gaps[1] > gaps[2]


def test_few_steps_miss_what_many_find_where_only_the_clean_end_is_looked_at(models):
    """One step lies in the middle of the path; the gradient at its end is attribution patching's."""
    model = models["gpt2"]
    r = reference_values(model, "zero")
    one = attribute_nodes(model, PROMPT, METRIC, method="integrated_gradients", steps=1)
    expected = {
        site: oracle.integrated(model.module, ids(model, PROMPT), place, r[site], difference, 1)
        for site, place in places(model).items()
    }
    assert_scores(model, one, expected)
    assert np.array_equal(attribute_nodes(model, PROMPT, METRIC, steps=1).values, one.values)
    atp = attribute_nodes(model, PROMPT, METRIC, method="attribution_patching")
    assert np.abs(one.values - atp.values).max() > 1e-2


@pytest.mark.parametrize("steps", [1, 5, 17])
def test_scores_do_not_depend_on_how_the_steps_are_batched(models, steps, monkeypatch):
    model, shapes, found = models["llama"], [], []
    bare = model.differentiate

    def differentiate(rows, *args, **options):
        shapes.append(len(rows))
        return bare(rows, *args, **options)

    monkeypatch.setattr(model, "differentiate", differentiate)
    for rows in (1, 3, 16):
        shapes.clear()
        how = {"method": "integrated_gradients", "steps": steps, "levels": ["neuron"]}
        found.append(attribute_nodes(model, PROMPT, METRIC, batch_size=rows, **how))
        assert max(shapes) == min(rows, steps)
        assert sum(shapes) == 2 * steps
    for other in found[1:]:
        assert np.abs(other.values - found[0].values).max() <= 1e-5
        assert other.total == pytest.approx(found[0].total, abs=1e-4)
        assert other.provenance.extra["gap"] == pytest.approx(found[0].provenance.extra["gap"], abs=1e-4)


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("steps", [1, 7])
def test_on_a_linear_end_every_method_is_the_weight_times_the_change(tiny_language_model, kind, steps):
    """Without its last norm the model is linear in what the last block writes."""
    module = small("gpt2")
    module.transformer.ln_f = nn.Identity()
    model = tiny_language_model("gpt2", module)
    x, r, site = ids(model, PROMPT), reference_values(model, kind), "blocks.1.mlp.act"
    change = oracle.value(module, x, places(model)[site]) - r[site]
    weight = module.transformer.h[1].mlp.c_proj.weight @ (module.lm_head.weight[T] - module.lm_head.weight[C])
    expected = torch.zeros_like(change)
    expected[-1] = change[-1] * weight.detach()
    means = model.run(list(TEXTS), record=list(places(model))).recording
    for method in ("integrated_gradients", "attribution_patching", "activation_patching"):
        found = attribute_nodes(
            model, PROMPT, METRIC, method=method, levels=["neuron"], steps=steps, **given_as(kind, means)
        )
        own = found.matrix(site, "neurons")
        assert own == pytest.approx(expected.numpy(), abs=2e-5), method
        # Summed, it is the whole site's effect: additive, so no order of replacing matters.
        whole = oracle.replaced(module, x, places(model)[site], r[site], difference)
        assert own.sum() == pytest.approx(whole, abs=1e-4), method


# -- baselines -------------------------------------------------------------------------------------------------------


def test_a_survey_s_means_are_a_reference(models, tmp_path):
    model = models["gpt2"]
    words = [f"w{i}" for i in np.random.default_rng(0).integers(56, size=120)]
    (tmp_path / "text.txt").write_text(" ".join(words))
    sites = ["blocks.*.mlp.act", "blocks.*.attn.z"]
    survey = pc.survey(model, pc.Corpus(tmp_path / "text.txt", window=16), sites, tmp_path / "survey")
    x = ids(model, PROMPT)
    r = {site: torch.tensor(survey.mean(site)).float().expand(5, -1) for site in places(model)}
    expected = {}
    for site, place in places(model).items():
        n = oracle.value(model.module, x, place)
        expected[site] = (n - r[site]) * oracle.gradient(model.module, x, place, n, difference)
    found = attribute_nodes(model, PROMPT, METRIC, method="attribution_patching", means=survey)
    assert_scores(model, found, expected)
    exact = attribute_nodes(model, PROMPT, METRIC, method="activation_patching", levels=("head",), means=survey)
    key = UnitKey("blocks.1.attn.z", 1, "heads", None, 4)
    one = oracle.replaced(model.module, x, places(model)[key.site], r[key.site], difference, (4, slice(8, 16)))
    assert exact.score(key) == pytest.approx(one, abs=1e-4)
    reopened = attribute_nodes(
        model, PROMPT, METRIC, method="attribution_patching", means=pc.StoredSurvey(tmp_path / "survey")
    )
    assert np.array_equal(reopened.values, found.values)


@pytest.mark.parametrize("kind", REFERENCES)
def test_keeping_no_node_replaces_every_site_and_keeping_all_is_the_clean_run(models, means, kind, monkeypatch):
    model = models["llama"]
    given = given_as(kind, means["llama"])
    found = attribute_nodes(model, PROMPT, METRIC, method="relp", **given)
    given |= {"corrupted": model.stimuli(CORRUPT)[0]} if "corrupted" in given else {}
    sites = list(places(model))
    baseline = make_baseline(model, sites, **given)
    rank = np.argsort(found.order()).astype(np.int64)
    caught, bare = [], model.measure

    def measure(shown, metric, **options):
        caught.append(options["interventions"])
        return bare(shown, metric, **options)

    monkeypatch.setattr(model, "measure", measure)
    cases = Cases.of(model.stimuli(PROMPT), METRIC)
    each = [
        measure_sets(model, cases, UnitSets(found.units, [First(rank, size)]), baseline, keep=True)[0, 0]
        for size in (len(rank), 0, 20)
    ]
    monkeypatch.undo()
    clean = model.run(PROMPT, record=sites)
    whole, none, twenty = (model.run(PROMPT, interventions=changes, record=sites) for changes in caught)
    assert torch.equal(whole.logits, clean.logits)
    replaced = model.run(PROMPT, interventions=[baseline.replace_site(site) for site in sites])
    assert torch.equal(none.logits, replaced.logits)
    r = reference_values(model, kind)
    for site in sites:
        assert torch.allclose(none.recording[site], r[site], atol=1e-5)
    # In between: the first nodes stand, the others are at their baseline.
    kept, some = found.top(20), twenty.recording[sites[0]]
    inside = np.zeros(some.shape, bool)
    for key in kept:
        if key.site == sites[0]:
            width = block(model, key.site)
            inside[key.position, key.index * width : (key.index + 1) * width] = True
    assert inside.any()
    assert torch.allclose(some[~inside], r[sites[0]][~inside], atol=1e-5)
    assert torch.equal(some[inside], clean.recording[sites[0]][inside])
    # Several sizes in one pass, each a row of its own.
    rest = UnitSets(found.units, [First(rank, size, rest=True) for size in (len(rank), 0, 20)])
    assert measure_sets(model, cases, rest, baseline)[0].tolist() == pytest.approx(each, abs=1e-5)


@pytest.mark.parametrize(("kind", "with_values"), [("zero", True), ("mean", False), ("corrupted", False)])
def test_a_reference_and_its_values_belong_together(means, kind, with_values):
    with pytest.raises(PatchclampError, match="zero without values, or mean or corrupted with them") as caught:
        Baseline(kind, means["gpt2"] if with_values else None)
    assert caught.value.got == f"'{kind}' {'with' if with_values else 'without'} values"


@pytest.mark.parametrize(
    ("kind", "operation", "mode"),
    [("zero", "ablate", "zero"), ("mean", "ablate", "mean"), ("corrupted", "patch", "zero")],
)
def test_a_reference_replaces_a_site_everywhere(means, kind, operation, mode):
    values = None if kind == "zero" else means["gpt2"]
    site = Baseline(kind, values).replace_site("blocks.1.attn.z")
    assert (site.operation, site.mode, site.units, site.at) == (operation, mode, None, None)
    assert values is (None if site.source is None else site.source.values)


# -- what an attribution is -------------------------------------------------------------------------------------------


def attributions():
    """Any number of sites with any numbers of units, one number of positions, and a seed."""
    shapes = st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=3)
    return st.tuples(st.integers(1, 3), shapes, st.integers(0, 2**32 - 1))


def scores_of(drawn):
    """Return scores of what was drawn; made outside the strategy, in which the checker of types may draw nothing."""
    n_positions, shapes, seed = drawn
    rng = np.random.default_rng(seed)
    blocks, values = [], []
    for i, (head, units) in enumerate(shapes):
        site = (f"blocks.{i}.attn.z", "heads") if head else (f"blocks.{i}.mlp.act", "neurons")
        blocks.append(Block(*site, units, n_positions))
        values.append(rng.integers(-3, 4, size=n_positions * units).astype(float))
    return Scores(UnitIndex(blocks, "any"), np.concatenate(values))


@given(attributions())
def test_keys_and_places_are_inverse(drawn):
    found = scores_of(drawn)
    keys = [found.key(i) for i in range(len(found))]
    assert len(set(keys)) == len(keys)
    for i, key in enumerate(keys):
        assert found.index.place(key) == i
        assert key.subject == "any"
        assert found.score(key) == found.values[i] == found.matrix(key.site, key.basis)[key.position, key.index]
        assert found.index.place(UnitKey(key.site, key.index, key.basis, None, key.position)) == i


@given(attributions(), st.booleans())
def test_order_top_total_and_positions_are_sums_and_sorts(drawn, signed):
    found = scores_of(drawn)
    scores = found.values.tolist()
    expected = sorted(range(len(scores)), key=lambda i: -(scores[i] if signed else abs(scores[i])))
    assert found.order(signed=signed).tolist() == expected
    for k in (0, 1, 3, len(scores) + 2):
        assert found.top(k, signed=signed) == [found.key(i) for i in expected[:k]]
    assert found.total == sum(scores)
    at = [sum(found.score(key) for key in map(found.key, range(len(scores))) if key.position == t) for t in range(9)]
    positions = found.by_place().tolist()
    assert positions == at[: len(positions)]
    assert not any(at[len(positions) :])


@pytest.mark.parametrize(
    "key", ["blocks.0.mlp.act/neurons/12@0", "blocks.0.mlp.act/neurons/0@5", "blocks.0.mlp.act/neurons/0",
            "blocks.0.mlp.act/heads/0@0", "blocks.2.mlp.act/neurons/0@0", "blocks.0.attn.z/heads/2@0",
            "stranger/blocks.0.mlp.act/neurons/0@0"],
)  # fmt: skip
def test_a_node_that_there_is_not_is_refused(models, key):
    found = attribute_nodes(models["gpt2"], PROMPT, METRIC, method="activation")
    with pytest.raises(PatchclampError, match="a key among 140, such as "):
        found.index.place(UnitKey.parse(key))
    for place, said in ((-1, "a whole number from 0"), (len(found), "a place from 0 to 139")):
        with pytest.raises(PatchclampError, match=said):
            found.key(place)


@pytest.mark.parametrize("levels", [("neuron",), ["head"], ("head", "neuron")])
@pytest.mark.parametrize("method", METHODS)
def test_levels_choose_what_is_scored_and_change_no_score(models, method, levels):
    model = models["llama"]
    whole = attribute_nodes(model, PROMPT, METRIC, method=method, steps=3)
    some = attribute_nodes(model, PROMPT, METRIC, method=method, levels=levels, steps=3)
    bases = {"neuron": "neurons", "head": "heads"}
    assert blocks_of(some) == [key for key in blocks_of(whole) if key[1] in {bases[level] for level in levels}]
    for key in blocks_of(some):
        assert np.abs(some.matrix(*key) - whole.matrix(*key)).max() <= 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_the_model_and_a_second_answer_are_what_they_were(models, method):
    model = models["gpt2"]
    x = ids(model, PROMPT)
    with torch.no_grad():
        before = model.module(x).logits
    one, again = (attribute_nodes(model, PROMPT, METRIC, method=method, corrupted=CORRUPT) for _ in range(2))
    assert np.array_equal(one.values, again.values)
    with torch.no_grad():
        assert torch.equal(model.module(x).logits, before)
    assert all(p.requires_grad and p.grad is None for p in model.module.parameters())


def test_a_real_model_s_relp_scores_match_the_rules_formulas(stories):
    model = pc.load(str(stories))
    prompt = "Once upon a time, there was a little girl named"
    t, c = (model.continuation(prompt, answer)[0] for answer in (" Lily", " Tom"))
    x = ids(model, prompt)
    where, backward = places(model), relevance.rewritten(model.module, RELP)
    by_place = hooks.gradients(
        backward, x, oracle.counted(x), list(where.values()), lambda z: z[0, -1, t] - z[0, -1, c]
    )
    expected = {site: by_place[place][0][0] * by_place[place][1][0] for site, place in where.items()}
    found = attribute_nodes(model, prompt, Metric("logit_difference", (t,), (c,)), method="relp")
    assert_scores(model, found, expected, rel=1e-3)


# -- refusals ---------------------------------------------------------------------------------------------------------


def refused(match, model, prompt=PROMPT, metric=METRIC, **options):
    with pytest.raises(PatchclampError, match=match) as caught:
        attribute_nodes(model, prompt, metric, **options)
    assert all((caught.value.expected, caught.value.got, caught.value.remedy))


def test_what_cannot_be_scored_is_refused(models, means):
    model = models["gpt2"]
    refused("a method of the room attribute among activation, ", model, method="lrp")
    refused("a method that scores units: activation, activation_patching", model, method="eap")
    refused("one baseline", model, corrupted=CORRUPT, means=means["gpt2"])
    for steps in (0, -1):
        refused("number of steps of at least 1", model, method="integrated_gradients", steps=steps)
    for levels in ((), ["neurons"], ("neuron", "layer")):
        refused("levels among neuron, head", model, levels=levels)
    refused("a list of texts", model, levels="neuron")
    for corrupted, n in (("w3 w20 w8", 4), ("w3 w20 w8 w41 w1", 6)):
        for method in METHODS:
            refused(rf"a corrupted prompt of 5 tokens.*{n} tokens", model, corrupted=corrupted, method=method)
    refused("softmax", model, method="relp", rules=("softmax",))
    for method in set(METHODS) - {"relp"}:
        refused(f"rules with relp; got rules with {method}", model, method=method, rules=RELP)
    for method in METHODS:
        refused("one prompt; got 2", model, prompt=[PROMPT, CORRUPT], method=method)
        refused("one prompt; got 2", model, corrupted=[PROMPT, CORRUPT], method=method)
        for at in (5, -6):
            refused(f"positions −5 to 4 .*position {at}", model, metric=Metric("logit", (3,), (), (at,)), method=method)
        refused("tokens 0 to 60; got token 61", model, metric=Metric("logit", (61,)), method=method)


def test_means_that_do_not_fit_are_refused(models, means, tmp_path):
    model = models["gpt2"]
    lacking = model.run(list(TEXTS), record=["blocks.0.mlp.act", "blocks.1.mlp.act", "blocks.0.attn.z"]).recording
    for method in METHODS:
        refused(r"all 4 sites that are scored; got one without blocks\.1\.attn\.z", model, means=lacking, method=method)
    assert attribute_nodes(model, PROMPT, METRIC, means=lacking, levels=["neuron"]).values.any()
    refused("a survey or a recording", model, means={"blocks.0.mlp.act": 0.0})
    narrow = Recording(lacking.stimuli, {s: x[:, :3] for s, x in means["gpt2"].values.items()}, means["gpt2"].sites)
    refused(r"16 finite means at blocks\.0\.attn\.z; got an array of shape \(3,\)", model, means=narrow)
    spoilt = Recording(lacking.stimuli, {s: x * math.inf for s, x in means["gpt2"].values.items()}, lacking.sites)
    refused("some that are not finite", model, means=spoilt, levels=["neuron"])
    (tmp_path / "text.txt").write_text(" ".join(TEXTS) * 4)
    survey = pc.survey(model, pc.Corpus(tmp_path / "text.txt", window=8), "blocks.*.mlp.act", tmp_path / "survey")
    refused(r"without blocks\.0\.attn\.z, blocks\.1\.attn\.z", model, means=survey)
    refused(r"a survey of tiny-llama", models["llama"], means=survey, levels=["neuron"])


def test_a_model_without_a_family_is_refused():
    from transformers import GPT2LMHeadModel

    from patchclamp.subjects.language import LanguageModel

    class Unheard(GPT2LMHeadModel):
        """A class that no family file names."""

    model = LanguageModel(Unheard(small("gpt2").config))
    for method in METHODS:
        refused("a model that a family file covers", model, prompt=[3, 4], method=method)
