"""Reading tasks from files and by name: the layouts, what is drawn, and what is refused and how."""

import json

import pytest

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task
from patchclamp.core.task_files import read_task

UNEQUAL = Case("Mary saw Tom", "Mary saw Tom and", (" a",), (" b",))
OWN = "clean,corrupted,answer,wrong,group\nthe old cat,the old dog, sat, ran,animals\n"


def write(tmp_path, text, name="pairs.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_own_layout_as_csv_and_as_json_lines(tmp_path):
    one = Case("the old cat", "the old dog", (" sat",), (" ran",), group="animals")
    assert list(read_task(write(tmp_path, OWN)).cases) == [one]
    assert list(read_task(write(tmp_path, "\ufeff" + OWN.replace("\n", "\r\n"))).cases) == [one]
    row = {"clean": one.shown, "corrupted": one.counterpart, "answer": " sat", "wrong": [" ran"], "group": "animals"}
    assert list(read_task(write(tmp_path, "\n" + lines(row) + "\n\n", "pairs.jsonl")).cases) == [one]


def test_several_answers(tmp_path):
    several = write(tmp_path, 'clean,corrupted,answers,wrongs\n"a, b",c, x| y,z\n')
    assert list(read_task(several).cases) == [Case("a, b", "c", (" x", " y"), ("z",))]
    listed = write(tmp_path, lines({"clean": "a", "corrupted": "c", "answers": [" x|", " y"], "wrongs": ["z"]}))
    assert read_task(listed).cases[0].targets == (" x|", " y")


def test_ioi_answers_with_the_name_that_occurs_once(tmp_path):
    text = (
        ",clean,corrupted,corrupted_hard,correct_idx,incorrect_idx\n"
        '1,"Then, Aaron and Amber were out. Aaron gave a drink to","Then, Aaron and Amber were out. Tiffany gave a '
        'drink to",-,47764,26757\n'
        '2,"Mary and John went out, John gave a drink to","Mary and John went out, Tom gave a drink to",-,1,2\n'
    )
    first, second = read_task(write(tmp_path, text)).cases
    assert (first.targets, first.contrasts) == ((" Amber",), (" Aaron",))
    assert (second.targets, second.contrasts) == ((" Mary",), (" John",))
    assert first.counterpart.endswith("Tiffany gave a drink to")


def test_greater_than_parts_the_years_at_the_label(tmp_path):
    text = "clean,corrupted,label\nfrom 1352 to 13,from 1301 to 13,52\nfrom 1604 to 16,from 1601 to 16,4\n"
    first, second = read_task(write(tmp_path, text)).cases
    assert first.targets[0] == "53"
    assert first.contrasts[-1] == "52"
    assert len(first.targets) + len(first.contrasts) == 100
    assert second.targets[0] == "05"


def test_agreement_goes_by_its_fields(tmp_path):
    row = {"clean_prefix": "The uncle", "patch_prefix": "The uncles", "clean_answer": " is", "patch_answer": " are",
           "case": "singular"}  # fmt: skip
    assert list(read_task(write(tmp_path, lines(row), "test.json")).cases) == [
        Case("The uncle", "The uncles", (" is",), (" are",), group="singular")
    ]


def test_a_named_layout_is_held_to(tmp_path):
    with pytest.raises(PatchclampError, match=r"line 2 of pairs\.csv"):
        read_task(write(tmp_path, OWN), layout="ioi")
    with pytest.raises(PatchclampError, match="a layout among own, ioi, greater-than, agreement"):
        read_task(write(tmp_path, OWN), layout="sva")


def test_the_files_that_the_field_uses(shared):
    folder = shared / "data" / "circuits"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/circuits, which is not part of the repository")
    ioi, years = (read_task(folder / name).cases for name in ("ioi.csv", "greater_than_data.csv"))
    simple = read_task(folder / "sva" / "simple_test.json").cases
    assert (len(ioi), len(years), len(simple)) == (499, 1000, 120)
    for pair in ioi:
        [answer], [wrong] = pair.targets, pair.contrasts
        assert (pair.shown.count(answer), pair.counterpart.count(answer)) == (1, 1)
        assert (pair.shown.count(wrong.strip()), pair.counterpart.count(wrong.strip())) == (2, 1)
    assert {pair.group for pair in simple} == {"singular", "plural"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "at least one case"),
        ("clean,corrupted,answer,wrong\n", "at least one case"),
        ("prompt,answer\na,b\n", "a column clean; got line 1 .*'prompt', 'answer'. Mend the names in line 1"),
        ("clean,corrupted,answer\na,b,c\n", "a column wrong or wrongs; got line 1"),
        (OWN + "the old cat,the old dog, sat, sat,\n", "line 3 .*' sat' as both"),
        (OWN + "the old cat,the old dog,, ran,\n", "line 3 .*an empty part"),
        (OWN + ",the old dog, sat, ran,\n", "line 3"),
        (OWN + "one,two\n", "5 columns, as the first line has; got line 3"),
        (OWN + "a,b,c,d,e,f\n", "line 3 .*more or fewer"),
        (OWN + '"open,b,c,d,e\n', "CSV, fields with commas in quotes; got line 3"),
        (OWN + f"{'x' * 200_000},b,c,d,e\n", "CSV.*field larger"),
        (OWN.encode() + b"caf\xe9,b,c,d,e\n", "UTF-8"),
        (lines({"clean": "a"}) + "{\n", "a column corrupted; got line 1 .*remove that line"),
        (lines({"clean": "a", "corrupted": "b", "answer": "c", "wrong": "d"}) + "{'a'}\n", "a line; got line 2"),
        (lines({"clean": "a", "corrupted": "b", "answer": "c", "wrong": "d"}) + "[1]\n", "object a line; got line 2"),
        (lines({"clean": 3, "corrupted": "b", "answer": "c", "wrong": "d"}), "text under clean"),
        (lines({"clean": "a", "corrupted": "b", "answer": [], "wrong": "d"}), "at least one answer"),
        (lines({"clean": ["a", "b"], "corrupted": "b", "answer": "c", "wrong": "d"}), "one clean"),
        (lines({"clean": "\ud800", "corrupted": "b", "answer": "c", "wrong": "d"}), "text under clean"),
        ('{"clean": ' + "[" * 100_000 + "\n", "one JSON object a line"),
        ("clean,corrupted,label\na,b,99\n", "00 to 98"),
        ("clean,corrupted,label\na,b,x\n", "00 to 98"),
        ("clean,corrupted,correct_idx\nAnn and Bo and Ann and Bo,b,3\n", "one name that occurs once"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_refused_by_its_line(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(PatchclampError, match=says):
        read_task(path)


def test_what_is_no_file_is_refused(tmp_path):
    for path, says in ((tmp_path, "is a folder"), (tmp_path / "none.csv", "is not there")):
        with pytest.raises(PatchclampError, match=says):
            read_task(path)


# -- opening ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def gpt2(organism):
    return organism("language-gpt2")


def test_a_task_is_held_out_unless_its_training_side_is_asked(gpt2):
    held, train = (gpt2.read(pc.open_task(f"task:ioi{side}", gpt2, n=20)) for side in ("", "/train"))
    assert len(held) == len(train) == 20
    assert not {pair.id for pair in held.task.cases} & {pair.id for pair in train.task.cases}
    assert (held.m_clean > 0).all()
    assert (held.m_counterpart < 0).all()
    again = gpt2.read(pc.open_task("task:ioi", gpt2, n=20))
    assert again.ids == held.ids
    other = gpt2.read(pc.open_task("task:ioi", gpt2, n=20, seed=1))
    assert other.ids != held.ids


def test_sets_of_answers_are_told_by_probability(gpt2):
    years = gpt2.read(pc.open_task("task:years", gpt2, n=8))
    assert {metric.kind for metric in years.metrics} == {"probability_difference"}
    assert all(not set(pair.targets) & set(pair.contrasts) for pair in years.task.cases)
    assert (years.m_clean > years.m_counterpart).all()
    assert gpt2.read(pc.open_task("task:ioi", gpt2, n=2)).metrics[0].kind == "logit_difference"


def test_a_file_is_drawn_from_in_its_order_and_what_cannot_be_asked_is_counted(gpt2, tmp_path):
    asked = gpt2.read(pc.open_task("task:agreement", gpt2, n=12)).task.cases
    rows = [{"clean": p.shown, "corrupted": p.counterpart, "answer": p.targets, "wrong": p.contrasts} for p in asked]
    longer = {**rows[0], "corrupted": rows[0]["corrupted"] + " and the"}
    same = {**rows[1], "corrupted": rows[1]["clean"]}
    path = write(tmp_path, lines(*rows, longer, same), "pairs.jsonl")
    found = gpt2.read(pc.open_task(path, gpt2))
    assert len(found) == 12
    assert found.count_skipped() == {
        "prompts of unequal length": 1, "a counterpart that is the same": 1
    }  # fmt: skip
    some = gpt2.read(pc.open_task(str(path), gpt2, n=5, seed=3))
    assert len(some) + len(some.task.skipped) == 5
    order = found.ids
    assert [order.index(pair.id) for pair in some.task.cases] == sorted(
        order.index(pair.id) for pair in some.task.cases
    )
    assert len(gpt2.read(Task(asked))) == 12


def test_a_planted_organism_has_one_pair():
    found = pc.load("organism:cat").read(pc.open_task("planted", "cat"))
    assert found.task.cases[0].counterpart == "the old dog"
    assert found.m_clean[0] == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("planted", {}, "a planted organism; got language-gpt2"),
        ("task:nothing", {}, "task"),
        ("task:ioi", {"n": 0}, "1 to 100,000 cases"),
        ("nowhere.csv", {}, "is not there"),
        (
            Task((UNEQUAL,)),
            {},
            "a corrupted prompt of 4 tokens, as the prompt has; got 5 tokens; they depart at",
        ),
        (Task((UNEQUAL, UNEQUAL)), {}, "at least one case that language-gpt2 can read; got 2 with prompts of unequal"),
    ],
)
def test_what_cannot_be_opened_is_refused(gpt2, source, options, says):
    with pytest.raises(PatchclampError, match=says):
        gpt2.read(pc.open_task(source, gpt2, **options))


def test_only_organisms_have_tasks():
    with pytest.raises(PatchclampError, match="a planted organism; got digits-cnn"):
        pc.load("organism:digits-cnn").read(pc.open_task("planted", "digits-cnn"))
    with pytest.raises(PatchclampError, match="which have tasks; got cat"):
        pc.load("organism:cat").read(pc.open_task("task:ioi", "cat"))
