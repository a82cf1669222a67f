"""Every number of every result absent in turn: tables, pages and JSON are made, and none prints nan or None."""

import json
import re
from argparse import Namespace
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.attribute.patching import patch_sites
from patchclamp.calibrate.planted import PlantedResult
from patchclamp.calibrate.trained import Agreement
from patchclamp.cli.output import emit
from patchclamp.core.circuit import draw_graph, to_document
from patchclamp.core.estimate import Estimate
from patchclamp.core.graph import Graph, Node
from patchclamp.core.matching import Comparison
from patchclamp.core.scores import Scores
from patchclamp.core.stats import Interval
from patchclamp.evaluate import evaluate_circuit
from patchclamp.evaluate.circuit_recovery import Recovery
from patchclamp.evaluate.dictionary_metrics import DictionaryMetrics, DictionaryRow
from patchclamp.recipes import explain
from patchclamp.recipes.circuit import receipt_data
from patchclamp.recipes.group_ablation import ablate_group
from patchclamp.report import draw
from patchclamp.report.circuit import render as render_circuit
from patchclamp.report.explanation import render
from patchclamp.report.size_curve import draw_sizes
from patchclamp.report.terminal import calibration, dictionary, dictionary_report, patching
from patchclamp.report.terminal.circuit import show_circuit
from patchclamp.report.terminal.classes import show_classes
from patchclamp.report.terminal.contract import show_verdicts
from patchclamp.report.terminal.explanation import show_explanation
from patchclamp.report.terminal.faithfulness import show_evaluation
from patchclamp.report.terminal.graph import show_graph
from patchclamp.report.terminal.neural import _correlation
from patchclamp.report.terminal.organism import show_measured
from patchclamp.subjects.contract.part import Verdict

ROWS = 2
"""Of a list so many numbers are taken away in turn, the others being like them."""
PRINTED = re.compile(r"(?<![\w-])-?(nan|None|inf)(?!\w)")
INTERVAL = Interval(0.25, 0.75, 0.95, "by hand")


def numbers(data, at=()):
    """Yield the place of every float in nested data."""
    if isinstance(data, float):
        yield at
    elif is_dataclass(data):
        for field in fields(data):
            yield from numbers(getattr(data, field.name), (*at, field.name))
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from numbers(value, (*at, key))
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data[:ROWS]):
            yield from numbers(value, (*at, i))


def without(data, at, absent):
    """Return nested data with another value at a place."""
    if not at:
        return absent
    first, *rest = at
    if is_dataclass(data):
        return replace(data, **{first: without(getattr(data, first), rest, absent)})
    if isinstance(data, dict):
        return {**data, first: without(data[first], rest, absent)}
    return type(data)([*data[:first], without(data[first], rest, absent), *data[first + 1 :]])


def check(data, outputs, capsys, absent=(None, float("nan"))):
    """Take every number away in turn; whatever is printed or returned says so by a dash or a word."""
    places = list(numbers(data))
    assert places
    for at in places:
        for value in absent:
            changed = without(data, at, value)
            for output in outputs:
                try:
                    text = output(changed)
                except Exception as problem:
                    raise AssertionError(f"{at} = {value}: {type(problem).__name__}: {problem}") from problem
                shown = (text or "") + capsys.readouterr().out
                assert shown, at
                found = PRINTED.search(shown)
                assert found is None, (at, value, shown[max(0, found.start() - 80) : found.end() + 40])


@pytest.fixture(scope="module")
def pairs(cat):
    return cat.read(pc.open_task("planted", cat))


@pytest.fixture(scope="module")
def found(cat, pairs):
    """A circuit with the receipt that the command keeps beside it."""
    one = attribute_pairs(cat, pairs, level="node", method="activation_patching")
    receipt = ablate_group(cat, one, pairs, [int(i) for i in one.order()[:2]])
    made = replace(
        one.provenance,
        options={**one.provenance.options, "steps": 3},
        extra={**one.provenance.extra, "gap": 0.5, "receipt": receipt_data(one, receipt)},
    )
    per_case = np.stack([one.values, one.values / 2]).astype(np.float32)
    return replace(one, provenance=made, per_case=per_case)


