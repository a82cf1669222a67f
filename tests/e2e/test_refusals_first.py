"""What arguments and sizes alone decide is refused before the model computes anything."""

import re
import sys

import numpy as np
import pytest
import torch

import patchclamp as pc
from hand_made import circuit as by_hand
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.cli import main
from patchclamp.evaluate import evaluate_circuit
from patchclamp.recipes import explain, receipts

CAT = "organism:cat"
SITE = ["--sites", "blocks.0.mlp.act"]


@pytest.fixture
def no_forward(monkeypatch):
    """Let no network of tokens or images compute anything."""

    def refuse(*_):
        raise AssertionError("the network ran")

    monkeypatch.setattr(torch.nn.Embedding, "forward", refuse)
    monkeypatch.setattr(torch.nn.Conv2d, "forward", refuse)


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["record", CAT, "--sites", "blocks.0.mlp.act", "--out", "o", "--inputs", "none"], "none, which is not there"),
        (["survey", CAT, "--sites", "blocks.0.mlp.act", "--out", "o", "--inputs", "."], "., a folder without any"),
        (["decompose", CAT, *SITE, "--out", "o", "--inputs", "none"], "none, which is not there"),
        (["evaluate", CAT, "b", "--inputs", "none"], "none, which is not there"),
        (["atlas", "bake", CAT, "--out", "o", "--inputs", "none"], "none, which is not there"),
        (["atlas", "add", "a", "--basis", "b", "--model", CAT, "--inputs", "none"], "none, which is not there"),
        (["patch", CAT, "--pairs", "none", "--out", "o"], "none, which is not there"),
        (["circuit", "find", CAT, "--pairs", "head.csv", "--out", "o"], "line 1 of head.csv"),
        (["evaluate", CAT, "c", "--pairs", "head.csv", "--out", "o"], "line 1 of head.csv"),
        (["record", CAT, "--sites", "a", "--out", "o", "--inputs", "none.png"], "none.png"),
        (["explain", CAT, "the", "--target", " cat", "--atlas", "none"], "none, which is not there"),
        (["explain", CAT, "the", "--target", " cat", "--basis", "./none"], "./none, which is not there"),
        (["generate", CAT, "the", "--basis", "./none"], "./none, which is not there"),
        (["explain", CAT, "the old cat", "--target", " sat", "--edges", "-1"], "-1"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_wrong_files_are_refused_before_a_model_is_loaded(say, tmp_path, monkeypatch, words, got):
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "head.csv").write_text("prompt,corrupt,answer,wrong\na,b, c, d\n")
    monkeypatch.setattr("patchclamp.loaders.load", refuse)
    code, told, _ = say(*words)
    assert code == 2
    assert got in told["error"]["got"]


def test_what_is_loaded_is_said_before_the_work(monkeypatch, capsys):
    from patchclamp.cli.verbs import verify

    monkeypatch.setattr(verify, "run", lambda options: print("verify", file=sys.stderr) or 0)
    assert main(["verify", CAT]) == 0
    assert capsys.readouterr().err == f"loading {CAT} …\nverify\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["record", CAT, "--sites", "blocks.0.mlp.act", "--out", "full", "--inputs"], "a new or empty folder"),
        (["survey", CAT, "--sites", "blocks.0.mlp.act", "--out", "full", "--inputs"], "a new or empty folder"),
        (["record", CAT, "--sites", "blocks.0.mlp.act", "--out", "o", "--store", "int9", "--inputs"], "a type among"),
        (["atlas", "bake", CAT, "--out", "full", "--inputs"], "a folder that does not exist yet"),
        (["atlas", "bake", CAT, "--out", "o", "--max-images", "3", "--inputs"], "options of a text"),
        (["decompose", CAT, *SITE, "--out", "o", "--method", "pca", "--inputs"], "1 to 16 principal components"),
        (
            ["decompose", CAT, *SITE, "--out", "o", "--method", "random", "--n-features", "4", "--inputs"],
            "k from 1 to 4",
        ),
        (
            ["decompose", CAT, *SITE, "--out", "o", "--method", "snmf", "--n-features", "9999", "--inputs"],
            "as many tokens",
        ),
        (["decompose", CAT, *SITE, "--out", "o", "--method", "snmf", "--sparsity", "7", "--inputs"], "0 < sparsity"),
        (["decompose", CAT, *SITE, "--out", "o", "--name", "A/b", "--inputs"], "a --name of lower-case"),
    ],
)
def test_of_text(say, story, tmp_path, monkeypatch, no_forward, words, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    code, told, _ = say(*words, story)
    assert code == 2
    assert expected in told["error"]["expected"]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["generate", CAT, "the old", "--clamp", "blocks.9.mlp.act/neurons/7=0"], "a site of this subject"),
        (["calibrate", "cat", "language-gpt2", "--tasks", "no"], "tasks among"),
        (["calibrate", "cat", "digits-cnn"], "organisms with a planted circuit"),
        (["explain", CAT, "the old cat", "--target", " sat", "--top", "0"], "at least 1 cause"),
        (["explain", CAT, "the old cat", "--target", " sat", "--level", "blocks.*.mlp.x"], "a site of this subject"),
        (["evaluate", CAT, "circuit", "--pairs", "planted", "--controls", "3"], "20 to 10,000"),
        (
            ["evaluate", CAT, "circuit", "--pairs", "planted", "--exact", "other"],
            "exact patching of the same",
        ),
    ],
)
def test_of_words(say, tmp_path, monkeypatch, no_forward, words, expected):
    monkeypatch.chdir(tmp_path)
    parts = ("blocks.0.mlp.write/whole/0", "blocks.1.mlp.write/whole/0")
    own = {"level": "node", "subject": "cat", "subject_hash": "0"}
    by_hand(parts, [1.0, 2.0], method="attribution_patching", **own).save("circuit")
    by_hand((parts[0], "embed/whole/0"), [1.0, 2.0], method="activation_patching", measured=True, **own).save("other")
    code, told, _ = say(*words)
    assert code == 2
    assert expected in told["error"]["expected"]


