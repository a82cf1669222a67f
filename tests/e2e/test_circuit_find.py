"""Circuits on the command line: found, kept, measured, drawn and put into an atlas; what cannot be is said."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import patchclamp as pc
from forks import run_command
from hand_made import circuit as by_hand
from patchclamp.cli import main
from patchclamp.core.basis import Basis
from patchclamp.core.circuit import load_circuit
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.recipes.circuit import choose_measured, with_extra
from patchclamp.recipes.group_ablation import ablate_group

MODEL = "organism:language-gpt2"
PAIRS = ["--pairs", "task:ioi/train", "--n", 8]


def test_a_circuit_is_told_kept_and_drawn(tmp_path):
    done = run_command("circuit", "find", MODEL, *PAIRS, "--out", tmp_path / "c", "--top", 3, "--full")
    assert done.returncode == 0, done.stderr
    assert "8 pairs used, 0 set aside" in done.stderr
    assert "rows of forward passes" in done.stderr
    assert done.stderr.index("of memory") < done.stderr.index("circuit written")
    assert "these 3 together" in done.stdout
    assert re.search(r"Embedding +embed/whole/0 +\+\d", done.stdout)
    found = load_circuit(tmp_path / "c")
    assert len(found) == 21
    assert found.per_case.shape == (8, 21)
    assert len(found.provenance.extra["cases"]) == len(found.provenance.extra["task"]["cases"]) == 8
    assert found.provenance.options == {"level": "node", "by_position": False, "direction": "noise"}
    np.testing.assert_allclose(found.per_case.mean(0), found.values, rtol=1e-5)
    page = (tmp_path / "c" / "circuit.html").read_text()
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="', page)
    assert "embed/whole/0" in page
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _attributes: seen.append(tag)
    parser.feed(page)
    assert seen.count("svg") == 1
    again = run_command("info", tmp_path / "c")
    assert again.returncode == 0
    assert again.stdout == done.stdout


def test_pairs_the_wrong_way_round_have_no_shares_and_small_sets_no_p(tmp_path):
    rows = [
        {"clean": f"the {word}cat", "corrupted": f"the {word}dog", "answer": " ran", "wrong": " sat"}
        for word in ("", "old ")
    ]
    (tmp_path / "turned.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = ("circuit", "find", "organism:cat", "--pairs", tmp_path / "turned.jsonl", "--level", "node")
    done = run_command(
        *asked, "--method", "activation_patching", "--direction", "denoise", "--top", 10, "--out", tmp_path / "c"
    )
    assert done.returncode == 0, done.stderr
    assert "m reads the token ' ran' against ' sat' (first pair)" in done.stderr
    assert "in 2 of 2 pairs m is lower on the clean prompt" in done.stderr
    assert "No percentages are given: m is not clearly higher" in done.stdout
    told = json.loads(run_command("info", tmp_path / "c", "--json").stdout)["receipt"]
    assert (told["measured_share"], told["random_share"]) == (None, None)

    model = pc.load("organism:cat")
    found = load_circuit(tmp_path / "c")
    mlps = [i for i, part in enumerate(found.parts) if ".mlp." in part]
    heads = [i for i, part in enumerate(found.parts) if ".attn." in part]
    pairs = model.read(pc.open_task(tmp_path / "turned.jsonl", model))
    together = ablate_group(model, found, pairs, [*mlps, heads[0]], alone=False)
    assert together.receipt.controls.size == 1  # a head: no other MLP is left
    assert np.isnan(together.receipt.p)
    smaller = {**found.provenance.extra["receipt"], "p": None, "size": 1}
    with_extra(found, receipt=smaller).save(tmp_path / "d")
    told = run_command("info", tmp_path / "d").stdout
    assert "No p: random sets have only 1 parts" in told
    assert "as many parts of each kind" not in told


@pytest.mark.parametrize(
    ("level", "method"), [("node", None), ("neuron", None), ("edge", "eap"), ("edge", "eap_ig"), ("edge", "relp")]
)
def test_as_json_every_claim_has_its_receipt(say, tmp_path, level, method):
    words = [] if method is None else ["--method", method]
    code, told, _ = say("circuit", "find", MODEL, "--pairs", "task:ioi/train", "--n", 3, "--level", level, *words,
                        "--out", tmp_path / "c", "--top", 2)  # fmt: skip
    assert code == 0
    assert told["level"] == level
    # 21 nodes are measured, 2,064 neurons and heads are predicted.
    assert told["method"] == (method or {"node": "activation_patching", "neuron": "attribution_patching"}[level])
    receipt = told["receipt"]
    scores = {part["part"]: part for part in told["parts"]}
    assert receipt["predicted"] == pytest.approx(sum(scores[name]["score"] for name in receipt["parts"]), rel=1e-6)
    assert len(receipt["randoms"]) == receipt["distinct"] <= 99
    assert receipt["measured"] > 5 > abs(receipt["random_mean"])
    assert [scores[name]["measured"] is None for name in receipt["parts"]] == [False, False]
    first = told["parts"][0]
    assert first["low"] <= first["score"] <= first["high"]
    if told["method"] != "activation_patching":
        assert set(receipt["agreement"]) == {"spearman", "ratio"}
        assert receipt["random_predicted"] is not None
    else:  # scores of patching are what is measured
        assert receipt["agreement"] is None
        assert [scores[name]["measured"] for name in receipt["parts"]] == pytest.approx(
            [scores[name]["score"] for name in receipt["parts"]], rel=1e-4
        )


def test_denoising_scores_stand_beside_denoising_measurements(say, tmp_path):
    code, told, _ = say("circuit", "find", MODEL, *PAIRS, "--direction", "denoise", "--top", 3, "--out", tmp_path / "c")
    assert code == 0
    assert told["about"]["settings"]["direction"] == "denoise"
    alone = {part["part"]: part for part in told["parts"]}
    for name in told["receipt"]["parts"]:  # measured once as a score, once for the receipt
        assert alone[name]["measured"] == pytest.approx(alone[name]["score"], rel=1e-4)
    assert "What m gains" in (tmp_path / "c" / "circuit.html").read_text()
    assert "what m gains" in run_command("info", tmp_path / "c").stdout


def test_what_was_predicted_is_held_against_what_was_measured(say, tmp_path):
    words = ["circuit", "find", MODEL, *PAIRS, "--method", "relp", "--top", 5]
    code, told, _ = say(*words, "--out", tmp_path / "c")
    assert code == 0
    parts = [part for part in told["parts"] if part["measured"] is not None]
    predicted, measured = (np.array([part[kind] for part in parts]) for kind in ("score", "measured"))
    found = told["receipt"]["agreement"]
    assert found["ratio"] == pytest.approx(np.median(measured / predicted), rel=1e-6)
    ranks = [np.argsort(np.argsort(x)) for x in (predicted, measured)]
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    shown = " ".join(run_command("info", tmp_path / "c").stdout.split())
    page = (tmp_path / "c" / "circuit.html").read_text()
    assert f"The measured effect is {found['ratio']:.2f} times the predicted one (median over the 5 parts)." in shown
    assert "times the predicted one (median over the 5 parts)." in page
    for said in (shown, page):
        assert "Each of these 5 parts was also replaced by itself." in said
        assert "trust what is measured" in said
    measured_all = run_command("circuit", "find", MODEL, *PAIRS, "--out", tmp_path / "d")
    assert "21 parts, by activation_patching" in measured_all.stderr
    assert "predicted  95" not in measured_all.stdout
    assert "trust what is measured" not in (tmp_path / "d" / "circuit.html").read_text()
    # A folder of before, whose receipt has neither.
    old = load_circuit(tmp_path / "c")
    receipt = old.provenance.extra["receipt"]
    receipt = {k: v for k, v in receipt.items() if k not in ("agreement", "random_predicted")}
    with_extra(old, receipt=receipt).save(tmp_path / "e")
    assert run_command("info", tmp_path / "e").returncode == 0


def test_features_come_from_bases(say, tmp_path):
    model, site = pc.load("organism:cat"), "blocks.0.mlp.act"
    eye = np.eye(model.site(site).width, dtype=np.float32)
    basis = Basis("planted", "directions", eye[[3, 7]], eye[[3, 7]], activation="relu")
    Dictionary({site: basis}, {"slug": model.name, "hash": model.hash}, "by hand").save(tmp_path / "basis")
    (tmp_path / "pairs.csv").write_text("clean,corrupted,answer,wrong\nthe old cat,the old dog, sat, ran\n")
    code, told, err = say("circuit", "find", "organism:cat", "--pairs", tmp_path / "pairs.csv", "--level", "feature",
                          "--basis", tmp_path / "basis", "--method", "activation_patching",
                          "--out", tmp_path / "c")  # fmt: skip
    assert code == 0, err
    assert told["parts"][0]["part"] == f"{site}/planted/1"
    assert told["about"]["bases"] == {f"{site}/planted": basis.hash}
    assert told["parts"][0]["score"] == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--method", "eap"], "a method for nodes"),
        (["--level", "neuron", "--method", "eap_ig"], "a method for neurons"),
        (["--level", "edge", "--method", "integrated_gradients"], "a method for edges"),
        (["--method", "attribution_patching", "--rules", "ln"], "options that go together"),
        (["--method", "relp", "--rules", "magic"], "rules among"),
        (["--level", "edge", "--by-position"], "options that go together"),
        (["--level", "feature"], "options that go together"),
        (["--basis", "nowhere"], "options that go together"),
        (["--top", "0"], "options that go together"),
        (["--controls", "3"], "options that go together"),
        (["--batch-size", "0"], "options that go together"),
        (["--pairs", "nowhere.csv"], "file of pairs"),
        (["--by-position", "--n", "60"], "pairs of one length"),
        (["--n", "0"], "1 to 100,000 cases"),
    ],
)
def test_what_cannot_be_is_said_in_three_parts_before_a_cost_is_stated(say, tmp_path, words, expected):
    # An option is given once.
    given = [x for flag, value in zip(PAIRS[::2], PAIRS[1::2], strict=True) if flag not in words for x in (flag, value)]
    code, told, err = say("circuit", "find", MODEL, *given, "--out", tmp_path / "c", *words)
    assert code == 2
    assert "of memory" not in err
    assert expected in told["error"]["expected"]
    assert told["error"]["got"]
    assert told["error"]["remedy"]
    assert not (tmp_path / "c").exists()


def test_a_folder_that_holds_something_is_refused_before_anything_is_computed(say, tmp_path):
    (tmp_path / "mine").write_text("x")
    code, told, _ = say("circuit", "find", MODEL, *PAIRS, "--out", tmp_path)
    assert code == 2
    assert "which holds mine" in told["error"]["got"]
    assert [f.name for f in tmp_path.iterdir()] == ["mine"]


def planted(tmp_path):
    (tmp_path / "pairs.csv").write_text("clean,corrupted,answer,wrong\nthe old cat,the old dog, sat, ran\n")
    return ["circuit", "find", "organism:cat", "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "c"]


@pytest.mark.parametrize(("n", "few"), [(3, True), (10, False)])
def test_intervals_over_few_pairs_come_with_a_caution(say, tmp_path, n, few):
    """The percentile bootstrap over three values ends at the least and the largest: it is called too narrow."""
    words = "circuit", "find", MODEL, "--pairs", "task:ioi/train", "--n", n, "--top", 2, "--out", tmp_path / "c"
    code, out, _ = say(*words, json_too=False)
    assert code == 0
    assert (f"Only {n} pairs: intervals" in " ".join(out.split())) == few
    assert (f"Only {n} pairs: intervals" in (tmp_path / "c" / "circuit.html").read_text()) == few


def test_pairs_that_are_set_aside_are_named(say, tmp_path):
    rows = [f"the old cat,the {word}, sat, ran" for word in ("old dog", *["dog"] * 5)]
    (tmp_path / "pairs.csv").write_text("\n".join(["clean,corrupted,answer,wrong", *rows]))
    asked = "patch", "organism:cat", "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "p"
    code, _, err = say(*asked)
    assert code == 0
    assert err.count("set aside: 'the old cat', ") == 3
    assert "set aside: 2 more" in err


def test_fewer_parts_than_asked_for_are_measured_with_a_word():
    parts = tuple(f"blocks.{b}.mlp.write/whole/0" for b in range(3))
    found = by_hand(parts, [2.0, 3.0, 1.0])
    *chosen, why = choose_measured(found, 10, 20)
    assert chosen == [[1, 0], 20]
    assert "top 10 leaves no other part of these kinds among 3" in why
    assert choose_measured(found, 2, 20) == ([1, 0], 20, "")


def test_the_only_part_of_its_kind_is_measured_without_random_sets(say, tmp_path, monkeypatch):
    monkeypatch.setattr("patchclamp.recipes.circuit.count_matched", lambda *_: 0)
    code, told, err = say(*planted(tmp_path), "--top", 1)
    assert code == 0, err
    assert "no random sets are drawn" in err
    receipt = told["receipt"]
    assert (receipt["randoms"], receipt["p"], receipt["random_mean"]) == ([], None, None)
    assert receipt["measured"] == pytest.approx(receipt["alone"][0])
    code, out, _ = say("info", tmp_path / "c", json_too=False)
    assert code == 0
    assert "0 random sets, mean" in out
    assert "No p: no other part of these kinds is left" in out
    assert "no other part of these kinds is left" in (tmp_path / "c" / "circuit.html").read_text()


def test_a_set_that_is_drawn_twice_is_one_set(say, tmp_path):
    code, told, _ = say(*planted(tmp_path), "--level", "node", "--method", "activation_patching", "--top", 1)
    assert code == 0
    receipt, parts = told["receipt"], [part["part"] for part in told["parts"]]
    kind = receipt["parts"][0].rsplit("/", 2)[1]
    others = sum(f"/{kind}/" in part and not part.startswith("embed/") for part in parts) - 1
    assert receipt["asked"] == 99
    assert len(receipt["randoms"]) == receipt["distinct"] == others < 99
    low, _ = receipt["random_interval"]
    assert (low is None) == (others == 1)
    _, out, _ = say("info", tmp_path / "c", json_too=False)
    assert f"{others} random set" in out
    assert "No more random sets than these could be drawn" in out


# -- in an atlas ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    (folder / "t.txt").write_text("Ada Lane met Tom Reed. Later Ada\n" * 20)
    words = ["atlas", "bake", "organism:induction-gpt2", "--inputs", folder / "t.txt", "--out", folder / "a"]
    assert main(list(map(str, words))) == 0
    return folder / "a"


def test_a_circuit_becomes_a_layer_that_can_be_verified(say, atlas, tmp_path):
    from patchclamp.atlas.lab.verify import verify

    code, _, err = say("circuit", "find", "organism:induction-gpt2", "--pairs", "planted", "--level", "edge",
                       "--method", "activation_patching", "--out", tmp_path / "c", "--atlas", atlas)  # fmt: skip
    assert code == 0
    id = re.search(r"added to \S+ as (graph-\w+)", err)[1]
    opened = pc.atlas.open(atlas)
    page = opened.graph(id, keep=1.0)
    head, reader = (f"induction-gpt2/blocks.{b}.attn.z/heads/{h}" for b, h in ((0, 1), (1, 2)))
    assert {(e.source, e.target, e.slot) for e in page.edges} == {
        ("induction-gpt2/embed/whole/0", head, "v"), (head, reader, "k"), (reader, "output", ""),
    }  # fmt: skip
    [run] = [run for name, run in opened.reading.runs.items() if name == id]
    assert run.verb == "circuit find"
    [graph] = [layer.graph for layer in opened.reading.layers if layer.id == id]
    model = pc.load("organism:induction-gpt2")
    found = verify(model, graph, [head])
    assert found.predicted == pytest.approx(7.844, abs=0.01)
    assert found.measured == pytest.approx(7.844, abs=0.01)
    assert found.baseline == "corrupted"
    assert found.mean.value < found.measured
    both = verify(model, graph, [head, reader, head])
    assert both.nodes == 2
    assert both.predicted is None  # of two units in series scores do not add up
    assert both.measured == pytest.approx(found.measured, rel=1e-3)
    with pytest.raises(PatchclampError, match="units of this answer"):
        verify(model, graph, ["output"])


def test_a_page_or_a_layer_that_fails_costs_no_result(say, atlas, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise TypeError("unsupported format string")

    words = ["circuit", "find", "organism:induction-gpt2", "--pairs", "planted", "--atlas", atlas]
    code, whole, _ = say(*words, "--out", tmp_path / "whole")
    assert code == 0
    monkeypatch.setattr("patchclamp.report.circuit.draw", fail)
    monkeypatch.setattr("patchclamp.atlas.store.layers.write_graph", fail)
    code, told, err = say(*words, "--out", tmp_path / "c")
    assert code == 2
    assert told == whole
    assert "the page could not be made" in err
    assert "the atlas layer could not be made" in err
    assert "got      TypeError: unsupported format string" in err
    assert load_circuit(tmp_path / "c").names() == load_circuit(tmp_path / "whole").names()
    assert not (tmp_path / "c" / "circuit.html").exists()


def test_an_atlas_of_another_model_is_refused_first(say, atlas, tmp_path):
    code, told, _ = say("circuit", "find", "organism:copy-gpt2", "--pairs", "planted", "--out", tmp_path / "c",
                        "--atlas", atlas)  # fmt: skip
    assert code == 2
    assert "an atlas of copy-gpt2" in told["error"]["expected"]
    assert json.dumps(told)
    assert not (tmp_path / "c").exists()
