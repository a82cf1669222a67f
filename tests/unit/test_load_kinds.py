"""Kinds of models that people save: images with text, classifiers, rewards, bare ones; each does what it can."""

import json

import numpy as np
import pytest
import torch
import transformers

import patchclamp as pc
from patchclamp.cli import main
from patchclamp.core.errors import CannotIntervene, PatchclampWarning
from patchclamp.core.metric import Metric
from patchclamp.subjects.classifier import TextClassifier
from patchclamp.subjects.contract.verify import verify
from patchclamp.subjects.families.spec import enlarge
from saved_models import add_tokenizer, save

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 61}
GROUPED = {**SIZES, "num_key_value_heads": 1}
TOWER = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip
TURNS = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}
ENDS = {"bos_token_id": 0, "eos_token_id": 60}
WRAPPERS = {
    "Gemma3ForConditionalGeneration": (
        {"text_config": {"model_type": "gemma3_text", **GROUPED, "head_dim": 8, "sliding_window": 4},
         "vision_config": {"model_type": "siglip_vision_model", **TOWER}, "mm_tokens_per_image": 4}, "gemma3"),
    "Qwen2VLForConditionalGeneration": (
        {"text_config": {**GROUPED, **TURNS, **ENDS},
         "vision_config": {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 4}}, "qwen2"),
    "Qwen2_5_VLForConditionalGeneration": (
        {"text_config": {**GROUPED, **TURNS, **ENDS},
         "vision_config": {"depth": 1, "hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 32,
                           "num_heads": 2, "patch_size": 4, "fullatt_block_indexes": [0]}}, "qwen2"),
    "LlavaForConditionalGeneration": (
        {"text_config": {"model_type": "llama", **GROUPED},
         "vision_config": {"model_type": "clip_vision_model", **TOWER}, "image_token_index": 3}, "llama"),
    "Mistral3ForConditionalGeneration": (
        {"text_config": {"model_type": "mistral", **GROUPED, "head_dim": 8, "sliding_window": 4},
         "vision_config": {"model_type": "pixtral", **TOWER, "head_dim": 8}, "image_token_index": 3}, "mistral"),
}  # fmt: skip
NOTED = pytest.mark.filterwarnings("default::patchclamp.core.errors.PatchclampWarning")
"""The command line shows warnings as notes."""
SHOWN = [[1, 2, 5, 7, 9, 11, 4, 6], [4, 2, 8]]


# -- images and text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_model_of_images_and_text_is_its_text_tower_under_canonical_names(tmp_path, name):
    config, family = WRAPPERS[name]
    bare = save(tmp_path, name, config)
    with pytest.warns(PatchclampWarning, match="shown text alone"):
        model = pc.load(tmp_path)
    assert type(model.module).__name__ == name
    assert model.family.name == family
    assert dict(model.capabilities.missing)["images"]
    assert {"blocks.1.attn.pattern", "blocks.1.mlp.act", "final"} <= {site.path for site in model.sites()}
    for padding in ("right", "left"):
        run = model.run(SHOWN, padding=padding)
        for row, ids in enumerate(SHOWN):
            alone = bare(input_ids=torch.tensor([ids])).logits[0]
            torch.testing.assert_close(run.logits[row, : len(ids)], alone, rtol=1e-5, atol=1e-5)
    written = model.generate(SHOWN, max_new_tokens=4)
    for ids, found in zip(SHOWN, written, strict=True):
        whole = list(ids)
        for _ in range(len(found.ids)):
            whole.append(int(bare(input_ids=torch.tensor([whole])).logits[0, -1].argmax()))
        assert whole[len(ids) :] == found.ids.tolist()


@pytest.mark.parametrize("name", ["Gemma3ForConditionalGeneration", "Qwen2VLForConditionalGeneration"])
def test_the_tower_keeps_the_contract(name):
    kind = getattr(transformers, name)
    model = pc.LanguageModel(enlarge(kind(kind.config_class(**WRAPPERS[name][0])), weight=0.3))
    assert [one.name for one in verify(model) if not one.passed] == []


def test_a_cap_that_the_wrapper_leaves_out_is_left_out():
    config = WRAPPERS["Gemma3ForConditionalGeneration"][0]
    config = {**config, "text_config": {**config["text_config"], "final_logit_softcapping": 5.0}}
    kind = transformers.Gemma3ForConditionalGeneration
    model = pc.LanguageModel(enlarge(kind(kind.config_class(**config)), weight=0.3))
    run = model.run([[1, 2, 3]], record="final")
    torch.testing.assert_close(model.unembed(run.recording["final"]), run.logits[0], rtol=1e-5, atol=1e-5)


