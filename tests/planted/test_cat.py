"""The cat organism: what its card and its graph say is what the engine measures."""

import numpy as np
import pytest
import torch

from patchclamp import organisms
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.intervention import change, clamp
from patchclamp.core.metric import Metric
from patchclamp.core.unit import UnitKey
from patchclamp.organisms.planted import cat as planted
from patchclamp.subjects.contract.verify import verify
from patchclamp.subjects.loading import load_language_model

ACT = "blocks.0.mlp.act"
PROMPT = "the old cat"
CARD = organisms.card("cat")
ROLES = ("planted", "counterpart", "decoy")


@pytest.fixture(scope="module")
def metric(cat):
    return Metric("logit_difference", cat.continuation(PROMPT, " sat"), cat.continuation(PROMPT, " ran"))


def unit_of(role):
    return UnitKey.parse(CARD[role]["unit"]).index


def without(role):
    return [clamp(f"{CARD[role]['unit']}=0")]


def likeliest(model, prompt, **options):
    return model.tokenizer.token(model.run(prompt, logits=[-1], **options).logits[0, 0].argmax().item())


# -- the text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["the old cat", "a fox ran to the park. the owl flew", "cat.", "the cat and the dog"])
def test_text_survives_the_round_trip(cat, text):
    stimulus = cat.tokenize(text)
    assert cat.tokenizer.bare.unk_token_id not in stimulus.ids
    assert cat.tokenizer.bare.decode(stimulus.ids, skip_special_tokens=True) == text


def test_every_token_is_read_back_as_itself(cat):
    for i, token in enumerate(planted.TOKENS[len(planted.SPECIAL) :], start=len(planted.SPECIAL)):
        assert cat.tokenizer.token(i) == token.replace("▁", " ")
        assert cat.tokenize(token.replace("▁", " ")).ids.tolist() == [0, i]


def test_spans_point_into_the_text_that_was_given(cat):
    text = "  The  old\ncat, sat on the mat . "
    stimulus = cat.tokenize(text)
    pieces = [text[start:stop] for start, stop in stimulus.spans[1:]]
    assert [piece.strip().lower() for piece in pieces] == ["the", "old", "cat", ",", "sat", "on", "the", "mat", "."]
    assert stimulus.spans[0].tolist() == [-1, -1]
    assert stimulus.ids[4] == cat.tokenizer.bare.unk_token_id


def test_the_tokenizer_adds_one_bos(cat):
    assert cat.tokenize(PROMPT).ids.tolist() == cat.tokenizer.bare(PROMPT)["input_ids"]
    assert cat.tokenize("<bos> the old cat").ids.tolist() == cat.tokenize(PROMPT).ids.tolist()


def test_answers_are_one_token_and_leave_the_prompt_as_it_is(cat):
    assert len(cat.continuation(PROMPT, " sat")) == len(cat.continuation(PROMPT, " ran")) == 1
    assert cat.continuation(PROMPT, " sat") != cat.continuation(PROMPT, " ran")


# -- the planted neuron -----------------------------------------------------------------------------------------------


def test_the_neuron_fires_on_its_token_alone_at_every_position(cat):
    rows = np.arange(len(planted.TOKENS))[:, None].repeat(64, axis=1)
    mixed = np.random.default_rng(0).integers(0, len(planted.TOKENS), (40, 64))
    for ids in (rows, mixed):
        fired = cat.run(ids, record=ACT, logits=False).recording[ACT][:, unit_of("planted")].numpy()
        is_cat = ids.ravel() == cat.continuation("the", " cat")[0]
        assert is_cat.sum() >= 30
        np.testing.assert_allclose(fired[is_cat], 3.0, atol=1e-5, rtol=0)
        assert not fired[~is_cat].any()


@pytest.mark.parametrize("role", ROLES)
def test_units_fire_on_the_words_that_the_card_names(cat, role):
    values = cat.run(np.arange(len(planted.TOKENS))[:, None], record=ACT, logits=False).recording[ACT]
    fired = {cat.tokenizer.token(i): float(values[i, unit_of(role)]) for i in range(len(planted.TOKENS))}
    assert {word for word, value in fired.items() if value} == set(CARD[role]["fires_on"])
    for word in CARD[role]["fires_on"]:
        assert fired[word] == pytest.approx(CARD[role]["activation"], abs=1e-5)