def test_an_explained_answer(cat, capsys):
    e = explain(cat, "the old cat", " sat", contrast=" ran", counterpart="the old rabbit", top=3)

    def as_table(changed):
        show_explanation(changed, "organism:cat")

    check(e, [as_table, lambda changed: emit(changed.to_json())], capsys, absent=[float("nan")])
    check(e.to_json(), [render], capsys)


def test_a_circuit(found, capsys):
    document = to_document(found)
    graph = draw_graph(found, 60)

    def as_table(changed):
        show_circuit(found, changed)

    check(document, [as_table, lambda changed: render_circuit(changed, graph), emit], capsys)


def test_an_evaluated_circuit(cat, found, pairs, capsys):
    evaluated = evaluate_circuit(cat, found, pairs, seen=True)
    document = evaluated.to_json()
    document["recovery"] = {**vars(Recovery(7, 2, 0.5, 0.75, 0.25, 0.5)), "interval": {"low": 0.25, "high": 0.75}}
    check(document, [show_evaluation, draw_sizes, emit], capsys)


def test_patched_sites(cat, pairs, capsys, monkeypatch):
    whole = patch_sites(cat, pairs)
    # An interval and p belong to several pairs.
    every = [Estimate(1.0, INTERVAL, 2, whole.unit, INTERVAL, 0.5) for _ in range(len(whole))]
    for at in numbers(every[:ROWS]):
        # A p that is not known is None.
        shown = [*without(every[:ROWS], at, None if at[-1] == "p" else float("nan")), *every[ROWS:]]
        monkeypatch.setattr(Scores, "estimates", lambda _, places, shown=shown: shown[: len(places)])
        patching.show(whole, ROWS)
        emit(whole.to_json())
        text = draw(whole) + capsys.readouterr().out
        assert PRINTED.search(text) is None, at
    monkeypatch.undo()
    lost = replace(whole, metric_clean=np.nan, metric_baseline=np.nan)
    patching.show(lost, ROWS)
    assert PRINTED.search(draw(lost) + capsys.readouterr().out) is None


def test_calibration(capsys):
    rows = [
        PlantedResult("cat", "integrated_gradients", 2, 1.0, 3.0, 9, 0.5, 0.1),
        PlantedResult("cat", "random", 2, 0.5, 5.0, 9, 0.5, 0.1),
    ]
    overall = {"integrated_gradients": (0.5, INTERVAL), "random": (0.25, INTERVAL)}
    both = {"rows": rows, "overall": overall}
    check(both, [lambda x: calibration.show_calibration(x["rows"], x["overall"])], capsys, absent=[float("nan")])
    check(both, [lambda x: calibration.show_edges(x["rows"], x["overall"])], capsys, absent=[float("nan")])
    two = [{"organism": "cat", "m": 1.0, "alone": [0.5, 0.25], "together": 1.0, "nodes": ["a", "b"]}]
    check(two, [calibration.show_joint], capsys)
    held = [Agreement("cat", "ioi", "integrated_gradients", 3, 0.5, INTERVAL, 0.5, INTERVAL, 0.25, INTERVAL, 1.0, 0.1)]
    check(held, [calibration.show_holdings], capsys, absent=[float("nan")])


