"""Labels read from planted activity: near the Bayes accuracy where there is something, chance where there is not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.conditions import check_cases
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Picture
from patchclamp.organisms.populations import make

RNG_SEED = 3


@pytest.fixture(scope="module")
def brain():
    return make("brain-classes")


@pytest.fixture(scope="module")
def found(brain):
    return pc.decode(brain.recording, brain.labels, brain.blocks)


def balanced(found, labels) -> float:
    """Return the mean over classes of the share of each class' rows whose largest discriminant is its own."""
    said = [found.names[i] for i in found.predicted.argmax(1)]
    true = [case.label for case in labels.cases]
    return float(np.mean([np.mean([s == c for s, t in zip(said, true, strict=True) if t == c]) for c in found.names]))


def test_labels_are_read_nearly_as_well_as_by_who_knows_the_means(brain, found):
    assert brain.bayes - 0.06 < found.summary.value < brain.bayes + 0.03
    assert found.summary.null.high < found.summary.low
    assert found.summary.value == pytest.approx(balanced(found, brain.labels))
    assert found.summary.value == pytest.approx(np.mean([one.value for one in found.scores]))
    assert [one.unit for one in found.scores] == ["recall"] * 4


def test_the_bayes_accuracy_is_that_of_who_knows_the_means():
    large = make("brain-classes", n_blocks=200)
    said = large.signal.argmax(1)
    names = large.labels.labels
    true = [names.index(case.label) for case in large.labels.cases]
    assert np.mean(said == true) == pytest.approx(large.bayes, abs=0.01)


def test_a_random_split_reads_labels_where_there_are_none():
    drifting = make("brain-classes", variant="drift")
    honest = pc.decode(drifting.recording, drifting.labels, drifting.blocks).summary
    chosen = np.random.default_rng(RNG_SEED).integers(0, 6, len(drifting.labels))
    with pytest.raises(pc.PatchclampError, match="folds of rows that stand together"):
        pc.Split.leave_out(chosen.tolist())
    # Who says that the rows are apart, which they are not, gets what a random split gives.
    leaking = pc.decode(drifting.recording, drifting.labels, pc.Split.leave_out(chosen.tolist(), apart=True)).summary
    assert drifting.bayes == pytest.approx(0.25, abs=1e-6)
    assert honest.value < 0.4
    assert honest.p > 0.05
    assert leaking.value > 0.75
    assert leaking.p == 0.05  # nor does a null in random order see it


def test_mute_and_drifting_channels_weigh_little(brain, found):
    weight = np.linalg.norm(found.weights - found.weights.mean(1, keepdims=True), axis=1)
    reads, kinds = np.linalg.norm(brain.means, axis=0) > 0.5, np.array(brain.kinds)
    assert weight[reads].min() > weight[kinds == "mute"].max()


def test_two_classes_are_read_as_by_their_difference(brain):
    rows = [i for i, case in enumerate(brain.labels.cases) if case.label in ("face", "word")]
    names = ("face", "word")
    x = brain.recording["channels"][rows]
    recording = replace(
        brain.recording, stimuli=tuple(brain.recording.stimuli[i] for i in rows), values={"channels": x}
    )
    labels = pc.Task(tuple(brain.labels.cases[i] for i in rows))
    found = pc.decode(recording, labels, pc.Split.blocks(len(rows), folds=6))
    assert set(found.names) == set(names)
    assert found.summary.value == pytest.approx(balanced(found, labels))
    assert found.summary.value > 0.85  # Φ(2 / √2) = 0.92
    assert found.summary.null.low < 0.5 < found.summary.null.high
    np.testing.assert_allclose(found.weights.sum(1), 0, atol=1e-9)


def case(label: str, shown=(1,)) -> pc.Case:
    return pc.Case(shown, label=label)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda cases: cases[:-1], "as many stimuli"),
        (lambda cases: [*cases[:-1], case("")], "case 575 without one"),
        (lambda cases: [case("one")] * len(cases), "1 class"),
        (lambda cases: [*cases[:-1], case("rare")], "0 of 'rare' beside rows 480 to 575"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(brain, change, match):
    labels = pc.Task(tuple(change(list(brain.labels.cases))))
    with pytest.raises(pc.PatchclampError, match=match):
        pc.decode(brain.recording, labels, brain.blocks)


def test_showings_of_one_stimulus_in_two_folds_are_refused(brain):
    first = brain.recording.stimuli[0]
    again = replace(brain.recording, stimuli=(first, *brain.recording.stimuli[1:-1], first))
    with pytest.raises(pc.PatchclampError, match="all showings of a stimulus in one fold"):
        pc.decode(again, brain.labels, brain.blocks)


def test_labels_of_other_texts_are_refused():
    model = pc.load("organism:cat")
    recording = model.run(["the old cat", "the old dog"], record="blocks.0.mlp.act").recording
    labels = pc.Task((case("a", "the old cat"), case("b", "the cat")))
    with pytest.raises(pc.PatchclampError, match=r"'the cat' beside 'the old dog' at 1"):
        pc.decode(recording, labels, pc.Split(np.array([0, 1])))


def test_pictures_are_known_by_their_names_and_tokens_by_their_ids(cat):
    zero, one = (np.full((4, 4), i, dtype=np.uint8) for i in range(2))
    shown = tuple(Picture.of(x, name=f"folder/{i}.png") for i, x in enumerate((zero, one)))
    seen = SimpleNamespace(stimuli=shown)
    check_cases(seen, [pc.Case("elsewhere/0.png"), pc.Case("1.png")])
    check_cases(seen, [pc.Case(zero), pc.Case(one)])
    with pytest.raises(PatchclampError, match=r"'1\.png' beside '0\.png' at 0"):
        check_cases(seen, [pc.Case("1.png"), pc.Case("0.png")])
    read = SimpleNamespace(stimuli=cat.stimuli(["the old cat", "the old dog"]))
    ids = [tuple(one.ids.tolist()) for one in read.stimuli]
    check_cases(read, [pc.Case(one) for one in ids])
    with pytest.raises(PatchclampError, match="'the old cat' at 0"):
        check_cases(read, [pc.Case(one) for one in reversed(ids)])


def test_without_scikit_learn_the_extra_is_named(brain, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.discriminant_analysis", None)
    with pytest.raises(pc.PatchclampError, match=r"patchclamp\[science\]"):
        pc.decode(brain.recording, brain.labels, brain.blocks)


def test_a_method_that_predicts_recordings_is_refused(brain):
    with pytest.raises(pc.PatchclampError, match="a Recording as targets, for ridge"):
        pc.decode(brain.recording, brain.labels, brain.blocks, method="ridge")
