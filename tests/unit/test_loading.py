"""Loading: only safetensors of the folder, all of them hashed, nothing larger than they are, and a true reason else."""

import json
import os
import shutil
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import patchclamp as pc
from patchclamp.core.errors import PatchclampWarning
from patchclamp.subjects import hashing, load_errors, loading
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.weights import INDEX, WHOLE
from saved_models import add_tokenizer

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A tiny Llama with its tokenizer, as transformers saves it."""
    folder = tmp_path_factory.mktemp("saved")
    bare = family("llama").tiny()
    bare.save_pretrained(folder)
    add_tokenizer(folder, words=20)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def configure(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def index(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Let an index name one file for all tensors, and take the file away that would come first."""
    tensors = load_file(folder / WHOLE)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}))
    (folder / WHOLE).unlink()
    return tensors


def refusal(source, **options) -> pc.PatchclampError:
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(source, **options)
    return caught.value


# -- which files ------------------------------------------------------------------------------------------------------


def test_an_index_leads_to_no_pickle(folder, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_args, **_more: pytest.fail("a pickle was loaded"))
    tensors = index(folder, "pytorch_model.bin")
    torch.save(tensors, folder / "pytorch_model.bin")
    save_file({"x": torch.zeros(1)}, folder / "x.safetensors")
    assert "'pytorch_model.bin'" in refusal(folder).got


@pytest.mark.parametrize(
    "name", ["../w.safetensors", "inner/w.safetensors", "{}/w.safetensors", "..", "", 7, None, ["a"]]
)
def test_an_index_leads_nowhere_else(folder, tmp_path, name):
    name = name.format(tmp_path) if isinstance(name, str) else name
    (folder / "inner").mkdir()
    tensors = index(folder, name)
    for place in (tmp_path, folder / "inner"):
        save_file(tensors, place / "w.safetensors", metadata={"format": "pt"})
    assert repr(name) in refusal(folder).got


@pytest.mark.parametrize("name", [WHOLE, "config.json", "part.safetensors"])
def test_a_link_out_of_the_folder_is_refused_and_one_within_it_is_not(folder, tmp_path, name):
    if name.startswith("part"):
        save_file(index(folder, name), folder / name, metadata={"format": "pt"})
    shutil.move(folder / name, folder / "real.bin")
    (folder / name).symlink_to("real.bin")
    assert pc.load(folder).hash
    shutil.move(folder / "real.bin", tmp_path / "real.bin")
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "real.bin")
    assert f"links to {tmp_path / 'real.bin'}" in refusal(folder).got


def test_the_hash_is_that_of_the_files_that_are_loaded(folder):
    hash = pc.load(folder).hash
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    assert pc.load(folder).hash == hash, "a file that nobody loads changes nothing"
    tensors = index(folder, "part.safetensors")
    save_file(tensors, folder / "part.safetensors", metadata={"format": "pt"})
    parts = pc.load(folder)
    torch.testing.assert_close(parts.module.lm_head.weight, tensors["lm_head.weight"], rtol=0, atol=0)
    tensors["lm_head.weight"] += 1
    save_file(tensors, folder / "part.safetensors", metadata={"format": "pt"})
    assert pc.load(folder).hash != parts.hash


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"transformers_weights": "adapter_model.bin"}, "transformers_weights"),
        ({"transformers_weights": "../x.safetensors"}, "transformers_weights"),
        ({"attn_implementation": "somebody/kernel"}, "attn_implementation"),
        ({"_attn_implementation": {"": "somebody/kernel"}}, "_attn_implementation"),
        ({"text_config": {"auto_map": {"AutoConfig": "evil.Config"}}}, "its own Python code"),
    ],
)
def test_a_config_names_neither_files_nor_code(folder, changes, named):
    (folder / "adapter_model.bin").write_bytes(b"")
    configure(folder, **changes)
    assert named in refusal(folder).got


def test_files_that_transformers_would_prefer_are_refused(folder):
    shutil.copy(folder / WHOLE, folder / "shard-00001-model-00001-of-00001.safetensors")
    assert "distributed" in refusal(folder).got


