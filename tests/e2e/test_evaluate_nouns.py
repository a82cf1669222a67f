"""`patchclamp evaluate` reads what lies in the folder, and `learn` trains on a stream of tasks."""

import json

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.dictionary import Dictionary
from patchclamp.organisms.learners import make

CAT = "organism:cat"


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("the old cat\nthe dog\nthe old dog\n")
    return path


@pytest.fixture
def direction(tmp_path):
    up = pc.Basis("up", "directions", decoder=np.eye(16)[7:8], site="blocks.0.mlp.act")
    Dictionary.of(up).save(tmp_path / "up")
    return tmp_path / "up"


def test_a_direction_is_evaluated_over_prompts(say, direction, prompts):
    words = ("evaluate", CAT, direction, "--prompts", prompts, "--strength", 5, "--controls", 19, "--max-new-tokens", 2)
    code, found, err = say(*words)
    assert (code, found["strength"], found["receipt"]["measured"]["n"]) == (0, 5.0, 3), err
    assert found["receipt"]["controls"]["different"] == 19
    code, out, _ = say(*words, json_too=False)
    assert code == 0
    assert "over 3 prompts" in out
    assert found["receipt"]["sentence"].partition(":")[0] in out
    assert "Side effect" in out


def test_descriptions_are_evaluated_by_clamping_what_they_describe(say, organism, prompts, tmp_path):
    assert say("describe", "organism:neuron-gpt2", "--out", tmp_path / "words")[0] == 0
    code, found, err = say("evaluate", "organism:neuron-gpt2", tmp_path / "words", "--prompts", prompts)
    assert (code, found["unit"]) == (0, "nats of log p"), err
    expected = pc.evaluate(
        pc.Descriptions.load(tmp_path / "words"),
        organism("neuron-gpt2"),
        pc.Task.of_labels({"text": prompts.read_text().splitlines()}),
    )
    assert found == json.loads(json.dumps(expected.to_json()))


def test_an_atlas_gives_the_mean_score_of_its_descriptions(say, seeded_atlas, tmp_path):
    code, found, _ = say("evaluate", seeded_atlas)
    scores = [one.value for each in pc.atlas.open(seeded_atlas).descriptions() for one in each.scores]
    assert code == 0
    measures = [one["described"] for method in found["methods"] for one in method["measures"]]
    assert sum(one["n"] for one in measures) == len(scores) > 1
    assert sum(one["n"] * one["value"] for one in measures) / len(scores) == pytest.approx(np.mean(scores))
    (tmp_path / "t.txt").write_text("the old cat sat on the mat.\n" * 20)
    assert say("atlas", "bake", CAT, "--inputs", tmp_path / "t.txt", "--out", tmp_path / "a")[0] == 0
    code, found, _ = say("evaluate", tmp_path / "a")
    assert (code, found["error"]["expected"]) == (2, "an atlas whose descriptions have scores")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--pairs", "planted"], "--inputs with features"),
        (["--prompts", "PROMPTS", "--sizes", "3"], "options of a direction"),
        (["--inputs", "PROMPTS", "--strength", "3"], "options of features"),
        (["--inputs", "PROMPTS", "--controls", "19"], "options of features"),
        ([], "--inputs with features"),
    ],
)
def test_what_is_not_said_of_a_noun_is_refused_before_a_model_is_loaded(say, direction, prompts, words, expected):
    words = [str(prompts) if word == "PROMPTS" else word for word in words]
    code, found, _ = say("evaluate", "organism:nowhere", direction, *words)
    assert (code, found["error"]["expected"]) == (2, expected)


def test_what_cannot_be_evaluated_is_named(say, story, tmp_path):
    say("record", CAT, "--inputs", story, "--sites", "blocks.0.mlp.act", "--out", tmp_path / "r", "--max-tokens", 40)
    code, found, _ = say("evaluate", CAT, tmp_path / "r", "--inputs", story)
    assert (code, "kind recording" in found["error"]["got"]) == (2, True)
    code, found, _ = say("evaluate", CAT)
    assert (code, found["error"]["got"]) == (2, "neither")


def test_learn_prints_accuracy_after_every_task_beside_plain_training(say, tmp_path):
    words = ("learn", "--n", 200, "--passes", 2)
    code, found, _ = say(*words, "--out", tmp_path / "t")
    assert code == 0
    plain = make("learner-subspaces", n_train=200, n_test=100).plain
    assert found["plain"]["accuracy"] == plain.tolist()
    assert len(found["accuracy"]) == 6
    kept = pc.Training.load(tmp_path / "t")
    assert [list(row) for row in kept.accuracy] == found["accuracy"]
    assert found["bwt"]["value"] == kept.bwt.value > found["plain"]["bwt"]["value"]
    again = say(*words, "--out", tmp_path / "t", "--resume")
    assert (again[0], again[1]["accuracy"]) == (0, found["accuracy"])
    code, out, _ = say(*words, json_too=False)
    assert code == 0
    assert "after task 5" in out
    assert "plain gradient descent on the same tasks: ACC" in out
    code, found, _ = say("info", tmp_path / "t", json_too=False)
    assert code == 0
    assert "after task 5" in found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["learner-nothing"], "a planted stream among"),
        (["--n", "3"], "--n of at least 50"),
        (["--resume"], "--resume with --out"),
        (["--rows", "-1"], "the arguments that its help shows"),
    ],
)
def test_bad_words_of_learn_are_refused(say, words, expected):
    code, found, _ = say("learn", *words)
    assert code == 2
    assert expected in found["error"]["expected"]
