"""The verbs that run methods: their options follow --method, and what they give is kept and shown again."""

import json

import numpy as np
import pytest

from patchclamp.cli import main
from patchclamp.core.method_index import methods
from patchclamp.core.scores import Scores


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    text = folder / "text.txt"
    text.write_text("Mary and John went to the store. The cat sat on the mat. Tom gave a book to Mary. " * 4)
    for name in ("gpt2", "llama"):
        words = ["record", f"organism:language-{name}", "--text", str(text), "--window", "8", "--out"]
        assert main([*words, str(folder / name), "--sites", "blocks.0.resid_out,blocks.2.resid_out"]) == 0
    return folder


def test_methods_are_listed_by_question_and_described_with_their_options(capsys):
    code, out, _ = run(capsys, "methods")
    assert code == 0
    assert all(card.name in out for card in methods())
    code, out, _ = run(capsys, "methods", "decode/ridge")
    assert code == 0
    assert "--inner-folds" in out
    assert "himalaya" not in out
    code, out, _ = run(capsys, "methods", "--room", "compare", "--json")
    assert [entry["name"] for entry in json.loads(out)] == ["rsa"]


def test_scores_are_kept_and_shown_again(capsys, tmp_path):
    words = ["attribute", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran"]
    code, out, _ = run(capsys, *words, "--out", str(tmp_path / "scores"), "--top", "1", "--json")
    assert code == 0
    [first] = json.loads(out)["scores"]
    assert first["key"] == "cat/blocks.0.mlp.act/neurons/7@3"
    assert Scores.load(tmp_path / "scores").top(1)[0].index == 7
    code, out, _ = run(capsys, "info", str(tmp_path / "scores"))
    assert (code, "attribute/relp" in out) == (0, True)


def test_options_of_the_named_method_reach_it(capsys):
    words = ["attribute", "organism:language-gpt2", "--pairs", "task:ioi", "--json"]
    code, out, _ = run(capsys, *words, "--level", "edge", "--direction", "denoise", "--top", "2")
    found = json.loads(out)
    assert code == 0
    assert "->" in found["scores"][0]["key"]
    assert found["provenance"]["options"]["direction"] == "denoise"
    assert run(capsys, "attribute", "organism:cat", "x", "--target", " sat", "--size", "2")[0] == 2  # of occlusion


def test_two_layers_and_two_models_are_compared(capsys, recordings):
    gpt2, llama = str(recordings / "gpt2"), str(recordings / "llama")
    site = ["--first-site", "blocks.2.resid_out", "--second-site", "blocks.2.resid_out"]
    quick = ["--n-null", "19", "--n-bootstrap", "100", "--json"]
    same = json.loads(run(capsys, "compare", gpt2, gpt2, *site, *quick)[1])
    other = json.loads(run(capsys, "compare", gpt2, llama, *site, *quick)[1])
    assert same["estimate"]["value"] == pytest.approx(1)
    assert other["estimate"]["value"] < 1
    assert other["names"] == ["language-gpt2/blocks.2.resid_out", "language-llama/blocks.2.resid_out"]


def test_one_layer_is_predicted_from_another(capsys, recordings, tmp_path):
    gpt2 = str(recordings / "gpt2")
    site = ["--feature-site", "blocks.0.resid_out", "--target-site", "blocks.2.resid_out", "--alphas", "1,1000"]
    code, out, err = run(capsys, "encode", gpt2, gpt2, *site, "--split", "blocks:3:1", "--out", str(tmp_path / "r"))
    assert code == 0
    assert "ceiling" in out
    assert "3 blocks in time, gap 1" in err
    code, out, _ = run(capsys, "info", str(tmp_path / "r"), "--json")
    found = json.loads(out)
    assert (code, found["kind"], found["n_targets"]) == (0, "readout", 128)
    assert np.isfinite([score["value"] for score in found["scores"]]).all()


def test_every_neuron_is_described_and_kept(capsys, tmp_path):
    out = str(tmp_path / "words")
    code, shown, err = run(capsys, "describe", "organism:cat", "--tokens", "1", "--top", "2", "--out", out)
    assert (code, "cat/blocks.0.mlp.act/neurons/7" in shown, "␣sat" in shown) == (0, True, True)
    assert "vocabulary over the neurons of cat" in err
    found = json.loads(run(capsys, "info", out, "--json")[1])
    assert (found["kind"], found["n"], found["author"]) == ("descriptions", 32, "rule/vocabulary 1")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the old cat\n\nthe dog\n")
    gated = run(capsys, "describe", "organism:neuron-llama", "--text", str(prompts), "--json")
    assert all("gate" in unit for unit in json.loads(gated[1])["descriptions"])


def test_the_units_of_one_prompt_stand_in_an_atlas(capsys, tmp_path):
    text, atlas = tmp_path / "text.txt", str(tmp_path / "cat.atlas")
    text.write_text("the old cat sat. the old dog ran. " * 8)
    assert run(capsys, "atlas", "bake", "organism:cat", "--text", str(text), "--out", atlas)[0] == 0
    words = ["attribute", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran", "--atlas", atlas]
    code, _, err = run(capsys, *words)
    assert (code, "graph added" in err) == (0, True)
    layers = json.loads(run(capsys, "atlas", "info", atlas, "--json")[1])
    assert "the old cat" in json.dumps(layers)
    code, _, err = run(capsys, *words, "--level", "edge")
    assert (code, "circuit find --atlas" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["attribute", "organism:cat"], "a prompt with its --target, or --pairs"),
        (["attribute", "organism:cat", "the cat", "--target", " sat", "--method", "nope"], "among occlusion, relp"),
        (["attribute", "organism:cat", "the cat", "--target", " sat", "--rules", "nope"], "'nope'"),
        (["attribute", "organism:cat", "the cat", "--target", " sat", "--top", "-1"], "at least 0"),
        (["attribute", "organism:cat", "the cat", "--target", " sat", "--method", "occlusion"], "one image"),
        (["compare", "nowhere", "nowhere"], "nowhere"),
        (["describe", "organism:cat", "--text", "nowhere"], "a text file"),
        (["describe", "organism:cat", "--side", "gate"], "gated MLPs"),
        (["describe", "organism:digits-vit"], "protocol"),
        (["encode", "nowhere", "nowhere", "--split", "random"], "blocks:FOLDS"),
        (["methods", "kitchen/sink"], "a method among"),
        (["methods", "--room", "kitchen"], "a room among"),
    ],
)
def test_what_cannot_be_is_refused_in_three_parts(capsys, words, part):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    lines = err.strip().splitlines()[-3:]
    assert [line.split()[0] for line in lines] == ["patchclamp:", "got", "to"]
    assert part in "\n".join(lines)
