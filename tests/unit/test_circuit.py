"""Circuit: an order of parts, a folder that is whole or refused, a graph that people can read, sets to compare with."""

import itertools
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_made import circuit as by_hand
from patchclamp.ablate.strata import arrange_parts
from patchclamp.core.bundle import Bundle
from patchclamp.core.circuit import PAGE, describe_origin, draw_graph, load_circuit
from patchclamp.core.disk import hold_folder
from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.recipes.circuit import with_extra
from patchclamp.recipes.group_ablation import count_matched, count_same_size

PARTS = ("embed/whole/0", "blocks.0.attn.z/heads/0", "blocks.0.attn.z/heads/1", "blocks.0.mlp.write/whole/0")
TASK = Task.of("a b", " d", contrast=" e", counterpart="a c").to_json()
ABOUT = {"cases": ["1234abcd"], "metric": "logit_difference", "task": TASK}


def nodes(scores=(1.0, -3.0, 2.0, 0.5), **more):
    per_case = np.stack([np.array(scores), np.array(scores) * 2]).astype(np.float32)
    own = {"level": "node", "method": "relp", "subject": "toy", "subject_hash": "0" * 64, **ABOUT}
    return by_hand(PARTS, scores, per_case=per_case, **own, **more)


def edges():
    graph = EdgeMap(2, 4, 2)
    scores = np.random.default_rng(0).normal(size=len(graph))
    return by_hand(graph.parts, scores, method="eap", subject="toy", **ABOUT)


# -- the folder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [nodes, edges])
def test_a_folder_holds_all_of_it(make, tmp_path):
    circuit = make()
    circuit.save(tmp_path / "c", files={PAGE: b"<p>"})
    back = load_circuit(tmp_path / "c")
    assert (back.level, back.method, back.parts, back.index) == (
        circuit.level, circuit.method, circuit.parts, circuit.index,
    )  # fmt: skip
    assert back.to_json() == circuit.to_json()
    assert describe_origin(back) == describe_origin(circuit)
    np.testing.assert_array_equal(back.values, circuit.values)
    assert (back.per_case is None) == (circuit.per_case is None)
    if back.per_case is not None:
        np.testing.assert_array_equal(back.per_case, circuit.per_case)
    assert (tmp_path / "c" / PAGE).read_bytes() == b"<p>"


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(PatchclampError, match="new or empty folder"):
        nodes().save(tmp_path)
    assert (tmp_path / "mine").read_text() == "x"


def _cut(folder):
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:-1]))


def _flipped(folder):
    data = bytearray((folder / "values-00000.safetensors").read_bytes())
    # The first number behind the header: still a number, and another one.
    data[8 + int.from_bytes(data[:8], "little") + 2] ^= 1
    (folder / "values-00000.safetensors").write_bytes(bytes(data))


def _with(**manifest):
    def change(folder):
        told = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**told, **manifest}))

    return change


def _piped(folder):
    (folder / "journal.jsonl").unlink()
    os.mkfifo(folder / "journal.jsonl")


def _without(name):
    def change(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest[name]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


@pytest.mark.parametrize(
    "change",
    [
        _flipped, _with(provenance=7), _with(index={}), _without("index"), _without("provenance"),
        lambda folder: (folder / "values-00000.safetensors").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / PAGE).write_text("<script>"),
        _with(metric_clean="x"), _piped, _without("kind"),
    ],
)  # fmt: skip
def test_what_was_changed_is_refused(change, tmp_path):
    nodes().save(tmp_path / "c", files={PAGE: b"<p>"})
    change(tmp_path / "c")
    with pytest.raises(Damaged) as said:
        load_circuit(tmp_path / "c")
    assert said.value.remedy


def test_a_folder_whose_writing_stopped_is_not_read(tmp_path):
    nodes().save(tmp_path / "c", files={PAGE: b"<p>"})
    _cut(tmp_path / "c")
    with pytest.raises(PatchclampError, match="interrupted after 2 parts") as said:
        load_circuit(tmp_path / "c")
    assert "--resume" in said.value.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cases", None), ("cases", [["a"]]), ("metric", 3), ("skipped", 7), ("task", ["a"]),
        ("task", {"cases": []}), ("gap", "x"),
        ("receipt", {"parts": []}), ("receipt", 7), ("plan", []),
    ],
)  # fmt: skip
def test_what_a_circuit_says_of_itself_is_checked(name, value, tmp_path):
    circuit = with_extra(nodes(), **{name: value})
    circuit.save(tmp_path / "c")
    with pytest.raises(Damaged, match=f"{name} in it"):
        load_circuit(tmp_path / "c")


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(PatchclampError, match="not finite"):
        nodes((1.0, np.nan, 2.0, 0.5))


