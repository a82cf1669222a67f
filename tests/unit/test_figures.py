"""A figure is shown above its random row and what it must reach, not above its oracle row; places follow the card."""

from dataclasses import replace

import numpy as np
import pytest

from patchclamp.calibrate.figures import Figure, auroc_of, chance_of, exact_figure, mean_of, share_of
from patchclamp.calibrate.measures.scores import find_planted
from patchclamp.calibrate.trials import list_places, make_trial
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method_files import find_method
from patchclamp.core.stats import Interval


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, Interval(low, high, 0.95, "by hand"), 10, "r")


OWN = estimate(0.6, 0.5, 0.7)


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (Figure("r", OWN, estimate(0.1, 0.0, 0.2), estimate(0.8, 0.7, 0.9), 0.5), ""),
        (Figure("r", OWN), ""),
        (Figure("r", OWN, least=0.61), "is below 0.61"),
        (Figure("r", OWN, estimate(0.3, 0.0, 0.65)), "does not lie above chance"),
        (Figure("r", OWN, estimate(0.55, 0.52, 0.58)), "does not lie above chance"),
        (Figure("r", OWN, None, exact_figure(0.4, OWN)), "lies above what knows the truth"),
        (Figure("r", Estimate(float("nan"), None, 3, "r")), "is below"),
    ],
)
def test_what_is_lacking_is_said(figure: Figure, words: str):
    assert words in figure.failure
    assert bool(figure.failure) == bool(words)
    assert figure.to_json()["failure"] == figure.failure


def test_rows_hold_what_was_counted():
    assert share_of(3, 4, "share").value == 0.75
    assert mean_of(np.array([2.0]), "r").interval is None
    drawn = chance_of(np.arange(101.0), "r")
    assert (drawn.value, drawn.low, drawn.high) == (50.0, 2.5, 97.5)
    area = auroc_of(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert (area.value, area.high) == (1.0, 1.0)


def test_planted_parts_first_are_shown_and_others_or_ties_are_not():
    sizes = np.random.default_rng(0).random(500)
    sizes[[3, 7, 11]] = 2.0
    assert [figure.failure for figure in find_planted(sizes, [3, 7, 11])] == ["", ""]
    found, above = find_planted(sizes, [3, 7, 12])
    assert found.own.value == pytest.approx(2 / 3)
    others = np.delete(sizes, [3, 7, 12])
    assert above.own.value == pytest.approx(np.mean([(others < sizes[i]).mean() for i in (3, 7, 12)]))
    assert all(figure.failure for figure in find_planted(np.ones(500), [3, 7, 11]))


def test_places_follow_the_card_and_what_is_named_to_be_missed_is_not_shown():
    card = find_method("relp", "attribute")
    chosen = replace(card, calibrated_on=("planted/neuron-*", "cat:edges"), must_miss={"neuron-llama": "for a test"})
    assert list_places(chosen) == [("neuron-gpt2", "show"), ("neuron-llama", "miss"), ("cat:edges", "show")]
    assert make_trial(chosen, "cat:edges").options == {"level": "edge"}
    assert make_trial(chosen, "cat").options == {}
    with pytest.raises(PatchclampError, match="an organism among"):
        list_places(replace(card, calibrated_on=("cat", "no-such-*")))
    for place in ("cat:no-such-task", "brain-linear:no-such-variant", "language-gpt2"):
        with pytest.raises(PatchclampError):
            make_trial(card, place)
