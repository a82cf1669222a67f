"""The truth of descriptions on labelled text, and the rank correlation of scorers with it."""

import numpy as np
import pytest

from patchclamp.calibrate.described_truth import NAMES, LabelledUnits, correlate, measure_truth
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.describe.judge import Window
from patchclamp.organisms import language
from patchclamp.organisms.language.halves import documents_of_half, half_of

CITY = NAMES.index("city")


@pytest.fixture
def units():
    """Two units over 80 tokens: one fires on " Rome", the other on every city, Rome and Oslo."""
    tokens = (" Rome", " is", " Oslo", " was") * 20
    true = np.zeros((80, len(NAMES)), dtype=bool)
    true[::2, CITY] = True
    labels = tuple(frozenset({"city"}) if i % 2 == 0 else frozenset() for i in range(80))
    fires = np.stack([np.arange(80) % 4 == 0, np.arange(80) % 2 == 0], axis=1)
    keys = tuple(f"site/neurons/{i}" for i in range(2))
    counted = np.ones(80, dtype=bool)
    return LabelledUnits(keys, fires, np.full(2, CITY), np.ones(2), true, (Window(tokens, labels),), counted)


def described(*texts):
    index = UnitIndex([Block("site", "neurons", len(texts))], "subject")
    terms = np.array([[i if text else -1] for i, text in enumerate(texts)])
    return Descriptions(index, terms, np.ones(terms.shape), texts)


def test_a_rule_is_true_of_the_unit_or_of_its_concept(units):
    truth = measure_truth(units, described('the token " Rome"', 'the token " Rome"'))
    assert truth.firing.tolist() == [1, 0.75]
    assert truth.concept.tolist() == [0.75, 0.75]
    labelled = measure_truth(units, described('what is labelled "city"', 'what is labelled "city"'))
    assert labelled.firing.tolist() == pytest.approx([1 - 20 / 120, 1])
    assert labelled.concept.tolist() == [1, 1]


def test_a_rule_that_never_fires_is_at_chance_and_no_rule_has_no_truth(units):
    truth = measure_truth(units, described('the token " Paris"', ""))
    assert truth.firing[0] == truth.concept[0] == 0.5
    assert np.isnan(truth.firing[1])


def test_scorers_are_ranked_by_the_truth():
    draw = np.random.default_rng(0)
    truth = draw.random(200)
    truth[:20] = np.nan
    scores = {"noisy": truth + draw.normal(0, 0.1, 200), "blind": draw.random(200), "constant": np.ones(200)}
    found = correlate(scores, truth)
    assert found["noisy"].low > 0.8
    assert found["blind"].low < 0 < found["blind"].high
    assert np.isnan(found["constant"].value)
    assert found["noisy"].n == 180


def test_the_halves_share_no_template_and_no_filler():
    seen = {half: {"template": set(), "filler": set(), "task": set()} for half in (0, 1)}
    for half, kept in seen.items():
        for _, document in zip(range(400), documents_of_half(half, 3), strict=False):
            for line in document.lines:
                kept["template"].add((line.task, line.template))
                kept["task"].add(line.task)
                if line.filler:
                    kept["filler"].add((line.task, *line.filler))
    assert not seen[0]["template"] & seen[1]["template"]
    assert not seen[0]["filler"] & seen[1]["filler"]
    assert len(seen[0]["task"] & seen[1]["task"]) > 15
    assert {half_of("template", *words) for words in seen[1]["template"]} == {1}


def test_half_texts_carry_labels():
    subject = language.build("language-gpt2")
    [one] = language.text_of_half(1, 1, seed=3, model=subject)
    assert len(one.concepts) == len(one.stimulus)