def test_two_writers_of_one_folder_do_not_mix(tmp_path):
    with hold_folder(tmp_path / "c"), pytest.raises(PatchclampError, match="another process holds"):
        nodes().save(tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_another_folder_is_no_circuit(tmp_path):
    with pytest.raises(PatchclampError, match="folder that patchclamp wrote"):
        load_circuit(tmp_path)


def test_a_circuit_of_an_earlier_version_is_refused_in_three_parts(tmp_path):
    bundle = Bundle.create(tmp_path / "old", kind="circuit", manifest={"level": "node", "about": {}})
    bundle.finish()
    with pytest.raises(PatchclampError) as said:
        load_circuit(tmp_path / "old")
    assert said.value.expected == "a folder of scores"
    assert "a circuit of an earlier version" in said.value.got
    assert "patchclamp circuit find" in said.value.remedy


# -- the graph --------------------------------------------------------------------------------------------------------


def test_units_lead_to_the_output_with_their_scores():
    graph = draw_graph(nodes(), 3, measures={"measured": 1.5})
    assert {n.key: (n.kind, n.score) for n in graph.nodes} == {
        "toy/blocks.0.attn.z/heads/0": ("head", -3.0), "toy/blocks.0.attn.z/heads/1": ("head", 2.0),
        "toy/embed/whole/0": ("site", 1.0), "output": ("output", 5.0),
    }  # fmt: skip
    assert {(e.source, e.target, e.weight) for e in graph.edges} == {
        (n.key, "output", n.score) for n in graph.nodes if n.kind != "output"
    }
    assert graph.measures == {"metric_clean": 4.0, "metric_baseline": -1.0, "measured": 1.5}
    assert graph.about["prompt"] == "a b"
    assert graph.about["layers"] == 1
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


def test_readers_are_folded_into_units_and_nothing_is_lost():
    circuit = edges()
    graph = draw_graph(circuit, len(circuit))
    assert {n.kind for n in graph.nodes} == {"site", "head", "output"}
    # Two heads share a key: the edge to it stands at each, in halves.
    assert sum(e.weight for e in graph.edges) == pytest.approx(circuit.values.sum())
    [half, other] = [e for e in graph.edges if e.source == "toy/embed/whole/0" and e.slot == "k"
                     and e.target in ("toy/blocks.1.attn.z/heads/2", "toy/blocks.1.attn.z/heads/3")]  # fmt: skip
    whole = circuit.values[circuit.parts.index(("embed/whole/0", "blocks.1.attn.k/heads/1"))]
    assert half.weight == other.weight == pytest.approx(whole / 2)
    scores = {n.key: n.score for n in graph.nodes}
    for part in ("embed/whole/0", "blocks.0.attn.z/heads/3"):
        out = sum(s for p, s in zip(circuit.parts, circuit.values, strict=True) if p[0] == part)
        assert scores[f"toy/{part}"] == pytest.approx(out)
    assert {e.slot for e in graph.edges} == {"", "q", "k", "v"}
    assert all(e.slot == "" for e in graph.edges if e.target == "output" or "mlp" in e.target)
    # Of a part only: nodes keep the sum of all their edges.
    few = draw_graph(circuit, 3)
    assert len(few.edges) <= 6
    assert {n.key: n.score for n in few.nodes}.items() <= scores.items()


def test_edges_that_are_rounding_are_not_drawn():
    graph = EdgeMap(1, 1, 1)
    scores = np.full(len(graph), 1e-9)
    scores[-1] = 2.0
    assert len(draw_graph(by_hand(graph.parts, scores, subject="toy")).edges) == 1


# -- random sets ------------------------------------------------------------------------------------------------------


@given(st.permutations(range(8)), st.integers(1, 8))
def test_as_many_parts_are_measured_as_leave_others_of_their_kinds_to_draw(order, top):
    parts = [f"blocks.{b}.mlp.write/whole/0" for b in range(2)] + ["embed/whole/0"]
    parts += [f"blocks.{b}.attn.z/heads/{h}" for b in range(1) for h in range(4)] + ["blocks.1.attn.z/heads/0"]
    kinds = ["mlp"] * 2 + ["embed"] + ["heads"] * 5

    def others(n):
        chosen = order[:n]
        return sum(
            i not in chosen and kind != "embed" and kind in {kinds[j] for j in chosen} for i, kind in enumerate(kinds)
        )

    assert count_matched(parts, order[:top]) == max((n for n in range(1, top + 1) if others(n)), default=0)


def test_parts_in_any_order_are_sorted_into_sites_and_positions():
    parts = [f"blocks.{b}.mlp.act/neurons/{u}@{p}" for u in range(4) for b in range(2) for p in range(3)]
    parts += ["embed/whole/0@1", "blocks.1.attn.z/heads/2"]
    order, strata, barred = arrange_parts(parts)
    assert barred == [parts.index("embed/whole/0@1")]
    assert sorted(order) == list(range(len(parts)))
    assert [s.first for s in strata] == np.cumsum([0, *(len(s.sizes) for s in strata)])[:-1].tolist()
    for stratum in strata:
        keys = [UnitKey.parse(parts[i]) for i in order[stratum.first : stratum.first + len(stratum.sizes)]]
        assert {(key.site, key.position) for key in keys} == {(stratum.site, stratum.position)}
        assert [key.index for key in keys] == sorted(key.index for key in keys)
    edges = [(f"embed/whole/{i}", f"blocks.{b}.attn.q/heads/{h}") for i in range(2) for b in range(2) for h in range(2)]
    _, strata, barred = arrange_parts(edges)
    assert barred == []
    assert [(s.site, s.kind, len(s.sizes)) for s in strata] == [
        ("blocks.0.attn.q", "attn.q/heads", 4), ("blocks.1.attn.q", "attn.q/heads", 4)
    ]  # fmt: skip


@given(st.permutations(range(9)), st.integers(1, 9), st.integers(1, 40))
def test_by_default_random_sets_have_as_many_parts(order, top, n_sets):
    parts = [f"blocks.{b}.mlp.write/whole/0" for b in range(3)] + [f"blocks.0.attn.z/heads/{h}" for h in range(6)]

    def count(n):
        """Count by hand: every set of as many other parts of the same kinds."""
        rest = [i for i in range(len(parts)) if i not in order[:n]]
        mlps = sum(i < 3 for i in order[:n])
        return sum(sum(i < 3 for i in one) == mlps for one in itertools.combinations(rest, n))

    sets = [count(n) for n in range(1, top + 1)]
    most = max(sets)
    expected = [n for n, different in enumerate(sets, 1) if different >= min(n_sets, most)]
    assert count_same_size(parts, order[:top], n_sets) == (expected[-1] if most else 0)
