"""Tasks and cases: what they hold, are known by, and are written as."""

import json

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core import task as tasks
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.task import Case, Part, Task

EVERY = Task(
    (
        Case("the old cat", "the old dog", (" sat",), (" ran", " fled"), "animal", "first", (Part("who", 8, 11),)),
        Case((1, 5, 7), (1, 5, 8), ("2",), ("0",), group="ids"),
        Case(np.arange(6, dtype=np.uint8).reshape(2, 3), np.zeros((2, 3), dtype=np.uint8), ("3",)),
        Case(np.array([0.5, -1.25], dtype=np.float32), targets=("1",)),
        Case("digits:17", targets=("7",)),
    ),
    "log_probability",
    "every kind",
    ((Case("too long"), "prompts that do not fit"),),
)


def test_every_kind_of_case_comes_back_from_json(tmp_path):
    EVERY.save(tmp_path / "task.json")
    for back in (Task.load(tmp_path / "task.json"), pc.read_task(tmp_path / "task.json")):
        assert (back.cases, back.skipped) == (EVERY.cases, EVERY.skipped)
        assert (back.measure, back.name, back.hash) == (EVERY.measure, EVERY.name, EVERY.hash)
        assert [getattr(case.shown, "dtype", None) for case in back.cases] == [
            getattr(case.shown, "dtype", None) for case in EVERY.cases
        ]


def test_a_case_is_known_by_what_is_asked():
    case = Case("a", "b", ("c",), ("d",), group="g")
    assert case == Case("a", "b", ("c",), ("d",), group="g")
    assert case.id == Case("a", "b", ("c",), ("d",), "label").id
    others = [Case("x", "b", ("c",), ("d",)), Case("a", "x", ("c",), ("d",)), Case("a", "b", ("x",), ("d",)),
              Case("a", "b", ("c",), ("x",)), Case("a", None, ("c",), ("d",)), Case((1,)), Case(np.ones(1)),
              Case(np.ones((1, 1))), Case(np.ones(1, dtype=np.float32))]  # fmt: skip
    assert len({case.id, *(other.id for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data["cases"][0].update(answers=[" sat"]), "'answers', which no case has"),
        (lambda data: data["cases"][0].update(targets=[5]), "where text belongs"),
        (lambda data: data["cases"][0].pop("shown"), "shown"),
        (lambda data: data.pop("skipped"), "skipped"),
    ],
)
def test_a_file_that_is_no_task_is_refused(tmp_path, change, says):
    data = Task.of("a", "b").to_json()
    change(data)
    (tmp_path / "task.json").write_text(json.dumps(data))
    with pytest.raises(Damaged, match=says):
        Task.load(tmp_path / "task.json")


def test_what_a_folder_keeps_of_a_task_fits_json(monkeypatch):
    monkeypatch.setattr(tasks, "LARGEST_ARRAY", 64)
    large = Case(np.zeros(32), np.ones(32), ("1",))
    whole = Task((large, large, Case("a")))
    kept = whole.portable(3)
    assert len(kept) == 1
    assert Task.from_json(json.loads(json.dumps(kept.to_json()))).cases == (large,)
    assert EVERY.portable(2).cases == EVERY.cases[:2]
    assert Task((Case(np.zeros(65)),)).portable(3) is None


def test_a_draw_of_a_task_is_one_of_its_file(tmp_path):
    rows = [{"clean": f"a {i}", "corrupted": "b", "answer": " x", "wrong": " y"} for i in range(9)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    whole = pc.open_task(tmp_path / "pairs.jsonl")
    some = pc.open_task(whole, n=4, seed=2)
    assert some.cases == pc.open_task(tmp_path / "pairs.jsonl", n=4, seed=2).cases
    assert [whole.cases.index(case) for case in some.cases] == sorted(whole.cases.index(case) for case in some.cases)
    assert pc.open_task(whole, measure="probability_difference").measure == "probability_difference"


def test_explain_takes_a_task_of_one_case_alone(organism):
    cat = organism("cat")
    task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
    how = {"method": "attribution_patching", "levels": ["neuron"], "top": 2, "n_controls": 20}
    by_task = pc.explain(cat, task, **how)
    by_words = pc.explain(cat, "the old cat", " sat", contrast=" ran", counterpart="the old dog", **how)
    assert by_task.to_json() == by_words.to_json()
    for asked, given in (
        (Task(task.cases * 2), {}),
        (task, {"target": " sat"}),
        (task, {"counterpart": "the old dog"}),
    ):
        with pytest.raises(PatchclampError, match="a task of one case, and nothing beside it"):
            pc.explain(cat, asked, **given)


def test_images_are_read_with_a_class_each(organism):
    cnn = organism("digits-cnn")
    task = Task((Case("digits:17", "digits:3", ("7",), ("3",)), Case("digits:18", "digits:18", ("8",), ("3",))))
    cases = cnn.read(task, least=0.0)
    assert cases.count_skipped() == {"a counterpart that is the same": 1}
    z = [cnn.run(name).logits[0].flatten().double() for name in ("digits:17", "digits:3")]
    assert cases.m_clean[0] == pytest.approx(float(z[0][7] - z[0][3]), abs=1e-5)
    assert cases.m_counterpart[0] == pytest.approx(float(z[1][7] - z[1][3]), abs=1e-5)
    assert cases.read[0].explained == "logit('7') − logit('3')"
    assert cases.pictures[0].name == cases.read[0].prompt
    with pytest.raises(PatchclampError, match="an image in every case"):
        _ = organism("cat").read(Task.of("the old cat", " sat")).pictures


def test_answers_that_the_vocabulary_lacks_are_skipped_and_refused_alone(organism):
    cat = organism("cat")
    good, strange = (Case("the old cat", "the old dog", (" sat",), (word,)) for word in (" ran", " unicorned"))
    cases = cat.read(Task((good, strange)))
    assert cases.ids == [good.id]
    assert cases.task.skipped == ((strange, "answers that the vocabulary lacks"),)
    with pytest.raises(PatchclampError, match="' unicorned', which it reads as '<unk>'"):
        cat.read(Task((strange,)))


@pytest.mark.parametrize(
    "case",
    [
        {"shown": "x", "targets": "12"},
        {"shown": {"ids": [1.7, 2]}},
        {"shown": {"ids": "123"}},
        {"shown": {"ids": {"1": 2}}},
        {"shown": {"ids": [10**30]}},
        {"shown": {"array": [1.5, 2], "dtype": "int64"}},
        {"shown": {"array": [300], "dtype": "uint8"}},
        {"shown": {"array": [1e300], "dtype": "float16"}},
    ],
)
def test_a_task_is_read_as_it_stands_or_not_at_all(case):
    data = {**Task.of("x", " y").to_json(), "cases": [case]}
    with pytest.raises(Damaged, match="a whole task"):
        Task.from_json(data)
