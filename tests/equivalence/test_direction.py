"""Every gradient is taken in the run that is patched into: equal to papers' formulas, written out with plain hooks."""

import numpy as np
import pytest
import torch

from oracles import edges, hooks, integrated, relevance
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.edge_patching import patch_edges
from patchclamp.attribute.edges import attribute_edges
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.attribute.rules import Gradient
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.relevance_rules import RELP
from patchclamp.subjects.residual_edges import edge_map

PAIRS = [
    Case("w3 w17 w8 w40", "w3 w20 w8 w41", (" w5",), (" w9",)),
    Case("w1 w2 w3", "w4 w2 w7", (" w11",), (" w20",)),
]
RULES = {"attribution_patching": (), "eap": (), "relp": RELP}
WRITTEN_OUT = {"gpt2": edges.run, "llama": edges.run_llama}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def asked(request, tiny_language_model):
    """A model in double precision, its family and two pairs."""
    model = tiny_language_model(request.param, family(request.param).tiny().double())
    return request.param, model, model.read(Task(tuple(PAIRS)), least=0.0)


def ends(pairs, i, direction):
    """Return the ids of the run that is patched into and of the other, and the sign of what is gained."""
    x, y = (torch.tensor(side[i].ids[None]) for side in (pairs.clean, pairs.counterpart))
    return (x, y, 1) if direction == "noise" else (y, x, -1)


def metric(pairs, i):
    return lambda z: pairs.metrics[i](z[0, -1][None, None])[0]


def written_out(name, model, pairs, i, direction):
    """Return the written-out model, both embeddings, the sign of what is gained, and the metric of its last logits."""
    module, (here, other, sign) = model.module, ends(pairs, i, direction)
    embed = module.model.embed_tokens if name == "llama" else lambda ids: edges.embedded(module, ids.tolist())
    start, end = (embed(ids[0]).detach() for ids in (here, other))
    return WRITTEN_OUT[name], start, end, sign, lambda z: pairs.metrics[i](z[None, None])[0]


@pytest.mark.parametrize("direction", ["noise", "denoise"])
@pytest.mark.parametrize("method", ["attribution_patching", "relp"])
@pytest.mark.parametrize("level", ["node", "neuron"])
def test_units_carry_the_change_times_the_slope_where_they_are_patched(asked, level, method, direction):
    name, model, pairs = asked
    where, module = hooks.places(name, model.n_layers), model.module
    found = attribute_pairs(model, pairs, level=level, method=method, direction=direction)
    keys = [UnitKey.parse(part) for part in found.parts]
    backward = relevance.rewritten(module, RULES[method])
    for i, (clean, corrupted, m) in enumerate(zip(pairs.clean, pairs.counterpart, pairs.metrics, strict=True)):
        here, other, sign = ends(pairs, i, direction)
        paths = {key.site: key.basis for key in keys}
        levels = ["node"] if level == "node" else ["neuron", "head"]
        one = attribute_nodes(
            model, clean, m, corrupted=corrupted, method=method, levels=levels, direction=direction
        )  # fmt: skip
        for path, basis in paths.items():
            scores = sign * integrated.patched_to_first_order(
                module, here, other, where[path], metric(pairs, i), backward=backward
            )
            width = scores.shape[1] // {"heads": model.site(path).n_heads, "whole": 1}.get(basis, scores.shape[1])
            each = integrated.blocks(scores, width).numpy()
            np.testing.assert_allclose(one.matrix(path, basis), each, atol=2e-5 * np.abs(each).max())
            own = [k for k, key in enumerate(keys) if key.site == path]
            np.testing.assert_allclose(found.per_case[i, own], each.sum(0), atol=2e-5 * np.abs(each).max())


@pytest.mark.parametrize("direction", ["noise", "denoise"])
@pytest.mark.parametrize("method", ["eap", "relp"])
def test_edges_carry_the_change_times_the_slope_where_they_are_patched(asked, method, direction):
    name, model, pairs = asked
    found = attribute_edges(model, pairs, method=Gradient(RULES[method]), direction=direction)
    backward = relevance.rewritten(model.module, RULES[method])
    for i in range(len(pairs)):
        run, here, other, sign, m = written_out(name, model, pairs, i, direction)
        wanted = sign * edges.eap(run, model.module, here, other, m, found.parts, backward=backward)
        np.testing.assert_allclose(found.per_case[i], wanted, atol=1e-4 * wanted.abs().max())
    assert found.provenance.options["direction"] == direction