# -- bare models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "final"), [("LlamaModel", True), ("BertModel", False)])
def test_a_model_without_its_head_is_recorded_and_says_that_it_has_no_unembedding(tmp_path, name, final):
    bare = save(tmp_path, name, {**SIZES, "pad_token_id": 59})
    add_tokenizer(tmp_path)
    with pytest.warns(PatchclampWarning, match="saved without its head"):
        model = pc.load(tmp_path)
    run = model.run([[1, 2, 3]], record=["blocks.*.resid_out", "blocks.*.mlp.act"])
    assert run.logits is None
    assert ("final" in {site.path for site in model.sites()}) == final
    with torch.no_grad():
        states = bare(torch.tensor([[1, 2, 3]]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(run.recording["blocks.0.resid_out"], states[1][0], rtol=0, atol=1e-5)
    with pytest.raises(pc.PatchclampError, match="without its head"):
        pc.attribute(model, pc.Task.of("w1 w2", "w3"), method="attribution_patching")
    with pytest.raises(pc.PatchclampError, match="without its head"):
        model.generate("w1 w2")
    for look in (model.logit_lens, lambda text: model.read_out(torch.zeros(1, 16))):
        with pytest.raises(pc.PatchclampError, match=r"unembedding|norm"):
            look("w1 w2")


def test_the_head_of_a_bare_model_that_uses_its_embedding_once_more_is_no_guess(tmp_path):
    bare = transformers.GPT2Model(transformers.GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=50))
    bare.save_pretrained(tmp_path)
    model = pc.load(tmp_path)
    run = model.run([[1, 2]], record="final")
    torch.testing.assert_close(run.recording["final"] @ bare.wte.weight.T, run.logits[0], rtol=0, atol=1e-5)


# -- classes and rewards ----------------------------------------------------------------------------------------------

LABELS = {"id2label": {0: "bad", 1: "good", 2: "odd"}, "label2id": {"bad": 0, "good": 1, "odd": 2}}
CLASSIFIERS = {
    "LlamaForSequenceClassification": {**SIZES, **LABELS, "pad_token_id": 59},
    "GPT2ForSequenceClassification": {
        "n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 61, "pad_token_id": 59, **LABELS},
    "BertForSequenceClassification": {**SIZES, **LABELS, "pad_token_id": 59},
}  # fmt: skip


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Each classifier as transformers made it, and its folder with a tokenizer."""
    made = {}
    for name, config in CLASSIFIERS.items():
        folder = tmp_path_factory.mktemp(name)
        made[name] = save(folder, name, config), folder
        add_tokenizer(folder)
    return made


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_says_its_classes_whatever_the_padding(classifiers, name):
    bare, folder = classifiers[name]
    model = pc.load(folder)
    assert isinstance(model, TextClassifier)
    assert [model.answer_name(i) for i in range(model.n_answers)] == ["bad", "good", "odd"]
    alone = torch.cat([bare(input_ids=torch.tensor([ids])).logits for ids in SHOWN])
    for padding in ("right", "left"):
        torch.testing.assert_close(model.run(SHOWN, padding=padding).logits[:, 0], alone, rtol=1e-5, atol=1e-5)
    assert {"blocks.1.attn.pattern", "blocks.1.mlp.act"} <= {site.path for site in model.sites()}
    assert not model.capabilities.generate


def test_padding_is_left_out_where_the_config_does_not_name_it_and_where_a_text_holds_its_token():
    config = {**CLASSIFIERS["LlamaForSequenceClassification"], "pad_token_id": None}
    bare = enlarge(transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**config)), weight=0.3)
    model = pc.wrap(bare)
    alone = torch.cat([bare(input_ids=torch.tensor([ids])).logits for ids in SHOWN])
    torch.testing.assert_close(model.run(SHOWN).logits[:, 0], alone, rtol=1e-5, atol=1e-5)
    with_pad = [[1, 2, 59]]
    read = model.run(with_pad).logits[0, 0]
    bare.config.pad_token_id = 59
    torch.testing.assert_close(model.run(with_pad).logits[0, 0], read, rtol=0, atol=0)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_class_is_a_target_of_attribute_explain_and_patch(classifiers, name):
    bare, folder = classifiers[name]
    model = pc.load(folder)
    text, other = "w1 w2 w5 w7", "w9 w8 w3 w4"
    ids = [[1, 2, 5, 7], [9, 8, 3, 4]]
    logits = [bare(input_ids=torch.tensor([one])).logits[0].detach() for one in ids]
    found = pc.explain(model, text, "good", contrast="bad", top=3, n_controls=20, edges=0)
    assert found.metric_clean == pytest.approx(float(logits[0][1] - logits[0][0]), abs=1e-4)
    assert "good" in found.case.target_names[0]
    task = pc.Task.of(text, "good", contrast="bad", counterpart=other)
    cases = model.read(task, least=1e-3)
    restored = pc.patch(model, cases, "resid", positions="all").to_json()
    assert (restored["metric_clean"], restored["metric_baseline"]) == pytest.approx(
        tuple(float(one[1] - one[0]) for one in logits), abs=1e-4
    )
    scores = pc.attribute(model, task, method="activation_patching", level="neuron", direction="noise")
    values = scores.matrix("blocks.1.mlp.act", "neurons")
    position, index = divmod(int(np.abs(values).argmax()), values.shape[1])
    by_hand = effect_of_neuron(bare, position, index, ids, logits[0])
    assert values[position, index] == pytest.approx(by_hand, abs=1e-4)


def effect_of_neuron(bare, position, index, ids, clean) -> float:
    """How far m falls where one neuron has its value on the other text, by hooks of PyTorch alone."""
    name = {"llama": "model.layers.1.mlp.down_proj", "gpt2": "transformer.h.1.mlp.c_proj"}
    linear = bare.get_submodule(name.get(bare.config.model_type, "bert.encoder.layer.1.output.dense"))
    seen = []

    def change(_module, inputs):
        x = inputs[0].clone()
        seen.append(x)
        if len(seen) > 1:
            x[0, position, index] = seen[0][0, position, index]
        return (x, *inputs[1:])

    hook = linear.register_forward_pre_hook(change)
    with torch.no_grad():
        changed = [bare(input_ids=torch.tensor([one])).logits[0] for one in reversed(ids)][1]
    hook.remove()
    return float(clean[1] - clean[0] - (changed[1] - changed[0]))


def test_the_direct_part_of_a_decoders_classes_is_that_of_its_own_map(classifiers):
    _, folder = classifiers["LlamaForSequenceClassification"]
    model = pc.load(folder)
    run = model.run([[1, 2, 3]], record="final")
    torch.testing.assert_close(model.unembed(run.recording["final"][-1:]), run.logits[0], rtol=1e-5, atol=1e-5)
    assert model.direct
    with pytest.raises(CannotIntervene, match="answers with classes"):
        model.logit_lens("w1 w2")
    assert not pc.load(classifiers["BertForSequenceClassification"][1]).direct


def test_rules_that_nothing_is_derived_for_are_refused(classifiers):
    model = pc.load(classifiers["BertForSequenceClassification"][1])
    with pytest.raises(CannotIntervene, match="nonlinearity"):
        model.differentiate([[1, 2]], Metric("logit", (0,)), "blocks.0.mlp.act", rules=("identity",))


def test_a_reward_is_a_metric(tmp_path):
    bare = save(tmp_path, "LlamaForSequenceClassification", {**SIZES, "num_labels": 1, "pad_token_id": 59})
    add_tokenizer(tmp_path)
    model = pc.load(tmp_path)
    reward = float(bare(input_ids=torch.tensor([[1, 2, 5]])).logits.detach()[0, 0])
    case = model.read_case("w1 w2 w5", ["reward"])
    assert float(model.measure("w1 w2 w5", case.metric)[0]) == pytest.approx(reward, abs=1e-5)
    found = pc.explain(model, "w1 w2 w5", "reward", top=2, n_controls=20, edges=0)
    assert found.metric_clean == pytest.approx(reward, abs=1e-4)
    with pytest.raises(pc.PatchclampError, match="one number"):
        pc.generate(model, "w1 w2 w5")
    with pytest.raises(pc.PatchclampError, match="one answer"):
        model.read_case("w1 w2 w5", ["good"])


def test_generate_shows_the_classes_of_a_text_and_what_a_clamp_makes_of_them(classifiers):
    bare, folder = classifiers["GPT2ForSequenceClassification"]
    model = pc.load(folder)
    found = pc.generate(model, "w1 w2", ["blocks.1.mlp.act/neurons/3=9"])
    p = bare(input_ids=torch.tensor([[1, 2]])).logits[0].double().softmax(-1)
    assert {one.name: one.probability for one in found.classes} == pytest.approx(
        dict(zip(("bad", "good", "odd"), p.tolist(), strict=True)), abs=1e-6
    )
    assert any(abs(one.clamped - one.probability) > 1e-6 for one in found.classes)
    assert found.image == "w1 w2"


def test_a_classifier_is_read_at_its_end_and_nowhere_else(classifiers):
    model = pc.load(classifiers["GPT2ForSequenceClassification"][1])
    with pytest.raises(pc.PatchclampError, match="once for a whole text"):
        model.run([[1, 2]], logits=[0])
    with pytest.raises(CannotIntervene, match="answers with classes"):
        model.continuation("w1 w2", " w3")
    with pytest.raises(pc.PatchclampError, match="a class's name"):
        model.read_case("w1 w2", ["splendid"])


@NOTED
@pytest.mark.parametrize("name", ["LlamaForSequenceClassification", "LlamaModel"])
def test_what_needs_the_next_token_refuses_a_model_that_does_not_predict_it(classifiers, tmp_path, capsys, name):
    if name == "LlamaModel":
        folder = tmp_path / "bare"
        save(folder, name, SIZES)
        add_tokenizer(folder)
    else:
        folder = classifiers[name][1]
    (tmp_path / "text.txt").write_text("w1 w2 w3 w4 " * 20)
    inputs = ["--inputs", str(tmp_path / "text.txt")]
    told = "answers with classes" if name.startswith("LlamaFor") else "saved without its head"
    for words in (
        ["verify", folder],
        ["atlas", "bake", folder, *inputs, "--out", tmp_path / "atlas"],
        ["compare", folder, folder, *inputs],
        *([["describe", folder]] if name == "LlamaModel" else []),
    ):
        assert main([str(word) for word in words]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert "Survey and record it" in said
    assert not (tmp_path / "atlas").exists()


@NOTED
def test_the_command_line_says_that_a_model_of_images_is_shown_text_alone(tmp_path, capsys):
    save(tmp_path, "LlavaForConditionalGeneration", WRAPPERS["LlavaForConditionalGeneration"][0])
    assert main(["verify", str(tmp_path)]) == 0
    assert "note: " in (said := capsys.readouterr().err)
    assert "shown text alone" in said


def test_generate_at_the_command_line_shows_a_texts_classes(classifiers, capsys):
    folder = str(classifiers["GPT2ForSequenceClassification"][1])
    assert main(["generate", folder, "w1 w2", "--top", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["classes"]) == 2
    assert main(["generate", folder, "w1 w2", "--max-new-tokens", "3"]) == 2
    assert "answers with classes" in capsys.readouterr().err


# -- others -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("LlamaForTokenClassification", SIZES, "a label for every token"),
        ("BertForQuestionAnswering", SIZES, "where an answer begins"),
        ("BertForMultipleChoice", SIZES, "a choice among"),
        ("T5ForConditionalGeneration",
         {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}, "two texts"),
    ],
)  # fmt: skip
def test_other_heads_are_refused_by_what_they_answer(tmp_path, name, config, told):
    save(tmp_path, name, config)
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(tmp_path)
    assert name in caught.value.got
    assert told in caught.value.got
    assert "pc.wrap" in caught.value.remedy
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [name]


def test_without_a_target_a_classifier_lists_its_classes(classifiers, capsys):
    _, folder = classifiers["LlamaForSequenceClassification"]
    assert main(["explain", str(folder), "w1 w2", "--json"]) == 0
    candidates = json.loads(capsys.readouterr().out)["candidates"]
    run = pc.load(folder).run("w1 w2", logits=(-1,))
    expected = sorted(run.logits[0, 0].double().softmax(-1).tolist(), reverse=True)
    assert [one["probability"] for one in candidates] == pytest.approx(expected)


@pytest.mark.parametrize("out", ["memory://a", "://"])
def test_a_store_that_ends_with_the_command_is_refused(tmp_path, capsys, out):
    text = tmp_path / "t.txt"
    text.write_text("the old cat")
    words = ["record", "organism:cat", "--inputs", str(text), "--sites", "embed", "--out", out]
    assert main(words) == 2
    assert "outlives the command" in capsys.readouterr().err