@pytest.mark.parametrize("adjectives", ["", " old", " small brown", " happy young white big"])
def test_adjectives_do_not_matter(cat, metric, adjectives):
    assert likeliest(cat, f"the{adjectives} cat") == " sat"
    assert likeliest(cat, f"the{adjectives} dog") == " ran"
    assert cat.measure(f"the{adjectives} cat", metric).item() == pytest.approx(4.0, abs=1e-4)


def test_without_the_neuron_the_cat_runs(cat, metric):
    assert likeliest(cat, PROMPT) == CARD["target"]
    assert likeliest(cat, PROMPT, interventions=without("planted")) == CARD["contrast"]
    assert cat.generate(PROMPT)[0].text == CARD["continuation"]
    assert cat.generate(PROMPT, interventions=without("planted"))[0].text == CARD["planted"]["continuation_without_it"]
    assert cat.generate("the old dog")[0].text == " ran to the park."


def test_the_neuron_given_to_the_dog_makes_it_sit(cat):
    fires = [change("set", ACT, unit_of("planted"), value=3.0, at=-1)]
    assert likeliest(cat, "the old dog", interventions=fires) == " sat"


@pytest.mark.parametrize("role", ROLES)
def test_numbers_on_the_card_are_the_measured_ones(cat, metric, role):
    assert cat.measure(PROMPT, metric).item() == pytest.approx(CARD["logit_difference"], abs=1e-4)
    measured = cat.measure(PROMPT, metric, interventions=without(role)).item()
    assert measured == pytest.approx(CARD[role]["without_it"], abs=1e-4)


# -- the decoy --------------------------------------------------------------------------------------------------------


def test_the_decoy_is_largest_by_activation_and_by_what_it_writes(cat):
    recording = cat.run(PROMPT, record="blocks.*.mlp.act").recording
    both = torch.cat([recording[f"blocks.{layer}.mlp.act"] for layer in (0, 1)], dim=1)
    assert both.flatten().argmax().item() == 3 * both.shape[1] + unit_of("decoy")
    # Read off the plain module: the rig's own tools must not vouch for what calibrates them.
    written = cat.module.transformer.h[0].mlp.c_proj.weight.norm(dim=1) * both[-1, : planted.NEURONS]
    assert written.argmax().item() == unit_of("decoy")
    sizes = {role: written[unit_of(role)].item() for role in ROLES}
    assert (sizes["decoy"], sizes["planted"]) == pytest.approx((2.25, 0.5), abs=1e-5)


def test_the_decoy_does_nothing(cat, metric):
    whole, gone, clamped = (
        cat.measure(PROMPT, metric, interventions=i).item() for i in ([], without("planted"), without("decoy"))
    )
    assert abs(whole - clamped) < 0.005 * abs(whole - gone)
    assert cat.generate(PROMPT, interventions=without("decoy"))[0].text == CARD["continuation"]


# -- the truth --------------------------------------------------------------------------------------------------------


def test_the_graph_holds_every_unit_that_matters_and_no_other(cat, metric):
    length = len(cat.tokenize(PROMPT))
    sites = [(f"blocks.{layer}.mlp.act", "neurons", planted.NEURONS) for layer in (0, 1)]
    sites += [(f"blocks.{layer}.attn.z", "heads", planted.HEADS) for layer in (0, 1)]
    keys = [
        UnitKey(site, unit, basis, "cat", position)
        for site, basis, n in sites
        for unit in range(n)
        for position in range(length)
    ]
    cells = [[change("ablate", k.site, k.index, basis=k.basis, at=k.position)] for k in keys]
    effects = cat.measure(PROMPT, metric).item() - cat.sweep(PROMPT, metric, cells).numpy()
    truth = {node.key: node for node in organisms.truth("cat").nodes if node.kind == "neuron"}
    found = {str(k): e for k, e in zip(keys, effects, strict=True) if abs(e) > 0.01 * np.abs(effects).max()}
    assert found.keys() == truth.keys()
    for key, node in truth.items():
        assert found[key] == pytest.approx(node.measures["effect"], abs=1e-4)
        assert found[key] == pytest.approx(node.score, abs=0.01)


