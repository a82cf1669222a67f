"""Models by their name on the hub, which a server on the loopback stands in for."""

import json
import os
from pathlib import Path

import pytest
import torch

import patchclamp as pc
from forks import run
from hub_stand_in import StandIn, commit_of, serve
from patchclamp.cli import main
from patchclamp.subjects.families.spec import family
from saved_models import add_tokenizer, make_adapter

MAIN = "from patchclamp.cli import main; sys.exit(main(sys.argv[1:]))"
CHUNK = 1024
"""Bytes that are kept at once: the library's ten megabytes are more than these models have."""
NAME, PATH = "lab/tiny-llama", "{repo_id}/resolve/{revision}/{filename}"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Two revisions of a model with a tokenizer, the second of which has its weights in two files."""
    folders = {}
    for name in ("main", "step1"):
        folder = tmp_path_factory.mktemp("made") / name
        bare = family("llama").tiny()
        if name == "step1":
            bare.lm_head.weight.data *= 2
        bare.save_pretrained(folder, **({"max_shard_size": "60kB"} if name == "step1" else {}))
        add_tokenizer(folder)
        folders[name] = folder
    assert len(list(folders["step1"].glob("*.safetensors"))) > 1
    return folders


@pytest.fixture
def hub(made, tmp_path, monkeypatch):
    """The stand-in, which the library takes for the hub, with an empty cache."""
    import huggingface_hub
    from huggingface_hub import constants

    with serve() as served:
        served.repositories = {NAME: dict(made), "lab/other": {"main": made["main"]}}
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{served.address}/{PATH}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _seconds: None)
        yield served


pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def refusal(name: str, **options) -> pc.PatchclampError:
    with pytest.raises(pc.PatchclampError) as caught:
        pc.load(name, **options)
    return caught.value


def test_a_name_is_loaded_with_what_its_folder_holds(hub: StandIn, made):
    model, local = pc.load(NAME), pc.load(made["main"])
    assert (model.name, model.hash, model.tokenizer_hash) == ("tiny-llama", local.hash, local.tokenizer_hash)
    torch.testing.assert_close(model.run("w1 w2").logits, local.run("w1 w2").logits, rtol=0, atol=0)
    assert model.module.generation_config.eos_token_id == local.module.generation_config.eos_token_id


def test_a_revision_is_another_model_and_its_commit_is_kept(hub: StandIn, made, tmp_path, capsys):
    first, second = pc.load(NAME), pc.load(f"{NAME}@step1")
    assert second.hash == pc.load(made["step1"]).hash != first.hash
    assert [model.origin["commit"] for model in (first, second)] == [commit_of(made["main"]), commit_of(made["step1"])]
    assert pc.load(f"{NAME}@{commit_of(made['step1'])}").hash == second.hash
    scores = pc.attribute(second, pc.Task.of("w1 w2", " w3", contrast=" w4", counterpart="w5 w2"), method="relp")
    assert scores.provenance.hashes["commit"] == commit_of(made["step1"])
    (tmp_path / "text.txt").write_text("w1 w2 w3 w4 w5 w6 w7 w8 " * 8)
    pc.record(second, pc.Corpus(tmp_path / "text.txt", window=8), "blocks.0.mlp.act", tmp_path / "recorded")
    assert json.loads((tmp_path / "recorded" / "manifest.json").read_text())["subject"]["commit"] == commit_of(
        made["step1"]
    )
    words = ["compare", NAME, f"{NAME}@step1", "--inputs", str(tmp_path / "text.txt"), "--controls", "0", "--json"]
    assert main(words) == 0, capsys.readouterr()
    found = json.loads(capsys.readouterr().out)
    assert found["provenance"]["hashes"]["second_commit"] == commit_of(made["step1"])


def test_an_adapter_is_merged_into_the_revision_that_it_names(hub: StandIn, made, tmp_path):
    folder = tmp_path / "adapter"
    make_adapter(folder, made["step1"])
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": NAME, "revision": "step1"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    hub.repositories["lab/lora"] = {"main": folder}
    model = pc.load("lab/lora")
    assert model.origin == {"commit": commit_of(made["step1"]), "adapter_commit": commit_of(folder)}
    by_folder = pc.load(folder, base=made["step1"])
    torch.testing.assert_close(model.run("w1 w2").logits, by_folder.run("w1 w2").logits, rtol=0, atol=0)
    assert model.hash == by_folder.hash


def test_a_licence_that_nobody_accepted_is_said_to_be_so(hub: StandIn):
    hub.gated.add(NAME)
    problem = refusal(NAME)
    assert "licence must be accepted" in problem.got
    assert "403" in problem.got
    assert f"{hub.address}/{NAME}" in problem.remedy
    assert "hf auth login" in problem.remedy


def test_a_name_that_is_not_there_names_those_that_are_near(hub: StandIn, tmp_path):
    problem = refusal("lab/tiny-lama")
    assert "no such repository" in problem.got
    assert f"Did you mean {NAME}?" in problem.remedy
    (tmp_path / "hub" / "models--lab--kept-model").mkdir(parents=True)
    assert "Did you mean lab/kept-model?" in refusal("lab/kept-modal").remedy, "what the cache holds is near too"
    assert "'no way'" in refusal("no way").got


def test_a_revision_that_is_not_there_names_those_that_are(hub: StandIn):
    problem = refusal(f"{NAME}@step11")
    assert "'step11'" in problem.got
    assert "It has step1" in problem.remedy


def test_a_repository_without_a_model_says_what_it_has(hub: StandIn, tmp_path):
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "tiny-q4.gguf").write_bytes(b"GGUF")
    hub.repositories["lab/gguf"] = {"main": tmp_path / "gguf"}
    assert ".gguf files" in refusal("lab/gguf").got


def weights_of(tmp_path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (tmp_path / "hub").glob("models--*/snapshots/*/*.safetensors")}


@pytest.mark.parametrize("revision", ["main", "step1"])
def test_a_download_that_is_cut_goes_on_where_it_was_cut(hub: StandIn, made, tmp_path, revision):
    [*_, last] = sorted(made[revision].glob("*.safetensors"))
    hub.cuts = {last.name: 2}
    assert pc.load(f"{NAME}@{revision}").hash == pc.load(made[revision]).hash
    assert weights_of(tmp_path)[last.name] == last.read_bytes()
    begun = [
        int(range.removeprefix("bytes=").partition("-")[0])
        for _, path, range in hub.asked
        if range and path.endswith(last.name)
    ]
    assert begun[0] == last.stat().st_size // 2 // CHUNK * CHUNK
    assert begun[1] > begun[0]


def test_a_connection_that_stays_broken_is_said_to_be_so_and_whole_files_are_kept(hub: StandIn, made, tmp_path):
    first, *_, last = sorted(made["step1"].glob("*.safetensors"))
    hub.cuts = {last.name: 10**6}
    problem = refusal(f"{NAME}@step1")
    assert last.name in problem.expected
    assert "connection broke off" in problem.remedy
    assert set(weights_of(tmp_path)) == {first.name}
    hub.cuts, asked = {}, len(hub.asked)
    assert pc.load(f"{NAME}@step1").hash == pc.load(made["step1"]).hash
    fetched = [path for command, path, _ in hub.asked[asked:] if command == "GET" and path.endswith(".safetensors")]
    assert [path.rpartition("/")[2] for path in fetched] == [last.name]


def test_a_server_that_fails_and_one_that_is_away_are_told_apart(hub: StandIn, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", f"http://127.0.0.1:9/{PATH}")
    assert "no connection" in refusal(NAME).got


def test_the_command_line_fetches_and_works_from_its_cache_afterwards(
    hub: StandIn, made, tmp_path, monkeypatch, capsys
):
    # A process of its own reads where the hub is, and where its cache, from the environment alone: read once more,
    # for what it is forked from has imported everything.
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
    words = ["info", f"{NAME}@step1", "--json"]
    code = f"import importlib, sys; importlib.reload(importlib.import_module('huggingface_hub.constants')); {MAIN}"
    fetched = run(["-c", code, *words], env=environment)
    assert fetched.returncode == 0, fetched.stderr
    assert "Traceback" not in fetched.stderr
    n = len(hub.asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(words) == 0
    assert len(hub.asked) == n > 0, "offline nothing is asked"
    subject = json.loads(capsys.readouterr().out)["subject"]
    assert subject == json.loads(fetched.stdout)["subject"]
    assert subject["commit"] == commit_of(made["step1"])
    assert main(["info", f"{NAME}@main"]) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
