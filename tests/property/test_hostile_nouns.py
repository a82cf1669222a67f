"""A noun with one part exchanged is made and written as JSON, or refused in three parts; it ends in nothing else."""

import json
import math
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.core.controls import Stratum
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Edge, Node
from patchclamp.core.intervention import spans
from patchclamp.core.keys import Block, EdgeKey, UnitIndex
from patchclamp.core.metric import EachMetric
from patchclamp.core.provenance import Provenance
from patchclamp.core.task import Part
from patchclamp.train import EarlyStop, Objective, Plan

NAN, INF = math.nan, math.inf
PLAIN = [
    None, True, NAN, INF, -INF, -1, 0, 1, 10**18, 10**30, 10**400, 1.5, 1e300, "", "text", "x" * 5000, "a\0b", "\ud800",
    b"x", [], (), {}, [[1, [2]]], ["a"], ["a", "a"], [""], [None], (0,), (1, 2), (1, 1), (-1, 10**30), [NAN], [INF],
    [0.5, 1.5], [True], {"a": 1}, {"a": NAN}, {"": ""}, {"a": "b"}, {1: None}, {"a": [object()]}, {-1: -1}, range(3),
    {1}, 1j, object(), SimpleNamespace(), len, int, ((1, 2), (3,)), ((0.5, 2.0), (NAN, -1.0)), {"a": ((1, NAN),)},
]  # fmt: skip
ARRAYS = [
    np.array(0.0), np.zeros(0), np.array([NAN, 1.0]), np.array([INF]), np.array([1, 2, 3]), np.array([-1, 10**9]),
    np.array([True, False]), np.array(["a"]), np.array([None, 1], dtype=object), np.zeros((0, 3)), np.zeros((2, 0)),
    np.full((2, 2), NAN), np.zeros((2, 2), dtype=int), np.zeros((2, 2, 2)), np.zeros((3, 3, 3), dtype=np.uint8),
    torch.tensor([1.0]), torch.tensor([[1, 2]]), {"a": np.array([NAN])}, {"a": np.zeros((0, 2))}, [np.zeros(2)],
]  # fmt: skip

SITE = pc.Site("blocks.0.mlp.act", "mlp.act", 8)
UNIT = pc.UnitKey("blocks.0.mlp.act", 3)
INDEX = UnitIndex([Block("a", "neurons", 2)])
ESTIMATE = pc.Estimate(0.4, pc.Interval(0.3, 0.5, 0.95, "b"), 20, "r", pc.Interval(0.0, 0.1, 0.95, "s"), 0.05, 0.9)
SETS = pc.RandomControls(tuple((i,) for i in range(3)), "size", 0.0, 0.0, 3, 1, 0, (0.0,) * 3)
BASIS = pc.Basis("two", "directions", decoder=np.eye(2, dtype=np.float32), site="a")
CASE = pc.Case("the old cat", "the old dog", (" sat",), (" ran",), "verb", "animals", (Part("noun", 8, 11),))
METRIC = pc.Metric("logit_difference", (1,), (2,))
STIMULUS = pc.Stimulus(np.array([1, 5]), np.array([0, 3]), np.array([[-1, -1], [0, 3]]), "cat")
RECORDING = pc.Recording(
    (STIMULUS,), {"a": np.zeros((2, 4), dtype=np.float32)}, {"a": pc.Site("a", "a", 4)}, {"subject": {"slug": "cat"}}
)
STAGE = pc.Stage("one", np.eye(2), np.arange(2), np.eye(2), np.arange(2))
NOUNS = [
    SITE, UNIT, EdgeKey(UNIT, UNIT), ESTIMATE, ESTIMATE.interval, SETS, BASIS, CASE, METRIC, EachMetric((METRIC,)),
    STIMULUS, RECORDING, STAGE, pc.Stream((STAGE, STAGE)), Provenance("cat"), Part("noun", 0, 3),
    pc.Picture.of(np.zeros((4, 4), dtype=np.uint8), "black"), pc.Task((CASE,)), pc.Corpus("text.txt", window=16),
    pc.Description(UNIT, "cats", "us", ("a",), (ESTIMATE,)), pc.Dictionary({"a": BASIS}, {"slug": "cat"}, "by hand"),
    pc.Descriptions(INDEX, np.zeros((2, 1), dtype=int), np.ones((2, 1)), ["cat"], measures={"peak": np.ones(2)}),
    pc.Edit({"w": np.eye(2)}, "12ab"), pc.Graph({"slug": "cat"}, {"kind": "logit"}, (Node("a", "neuron", 1.0),)),
    Node("a", "neuron", 1.0), Edge("a", "b", 1.0), pc.change("set", "a", 7, value=1.0, at="3:5"),
    pc.change("ablate", "a", 7, mode="mean", source=RECORDING), pc.change("rows", "a", value=np.eye(2)),
    spans("3:5")[0],
    pc.Source(RECORDING), pc.When(7, above=0.5), pc.When(direction=[1.0], below=0.5), pc.Paper("2508.21258"),
    pc.Readout(np.eye(2), np.zeros(2), np.zeros(2), ("a", "b"), ("c", "d"), ("x", "y"), (ESTIMATE, ESTIMATE), ESTIMATE),
    pc.Receipt("it carries m", ("embed/neurons/0",), 2.0, ESTIMATE, SETS, {"largest activations": 0.1}),
    pc.Scores(INDEX, np.array([1.0, 2.0]), per_case=np.ones((3, 2)), measures={"n": np.ones(2)}),
    pc.Similarity(("a", "b"), ESTIMATE, first=np.eye(2), second=np.eye(2), labels=("x", "y"), rivals={"r": ESTIMATE}),
    pc.Split(np.array([0, 0, 1, 1])), Stratum("a", "neuron", None, np.ones(4), 0), Block("a", "neurons", 2),
    pc.Training(4, 2, 1, {"loss": ((1, 0.5), (2, 0.25))}, accuracy=((0.5, 0.5), (0.9, 0.5), (0.8, 0.9))),
    pc.NeuralRecording(np.zeros((2, 5, 3)), rate=10.0, groups={"all": (0, 1)}, unit_labels={"x": np.zeros(3)}),
    Plan(steps=3, clip=1.0), EarlyStop(lambda: 0.0, 3, 3), Objective(torch.nn.Linear(2, 1), lambda batch, step: 0.0),
]  # fmt: skip


def fault(noun: Any, name: str, value: Any) -> str:
    """Return what an exchanged part ends in; empty where it is taken or refused as it should be."""
    try:
        made = replace(noun, **{name: value})
        if hasattr(made, "to_json"):
            json.dumps(made.to_json())
    except PatchclampError as error:
        return "" if all(part.strip() for part in error.to_json().values()) else f"an empty part: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: type(noun).__name__)
def test_one_false_part_is_taken_or_refused(noun):
    assert fault(noun, fields(noun)[0].name, getattr(noun, fields(noun)[0].name)) == ""
    faults = {}
    for field in fields(noun):
        for value in (*PLAIN, *ARRAYS) if field.init else ():
            if wrong := fault(noun, field.name, value):
                faults.setdefault(field.name, []).append(f"{value!r:.50} → {wrong:.160}")
    assert faults == {}