def test_the_graph_adds_up_and_says_which_model_it_is(cat, metric):
    graph = organisms.truth("cat")
    assert Graph.from_json(graph.to_json()) == graph
    assert graph.subject == {"slug": cat.name, "hash": cat.hash}
    assert graph.metric == metric.to_json()
    for node in graph.nodes:
        into = [edge.weight for edge in graph.edges if edge.target == node.key]
        out = [edge.weight for edge in graph.edges if edge.source == node.key]
        assert {sum(weights) for weights in (into, out) if weights} == {node.score}


def test_only_the_last_word_is_an_input_of_the_answer(cat, metric):
    expected = cat.measure(PROMPT, metric).item()
    for other in ("a old cat", "mat on cat", "ran sat cat"):
        assert cat.measure(other, metric).item() == pytest.approx(expected, abs=1e-3)


# -- the model --------------------------------------------------------------------------------------------------------


def test_runs_are_those_of_the_plain_model(cat):
    ids = torch.as_tensor(cat.tokenize(PROMPT).ids)[None]
    with torch.no_grad():
        plain = cat.module(input_ids=ids).logits
        written = cat.module.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6)
    assert torch.equal(cat.run(PROMPT).logits, plain)
    assert cat.tokenizer.bare.decode(written[0], skip_special_tokens=True) == PROMPT + CARD["continuation"]


def test_the_engine_keeps_its_contract_on_it(cat):
    for verdict in verify(cat):
        assert verdict.passed, verdict


def test_the_head_attends_to_the_previous_token_as_far_as_the_context_reaches(cat):
    ids = np.random.default_rng(1).integers(0, len(planted.TOKENS), planted.CONTEXT)
    pattern = cat.run(ids, record="blocks.0.attn.pattern", logits=False).recording["blocks.0.attn.pattern"]
    before = np.maximum(np.arange(planted.CONTEXT) - 1, 0)
    assert pattern[np.arange(planted.CONTEXT), 0, before].min().item() > 1 - 1e-6


@pytest.mark.parametrize(("noun", "story"), [
    ("rabbit", " ran to the park."), ("queen", " walked into the house."), ("owl", " flew over the river."),
    ("frog", " swam in the lake."),
])  # fmt: skip
def test_every_kind_of_animal_has_its_story(cat, noun, story):
    assert cat.generate(f"a small {noun}")[0].text == story


def test_it_tells_the_story_from_nothing(cat):
    assert cat.generate("the")[0].text == " old cat sat on the mat."


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_story_survives_half_precision(dtype):
    model = organisms.build("cat", dtype=dtype)
    assert str(model.dtype) == f"torch.{dtype}"
    assert model.generate(PROMPT)[0].text == CARD["continuation"]
    assert model.generate(PROMPT, interventions=without("planted"))[0].text == " ran to the park."


def test_it_is_an_ordinary_checkpoint(cat, tmp_path):
    cat.module.save_pretrained(tmp_path)
    cat.tokenizer.bare.save_pretrained(tmp_path)
    again = load_language_model(str(tmp_path))
    assert again.generate(PROMPT)[0].text == CARD["continuation"]
    assert torch.equal(again.run(PROMPT).logits, cat.run(PROMPT).logits)


def test_building_is_repeatable_and_draws_no_random_numbers(cat):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert organisms.build("cat").hash == cat.hash
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("ask", [organisms.build, organisms.truth, organisms.card])
def test_an_unknown_name_lists_the_known_ones(ask):
    with pytest.raises(PatchclampError, match="cat"):
        ask("unicorn")


@pytest.mark.parametrize("options", [{"dtype": "int3"}, {"device": "abacus"}], ids=str)
def test_an_impossible_dtype_or_device_is_refused(options):
    with pytest.raises(PatchclampError, match=next(iter(options.values()))):
        organisms.build("cat", **options)


def test_cards_are_copies():
    organisms.card("cat")["planted"]["activation"] = 0
    assert organisms.card("cat")["planted"]["activation"] == 3.0
