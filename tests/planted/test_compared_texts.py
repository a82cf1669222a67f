"""Panels on two descriptions and two continuations: what judges are shown, and whose score is whose."""

from dataclasses import dataclass, field

import pytest

from patchclamp.calibrate.corpora import make_evidence
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import change
from patchclamp.describe.compared_texts import SHOWN, compare_continuations, compare_descriptions
from patchclamp.describe.panel import PanelOptions
from patchclamp.loaders import load
from patchclamp.organisms.judges import SimulatedJudge

ONE = PanelOptions(perspectives=("accuracy",), layers=1)


@dataclass(frozen=True)
class Marked(SimulatedJudge):
    """Counts the marked passages that a description's token is in, and keeps what it is asked."""

    asked: list = field(default_factory=list, compare=False)

    def compare(self, question, first, second, perspective, reviews):
        self.asked.append((question, first, second))
        return tuple(float(question.count(f"<<{text.split(chr(34))[1]}>>")) for text in (first, second))


def test_the_rule_of_the_unit_wins_over_that_of_another_unit():
    cat, key = load("organism:cat"), "blocks.0.mlp.act/neurons/7"
    _, exemplars = make_evidence(cat, "blocks.0.mlp.act")
    own, other = 'the token " cat"', 'the token " dog"'
    for texts, better in (((own, other), "first"), ((other, own), "second")):
        judge = Marked()
        assert compare_descriptions(judge, cat, exemplars, key, *texts, ONE).winner == better
        question = judge.asked[0][0]
        active, silent = question.split("It is silent in:")
        token = own.split('"')[1]
        assert active.count("Passage") == silent.count("Passage") == SHOWN
        assert active.count(f"<<{token}>>") >= SHOWN
        assert "<<" not in silent
    with pytest.raises(PatchclampError, match="a unit that the exemplars show"):
        compare_descriptions(Marked(), cat, exemplars, "nowhere/neurons/0", own, other)


def test_the_continuation_under_a_clamp_is_the_first_text_in_both_orders():
    cat = load("organism:cat")
    clamp = [change("set", "blocks.0.mlp.act", range(16), value=20.0)]
    written = [cat.generate("the cat", interventions=on, max_new_tokens=2)[0].text for on in (clamp, [])]
    assert written[0] != written[1]

    class Named(SimulatedJudge):
        def compare(self, question, first, second, perspective, reviews):
            assert "the cat" in question
            assert {first, second} == set(written)
            return tuple(9.0 if text == written[0] else 1.0 for text in (first, second))

    verdict = compare_continuations(Named(), cat, "the cat", clamp, ONE, max_new_tokens=2)
    assert (verdict.winner, verdict.means) == ("first", (9.0, 1.0))
