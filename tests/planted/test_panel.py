"""Panels of simulated judges: bias leaves no trace, width averages what is private, depth what others saw."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.describe.panel import PanelOptions, judge_pair
from patchclamp.describe.panels.wide_deep import METHOD as WIDE_DEEP
from patchclamp.organisms.judges import SimulatedJudge, make

BETTER, WORSE = "of quality 5.00", "of quality 4.00"


def panel(width: int, **given) -> PanelOptions:
    return PanelOptions(perspectives=tuple(f"view {i}" for i in range(width)), epsilon=0.0, **given)


def differences(judge: SimulatedJudge, options: PanelOptions, n: int) -> np.ndarray:
    pairs = (judge_pair(judge, f"question {i}", BETTER, WORSE, options) for i in range(n))
    return np.array([one.difference for one in pairs])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_both_orders_remove_the_planted_bias_exactly(layers: int):
    options = panel(3, layers=layers)
    fair, biased = (judge_pair(SimulatedJudge(b, 0.7, 0.3), "?", BETTER, WORSE, options) for b in (0.0, 8.0))
    one_order = biased.scores[:, :, 0, 0] - biased.scores[:, :, 0, 1]
    assert np.allclose(one_order - (fair.scores[:, :, 0, 0] - fair.scores[:, :, 0, 1]), 8.0)
    assert biased.difference == pytest.approx(fair.difference, abs=1e-12)


def test_variance_falls_as_one_over_width_to_what_judges_share():
    private, shared, n = 1.0, 0.5, 400
    judge = SimulatedJudge(2.0, private, shared)
    for width in (1, 4, 16):
        found = differences(judge, panel(width, layers=1), n).var()
        expected = 2 * private**2 / width + 2 * shared**2
        assert found == pytest.approx(expected, rel=4 * np.sqrt(2 / n))


@pytest.mark.parametrize(("copied", "helps"), [(False, True), (True, False)])
def test_depth_helps_only_where_neighbours_know_something_of_their_own(copied: bool, helps: bool):
    judge = SimulatedJudge(private=0.2, slips=0.15, slip=6.0, copied=copied)
    shallow, deep = (
        np.abs(differences(judge, panel(5, layers=layers, neighbours="all", final="last"), 150) - 1).mean()
        for layers in (1, 2)
    )
    assert (deep < 0.6 * shallow) == helps
    if not helps:
        assert deep == pytest.approx(shallow, rel=0.1)


@dataclass
class Scripted:
    """Gives what a script says, and keeps what it was asked."""

    answers: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    proposed: tuple | None = None
    name: str = "scripted"
    tokens: int = 0

    def propose(self, question, first, second):
        return self.proposed

    def compare(self, question, first, second, perspective, reviews):
        self.asked.append((first, perspective, tuple(review.perspective for review in reviews)))
        self.tokens += 7
        return self.answers.get((first, perspective, bool(reviews)), (2.0, 1.0) if first == "a" else (1.0, 2.0))


def test_an_answer_that_cannot_be_read_is_missing_and_takes_its_other_order_along():
    judge = Scripted({("a", "x", False): None, ("a", "y", False): (9.0, 1.0)})
    verdict = judge_pair(judge, "?", "a", "b", PanelOptions(perspectives=("x", "y"), layers=1))
    assert verdict.counted.tolist() == [[False, True]]
    assert (verdict.missing, verdict.means, verdict.calls, verdict.tokens) == (1, (5.5, 1.0), 4, 28)
    nothing = Scripted({(shown, "x", False): answer for shown, answer in (("a", None), ("b", (float("nan"), 0.0)))})
    empty = judge_pair(nothing, "?", "a", "b", PanelOptions(perspectives=("x",), layers=1))
    assert (empty.winner, empty.missing, np.isnan(empty.difference)) == ("", 2, True)


def test_scores_within_epsilon_are_a_tie():
    judge = Scripted({("a", "x", False): (3.2, 3.0), ("b", "x", False): (3.0, 3.2)})
    options = PanelOptions(perspectives=("x",), layers=1, epsilon=0.25)
    assert judge_pair(judge, "?", "a", "b", options).winner == "tie"
    assert judge_pair(judge, "?", "a", "b", replace(options, epsilon=0.1)).winner == "first"
    assert judge_pair(judge, "?", "b", "a", replace(options, epsilon=0.1)).winner == "second"


@pytest.mark.parametrize(("neighbours", "seen"), [("window", ("x", "y")), ("all", ("x", "y", "z"))])
def test_a_judge_sees_its_own_review_first_and_those_of_its_neighbours(neighbours: str, seen: tuple):
    judge = Scripted()
    judge_pair(judge, "?", "a", "b", PanelOptions(perspectives=("x", "y", "z"), neighbours=neighbours))
    assert judge.asked[0] == ("a", "x", ())
    assert judge.asked[3] == ("a", "x", seen)
    assert judge.asked[4] == ("a", "y", ("y", "x", "z"))


def test_perspectives_may_be_proposed_and_named_ones_stand_in():
    for proposed, used in ((("tone", "length"), ("tone", "length")), (None, ("accuracy", "relevance"))):
        verdict = judge_pair(Scripted(proposed=proposed), "?", "a", "b", PanelOptions(propose=True, layers=1))
        assert (verdict.perspectives, verdict.calls) == (used, 5)
    with pytest.raises(PatchclampError, match="each once"):
        judge_pair(Scripted(), "?", "a", "b", PanelOptions(perspectives=("x", "x")))


def test_a_panel_without_answers_has_no_share():
    task = make("judges-independent", n_cases=2).task
    silent = Scripted(
        {(text, "accuracy", False): None for case in task.cases for text in (*case.targets, *case.contrasts)}
    )
    found = WIDE_DEEP(silent, task, perspectives=("accuracy",), layers=1)
    assert (found.n, found.null, np.isnan(found.value)) == (0, None, True)
    with pytest.raises(PatchclampError, match="one target and one contrast"):
        WIDE_DEEP(silent, pc.Task.of("a question", " yes"))
