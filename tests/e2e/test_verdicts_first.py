"""The verdict comes first: what a stranger asks is answered in one sentence, with what to be careful of."""

import re
from dataclasses import replace

import pytest

import patchclamp as pc
from patchclamp import organisms
from patchclamp.loaders import load
from patchclamp.recipes import explain

MOVER = organisms.card("mover-gpt2")
ASKED = ("organism:mover-gpt2", MOVER["prompt"], "--target", MOVER["target"], "--contrast", MOVER["contrast"])


def lines_of(say, *words):
    code, out, _ = say("explain", *words, json_too=False)
    assert code == 0
    return out.splitlines()


def test_the_planted_circuit_holds_and_twenty_lines_say_it(say):
    lines = lines_of(say, *ASKED)
    assert len(lines) <= 24
    assert lines[1].startswith(
        "Holds: with these 9 units set to zero, the lead of ' Mary' over ' John' falls from 8.08 to 0.00 logits;"
    )
    assert "none of 99 random sets does as much (p = 0.01)." in " ".join(" ".join(lines[1:3]).split())
    assert "Block 0 · head 1" in "\n".join(lines)
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("Try "))]
    assert not [line for line in table if "blocks." in line]
    assert len(lines_of(say, *ASKED, "--full")) > 2 * len(lines) - 10
    # Units in series carry the same effect: the sum of their predictions is no prediction.
    total = say("explain", *ASKED)[1]["predicted"]
    assert f"{total:+.3f}" not in "\n".join(lines_of(say, *ASKED, "--full"))


def test_an_answer_that_the_model_does_not_give_is_said_to_be_none(say):
    lines = lines_of(say, "organism:cat", "the old cat", "--target", " ran", "--contrast", " sat")
    out = " ".join("\n".join(lines).split())
    assert lines[1].startswith("No evidence: ")
    assert "chance does as well: 20 of 99 random sets do as much, either way (p = 0.21)" in out
    assert "Caution: The model itself would rather say ' sat' (98.0%) than ' ran' (1.8%)." in out
    assert "Caution: The model does not prefer this answer, so no percentage is given." in out


@pytest.mark.parametrize(
    ("words", "cautions"),
    [
        (("organism:cat", "the old cat", "--target", " sat the", "--contrast", " ran the"), ("read at its first",)),
        (
            ("organism:digits-cnn", "digits:17", "--target", "3", "--contrast", "8"),
            ("would rather say '7'", "does not prefer this answer"),
        ),
        (("organism:language-gpt2", "Arbon lies in", "--target", " zzzz☃"), ("would rather say", "read along all")),
    ],
)
def test_what_a_stranger_asks_is_answered_with_cautions_and_without_shares(say, words, cautions):
    lines = lines_of(say, *words, "--controls", 20, "--full")
    told = [line for line in lines if line.startswith("Caution: ")]
    for caution in cautions:
        assert any(caution in line for line in told), (caution, told)
    shares = re.findall(r"([-\d]+)%", "\n".join(lines).partition("Receipt")[2].partition("Random sets match")[0])
    assert all(0 <= int(share) <= 100 for share in shares)
    if "does not prefer this answer" in cautions:
        assert not shares


def test_a_random_unit_has_no_evidence_and_the_planted_ones_hold():
    mover = load("organism:mover-gpt2")
    found = explain(mover, MOVER["prompt"], MOVER["target"], contrast=MOVER["contrast"])
    assert (found.verdict, found.graph().about["grade"]) == ("holds", "holds")
    assert repr(found).splitlines()[1] == found.sentence == found.graph().about["sentence"]
    assert found.to_json()["receipts"]["sentence"] == found.sentence
    assert list(found.cautions) == found.graph().about["cautions"] == found.to_json()["cautions"]
    randoms = found.receipts.randoms
    one = replace(found.receipts.receipt, measured=replace(found.receipts.receipt.measured, value=randoms.measured[0]))
    assert one.verdict == "no evidence"
    assert one.sentence.startswith("No evidence: ")
    assert pc.Receipt is type(one)