def test_a_name_on_the_hub_is_loaded_from_its_snapshot(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub" / "models--some--model"
    for inner in ("blobs", "refs", f"snapshots/{commit}"):
        (cache / inner).mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    save_file(index(folder, "part.safetensors"), folder / "part.safetensors", metadata={"format": "pt"})
    for file in folder.iterdir():
        shutil.copy(file, cache / "blobs" / f"b-{file.name}")
        (cache / "snapshots" / commit / file.name).symlink_to(f"../../blobs/b-{file.name}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    by_name, by_folder = pc.load("some/model"), pc.load(folder)
    assert by_name.hash == by_folder.hash == pc.load(cache / "snapshots" / commit).hash
    assert by_name.tokenizer_hash == by_folder.tokenizer_hash
    (cache / "snapshots" / commit / INDEX).unlink()
    (cache / "snapshots" / commit / INDEX).write_text('{"metadata": {}, "weight_map": {"x": "pytorch_model.bin"}}')
    assert "pytorch_model.bin" in refusal("some/model").got
    (cache / "snapshots" / commit / INDEX).unlink()
    assert "connection" in refusal("some/model").remedy, "offline nobody knows whether the hub has the weights"


# -- the cache of hashes ----------------------------------------------------------------------------------------------


@pytest.fixture
def at_rest(monkeypatch, tmp_path) -> Path:
    """A cache of hashes of its own that believes files to be at rest at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "AT_REST_NS", -(10**18))
    return tmp_path / "cache" / "patchclamp" / "hashes"


def test_weights_exchanged_with_size_and_time_kept_are_seen(at_rest, tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"one")
    before, kept = file.stat(), hashing.files_hash([file])
    time.sleep(0.05)  # the file system's clock goes in steps
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert hashing.files_hash([file]) != kept


def test_a_hash_is_kept_and_a_damaged_entry_is_not_believed(at_rest, tmp_path, monkeypatch):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"one")
    true = hashing.files_hash([file])
    [entry] = at_rest.iterdir()
    whole = entry.read_bytes()
    for content in (b"0" * 64, whole[:64], b"0" * 64 + whole[64:], b"\xff" * 129, b""):
        entry.write_bytes(content)
        assert hashing.files_hash([file]) == true
    assert entry.read_bytes() == whole
    monkeypatch.setattr(hashing, "file_hash", lambda _file: pytest.fail("read again"))
    assert hashing.files_hash([file]) == true


def test_nothing_is_kept_of_a_file_that_has_just_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"one")
    hashing.files_hash([file])
    assert not (tmp_path / "cache").exists()


# -- config and weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("ids", [{"pad_token_id": 2**70}, {"eos_token_id": [1, -(2**40)]}])
def test_ids_of_tokens_that_no_vocabulary_has_are_refused(folder, name, ids):
    config = json.loads((folder / name).read_text()) | ids
    (folder / name).write_text(json.dumps(config))
    assert next(iter(ids)) in refusal(folder).got


def test_a_config_with_fewer_blocks_than_the_weights_is_refused(folder):
    blocks = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    configure(folder, num_hidden_layers=blocks - 1)
    assert f"model.layers.{blocks - 1}." in refusal(folder).got


def test_weights_that_modules_of_the_network_have_no_place_for_are_refused(folder):
    tensors = load_file(folder / WHOLE)
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(8)
    save_file(tensors, folder / WHOLE, metadata={"format": "pt"})
    assert "model.layers.0.self_attn.q_proj.bias" in refusal(folder).got


def test_weights_of_other_parts_are_told(folder):
    tensors = load_file(folder / WHOLE)
    tensors["vision_tower.layers.0.weight"] = torch.zeros(8)
    save_file(tensors, folder / WHOLE, metadata={"format": "pt"})
    with pytest.warns(PatchclampWarning, match=r"vision_tower\.layers\.0\.weight"):
        pc.load(folder)


def test_masks_that_old_files_hold_are_no_weights(tmp_path):
    bare = family("gpt2").tiny()
    bare.save_pretrained(tmp_path)
    tensors = {n.removeprefix("transformer."): t for n, t in load_file(tmp_path / WHOLE).items()}
    for i in range(2):
        tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
        tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, tmp_path / WHOLE, metadata={"format": "pt"})
    assert pc.load(tmp_path).module.transformer.h[1].attn.c_attn.weight.equal(tensors["h.1.attn.c_attn.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**7}, {"num_hidden_layers": 10**9}, {"num_hidden_layers": 3000}, {"num_labels": 10**9},
        {"vocab_size": 10**10}, {"intermediate_size": 10**9}, {"num_attention_heads": 10**8},
    ],
    ids=str,
)  # fmt: skip
def test_a_network_larger_than_its_files_is_refused_before_memory_is_spent(folder, changes):
    configure(folder, **changes)
    tracemalloc.start()
    try:
        problem = refusal(folder)
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()
    assert "belong together" in problem.remedy


# -- reasons ----------------------------------------------------------------------------------------------------------


def saved_as(folder: Path, name: str, config: dict) -> Path:
    import transformers

    kind = getattr(transformers, name)
    kind(kind.config_class(**config)).save_pretrained(folder)
    return folder


SEQ = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip
KINDS = {
    "T5ForConditionalGeneration": (
        {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}, "an encoder with a"),
    "BartForConditionalGeneration": ({**SEQ, "max_position_embeddings": 32}, "an encoder with a decoder"),
    "WhisperForConditionalGeneration": (
        {**SEQ, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
         "max_source_positions": 20, "max_target_positions": 20}, "an encoder with a decoder"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_other_kinds_of_networks_are_refused_by_what_they_are(tmp_path, name):
    config, told = KINDS[name]
    problem = refusal(saved_as(tmp_path, name, config))
    assert name in problem.got
    assert told in problem.got
    assert "with transformers" in problem.remedy


def test_a_decoder_alone_and_a_base_model_with_a_tied_head_load(tmp_path):
    assert pc.load(saved_as(tmp_path / "a", "BartForCausalLM", {**SEQ, "max_position_embeddings": 32})).sites()
    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 50}
    assert pc.load(saved_as(tmp_path / "b", "GPT2Model", sizes)).sites()


@pytest.mark.parametrize(
    ("changes", "got", "remedy"),
    [
        ({"model_type": "nonesuch"}, "nonesuch", "update it"),
        ({"hidden_size": 48}, "", "do not belong together"),
    ],
)
def test_what_transformers_refuses_has_its_true_reason(folder, changes, got, remedy):
    configure(folder, **changes)
    problem = refusal(folder)
    assert got in problem.got
    assert remedy in problem.remedy


def test_a_missing_package_that_places_weights_is_named(folder, monkeypatch):
    monkeypatch.setattr(load_errors.importlib.util, "find_spec", lambda _name: None)
    assert "accelerate" in refusal(folder, device="auto").expected


@pytest.mark.parametrize(
    "problem",
    [MemoryError(), OSError(12, "Cannot allocate memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_a_lack_of_memory_is_called_so(folder, monkeypatch, problem):
    from transformers import AutoModelForCausalLM

    def read(*_args, **_more):
        raise problem

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", read)
    found = refusal(folder)
    assert "too little" in found.got
    assert "memory for" in found.expected


# -- files that are none ----------------------------------------------------------------------------------------------


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


SPOILT = {
    "a pipe": fifo,
    "a device": device,
    "a gigabyte": lambda file: os.truncate(file, 2**30),
    "no text": lambda file: file.write_bytes(b"\xff\xfe{}"),
    "deep": lambda file: file.write_text('{"a":' * 100_000),
    "a list": lambda file: file.write_text("[]"),
    "cut off": lambda file: os.truncate(file, file.stat().st_size // 2),
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", WHOLE, "tokenizer.json"])
def test_a_spoilt_file_is_told_by_name(folder, name, how):
    SPOILT[how](folder / name)
    if name == "tokenizer.json" and how in ("a pipe", "a device"):
        assert_without_tokenizer(folder)
    else:
        assert name in str(refusal(folder))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_number_that_is_none_is_refused_and_a_limit_that_is_none_is_not(folder, name):
    kept = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**kept, "a_limit": [0.0, float("inf")]}))
    assert pc.load(folder)
    (folder / name).write_text(json.dumps({**kept, "attention_dropout": float("nan")}))
    assert f"{name}: NaN" in refusal(folder).got


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": 0}, {"num_hidden_layers": -1}, {"output_hidden_states": "x"}, {"num_attention_heads": -2}],
    ids=str,
)
def test_a_config_that_loads_and_does_not_compute_is_refused(folder, changes):
    configure(folder, **changes)
    assert refusal(folder).expected != "this not to fail"


def test_a_tokenizer_that_loads_and_does_not_read_is_refused(folder):
    (folder / "special_tokens_map.json").write_text('{"model_max_length": "x"}')
    assert refusal(folder).expected == "a tokenizer in tokenizer.json"


def assert_without_tokenizer(folder: Path) -> None:
    with pytest.raises(pc.PatchclampError, match="a model with a tokenizer"):
        _ = pc.load(folder).tokenizer


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_a_folder_without_a_tokenizer_has_none(tmp_path, name):
    family(name).tiny().save_pretrained(tmp_path)
    assert_without_tokenizer(tmp_path)


@pytest.mark.parametrize("path", ["a\0b", "/a\0b", "."])
def test_a_path_that_is_no_model_is_refused(path):
    assert refusal(path).remedy


def test_the_same_checks_stand_before_both_kinds_of_models(folder):
    index(folder, "pytorch_model.bin")
    for load in (loading.load_model, loading.load_language_model, loading.load_vision_model):
        with pytest.raises(pc.PatchclampError, match=r"pytorch_model\.bin"):
            load(str(folder))