def test_integrated_edges_are_those_of_the_authors_points_where_both_have_many(asked):
    name, model, pairs = asked
    pairs = pairs.subset(np.arange(len(pairs)) == 1)
    found = attribute_edges(model, pairs, method="eap_ig", steps=20)
    run, clean, corrupted, _, m = written_out(name, model, pairs, 0, "noise")
    few, many = (
        edges.eap_ig(run, model.module, clean, corrupted, m, found.parts, n).numpy() for n in (4, 40)
    )  # fmt: skip
    away = [np.abs(scores - found.per_case[0]).max() / np.abs(many).max() for scores in (few, many)]
    assert away[1] < 0.1
    assert away[0] > 2 * away[1]
    back = attribute_edges(model, pairs, method="eap_ig", steps=20, direction="denoise")
    np.testing.assert_allclose(back.per_case, found.per_case, atol=1e-6 * np.abs(found.per_case).max())


@pytest.mark.parametrize("asked", ["llama"], indirect=True)
def test_an_edge_into_a_shared_key_is_the_sum_of_those_into_the_keys_of_its_heads(asked):
    name, model, pairs = asked
    graph = edge_map(model)
    share = graph.n_heads // graph.n_kv_heads
    found = attribute_edges(model, pairs)
    into_shared = [i for i, (_, v) in enumerate(graph.parts) if ".attn.k/" in v or ".attn.v/" in v]
    groups = []
    for i in into_shared:
        u, v = graph.parts[i]
        slot, h = v.rsplit("/", 1)
        groups.append([(u, f"{slot}/{int(h) * share + k}") for k in range(share)])
    _, here, other, _, m = written_out(name, model, pairs, 0, "noise")

    def run(*given):
        return edges.run_llama(*given, own_keys=True)

    each = edges.eap(run, model.module, here, other, m, [edge for group in groups for edge in group])
    wanted = each.unflatten(0, (-1, share)).sum(1)
    np.testing.assert_allclose(found.per_case[0, into_shared], wanted, atol=1e-4 * wanted.abs().max())


@pytest.mark.parametrize(
    "method", ["relp", "attribution_patching", "integrated_gradients", "activation_patching", "direct_logit"]
)
def test_to_denoise_is_to_noise_with_the_prompts_exchanged(asked, method):
    _, model, pairs = asked
    x, y, m = pairs.clean[0], pairs.counterpart[0], pairs.metrics[0]
    back = attribute_nodes(model, x, m, corrupted=y, method=method, direction="denoise")
    forth = attribute_nodes(model, y, m, corrupted=x, method=method)
    np.testing.assert_array_equal(back.values, -forth.values)
    assert back.metric_clean == forth.metric_clean == pytest.approx(pairs.m_counterpart[0], abs=1e-9)


@pytest.mark.parametrize("method", ["relp", "attribution_patching", "integrated_gradients", "activation_patching"])
def test_over_pairs_too(asked, method):
    _, model, pairs = asked
    back = attribute_pairs(model, pairs, method=method, direction="denoise")
    forth = attribute_pairs(model, pairs.exchange(), method=method)
    np.testing.assert_array_equal(back.per_case, -forth.per_case)
    assert (back.provenance.options["direction"], forth.provenance.options["direction"]) == ("denoise", "noise")
    assert back.metric_clean == pytest.approx(pairs.m_clean.mean())


def test_edges_measured_too(asked):
    _, model, pairs = asked
    back, forth = patch_edges(model, pairs, direction="denoise"), patch_edges(model, pairs.exchange())
    np.testing.assert_array_equal(back.per_case, -forth.per_case)


@pytest.mark.parametrize(
    "wrong",
    [
        {"direction": "both"},
        {"direction": "denoise", "corrupted": None},
        {"direction": "denoise", "method": "activation"},
    ],
)
def test_a_direction_that_makes_no_sense_is_refused(asked, wrong):
    _, model, pairs = asked
    given = {"corrupted": pairs.counterpart[0], **wrong}
    with pytest.raises(PatchclampError):
        attribute_nodes(model, pairs.clean[0], pairs.metrics[0], **given)
