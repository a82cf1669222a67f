"""`patchclamp evaluate` of a circuit, as a process and in this one."""

import json

import numpy as np
import pytest

import patchclamp as pc
from forks import run_command
from hand_made import circuit as by_hand
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.core.basis import Basis
from patchclamp.core.circuit import load_circuit
from patchclamp.core.dictionary import Dictionary

MODEL = "organism:language-gpt2"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two circuits of nodes, found on six train pairs: by attribution patching, and exactly."""
    model = pc.load(MODEL)
    train = model.read(pc.open_task("task:agreement/train", model, n=6))
    made = tmp_path_factory.mktemp("circuits")
    for method in ("attribution_patching", "activation_patching"):
        attribute_pairs(model, train, method=method).save(made / method)
    return made


def test_a_circuit_is_judged_in_words_and_as_a_picture(folders, tmp_path):
    words = ["evaluate", MODEL, folders / "attribution_patching", "--pairs", "task:agreement", "--n", "3"]
    more = ("--controls", "20", "--exact", folders / "activation_patching", "--out", tmp_path / "c.svg")
    done = run_command(*words, *more, "--full")
    assert done.returncode == 0, done.stderr
    for said in ("3 held-out pairs", "whole model", "area", "Minimality", "Recovery of exact patching", "random order"):
        assert said in done.stdout
    assert "sets of parts" in done.stderr
    assert "of memory" in done.stderr
    assert (tmp_path / "c.svg").read_text().startswith("<svg")


def test_the_verdict_comes_first_and_few_lines_say_it(say, tmp_path):
    model = pc.load("organism:copy-gpt2")
    task = pc.open_task("planted", model)
    scores = attribute_pairs(model, model.read(task), method="activation_patching")
    scores.save(tmp_path / "found")
    asked = ("evaluate", "organism:copy-gpt2", tmp_path / "found", "--pairs", "planted", "--seen")
    code, out, _ = say(*asked, json_too=False)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split(":")[0] in ("Holds", "Weak")
    assert "2 of 11 parts keep the whole effect, on 1 pair, on which it was found;" in lines[0]
    assert "minimality" not in out.casefold()
    assert len(lines) < 20
    code, out, _ = say(*asked, "--full", json_too=False)
    assert (code, "Minimality" in out) == (0, True)


def test_as_json_it_holds_every_pair(say, folders, tmp_path):
    code, found, _ = say(
        "evaluate", MODEL, folders / "attribution_patching", "--pairs", "task:agreement", "--n", 3,
        "--sizes", "3,60%", "--controls", 20, "--out", tmp_path / "all.json",
    )  # fmt: skip
    assert code == 0
    assert [p["size"] for p in found["points"]] == [1, 2, 3, 4, 7, 10, 12]
    assert np.array(found["each"]["m_kept"]).shape == (7, 3)
    assert found["found_on"] == 6
    assert found["seen"] == 0
    assert json.loads((tmp_path / "all.json").read_text())["points"] == found["points"]
    low, high = found["area"]["low"], found["area"]["high"]
    assert (low, high) == (pytest.approx(1 / 21), pytest.approx(10 / 21))  # 60 % is on the curve, not in the area


def test_a_mean_over_train_pairs_stands_outside(say, folders):
    code, found, _ = say(
        "evaluate", MODEL, folders / "attribution_patching", "--pairs", "task:agreement", "--n", 8,
        "--baseline", "mean", "--train", "task:agreement/train", "--controls", 20,
    )  # fmt: skip
    assert code == 0
    assert "6 train pairs" in found["baseline"]
    assert found["pairs"] + found["left_out"].get("a length that no train pair has", 0) == 8


def test_edges_are_judged_as_units_are(say, tmp_path):
    from patchclamp.attribute.edges import attribute_edges

    model = pc.load("organism:copy-gpt2")
    pairs = model.read(pc.open_task("planted", model))
    attribute_edges(model, pairs).save(tmp_path / "edges")
    asked = ("evaluate", "organism:copy-gpt2", tmp_path / "edges", "--pairs", "planted")
    assert say(*asked)[0] == 2  # found on this very pair
    code, found, _ = say(*asked, "--seen")
    assert code == 0
    assert found["seen"] == 1
    assert "WHICH IT WAS FOUND" in found["told"]
    at_two = next(p for p in found["points"] if p["size"] >= 2)
    assert at_two["kept"]["value"] == pytest.approx(1.0, abs=0.01)
    assert at_two["random"]["value"] < 0.5


def test_a_circuit_of_features_needs_its_basis(say, tmp_path):
    cat = pc.load("organism:cat")
    lab = Basis("lab", "directions", decoder=np.eye(16, dtype=np.float32))
    basis = Dictionary({"blocks.0.mlp.act": lab}, {"slug": "cat", "hash": cat.hash}, "by hand")
    basis.save(tmp_path / "lab")
    parts = tuple(f"blocks.0.mlp.act/lab/{i}" for i in range(16))
    asked = {"level": "feature", "subject": "cat", "subject_hash": cat.hash}
    by_hand(parts, np.eye(16)[7], **asked).save(tmp_path / "circuit")
    other = by_hand(parts, np.eye(16)[7], **asked, bases={"blocks.0.mlp.act/lab": "0" * 64})
    other.save(tmp_path / "other")
    asked = ("evaluate", "organism:cat", tmp_path / "circuit", "--pairs", "planted")
    code, found, _ = say(*asked)
    assert (code, found["error"]["got"]) == (2, "'lab'")
    assert "--basis" in found["error"]["remedy"]
    code, found, _ = say(*asked, "--basis", tmp_path / "lab")
    assert code == 0
    assert found["points"][0]["kept"]["value"] == pytest.approx(1.0, abs=1e-4)
    code, found, _ = say(*asked[:2], tmp_path / "other", "--pairs", "planted", "--basis", tmp_path / "lab")
    assert (code, "lab 000000000000" in found["error"]["expected"]) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--baseline", "mean"], "--train"),
        (["--train", "task:agreement/train"], "--baseline corrupted and --train"),
        (["--sizes", "ten"], "'ten'"),
        (["--sizes", "100"], "100"),
        (["--controls", "3"], "3"),
        (["--out", "curve.png"], "curve.png"),
        (["--out", "nowhere/at/all.svg"], "nowhere"),
        (["--pairs", "task:agreement/train"], "all of which it was found on"),
        (["--exact", "nothing-there"], "nothing-there"),
    ],
)
def test_bad_options_end_in_three_parts_before_a_cost_is_stated(say, folders, words, said):
    pairs = [] if "--pairs" in words else ["--pairs", "task:agreement"]
    asked = ["evaluate", MODEL, folders / "attribution_patching", *pairs, "--n", "6", *words]
    code, found, err = say(*asked)
    assert code == 2
    assert "sets of parts" not in err
    assert said in json.dumps(found["error"])
    assert set(found["error"]) >= {"expected", "got", "remedy"}


def test_a_circuit_of_another_model_and_a_damaged_folder_are_refused(say, folders, tmp_path):
    code, found, _ = say("evaluate", "organism:cat", folders / "attribution_patching", "--pairs", "planted")
    assert (code, "a circuit of cat" in found["error"]["expected"]) == (2, True)
    load_circuit(folders / "attribution_patching").save(tmp_path / "hurt")
    arrays = next(path for path in sorted((tmp_path / "hurt").rglob("*")) if path.suffix in (".npz", ".safetensors"))
    data = bytearray(arrays.read_bytes())
    data[-3] ^= 1
    arrays.write_bytes(bytes(data))
    code, found, _ = say("evaluate", MODEL, tmp_path / "hurt", "--pairs", "task:agreement", "--n", 2)
    assert code == 2
    code, found, _ = say("evaluate", MODEL, tmp_path, "--pairs", "task:agreement")
    assert code == 2


def test_out_replaces_nothing_but_an_earlier_evaluation(say, folders, tmp_path):
    few = ("--n", 3, "--controls", 20)
    words = ("evaluate", MODEL, folders / "attribution_patching", "--pairs", "task:agreement", *few, "--out")
    graph, mine = tmp_path / "graph.json", tmp_path / "mine.json"
    graph.write_text('{"format": "patchclamp-graph"}')
    code, found, _ = say(*words, graph)
    assert (code, "holds something else" in found["error"]["got"]) == (2, True)
    assert graph.read_text() == '{"format": "patchclamp-graph"}'
    for _ in range(2):
        assert say(*words, mine)[0] == 0


def test_explain_replaces_no_json_but_a_graph(say, tmp_path):
    words = ("explain", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran", "--top", 1, "--out")
    (tmp_path / "other.json").write_text('{"mine": 1}')
    code, found, _ = say(*words, tmp_path / "other.json")
    assert (code, "holds something else" in found["error"]["got"]) == (2, True)
    for _ in range(2):
        assert say(*words, tmp_path / "graph.json")[0] == 0