def test_dictionaries(capsys):
    score = Estimate(0.5, INTERVAL, 4, "nats per token")
    rows = tuple(
        DictionaryRow("blocks.0.mlp.act", name, 32, score, 0.5, score, score, score, score, score)
        for name in ("topk-32", "pca")
    )
    report = DictionaryMetrics(
        rows, score, {"blocks.0.mlp.act": (0.5, 0.1)}, {"blocks.0.mlp.act": (score, score)}, 100, 3, ()
    )
    check(report, [lambda x: dictionary_report.show_report(x, "features")], capsys, absent=[float("nan")])
    area = Estimate(0.5, INTERVAL, 4, "AUROC").to_json()
    units = {name: {"unit": "u", "sign": 1, "auroc": area} for name in ("topk", "neurons")}
    concepts = {
        "own": "topk", "tokens": 9, "documents": 3, "means": {"topk": 0.75, "neurons": 0.5},
        "each": {"plural": {**units, "ahead": {"neurons": area}}},
        "counts": [{"set": "topk", "against": "neurons", "ahead": 1, "behind": 0}],
    }  # fmt: skip
    check(concepts, [dictionary_report.show_concepts], capsys)
    alike = {"blocks.0.mlp.act": Comparison(3, 0.5, INTERVAL, 0.5, (0.25, 0.5), 0.25)}
    check(alike, [lambda x: dictionary_report.show_comparison(x, [])], capsys, absent=[float("nan")])
    facts = {
        "subject": {"slug": "cat", "hash": "0"}, "name": "topk-32", "method": "topk",
        "about": {"seed": 0, "loss": 0.5, "more": {"rate": 0.5}},
        "bases": [
            {"site": "blocks.0.mlp.act", "reads": None, "units": 3, "width": 4, "activation": "topk", "k": 2,
             "skip": False, "norm": [0.5, 0.75, 1.0], "hash": "0"},
        ],
    }  # fmt: skip
    check(facts, [lambda x: dictionary.show_dictionary("features", x)], capsys)
    made = Namespace(method="topk", name="t", subject={"slug": "cat"}, curves={}, about={})
    row = {"site": "s", "reads": None, "units": 3, **dict.fromkeys(dictionary.SHOWN, 0.5)}
    check([row], [lambda x: dictionary.show_decomposition(made, x, "out")], capsys)
    first = {"norm": 0.5, "tokens": 0.25, "unexplained": 0.125, "without": 0.5}
    check(first, [lambda x: print(*dictionary.first_lines("s", **x))], capsys, absent=[float("nan")])
    assert dictionary.sparkline([1.0, float("nan"), 2.0]) == dictionary.sparkline([1.0, 2.0])


@pytest.mark.parametrize("mean", [0.25, 0.75])
def test_a_text_that_a_site_does_not_help_to_predict_is_said_to_recover_nothing(capsys, mean):
    score, floor = Estimate(0.5, INTERVAL, 4, "nats per token"), Estimate(mean, INTERVAL, 4, "nats per token")
    row = DictionaryRow("embed", "topk-32", 32, score, 0.5, score, score, score, score, score)
    report = DictionaryMetrics((row,), score, {"embed": (0.5, 0.1)}, {"embed": (floor, floor)}, 100, 3, ())
    dictionary_report.show_report(report, "features")
    assert ("No share of the loss is recovered at embed" in capsys.readouterr().out) is (mean < 0.5)


def test_organisms_images_graphs_and_checks(cat, capsys):
    task = {"accuracy": 0.5, "interval": [0.25, 0.75], "corrupted": {"accuracy": 0.5}, "chance": 0.5, "n": 3}
    neuron = {"auroc": 0.75, "interval": [0.5, 1.0], "neuron": "u"}
    check({"loss": 0.5, "tasks": {"ioi": task}, "neurons": {"plural": neuron}}, [show_measured], capsys)
    rows = [{"class": 0, "name": "zero", "probability": 0.5, "clamped": 0.25}]
    check(rows, [lambda x: show_classes("digits:0", x, ["a=0"], None)], capsys)
    graph = Graph({"slug": "cat"}, {}, (Node("cat/a", "neuron", 0.5, {"measured": 0.5}),), (), {"p": 0.5})
    check(graph, [show_graph, lambda x: json.dumps(x.to_json()["measures"])], capsys, absent=[float("nan")])
    verdicts = [Verdict("equality", 0.5, 1.0, 2.0)]
    check(verdicts, [lambda x: show_verdicts(x, "cat", True)], capsys, absent=[float("nan")])
    facts = {"correlation": {"all": 0.5, "within_groups": 0.25}, "groups": {"a": [0]}}
    check(facts, [_correlation], capsys)
