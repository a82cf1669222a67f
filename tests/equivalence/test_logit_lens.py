"""The logit lens and attention of a model against plain transformers (tests/oracles/logit_lens.py)."""

import matplotlib
import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles import logit_lens as oracle
from patchclamp.core.errors import CannotIntervene
from patchclamp.subjects import lens as lens_module

matplotlib.use("Agg")
IDS = [3, 17, 5, 41, 8]
TEXT = "Ada Lane met Tom Reed. Later Ada"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_cell_is_the_hidden_state_through_norm_and_unembedding(tiny_language_model, name, monkeypatch):
    model, target = tiny_language_model(name), 12
    monkeypatch.setattr(lens_module, "MOST_LOGITS", 7 * model.n_answers)
    lens = model.logit_lens(IDS, top=4, target=target)
    plain = oracle.logit_lens(model.module, IDS)
    assert lens.ids.shape == (len(plain), len(IDS), 4)
    assert lens.sites[1:] == tuple(f"blocks.{i}.resid_out" for i in range(len(plain) - 1))
    for row, cells in enumerate(plain):
        for position, logs in enumerate(cells):
            best = logs.topk(4)
            assert lens.ids[row, position].tolist() == best.indices.tolist()
            assert lens.probabilities[row, position] == pytest.approx(best.values.exp().numpy(), abs=1e-5)
            assert lens.log_probabilities[row, position] == pytest.approx(float(logs[target]), abs=1e-4)
            assert lens.ranks[row, position] == 1 + int((logs > logs[target]).sum())


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "olmo2", "gpt_neox"])
def test_the_last_row_is_the_models_own_answer(models, name):
    model = models[name]
    lens = model.logit_lens(IDS, top=3)
    own = model.run([IDS]).logits[0].double().softmax(-1).topk(3)
    assert lens.probabilities[-1] == pytest.approx(own.values.numpy(), abs=1e-5)
    assert lens.ids[-1].tolist() == own.indices.tolist()


@pytest.mark.parametrize("site", ["blocks.1.mlp.act", "final"])
def test_changes_are_in_force(models, site):
    model = models["gpt2"]
    change = pc.change("set", site, 5, value=9.0)
    lens = model.logit_lens(IDS, target=12, interventions=[change])
    own = model.run([IDS], interventions=[change]).logits[0].double().log_softmax(-1)
    assert lens.log_probabilities[-1] == pytest.approx(own[:, 12].numpy(), abs=1e-5)
    before = model.logit_lens(IDS, target=12)
    moved = np.abs(lens.log_probabilities - before.log_probabilities).max(1)
    changed_from = len(lens.sites) - 1 if site == "final" else 2
    assert moved[:changed_from].max() == 0
    assert moved[changed_from:].min() > 1e-3


def test_a_planted_answer_forms_in_the_block_that_copies(organism):
    lens = organism("induction-gpt2").logit_lens(TEXT, target=" Lane")
    assert lens.ranks[:, -1].tolist()[-1] == 1
    assert lens.log_probabilities[-1, -1] > np.log(0.9) > np.log(0.5) > lens.log_probabilities[:-1, -1].max()
    assert lens.top("blocks.1.resid_out", -1)[0][0] == " Lane"
    first = lens.table(len(lens.sites))
    assert [row[2] for row in first.rows] == list(lens.sites)
    assert {row[0] for row in first.rows} == {len(lens.tokens) - 1}
    assert [row[-2] for row in first.rows] == lens.ranks[:, -1].tolist()
    assert len(lens.to_pandas()) == lens.ranks.size


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_attention_is_that_of_transformers(tiny_language_model, name):
    model = tiny_language_model(name)
    found = model.attention(IDS)
    model.module.set_attn_implementation("eager")
    with torch.no_grad():
        plain = model.module(input_ids=torch.tensor([IDS]), output_attentions=True, use_cache=False).attentions
    assert found.weights == pytest.approx(torch.cat(plain).numpy(), abs=1e-6)
    assert model.attention(IDS, 1).weights[0].tolist() == found.of(1).tolist()
    rows = found.table().rows
    assert [row[-1] for row in rows] == sorted(found.weights[found.weights > 0].tolist(), reverse=True)


def test_the_copying_head_attends_to_the_planted_source(organism):
    found = organism("induction-gpt2").attention(TEXT, 1)
    position, token, weight = found.sources(1, 2)[0]
    assert (position, token) == (2, " Lane")
    assert weight == found.weights[0, 2, -1, 2] > 0.9
    with pytest.raises(pc.PatchclampError, match="a block among 1"):
        found.sources(0, 2)
    with pytest.raises(pc.PatchclampError, match="a head below 4"):
        found.sources(1, 4)


def test_both_are_drawn_as_heat_maps(organism):
    model = organism("induction-gpt2")
    lens = model.logit_lens(TEXT, target=" Lane")
    axes = lens.plot()
    assert np.array(axes.collections[0].get_array()).ravel() == pytest.approx(np.exp(lens.log_probabilities).ravel())
    assert [text.get_text() for text in axes.texts] == [str(rank) for rank in lens.ranks.ravel()]
    attention = model.attention(TEXT)
    drawn = np.array(attention.plot().collections[0].get_array()).ravel()
    assert drawn == pytest.approx(attention.weights.mean((0, 1)).ravel())


def test_what_cannot_be_read_is_refused(models, organism):
    with pytest.raises(CannotIntervene, match="one residual stream"):
        models["bert"].logit_lens([IDS])
    with pytest.raises(pc.PatchclampError, match="one text"):
        models["gpt2"].logit_lens([IDS, IDS])
    with pytest.raises(pc.PatchclampError, match="one token"):
        organism("induction-gpt2").logit_lens(TEXT, target=" Lane met")
    with pytest.raises(pc.PatchclampError, match="one token"):
        models["gpt2"].logit_lens(IDS, target=10**6)
    with pytest.raises(pc.PatchclampError, match="block 7"):
        models["gpt2"].attention(IDS, 7)
