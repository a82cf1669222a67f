"""What a tokenizer puts behind a text is kept wherever the text is whole, and left off where an answer follows."""

import json

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Role, Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.recipes import explain
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.text import Tokenizer, windows

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(50)), "user", "bot", ":", "a", "."]
FRAMES = {
    "nothing": "$A",
    "a beginning": "[CLS] $A",
    "an end": "$A [SEP]",
    "both": "[CLS] $A [SEP]",
    "two of each": "[CLS] [CLS] $A [SEP] [PAD]",
}
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} [SEP] {% endfor %}"
    "{% if add_generation_prompt %}bot :{% endif %}"
)


def case_of(model, prompt, target=None, contrast=None, corrupt=None, metric=None):
    """Return one prompt with its answers as the model reads it."""
    sides = [() if answer is None else (answer,) for answer in (target, contrast)]
    return model.read_case(prompt, *sides, counterpart=corrupt, metric=metric)


def tokenizer(frame: str):
    """Make a tokenizer of words that puts special tokens around a text."""
    from tokenizers import Tokenizer as Rules
    from tokenizers import models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    rules = Rules(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[(t, VOCABULARY.index(t)) for t in ("[CLS]", "[SEP]", "[PAD]")]
    )
    bare = PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", eos_token="[SEP]",
    )  # fmt: skip
    bare.chat_template = TEMPLATE
    return bare


def subject(name: str, frame: str) -> LanguageModel:
    return LanguageModel(family(name).tiny(), tokenizer(FRAMES[frame]), name=f"tiny-{name}")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("text", ["w1", "w3 w9 w40", "w3 [MASK] w7 ."])
def test_ids_are_the_tokenizers_own(frame, text):
    bare = tokenizer(FRAMES[frame])
    s = Tokenizer(bare).stimulus(text)
    assert s.ids.tolist() == bare(text)["input_ids"]
    without = Tokenizer(bare).stimulus(text, bos=False)
    assert without.ids.tolist() == bare(text, add_special_tokens=False)["input_ids"]
    n = len(Tokenizer(bare).suffix)
    assert s.roles[len(s) - n :].tolist() == [Role.SPECIAL] * n
    assert (s.spans[len(s) - n :] == -1).all()
    assert s.counted.sum() == sum(word in VOCABULARY[5:] for word in text.split())


def test_a_vocabulary_without_the_letter_a_hides_no_closing_token():
    from tokenizers import models

    bare = tokenizer("[CLS] $A [SEP]")
    bare.backend_tokenizer.model = models.BPE({"[CLS]": 2, "[SEP]": 3, "1": 4}, [])
    assert bare("a", add_special_tokens=False)["input_ids"] == []
    found = Tokenizer(bare)
    assert (found.prefix, found.suffix) == ([2], [3])


