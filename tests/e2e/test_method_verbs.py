"""The verbs that run methods: their options follow --method, and what they give is kept and shown again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import patchclamp as pc
from patchclamp import organisms
from patchclamp.attribute import attribute
from patchclamp.cli import main
from patchclamp.control import steer
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.edit import Edit
from patchclamp.core.estimate import Estimate
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import methods
from patchclamp.core.scores import Scores
from patchclamp.core.similarity import Similarity
from patchclamp.core.task import Case, Task
from patchclamp.organisms import digits, language
from patchclamp.organisms.language.dialects import examples
from patchclamp.organisms.language.rewrites import rewrite
from patchclamp.report import terminal
from patchclamp.report.html import number


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
        words = ["record", f"organism:language-{name}", "--inputs", str(text), "--window", "8", "--out"]
        assert main([*words, str(folder / name), "--sites", "blocks.0.resid_out,blocks.2.resid_out"]) == 0
    return folder


def test_methods_are_listed_by_question_and_described_with_their_options(capsys):
    code, out, _ = run(capsys, "methods")
    assert code == 0
    assert all(card.name in out for card in methods())
    assert out.count("calibrated") == sum(
        not card.tier.experimental for kind in ("method", "benchmark", "scorer") for card in methods(kind=kind)
    )
    code, out, _ = run(capsys, "methods", "decode/ridge")
    assert code == 0
    assert "--inner-folds" in out
    assert "calibrated: it equals its oracle" in out
    assert "himalaya" not in out
    code, out, _ = run(capsys, "methods", "--room", "compare", "--json")
    assert [(entry["name"], entry["tier"]) for entry in json.loads(out)] == [("rsa", "calibrated")]


@pytest.mark.parametrize("tier", ["calibrated", "experimental"])
def test_what_an_experimental_method_gives_is_named_so_wherever_it_is_shown(capsys, tier):
    scores = find_method("relp", "attribute")(organisms.build("cat"), organisms.planted.task("cat"))
    similarity = Similarity(("a", "b"), Estimate(0.5, None, 4, "Spearman r"))
    for noun in (scores, similarity):
        noun = replace(noun, provenance=replace(noun.provenance, method="attribute/any", tier=tier))
        terminal.show(noun, 3)
        assert ("experimental" in capsys.readouterr().out) == (tier == "experimental")
        assert noun.to_json(1)["provenance"]["tier"] == tier
    marked = replace(scores, provenance=replace(scores.provenance, tier=tier)).graph().about["method"]
    assert marked == {"calibrated": "attribute/relp", "experimental": "attribute/relp (experimental)"}[tier]


def test_scores_are_kept_and_shown_again(capsys, tmp_path):
    words = ["attribute", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran"]
    code, out, _ = run(capsys, *words, "--out", str(tmp_path / "scores"), "--top", "1", "--json")
    assert code == 0
    [first] = json.loads(out)["scores"]
    assert first["key"] == "cat/blocks.0.mlp.act/neurons/7@3"
    assert Scores.load(tmp_path / "scores").top(1)[0].index == 7
    code, out, _ = run(capsys, "info", str(tmp_path / "scores"))
    assert (code, "attribute/relp" in out) == (0, True)


def test_exemplars_are_shown_in_a_table_and_as_json(capsys, tmp_path):
    (tmp_path / "story.txt").write_text("the old cat sat on the mat. the dog ran to the park. " * 9)
    survey = pc.survey(
        pc.load("organism:cat"), pc.Corpus(tmp_path / "story.txt", window=16), "blocks.0.mlp.act", tmp_path / "survey"
    )
    survey.exemplars("blocks.0.mlp.act").save(tmp_path / "found")
    code, out, _ = run(capsys, "info", str(tmp_path / "found"))
    assert code == 0
    assert "exemplars of 16 units of blocks.0.mlp.act" in " ".join(out.split())
    assert "blocks.0.mlp.act/neurons/0" in out
    shown = json.loads(run(capsys, "info", str(tmp_path / "found"), "--json")[1])
    assert (shown["kind"], shown["units"], shown["kinds"]["top"]) == ("exemplars", 16, 16 * 9)
    assert shown["exemplars"][0]["ids"][shown["exemplars"][0]["position"]]


def test_options_of_the_named_method_reach_it(capsys):
    words = ["attribute", "organism:language-gpt2", "--pairs", "task:ioi", "--json"]
    code, out, _ = run(capsys, *words, "--level", "edge", "--direction", "denoise", "--top", "2")
    found = json.loads(out)
    assert code == 0
    assert "->" in found["scores"][0]["key"]
    assert found["provenance"]["options"]["direction"] == "denoise"
    assert run(capsys, "attribute", "organism:cat", "x", "--target", " sat", "--size", "2")[0] == 2  # of occlusion


def test_attribute_writes_a_page_with_the_words_that_make_it_again(capsys, tmp_path, monkeypatch):
    words = ["attribute", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran", "--top", "1"]
    page = tmp_path / "page.html"
    code, out, err = run(capsys, *words, "--report", str(page))
    assert (code, f"report written to {page}" in err) == (0, True)
    assert "neurons/<wbr>7@3" in page.read_text()
    assert (
        f"patchclamp attribute organism:cat 'the old cat' --target ' sat' --contrast ' ran' --top 1 --report {page}"
        in (page.read_text())
    )

    def fail(*_args, **_options):
        raise TypeError("unsupported format string")

    monkeypatch.setattr("patchclamp.report.scores.draw", fail)
    again = run(capsys, *words, "--report", str(tmp_path / "other.html"))
    assert again[:2] == (2, out)
    assert "the report could not be made" in again[2]


def test_two_layers_and_two_models_are_compared(capsys, recordings, tmp_path):
    gpt2, llama = str(recordings / "gpt2"), str(recordings / "llama")
    site = ["--first-site", "blocks.2.resid_out", "--second-site", "blocks.2.resid_out"]
    quick = ["--n-null", "19", "--n-bootstrap", "100", "--json"]
    same = json.loads(run(capsys, "compare", gpt2, gpt2, *site, *quick)[1])
    page = tmp_path / "compared.html"
    other = json.loads(run(capsys, "compare", gpt2, llama, *site, *quick, "--report", str(page))[1])
    assert same["estimate"]["value"] == pytest.approx(1)
    assert other["estimate"]["value"] < 1
    assert other["names"] == ["language-gpt2/blocks.2.resid_out", "language-llama/blocks.2.resid_out"]
    assert number(other["estimate"]["value"], signed=True) in page.read_text()


def test_one_layer_is_predicted_from_another(capsys, recordings, tmp_path):
    gpt2 = str(recordings / "gpt2")
    site = ["--feature-site", "blocks.0.resid_out", "--target-site", "blocks.2.resid_out", "--alphas", "1,1000"]
    page = tmp_path / "encoded.html"
    words = ["encode", gpt2, gpt2, *site, "--split", "blocks:3:1", "--out", str(tmp_path / "r"), "--report", str(page)]
    code, out, err = run(capsys, *words)
    assert code == 0
    assert "ceiling" in out
    assert "3 blocks in time, gap 1" in err
    code, out, _ = run(capsys, "info", str(tmp_path / "r"), "--json")
    found = json.loads(out)
    assert (code, found["kind"], found["n_targets"]) == (0, "readout", 128)
    assert np.isfinite([score["value"] for score in found["scores"]]).all()
    assert number(found["summary"]["value"], signed=True) in page.read_text()
    assert "all targets" in page.read_text()


def test_labels_are_read_from_a_recording(capsys, recordings, tmp_path):
    stored = pc.StoredRecording(recordings / "gpt2").load(["blocks.0.resid_out"])
    first = [int(stimulus.ids.sum()) % 2 for stimulus in stored.stimuli]
    labels = tmp_path / "parity.txt"
    labels.write_text("\n".join("odd" if one else "even" for one in first) + "\n\n")
    words = ["decode", str(recordings / "gpt2"), "--labels", str(labels), "--site", "blocks.0.resid_out"]
    code, out, err = run(capsys, *words, "--split", "blocks:3:1", "--out", str(tmp_path / "r"))
    assert (code, "balanced accuracy" in out, "recall" in out) == (0, True, True)
    assert f"{len(first)} stimuli of 2 classes, 3 blocks in time, gap 1" in err
    found = json.loads(run(capsys, "info", str(tmp_path / "r"), "--json")[1])
    task = pc.Task(tuple(pc.Case((i,), label="odd" if one else "even") for i, one in enumerate(first)))
    task.save(tmp_path / "labels.json")
    words[3] = str(tmp_path / "labels.json")
    again = json.loads(run(capsys, *words, "--split", "blocks:3:1", "--json")[1])
    assert again["scores"] == found["scores"]
    assert found["summary"]["value"] == pytest.approx(
        pc.decode(stored, task, pc.Split.blocks(len(first), folds=3, gap=1)).summary.value
    )


def test_a_page_replaces_nothing_but_a_page(capsys, tmp_path):
    kept, page, pairs = tmp_path / "kept", tmp_path / "page.html", tmp_path / "pairs.jsonl"
    words = ["attribute", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran"]
    assert run(capsys, *words, "--out", str(kept), "--report", str(page))[0] == 0
    pairs.write_text('{"a": 1}')
    for file in (kept / "manifest.json", pairs):
        before = file.read_bytes()
        code, _, err = run(capsys, *words, "--report", str(file))
        assert (code, "holds something else" in err, file.read_bytes() == before) == (2, True, True)
    assert run(capsys, *words, "--report", str(page))[0] == 0


def test_measured_scores_are_not_called_predicted(capsys):
    words = ["attribute", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran"]
    assert "predicted, not measured" in run(capsys, *words)[1]
    assert "measured: each by itself" in run(capsys, *words, "--method", "activation_patching")[1]


def test_a_changed_recording_is_not_compared(capsys, recordings, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(recordings / "gpt2", folder)
    piece = sorted(folder.glob("*.safetensors"))[0]
    data = bytearray(piece.read_bytes())
    data[-1] ^= 1
    piece.write_bytes(data)
    code, _, err = run(capsys, "compare", str(folder), str(folder))
    assert (code, "damaged or missing" in err) == (2, True)


def test_every_neuron_is_described_and_kept(capsys, tmp_path):
    out = str(tmp_path / "words")
    page = tmp_path / "words.html"
    words = ["describe", "organism:cat", "--tokens", "1", "--top", "2", "--out", out, "--report", str(page)]
    code, shown, err = run(capsys, *words)
    assert (code, "cat/blocks.0.mlp.act/neurons/7" in shown, "␣sat" in shown) == (0, True, True)
    assert "vocabulary over the units of cat: 0 forward passes, and at most " in err
    assert "neurons/<wbr>7" in page.read_text()
    found = json.loads(run(capsys, "info", out, "--json")[1])
    assert (found["kind"], found["n"], found["author"]) == ("descriptions", 32, "rule/vocabulary 1")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the old cat\n\nthe dog\n")
    gated = run(capsys, "describe", "organism:neuron-llama", "--inputs", str(prompts), "--json")
    assert all("gate" in unit for unit in json.loads(gated[1])["descriptions"])


def test_the_units_of_one_prompt_stand_in_an_atlas(capsys, tmp_path):
    text, atlas = tmp_path / "text.txt", str(tmp_path / "cat.atlas")
    text.write_text("the old cat sat. the old dog ran. " * 8)
    assert run(capsys, "atlas", "bake", "organism:cat", "--inputs", str(text), "--out", atlas)[0] == 0
    words = ["attribute", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran", "--atlas", atlas]
    code, _, err = run(capsys, *words)
    assert (code, "graph added" in err) == (0, True)
    layers = json.loads(run(capsys, "atlas", "info", atlas, "--json")[1])
    assert "the old cat" in json.dumps(layers)
    code, _, err = run(capsys, *words, "--level", "edge")
    assert (code, "circuit find --atlas" in err) == (2, True)


def test_an_explainer_of_images_is_evaluated_on_the_models_own_answers(capsys):
    words = ["evaluate", "organism:digits-cnn", "--inputs", "digits:0:2", "--curve", "insertion", "--controls", "19"]
    found = json.loads(run(capsys, *words, "--json")[1])
    model = digits.build("digits-cnn")
    classes = [model.answer_name(int(model.run(f"digits:{i}").logits[0].argmax())) for i in range(2)]
    task = Task(tuple(Case(f"digits:{i}", targets=(name,)) for i, name in enumerate(classes)), "logit", "digits:0:2")
    scores = attribute(model, task, method="occlusion")
    by_hand = find_method("insertion_deletion", "evaluate", kind="benchmark")(
        model, task, scores, curve="insertion", n_random=19
    )
    assert found["value"] == pytest.approx(by_hand.value)
    assert found["images"] == ["digits:0", "digits:1"]
    assert found["null_high"] < found["value"]


@pytest.fixture(scope="module")
def vector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vector")
    for label in ("java", "cpp"):
        texts = [case.shown.replace("\n", " ") for case in examples("java", "cpp", 20).cases if case.label == label]
        (folder / f"{label}.txt").write_text("\n".join(texts))
    words = ["steer", "fit", "organism:language-gpt2", "--sites", "blocks.3.resid_out", "--out", str(folder / "v")]
    assert main([*words, "--positive", str(folder / "java.txt"), "--negative", str(folder / "cpp.txt")]) == 0
    return folder


def test_a_kept_direction_is_the_difference_of_means_and_moves_text(capsys, vector):
    kept = Dictionary.load(vector / "v").single()
    texts = {label: (vector / f"{label}.txt").read_text().splitlines() for label in ("java", "cpp")}
    made = steer(language.build("language-gpt2"), Task.of_labels(texts), sites="blocks.3.resid_out")
    np.testing.assert_array_equal(kept.decoder, made.decoder)
    words = ["steer", "apply", "organism:language-gpt2", "int x = 7;\n", "--vector", str(vector / "v")]
    few = ["--controls", "19", "--max-new-tokens", "16"]
    found = json.loads(run(capsys, *words, *few, "--json")[1])
    assert found["receipt"]["measured"]["value"] > max(found["receipt"]["controls"]["measured"])
    assert found["receipt"]["verdict"] == "weak"  # 19 random directions are too few to hold
    assert "only 19 random directions of the same norm" in found["receipt"]["sentence"]
    assert found["strength"] > 0
    assert found["perplexity_steered"]["value"] > 1
    few = ["--max-new-tokens", "16", "--n", "4", "--controls", "1"]
    back = json.loads(run(capsys, *words, *few, "--strength", str(-found["strength"]), "--json")[1])
    assert back["receipt"]["measured"]["value"] < 0
    code, out, err = run(capsys, *words, *few)
    assert (code, "random directions" in out, "at random" in err) == (0, True, True)
    assert "perplexity" in out


def test_a_direction_of_another_model_is_refused(capsys, vector):
    code, _, err = run(capsys, "steer", "apply", "organism:language-llama", "int x", "--vector", str(vector / "v"))
    assert (code, "a basis of language-llama" in err) == (2, True)


def test_an_edit_changes_one_answer_and_is_kept_and_undone(capsys, tmp_path):
    model = "organism:language-gpt2"
    told = rewrite("lies", 0)
    (tmp_path / "others.txt").write_text("\n".join(case.shown for case in told.others.cases))
    (tmp_path / "more.txt").write_text("\n".join(case.shown for case in told.paraphrases.cases))
    words = ["edit", model, "--prompt", "Arbon lies in", "--subject", "Arbon", "--target", " Norland"]
    words += ["--position", "last", "--n-prefixes", "3", "--steps", "25", "--controls", "9"]
    words += ["--others", str(tmp_path / "others.txt"), "--paraphrases", str(tmp_path / "more.txt")]
    words += ["--out", str(tmp_path / "edit"), "--save-model", str(tmp_path / "model")]
    code, out, err = run(capsys, *words, "--json")
    found = json.loads(out)
    assert (code, "forward" in err) == (0, True)
    assert found["text"]["without"].startswith(" Velia")
    assert found["text"]["edited"].startswith(" Norland")
    assert found["answer_is_likeliest"] is True
    assert found["effects"]["undone"] is True
    assert found["effects"]["specificity"]["value"] >= 0.9
    assert found["effects"]["specificity"]["n"] == len(told.others)
    assert found["effects"]["receipt"]["measured"]["value"] > max(found["effects"]["receipt"]["controls"]["measured"])
    assert Edit.load(tmp_path / "edit").after == found["after"] != found["before"]
    assert run(capsys, "generate", str(tmp_path / "model"), "Arbon lies in", "--max-new-tokens", "1")[1].count(
        "Norland"
    )
    assert run(capsys, "generate", model, "Arbon lies in", "--max-new-tokens", "1")[1].count("Velia")
    code, out, _ = run(capsys, "info", str(tmp_path / "edit"))
    assert (code, found["after"][:12] in out) == (0, True)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["steer", "fit", "organism:cat", "--positive", "nowhere", "--negative", "nowhere", "--out", "x"], "nowhere"),
        (
            [
                "steer",
                "fit",
                "organism:cat",
                "--positive",
                "x",
                "--negative",
                "x",
                "--out",
                "x",
                "--method",
                "rank_one",
            ],
            "among diff_mean",
        ),
        (["steer", "apply", "organism:cat", "the cat", "--vector", "nowhere"], "nowhere"),
        (["steer", "apply", "organism:cat", "the cat", "--vector", "x", "--strength", "much"], "neither auto"),
        (["steer", "apply", "organism:cat", "the cat", "--vector", "x", "--n", "1"], "--n from 2 on"),
        (
            ["edit", "organism:cat", "--prompt", "the cat", "--subject", "dog", "--target", " sat"],
            "stands in the prompt",
        ),
        (["edit", "organism:cat", "--prompt", "the cat", "--subject", "cat", "--target", " sat on the"], "one token"),
        (
            ["edit", "organism:cat", "--prompt", "the cat", "--subject", "cat", "--target", " sat", "--layer", "9"],
            "a block from 0",
        ),
        (
            ["edit", "organism:cat", "--prompt", "the cat", "--subject", "cat", "--target", " sat", "--controls", "0"],
            "from 1 on",
        ),
        (
            [
                "edit",
                "organism:cat",
                "--prompt",
                "x",
                "--subject",
                "x",
                "--target",
                " a",
                "--out",
                "e",
                "--save-model",
                "e",
            ],
            "two folders",
        ),
        (["evaluate", "organism:digits-cnn", "--inputs", "digits:3", "--explainer", "relp"], "keys are regions"),
        (["evaluate", "organism:digits-cnn", "--inputs", "digits:3", "--method", "token_effect"], "among insertion"),
        (["evaluate", "organism:cat", "--inputs", "digits:3"], "a model of images"),
        (["edit", "organism:digits-cnn", "--prompt", "x", "--subject", "x", "--target", " a"], "a model of images"),
        (["attribute", "organism:cat"], "a prompt with its --target, or --pairs"),
        (
            ["attribute", "organism:cat", "the cat", "--target", " sat", "--method", "nope"],
            "among activation, activation_patching, ",
        ),
        (["attribute", "organism:cat", "the cat", "--target", " sat", "--rules", "nope"], "'nope'"),
        (["attribute", "organism:cat", "the cat", "--target", " sat", "--top", "-1"], "at least 0"),
        (
            ["attribute", "organism:cat", "the cat", "--target", " sat", "--method", "occlusion"],
            "an image in every case",
        ),
        (["attribute", "organism:cat", "the cat", "--target", " sat", "--report", "no/page.html"], "a file to write"),
        (["compare", "nowhere", "nowhere"], "nowhere"),
        (["compare", "nowhere", "nowhere", "--report", "."], "a file to write"),
        (["describe", "organism:cat", "--inputs", "nowhere"], "a text file"),
        (["describe", "organism:cat", "--side", "gate"], "gated MLPs"),
        (["describe", "organism:digits-vit"], "what its neurons write"),
        (["encode", "nowhere", "nowhere", "--split", "random"], "blocks:FOLDS"),
        (["decode", "nowhere", "--labels", "nowhere"], "a label a line"),
        (["decode", "nowhere", "--labels", "nowhere", "--split", "random"], "blocks:FOLDS"),
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
