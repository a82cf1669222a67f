"""Why a folder does not load: each reason is said in three parts, and is the true one."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import patchclamp as pc
from patchclamp.cli import main
from patchclamp.subjects import load_errors, loading, weights
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.weights import INDEX, WHOLE, find_folder
from saved_models import add_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    family("llama").tiny().save_pretrained(folder)
    add_tokenizer(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def configure(folder: Path, **changes) -> None:
    file = folder / "config.json"
    kept = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}))


def shard(folder: Path) -> None:
    """Lay the weights into three files with an index."""
    tensors = load_file(folder / WHOLE)
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    places = {key: names[i % 3] for i, key in enumerate(sorted(tensors))}
    for name in names:
        save_file({k: v for k, v in tensors.items() if places[k] == name}, folder / name, metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / WHOLE).unlink()


def cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def replace_weights(folder: Path, change) -> None:
    tensors = load_file(folder / WHOLE)
    change(tensors)
    save_file(tensors, folder / WHOLE, metadata={"format": "pt"})


def pickle_only(folder: Path) -> None:
    torch.save(load_file(folder / WHOLE), folder / "pytorch_model.bin")
    (folder / WHOLE).unlink()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def of_gguf(folder: Path) -> None:
    no_config(folder)
    (folder / WHOLE).unlink()
    (folder / "tiny-q4.gguf").write_bytes(b"GGUF")


def of_checkpoints(folder: Path) -> None:
    for step in ("checkpoint-10", "checkpoint-20"):
        (folder / step).mkdir()
        shutil.copy(folder / "config.json", folder / step / "config.json")
    no_config(folder)


def lose_a_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()


def cut_a_shard(folder: Path) -> None:
    shard(folder)
    cut(folder / "model-00003-of-00003.safetensors", 0.9)


QUANTISED = {
    "bitsandbytes": "bitsandbytes", "torchao": "torchao", "gptq": "gptqmodel", "awq": "gptqmodel",
    "compressed-tensors": "compressed-tensors",
}  # fmt: skip
REASONS = {
    "config.json is missing": (no_config, "without config.json but with model.safetensors", "Put the config.json"),
    "files of llama.cpp": (of_gguf, "tiny-q4.gguf", "llama.cpp"),
    "a folder of checkpoints": (of_checkpoints, "checkpoint-10, checkpoint-20", "checkpoint-20"),
    "a shard is missing": (lose_a_shard, "without 1 of them: model-00002-of-00003", "Put the missing files"),
    "a shard is cut": (cut_a_shard, "model-00003-of-00003.safetensors, which has ", "that file again"),
    "weights are cut": (lambda f: cut(f / WHOLE, 0.5), " bytes", "that file again"),
    "weights end in their head": (lambda f: cut(f / WHOLE, 0.002), "within its own head", "that file again"),
    "a pointer of Git LFS": (
        lambda f: (f / WHOLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "a pointer of Git LFS", "git lfs pull"),
    "a page of a server": (lambda f: (f / WHOLE).write_text("<!DOCTYPE html><html></html>"), "a page", "again"),
    "tensors are missing": (
        lambda f: replace_weights(f, lambda t: [t.pop(f"model.layers.{i}.mlp.up_proj.weight") for i in (0, 2)]),
        "2 are missing: model.layers.0.mlp.up_proj.weight, model.layers.2", "incomplete"),
    "a tensor has another shape": (
        lambda f: replace_weights(f, lambda t: t.update({"model.norm.weight": torch.ones(7)})),
        "model.norm.weight is 7 instead of 32", "do not belong together"),
    "tensors without a place": (
        lambda f: replace_weights(f, lambda t: t.update({"model.layers.1.mlp.up_proj.bias": torch.ones(48)})),
        "model.layers.1.mlp.up_proj.bias", "mend its config"),
    "an unknown architecture": (
        lambda f: configure(f, model_type="nonesuch", transformers_version="99.0"), "nonesuch", "transformers 99.0"),
    "no architecture": (lambda f: configure(f, model_type=None, architectures=None), "", "names no model_type"),
    "code of its own": (
        lambda f: configure(f, auto_map={"AutoModelForCausalLM": "evil.Model"}), "its own Python code", "trust it"),
    "pickles alone": (pickle_only, "pickled weights pytorch_model.bin", "save_pretrained"),
    **{
        f"{method} without its library": (
            lambda f, method=method: configure(f, quantization_config={"quant_method": method, "bits": 4}),
            "none installed", f"pip install {package}")
        for method, package in QUANTISED.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_each_reason_is_said_in_three_parts(folder, monkeypatch, name):
    spoil, got, remedy = REASONS[name]
    installed = load_errors._is_installed
    monkeypatch.setattr(load_errors, "_is_installed", lambda m: m == "accelerate" and installed(m))
    monkeypatch.setattr(torch, "load", lambda *_args, **_more: pytest.fail("a pickle was loaded"))
    assert pc.load(folder).hash
    spoil(folder)
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(folder)
    problem = caught.value
    assert got in problem.got
    assert remedy in problem.remedy
    assert problem.expected
    assert "amaged" not in problem.remedy or "head is damaged" in problem.got


@pytest.mark.parametrize("name", ["config.json", WHOLE])
def test_files_that_may_not_be_read_are_said_to_be_so(folder, monkeypatch, name):
    def read(*_args, **_more):
        raise PermissionError(13, "Permission denied", name)

    # Who runs this may be allowed everything: the refusal of the operating system is stood in for.
    monkeypatch.setattr(Path, "read_text", read) if name == "config.json" else monkeypatch.setattr(
        weights, "safe_open", read
    )
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(folder)
    assert f"{name}: Permission denied" in caught.value.got
    assert "leave to read" in caught.value.remedy


def test_a_tokenizer_that_is_missing_is_asked_for_where_text_is_shown(folder):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    model = pc.load(folder)
    assert len(model.stimuli([[1, 2]])) == 1
    with pytest.raises(pc.PatchclampError) as caught:
        model.tokenize("w1")
    assert "tokenizer.json" in caught.value.remedy


def test_a_tokenizer_that_needs_a_package_names_it(folder, monkeypatch):
    from transformers import AutoTokenizer

    def read(*_args, **_more):
        raise ImportError("it requires the sentencepiece library")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", read)
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(folder)
    assert "sentencepiece" in caught.value.got
    assert "Install the package" in caught.value.remedy


def test_a_device_without_room_is_said_to_be_so(folder, monkeypatch):
    def to(*_args, **_more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.nn.Module, "to", to)
    monkeypatch.setattr(load_errors, "free_memory", lambda _device: 3 * 10**9)
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(folder, device="cuda:0")
    assert "on cuda:0" in caught.value.expected
    assert "3.0 GB free" in caught.value.got
    assert "--device auto" in caught.value.remedy


def test_a_network_that_needs_more_than_ids_is_said_to_be_so(folder, monkeypatch):
    from transformers import LlamaForCausalLM

    def forward(self, input_ids=None, pixel_values=None):
        raise ValueError("You have to specify pixel_values")

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(folder)
    assert "pixel_values" in caught.value.got
    assert "other inputs" in caught.value.remedy


def test_a_missing_package_that_places_weights_is_named_at_the_command_line(folder, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main(["info", str(folder), "--device", "auto"]) == 2
    said = capsys.readouterr().err
    assert "accelerate" in said
    assert "pip install 'patchclamp[adapters]'" in said


def test_a_name_with_the_sign_of_revisions_is_a_folder_where_there_is_one(folder, tmp_path):
    odd = tmp_path / "a@b"
    shutil.move(folder, odd)
    assert pc.load(odd).name == "a-b"
    assert loading.load_model(str(odd)).hash


def test_a_device_whose_package_is_not_there_is_refused():
    with pytest.raises(pc.PatchclampError, match="a device of this machine"):
        pc.load("organism:cat", device="hpu")


def test_a_repository_in_the_cache_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://nowhere.invalid")
    kept = tmp_path / "models--owner--model"
    kept.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != kept)
    with pytest.raises(pc.PatchclampError) as caught:
        find_folder("owner/model")
    assert caught.value.got == f"{kept} in the hub's cache, which this user may not read"