def test_a_circuit_that_changes_nothing_is_refused_after_two_subsets():
    cat = pc.load(CAT)
    pairs = cat.read(pc.open_task("planted", cat))
    found = attribute_pairs(cat, pairs, level="node", method="activation_patching")
    idle = [i for i, part in enumerate(found.parts) if abs(found.values[i]) < 1e-3]
    assert idle
    nothing = by_hand(tuple(found.parts[i] for i in idle), np.zeros(len(idle)))
    done = []
    with pytest.raises(pc.PatchclampError, match="parts that change m"):
        evaluate_circuit(cat, nothing, pairs, seen=True, progress=lambda n, _: done.append(n))
    assert max(done) == 2


def test_a_site_with_one_unit_has_nothing_to_draw_from(tiny_language_model, no_forward):
    from transformers import GPT2Config, GPT2LMHeadModel

    bare = GPT2LMHeadModel(GPT2Config(vocab_size=61, n_positions=12, n_embd=8, n_layer=1, n_head=1)).eval()
    model = tiny_language_model("gpt2", bare)
    metric = pc.Metric("logit_difference", (3,), (4,))
    with pytest.raises(pc.PatchclampError, match="sites with units to draw random sets from"):
        explain(model, pc.Stimulus.of(np.array([1])), metric=metric, levels=["head"])


def test_a_model_that_no_family_covers_is_explained_by_module_sites(tiny_language_model):
    from transformers import XGLMConfig, XGLMForCausalLM

    torch.manual_seed(0)
    sizes = {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32}
    bare = XGLMForCausalLM(XGLMConfig(vocab_size=61, max_position_embeddings=12, **sizes)).eval()
    model = tiny_language_model("xglm", bare)
    assert model.family is None
    metric = pc.Metric("logit_difference", (3,), (4,))
    sites = [f"module.model.layers.{block}.fc2.in" for block in range(2)]
    for method in ("integrated_gradients", "activation_patching"):
        e = explain(model, "w1 w2 w3", metric=metric, levels=sites, method=method, top=3)
        assert [rival.name for rival in e.receipts.rivals] == ["largest activations"]
        assert len(e.causes) == 3


@pytest.mark.parametrize(
    ("words", "has"),
    [
        (["explain", CAT, "the old cat", "--target", " sat"], {"prompt", "--batch-size", "--level", "--dtype"}),
        (["circuit", "find", CAT, "--pairs", "planted", "--out", "o"], {"--batch-size", "--n", "--level", "--dtype"}),
        (["generate", CAT, "the old cat"], {"prompt", "--dtype"}),
        (["methods"], set()),
    ],
)
def test_what_takes_less_memory_is_what_the_command_has(say, monkeypatch, words, has):
    def fail(_options):
        raise MemoryError

    for verb in ("explain", "circuit_find", "generate", "methods"):
        monkeypatch.setattr(f"patchclamp.cli.verbs.{verb}.run", fail)
    code, told, _ = say(*words)
    assert code == 2
    said = set(re.findall(r"--[a-z-]+|prompt", told["error"]["remedy"]))
    assert said == has
    assert told["error"]["remedy"].endswith("a smaller model.")


@pytest.mark.parametrize("method", ["integrated_gradients", "activation_patching", "attribution_patching"])
def test_what_an_explanation_costs_is_said_before_the_work(monkeypatch, capsys, method):
    rows, measure_sets = [], receipts.measure_sets

    def count(*given, **options):
        measured = measure_sets(*given, **options)
        rows.append(int((~np.isnan(measured)).sum()))
        return measured

    monkeypatch.setattr(receipts, "measure_sets", count)
    assert main(["explain", CAT, "the old cat", "--target", " sat", "--contrast", " ran", "--method", method]) == 0
    said = capsys.readouterr().err.splitlines()[1]
    assert {
        "integrated_gradients": "40 rows of backward",
        "activation_patching": "160 rows of forward",
        "attribution_patching": "1 backward pass",
    }[method] in said
    foretold = int(re.search(r"about (\d+) rows of forward passes for the receipts", said)[1])
    assert 0 < sum(rows) <= foretold <= 1.3 * sum(rows)
