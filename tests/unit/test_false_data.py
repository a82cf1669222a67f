"""False data is refused before any work: numbers that are none, a training of other weights, what JSON cannot hold."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from patchclamp.cli import main
from patchclamp.core.bundle import Bundle
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.provenance import Provenance
from patchclamp.train import Objective, Plan, train

NAN, INF = math.nan, math.inf
UNPLAIN = [object(), NAN, INF, {1, 2}, {1: 2}, [object()], {"a": {"b": [b"x"]}}, torch.zeros(1), np.float32(1)]


@pytest.mark.parametrize("value", [NAN, INF, 10**30, 10**400, True, "1"])
@pytest.mark.parametrize("name", ["above", "below"])
def test_a_threshold_is_a_finite_number(name, value):
    with pytest.raises(pc.PatchclampError):
        pc.When(7, **{name: value})
    if value == 10**30:  # JSON has one kind of number
        assert getattr(pc.When.from_json({"unit": 7, name: value}), name) == 1e30
    else:
        with pytest.raises(pc.PatchclampError):
            pc.When.from_json({"unit": 7, name: value})


@pytest.mark.parametrize("direction", [[[1.0], [2.0, 3.0]], [NAN, 1.0], [None], "up", [], [[1.0]]])
def test_a_direction_is_one_vector_of_finite_numbers(direction):
    with pytest.raises(pc.PatchclampError):
        pc.When(direction=direction, above=0.5)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_rows_that_are_set_are_finite(make):
    whole = make([[1.0, 2.0], [3.0, 4.0]])
    assert pc.change("rows", "a", value=whole).value is whole
    for bad in (NAN, INF):
        with pytest.raises(pc.PatchclampError, match="finite numbers; got NaN or infinite"):
            pc.change("rows", "a", value=make([[1.0, 2.0], [bad, 4.0]]))


def test_expanded_rows_are_looked_at_once():
    """A view of 10¹² numbers that are all one number is checked without making them."""
    assert pc.change("rows", "a", value=torch.ones(1, 1).expand(10**6, 10**6)) is not None
    with pytest.raises(pc.PatchclampError, match="finite numbers"):
        pc.change("rows", "a", value=np.broadcast_to(np.array(NAN), (10**6, 10**6)))


def test_true_is_no_value():
    with pytest.raises(pc.PatchclampError, match="a finite number"):
        pc.change("set", "a", 7, value=True)


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["x" * 5000, "x" * 256, "a/" + "ü" * 200, "a\0b", "a\ud800", "/".join(["x" * 200] * 30)]
)
@pytest.mark.parametrize("opens", ["load", "load_basis", "open_task", "read_task", "load_recording", "Corpus"])
def test_a_path_that_no_file_system_has_is_refused(opens, name):
    with pytest.raises(pc.PatchclampError, match="A name has at most 255 bytes, a path 4,095"):
        getattr(pc, opens)(name)


def test_half_a_character_is_refused_in_paths_and_on_the_command_line(capsys):
    for name in ("\ud800", Path("a\ud800/b")):
        with pytest.raises(pc.PatchclampError, match="a path 4,095"):
            pc.atlas.open(name)
    assert main(["info", "\ud800"]) == 2
    assert "whole characters" in capsys.readouterr().err


def test_a_long_path_is_one():
    with pytest.raises(pc.PatchclampError, match="is not there"):
        pc.open_task("/".join(["x" * 250] * 10))


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def loss_of(net):
    return lambda batch, step: net(batch).square().mean()


BATCHES = [torch.ones(4, 2)]


def test_an_optimizer_of_other_parameters_is_refused(net):
    before = net.weight.detach().clone()
    other = nn.Linear(2, 1)
    for made in (
        lambda ps: torch.optim.SGD(other.parameters(), lr=0.1),
        lambda ps: torch.optim.SGD([*ps, *other.parameters()], lr=0.1),
        lambda ps: torch.optim.SGD([p.detach().clone() for p in ps], lr=0.1),
    ):
        with pytest.raises(pc.PatchclampError, match="which are others"):
            train(Objective(net, loss_of(net), made), BATCHES, Plan(steps=2))
    train(Objective(net, loss_of(net), lambda ps: torch.optim.SGD(ps[:1], lr=0.1)), BATCHES, Plan(steps=2))
    assert not torch.equal(before, net.weight)  # a part of them may be trained


def test_a_loss_that_does_not_depend_on_the_module_is_refused(net):
    other = nn.Linear(2, 1)
    with pytest.raises(pc.PatchclampError, match="a loss that depends on the parameters"):
        train(Objective(net, loss_of(other)), BATCHES, Plan(steps=2))


@pytest.mark.parametrize("value", UNPLAIN, ids=lambda v: type(v).__name__)
def test_what_json_cannot_hold_is_refused_before_the_first_step(net, tmp_path, value):
    before = net.weight.detach().clone()
    with pytest.raises(pc.PatchclampError, match=r"in about; got .*about"):
        train(Objective(net, loss_of(net)), BATCHES, Plan(steps=2), about={"data": value}, out=tmp_path / "out")
    assert torch.equal(before, net.weight)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", UNPLAIN, ids=lambda v: type(v).__name__)
def test_what_json_cannot_hold_is_refused_in_every_free_mapping(tmp_path, value):
    basis = pc.Basis("two", "directions", decoder=np.eye(2, dtype=np.float32))
    free = {"a": value}
    for make in (
        lambda: Provenance(extra=free),
        lambda: Provenance(options=free),
        lambda: pc.Graph({"slug": "cat"}, {"kind": "logit"}, (), about=free),
        lambda: pc.Graph({"slug": "cat"}, free, ()),
        lambda: Dictionary({"a": basis}, {}, "by hand", about=free),
        lambda: Bundle.create(tmp_path / "bundle", kind="scores", manifest=free),
    ):
        with pytest.raises(pc.PatchclampError):
            make()
    assert not (tmp_path / "bundle").exists()


# -- tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clean,corrupted,answer,answer,wrong\na,b,c,d,e\n", "each column once; got line 1 of .*'answer' twice"),
        ("clean,corrupted,answer,answers,wrong\na,b,c,d,e\n", "got line 1 .*both answer and answers"),
        ("clean,corrupted,answer,wrong,wrongs\na,b,c,d,e\n", "got line 1 .*both wrong and wrongs"),
        ("clean,corrupted,answer,wrong,wieght\na,b,c,d,e\n", "columns among .*; got line 1 .*'wieght'"),
        ("clean,corrupted,answers,wrong\na,b,c|c,d\n", "each once; got line 2 .*'c' twice"),
        ("clean,corrupted,answer,wrongs\na,b,c,d|e|d\n", "each once; got line 2 .*'d' twice"),
        ("clean,corrupted,answers,wrongs\na,b,c|d,d|e\n", "got line 2 .*'d' as both"),
        ("clean,corrupted,label,answer2\na,b,52,c\n", "got line 1 .*'answer2'"),
    ],
)
def test_a_table_says_each_thing_once(tmp_path, text, says):
    path = tmp_path / "task.csv"
    path.write_text(text)
    with pytest.raises(pc.PatchclampError, match=says):
        pc.read_task(path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"answer": "c", "answers": ["d"], "wrong": "e"}, "got line 2 .*both answer and answers"),
        ({"answer": "c", "wrong": "e", "weight": 2}, "got line 2 .*'weight'"),
        ({"answers": ["c", "d", "c"], "wrong": "e"}, "got line 2 .*'c' twice"),
    ],
)
def test_a_line_of_json_says_each_thing_once(tmp_path, row, says):
    path = tmp_path / "task.jsonl"
    good = {"clean": "a", "corrupted": "b", "answer": "c", "wrong": "d"}
    path.write_text("\n".join(json.dumps(one) for one in (good, {"clean": "a", "corrupted": "b", **row})))
    with pytest.raises(pc.PatchclampError, match=says):
        pc.read_task(path)


def test_a_column_of_row_numbers_without_a_name_is_passed_over(tmp_path):
    path = tmp_path / "task.csv"
    path.write_text(",clean,corrupted,answer,wrong\n0,a,b,c,d\n")
    assert pc.read_task(path).cases == (pc.Case("a", "b", ("c",), ("d",)),)


def test_a_token_counts_once_in_a_metric():
    for sides in (((5, 5), (1,)), ((5,), (1, 2, 1))):
        with pytest.raises(pc.PatchclampError, match="each token once"):
            pc.Metric("logit_difference", *sides)
    assert pc.Metric("sequence_log_probability", (5, 5), positions=(0, 1)).target == (5, 5)


def test_a_list_is_the_tuple_that_is_annotated():
    case = pc.Case("a", "b", [" c"], [" d"])
    assert case == pc.Case("a", "b", (" c",), (" d",))
    assert case.targets == (" c",)
    assert hash(pc.Metric("logit", [5])) == hash(pc.Metric("logit", (5,)))