def test_windows_end_as_texts_do(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(" ".join(f"w{i % 50}" for i in range(20)))
    found = list(windows(Tokenizer(tokenizer("[CLS] $A [SEP]")), file, window=8))
    assert [len(s) for s in found] == [8, 8, 8, 4]
    assert all(s.ids[0] == 2 and s.ids[-1] == 3 for s in found)
    assert np.concatenate([s.ids[1:-1] for s in found]).tolist() == [5 + i for i in range(20)]
    bare = list(windows(Tokenizer(tokenizer("[CLS] $A [SEP]")), file, window=8, bos=False))
    assert not any({2, 3} & set(s.ids.tolist()) for s in bare)


def test_a_document_that_is_too_long_is_closed_all_the_same():
    s = Tokenizer(tokenizer("[CLS] $A [SEP]")).stimulus("w1 w2 w3 w4 w5", longest=5)
    assert s.ids.tolist() == [2, 6, 7, 8, 3]


def test_a_masked_model_reads_the_whole_text_as_transformers_does():
    model = subject("bert", "both")
    prompt = "w3 w4 [MASK] w7"
    ids = torch.tensor([model.tokenizer.bare(prompt)["input_ids"]])
    with torch.no_grad():
        expected = model.module(input_ids=ids).logits
    assert torch.equal(model.run(prompt).logits, expected)
    e = explain(model, prompt, "w9", contrast="w8", top=3)
    assert e.metric_clean == pytest.approx(float(expected[0, 3, 14] - expected[0, 3, 13]), abs=1e-5)
    again = case_of(model, model.tokenize(prompt), "w9", contrast="w8")
    assert again.metric == e.case.metric
    assert again.clean.ids.tolist() == e.case.clean.ids.tolist() == ids[0].tolist()


@pytest.mark.parametrize("frame", ["an end", "both"])
def test_a_causal_model_answers_before_the_end(frame):
    model = subject("gpt2", frame)
    n = len(model.tokenizer.prefix)
    assert model.run("w3 w4").logits.shape[1] == n + 3
    assert model.tokenize("w3 w4", answered=True).ids.tolist()[n:] == [8, 9]
    [written] = model.generate("w3 w4", max_new_tokens=3)
    assert written.prompt.ids.tolist()[n:] == [8, 9]
    assert list(model.steps("w3 w4", max_new_tokens=3)) == written.ids.tolist()
    assert model.continuation("w3 w4", " w5") == (10,)
    shown = case_of(model, "w3 w4", " w5 w6").clean
    assert shown.ids.tolist()[n:] == [8, 9, 10]
    pairs = model.read(Task((Case("w3 w4", "w3 w9", (" w5",), (" w6",)),)), least=0.0)
    assert pairs.clean[0].ids.tolist()[n:] == [8, 9]


def test_a_stimulus_and_ids_are_asked_as_their_text_is():
    model = subject("gpt2", "a beginning")
    expected = case_of(model, "w3 w4", " w5", contrast=" w6", corrupt="w3 w9")
    clean, other = (model.tokenize(text, answered=True) for text in ("w3 w4", "w3 w9"))
    for shown, corrupt in ((clean, other), (clean.ids, other.ids), (clean.ids.tolist(), Stimulus.of(other.ids))):
        found = case_of(model, shown, " w5", contrast=" w6", corrupt=corrupt)
        assert (found.prompt, found.corrupt, found.metric) == ("w3 w4", "w3 w9", expected.metric)
        assert found.clean.ids.tolist() == expected.clean.ids.tolist()
    with pytest.raises(PatchclampError, match="one prompt; got 2"):
        case_of(model, [[8, 9], [8, 10]], " w5")
    with pytest.raises(PatchclampError, match="answers as text"):
        case_of(model, "w3 w4", 10)


def test_a_chat_ends_where_the_model_answers():
    model = subject("gpt2", "a beginning")
    s = model.tokenize("w3 w4", chat=True, answered=True)
    assert [VOCABULARY[i] for i in s.ids] == ["[CLS]", "user", ":", "w3", "w4", "[SEP]", "bot", ":"]
    assert [VOCABULARY[i] for i in s.ids[s.roles == Role.TEXT]] == ["w3", "w4"]
    whole = model.tokenize("w3 w4", chat=True)
    assert [VOCABULARY[i] for i in whole.ids] == ["[CLS]", "user", ":", "w3", "w4", "[SEP]"]
    found = case_of(model, s, " w5", contrast=" w6")
    assert found.clean.ids.tolist() == s.ids.tolist()
    pairs = model.read(Task((Case("w3 w4", "w3 w9", (" w5",), (" w6",)),)), least=0.0, chat=True)
    assert pairs.clean[0].ids.tolist() == s.ids.tolist()
    assert pairs.metrics[0].target == (10,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A GPT-2 on disk with a chat template."""
    out = tmp_path_factory.mktemp("chat") / "model"
    model = subject("gpt2", "a beginning")
    model.module.save_pretrained(out)
    model.tokenizer.bare.save_pretrained(out)
    return out


def test_the_command_line_asks_in_the_chat_template(folder, tmp_path, capsys):
    from patchclamp.cli.main import main

    model = pc.load(folder)
    shown = model.tokenize("w3 w4", chat=True, answered=True)

    def say(*words):
        assert main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    written = say("generate", folder, "w3 w4", "--chat", "--max-new-tokens", 4)
    assert written["unclamped"]["ids"] == model.generate(shown, max_new_tokens=4)[0].ids.tolist()
    asked = (
        "w3 w4",
        "--target",
        " w5",
        "--contrast",
        " w6",
        "--method",
        "attribution_patching",
        "--top",
        2,
        "--level",
        "head",
    )
    explained = say("explain", folder, *asked, "--chat")
    metric = case_of(model, shown, " w5", contrast=" w6").metric
    assert explained["metric_clean"] == pytest.approx(float(model.measure(shown, metric)), abs=1e-6)
    assert explained["question"]["prompt"] == "user : w3 w4 [SEP] bot :"
    (tmp_path / "pairs.jsonl").write_text(
        json.dumps({"clean": "w3 w4", "corrupted": "w30 w9", "answer": " w5", "wrong": " w6"}) + "\n"
    )
    asked = ("--pairs", tmp_path / "pairs.jsonl", "--sites", "attn", "--chat")
    patched = say("patch", folder, *asked, "--out", tmp_path / "patched")
    assert len(patched["provenance"]["extra"]["tokens"]) == len(shown)
    assert patched["metric_clean"] == pytest.approx(float(model.measure(shown, metric)), abs=1e-6)


def test_a_document_that_is_cut_is_closed_again(tmp_path):
    """A text of a corpus of documents ends as the tokenizer's texts do, wherever the corpus stops."""
    model, file = subject("bert", "both"), tmp_path / "one.jsonl"
    file.write_text(json.dumps({"text": "w1 w2 w3 w4 w5", "tokens": [], "concepts": []}) + "\n")
    [[one]] = pc.read_corpus(model, pc.Corpus(file, "documents", window=16, max_tokens=5))
    assert one.ids.tolist() == model.tokenize("w1 w2 w3").ids.tolist()
