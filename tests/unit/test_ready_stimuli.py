"""Chats, and stimuli that are ready: the same tokens at the command line and in Python; what is written is spelled."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer as Rules
from tokenizers import decoders, models, pre_tokenizers

import patchclamp as pc
from patchclamp.cli import main
from patchclamp.subjects.text import Tokenizer
from saved_models import add_tokenizer, save

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 70}
TEMPLATE = "{% for m in messages %}w1 {{ m['content'] }} w2 {% endfor %}{% if add_generation_prompt %}w3{% endif %}"
WRAPPED = [1, 7, 8, 2, 3]
"""What the template makes of "w7 w8"."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("chatty")
    save(made, "LlamaForCausalLM", SIZES)
    add_tokenizer(made, template=TEMPLATE)
    return made


@pytest.fixture(scope="module")
def model(folder):
    return pc.load(folder)


def run(capsys, *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_explain_with_a_chat_is_that_of_its_stimulus_and_of_its_ids(folder, model, capsys):
    more = {"contrast": " w5", "top": 2, "n_controls": 20, "edges": 0}
    shown = model.tokenize("w7 w8", chat=True, answered=True)
    assert shown.ids.tolist() == WRAPPED
    by_stimulus, by_ids = (pc.explain(model, one, " w4", **more) for one in (shown, WRAPPED))
    words = ["explain", str(folder), "w7 w8", "--target", " w4", "--contrast", " w5", "--chat", "--top", "2"]
    typed = run(capsys, *words, "--controls", "20", "--edges", "0")
    with torch.no_grad():
        logits = model.module(torch.tensor([WRAPPED])).logits[0, -1]
    assert by_stimulus.metric_clean == pytest.approx(float(logits[4] - logits[5]), abs=1e-4)
    assert by_stimulus.metric_clean == by_ids.metric_clean == typed["metric_clean"]
    assert typed["predicted"] == pytest.approx(by_stimulus.to_json()["predicted"])


def test_generate_with_a_chat_is_that_of_its_stimulus(folder, model, capsys):
    found = pc.generate(model, model.tokenize("w7 w8", chat=True, answered=True), max_new_tokens=3).to_json()
    assert found["prompt"] == {"ids": WRAPPED}
    typed = run(capsys, "generate", str(folder), "w7 w8", "--chat", "--max-new-tokens", "3")
    assert typed["unclamped"] == found["unclamped"]


def test_patch_and_attribute_with_a_chat_are_those_of_its_stimuli(folder, model, capsys, tmp_path):
    shown = [model.tokenize(text, chat=True, answered=True) for text in ("w7 w8", "w9 w6")]
    task = pc.Task.of(shown[0], " w4", contrast=" w5", counterpart=shown[1])
    assert task.cases[0].shown == tuple(WRAPPED)
    assert pc.Task.from_json(task.to_json()).cases == task.cases
    by_stimuli = pc.patch(model, task, "resid", positions="all").to_json()
    (tmp_path / "pairs.csv").write_text("clean,corrupted,answer,wrong\nw7 w8,w9 w6, w4, w5\n")
    words = ["patch", str(folder), "--pairs", str(tmp_path / "pairs.csv"), "--chat", "--sites", "resid"]
    typed = run(capsys, *words, "--positions", "all", "--out", str(tmp_path / "out"))
    assert typed["metric_clean"] == pytest.approx(by_stimuli["metric_clean"], abs=1e-5)
    with torch.no_grad():
        logits = model.module(torch.tensor([WRAPPED])).logits[0, -1]
    assert pc.attribute(model, task, method="relp").metric_clean == pytest.approx(
        float(logits[4] - logits[5]), abs=1e-4
    )


@pytest.mark.parametrize("verb", ["explain", "generate", "patch"])
def test_a_chat_without_a_template_is_refused(tmp_path, capsys, verb):
    save(tmp_path / "plain", "LlamaForCausalLM", SIZES)
    add_tokenizer(tmp_path / "plain")
    (tmp_path / "pairs.csv").write_text("clean,corrupted,answer,wrong\nw7 w8,w9 w6, w4, w5\n")
    words = {
        "explain": ["w7 w8", "--target", " w4"],
        "generate": ["w7 w8"],
        "patch": ["--pairs", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out")],
    }[verb]
    assert main([verb, str(tmp_path / "plain"), *words, "--chat"]) == 2
    assert "chat template" in capsys.readouterr().err


# -- how what is written is spelled -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_bytes() -> Tokenizer:
    """A tokenizer of single bytes, with an end token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    rules = Rules(models.BPE(vocab={letter: i for i, letter in enumerate([*letters, "<end>"])}, merges=[]))
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = decoders.ByteLevel()
    return Tokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=rules, eos_token="<end>"))


def written(tokenizer: Tokenizer, prompt: str, ids: list[int]) -> str:
    return tokenizer.continuation_of(tokenizer.stimulus(prompt).ids, np.array(ids))


def test_bytes_that_are_no_character_are_written_as_the_page_writes_them(by_bytes):
    ids = by_bytes.stimulus("a 日 é").ids.tolist()
    assert written(by_bytes, "x", ids) == "a 日 é"
    for cut, told in ((3, "a <0xE6>"), (4, "a <0xE6><0x97>"), (5, "a 日"), (7, "a 日 <0xC3>")):
        assert written(by_bytes, "x", ids[:cut]) == told
        assert "\ufffd" not in told
    assert [by_bytes.token(id) for id in ids[2:4]] == ["<0xE6>", "<0x97>"]
    assert written(by_bytes, "x", [*ids[:3], *ids[:2], *ids[2:5]]) == "a <0xE6>a 日"


def test_an_id_without_a_token_is_called_by_its_number_wherever_it_stands(by_bytes, model):
    assert written(by_bytes, "x", [*by_bytes.stimulus("ab").ids.tolist(), 300]) == "ab<id 300>"
    assert model.tokenizer.token(69) == "<id 69>" == model.answer_name(69)
    with model.intervene([]):
        head = model.module.lm_head.weight
        kept = head.detach().clone()
        try:
            with torch.no_grad():
                head[:] = 0
                head[69] = 100 * model.run([[1, 2]], record="final").recording["final"][-1]
            assert pc.generate(model, [1, 2], max_new_tokens=1).bare.text == "<id 69>"
            assert model.logit_lens([1, 2], top=1).words[69] == "<id 69>"
        finally:
            with torch.no_grad():
                head[:] = kept
