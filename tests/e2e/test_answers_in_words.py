"""What explain, attribute and edit say of an answer: how much is read, what the model itself says, what it costs."""

import json
import re
from dataclasses import replace

import pytest

from patchclamp.core.task import Task
from patchclamp.loaders import load
from patchclamp.recipes import explain, find_circuit
from patchclamp.report.terminal.explanation import show_explanation

CAT = ("organism:cat", "the old cat", "--target", " sat", "--contrast", " ran")


def test_explain_states_every_backward_pass(say):
    words = ("explain", *CAT, "--top", "2", "--controls", "20")
    assert "25 backward passes" in say(*words, "--method", "smoothgrad")[2]
    assert "1 backward pass," in say(*words, "--method", "relp")[2]


def test_the_seed_reaches_what_a_method_draws():
    model = load("organism:mover-gpt2")
    prompt, other = (f"When Mary and John went to the store, {name} gave a drink to" for name in ("John", "Mary"))
    task = Task.of(prompt, " Mary", contrast=" John", counterpart=other)
    how = {"method": "smoothgrad", "n_controls": 20, "top": 2}
    totals = [explain(model, task, **how, seed=seed).total for seed in (0, 1, 1)]
    assert totals[0] != totals[1] == totals[2]
    circuits = [find_circuit(model, task, **how, seed=seed).values.sum() for seed in (0, 1, 1)]
    assert circuits[0] != circuits[1] == circuits[2]


LONG = ("organism:cat", "the old cat", "--target", " sat the", "--contrast", " ran the")
FIRST = [f"' {word} the' has 2 tokens and is read at its first, ' {word}'" for word in ("sat", "ran")]
WHOLE = "' sat the' has 2 tokens and is read along all of them, as log P"


def test_explain_says_which_token_of_an_answer_is_scored(say, tmp_path):
    page = tmp_path / "page.html"
    how = ("--top", 2, "--controls", 20)
    assert say("explain", *LONG, *how, "--report", page)[1]["question"]["answer_notes"] == FIRST
    assert "has 2 tokens and is read at its first" in page.read_text()
    assert "answer_notes" not in say("explain", *CAT, *how)[1]["question"]
    out = " ".join(say("explain", *LONG, *how, json_too=False)[1].split())
    assert f"Caution: {FIRST[0]}. Caution: {FIRST[1]}." in out


@pytest.mark.parametrize(("words", "notes"), [(LONG, FIRST), (LONG[:4], [WHOLE]), (CAT, None)])
def test_attribute_says_which_tokens_of_an_answer_are_scored(say, words, notes):
    assert say("attribute", *words)[1]["provenance"]["extra"].get("answer_notes") == notes
    out = say("attribute", *words, json_too=False)[1]
    assert [line for line in out.splitlines() if line.startswith("note: ")] == [f"note: {one}" for one in notes or ()]


def test_verbs_over_pairs_say_which_token_of_an_answer_is_scored(say, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    answers = [(" sat the", " ran the"), (" sat", " ran")]
    cases = [{"clean": "the old cat", "corrupted": "the old dog", "answer": a, "wrong": b} for a, b in answers]
    pairs.write_text("".join(json.dumps(case) + "\n" for case in cases))
    noted = [*FIRST, "1 of 2 cases have answers of several tokens"]
    how = ("organism:cat", "--pairs", pairs)
    _, found, err = say("circuit", "find", *how, "--top", 1, "--out", tmp_path / "circuit")
    assert found["about"]["answer_notes"] == noted
    assert f"note: {FIRST[0]}" in err
    _, found, err = say("patch", *how, "--sites", "blocks.*.mlp.write", "--out", tmp_path / "patched")
    assert found["provenance"]["extra"]["answer_notes"] == noted
    assert f"note: {FIRST[0]}" in err


def test_no_share_beyond_the_whole_is_printed(cat_explained, capsys):
    for together, why in ((16.0, "take more than m(clean) − m(baseline)"), (-2.0, "raise m")):
        receipts = cat_explained.receipts
        measured = replace(receipts.receipt.measured, value=together, interval=None)
        changed = replace(
            cat_explained, receipts=replace(receipts, receipt=replace(receipts.receipt, measured=measured))
        )
        show_explanation(changed, "organism:cat", full=True)
        out = capsys.readouterr().out
        assert f"No share is given: these units {why}" in " ".join(out.split())
        shares = re.findall(r"(-?\d+)%", out.partition("Receipt")[2].partition("No share")[0])
        assert all(0 <= int(share) <= 100 for share in shares)
        assert changed.to_json()["normalised"]["measured"] == pytest.approx(changed.share(together))


def test_explain_says_first_that_the_model_itself_answers_otherwise(cat_explained, capsys):
    show_explanation(cat_explained, "organism:cat")
    assert "would rather say" not in capsys.readouterr().out
    show_explanation(replace(cat_explained, probability=0.012, likeliest=((" lay", 0.9),)), "organism:cat")
    assert "Caution: The model itself would rather say ' lay' (90.0%) than ' sat' (1.2%)." in capsys.readouterr().out


@pytest.fixture
def cat_explained():
    return explain(load("organism:cat"), "the old cat", " sat", contrast=" ran", top=1, n_controls=20)


def test_edit_says_first_that_the_new_answer_is_not_the_likeliest(say):
    words = [
        "edit",
        "organism:language-gpt2",
        "--prompt",
        "Arbon lies in",
        "--subject",
        "Arbon",
        "--target",
        " Norland",
    ]
    words += ["--steps", 1, "--controls", 2, "--max-tokens", 2048]
    out = " ".join(say(*words, json_too=False)[1].split())
    assert out.startswith("The new answer ' Norland' is not the likeliest with the edit: the model writes '")
    assert "Verdict:" not in out
    assert "try --position last" in out
    assert "changed (no change)" not in out
