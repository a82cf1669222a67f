"""Adapters: merged as PEFT merges them, called by both halves, and refused by their true reason."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import patchclamp as pc
from patchclamp.cli import main
from patchclamp.subjects import adapters
from patchclamp.subjects.families.spec import family
from saved_models import add_tokenizer, make_adapter

peft = adapters._peft()
# PEFT itself uses what transformers calls by another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

PARTS = ["q_proj", "v_proj", "down_proj"]
KINDS = {
    "lora": lambda: peft.LoraConfig(r=4, lora_alpha=8, target_modules=PARTS),
    "dora": lambda: peft.LoraConfig(
        r=4, target_modules=PARTS, use_dora=True, use_rslora=True, rank_pattern={"q_proj": 2}
    ),
    "lora with a head of its own": lambda: peft.LoraConfig(r=4, target_modules=PARTS, modules_to_save=["lm_head"]),
    "ia3": lambda: peft.IA3Config(target_modules=PARTS, feedforward_modules=["down_proj"]),
    "loha": lambda: peft.LoHaConfig(r=4, target_modules=PARTS),
    "oft": lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=["q_proj"]),
}
SHOWN = [[5, 6, 7, 8, 9]]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    family("llama").tiny().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lora(base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    make_adapter(folder, base, KINDS["lora"]())
    return folder


@pytest.fixture
def folder(lora, tmp_path) -> Path:
    return Path(shutil.copytree(lora, tmp_path / "adapter"))


def configure(folder: Path, **changes) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refusal(source, **options) -> pc.PatchclampError:
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(source, **options)
    return caught.value


@pytest.mark.parametrize("name", KINDS)
def test_an_adapter_is_merged_as_peft_merges_it(base, tmp_path, name):
    make_adapter(tmp_path, base, KINDS[name]())
    model, bare = pc.load(tmp_path), pc.load(base)
    by_peft = peft.PeftModel.from_pretrained(pc.load(base).module, tmp_path).merge_and_unload()
    wanted = by_peft(torch.tensor(SHOWN)).logits.detach()
    torch.testing.assert_close(model.run(SHOWN).logits, wanted, rtol=0, atol=0)
    assert float((bare.run(SHOWN).logits - wanted).abs().max()) > 0.1, "the adapter must do something"
    assert model.family.name == "llama"
    assert model.capabilities.differentiate


def test_the_hash_is_that_of_adapter_and_model(base, lora, folder, tmp_path):
    hash = pc.load(lora).hash
    assert hash != pc.load(base).hash
    assert pc.load(folder).hash == hash
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: 2 * x for name, x in tensors.items()}, folder / "adapter_model.safetensors")
    assert pc.load(folder).hash != hash
    other = tmp_path / "other"
    bare = pc.load(base).module
    bare.lm_head.weight.data += 1
    bare.save_pretrained(other)
    assert pc.load(lora, base=other).hash != hash


def test_the_base_is_the_one_that_is_named_or_the_one_of_the_config(base, folder, capsys):
    configure(folder, base_model_name_or_path="/nowhere/at/all")
    problem = refusal(folder)
    assert "/nowhere/at/all" in problem.got
    assert "--base" in problem.remedy
    assert main(["info", str(folder)]) == 2
    assert "--base" in capsys.readouterr().err
    assert pc.load(folder, base=base).hash
    assert main(["info", str(folder), "--base", str(base), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["subject"]["slug"] == "adapter"
    configure(folder, base_model_name_or_path=None)
    assert "base_model_name_or_path" in refusal(folder).expected
    assert "an adapter" in refusal(base, base=base).expected


REFUSED = {
    "prompt tuning": ({"peft_type": "PROMPT_TUNING"}, "changes no weight"),
    "prefix tuning": ({"peft_type": "PREFIX_TUNING"}, "changes no weight"),
    "unknown": ({"peft_type": "NONESUCH"}, "NONESUCH"),
    "code": ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "megatron_config"),
    "only after some tokens": ({"alora_invocation_tokens": [1, 2]}, "[1, 2]"),
    "ranks that its weights have not": ({"r": 10**9}, "r 1,000,000,000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_merged_is_refused_by_its_true_reason(folder, name):
    changes, told = REFUSED[name]
    configure(folder, **changes)
    assert told in refusal(folder).got


def test_whole_numbers_are_no_weights_to_merge_and_an_empty_base_names_none(folder):
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({name: x.round().to(torch.int8) for name, x in weights.items()}, file, {"format": "pt"})
    assert "of type I8" in refusal(folder).got
    save_file(weights, file, {"format": "pt"})
    assert "the name of a model" in refusal(folder, base="").expected


def test_pickled_adapters_are_never_loaded(folder, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_args, **_more: pytest.fail("a pickle was loaded"))
    torch.save({}, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    problem = refusal(folder)
    assert "pickled weights adapter_model.bin" in problem.got
    assert "save_pretrained" in problem.remedy
    (folder / "adapter_model.bin").unlink()
    assert "with none" in refusal(folder).got


def test_an_adapter_of_another_model_is_refused(folder, tmp_path, monkeypatch):
    family("gpt2").tiny().save_pretrained(tmp_path / "gpt2")
    assert "GPT2LMHeadModel" in refusal(folder, base=tmp_path / "gpt2").expected
    tensors = load_file(folder / "adapter_model.safetensors")
    dropped = sorted(tensors)[0]
    save_file({k: v for k, v in tensors.items() if k != dropped}, folder / "adapter_model.safetensors")
    problem = refusal(folder)
    assert "1 tensors have no place there, or no weights" in problem.got
    assert dropped.removesuffix(".weight") in problem.got.replace(".default", "")


def test_what_is_no_change_of_weights_is_seen_by_its_answers(folder, monkeypatch):
    from peft.tuners.lora import LoraModel

    merge = LoraModel.merge_and_unload

    def wrong(self, **options):
        merged = merge(self, **options)
        merged.model.layers[0].mlp.down_proj.weight.data *= 1.5
        return merged

    monkeypatch.setattr(LoraModel, "merge_and_unload", wrong)
    assert "moves answers by" in refusal(folder).got


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda _name: None)
    assert "patchclamp[adapters]" in refusal(folder).remedy


def test_an_adapters_own_tokenizer_comes_first(base, folder):
    with pytest.raises(pc.PatchclampError, match="a model with a tokenizer"):
        _ = pc.load(folder).tokenizer
    add_tokenizer(folder, words=30)
    assert pc.load(folder).tokenize("w3 w4").ids.tolist() == [3, 4]
