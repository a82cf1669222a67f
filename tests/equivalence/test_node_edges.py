"""Edges between single units at positions against runs written out (tests/oracles/node_edges.py), edge by edge."""

import pytest
import torch

from oracles import explain as oracle
from oracles.node_edges import Net
from patchclamp.attribute.gradients import make_baseline
from patchclamp.attribute.node_edge_patching import patch_node_edges
from patchclamp.attribute.node_edges import attribute_node_edges
from patchclamp.attribute.node_writes import Writes, place_of
from patchclamp.attribute.nodes import level_sites
from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.graph import Edge
from patchclamp.core.unit import UnitKey
from patchclamp.recipes import explain
from patchclamp.subjects.families.spec import family

PROMPT, CORRUPT = "w3 w17 w8 w40", "w3 w20 w8 w41"
NODES = [("z", 0, 1, 2), ("act", 0, 5, 2), ("act", 0, 9, 4), ("z", 1, 0, 4), ("z", 1, 2, 4), ("act", 1, 7, 4)]
ORDER = {"z": 0, "act": 1}
CLOSE = 2e-6
"""Llama's norms are in single precision whatever the model is in; m is about 1."""


def key_of(model, node):
    kind, l, i, p = node
    site, basis = (f"blocks.{l}.attn.z", "heads") if kind == "z" else (f"blocks.{l}.mlp.act", "neurons")
    return UnitKey(site, i, basis, model.name, p)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def asked(request, tiny_language_model):
    return tiny_language_model(request.param, family(request.param).tiny().double())


@pytest.fixture(scope="module", params=[None, CORRUPT], ids=["zero", "corrupted"])
def found(request, asked):
    """Return the writes, the edges as the package finds them, all of them, and the network written out."""
    model, other = asked, request.param
    case = model.read_case(PROMPT, (" w5",), (" w6",), counterpart=other)
    sites = level_sites(model, ["neuron", "head"])
    writes = Writes(
        model, case.clean, case.counterpart, make_baseline(model, [*sites], corrupted=case.counterpart), sites
    )
    ours = attribute_node_edges(writes, [key_of(model, node) for node in NODES], case.metric, smallest=0.0)
    x, x_ = (None if p is None else list(model.tokenizer.bare(p)["input_ids"]) for p in (PROMPT, other))
    target, contrast = (model.tokenizer.bare(w)["input_ids"][1] for w in ("w5", "w6"))
    return writes, case.metric, ours, Net(model.module, x, x_, oracle.logit_difference(target, contrast))


def sources(model, net):
    named = {str(key_of(model, node)): node for node in NODES}
    return named | {f"input@{p}": ("input", p) for p in range(net.ids.shape[1])}


def readings(model, net):
    """Yield every edge that can be: source, its write, its position, target and slot."""
    for u, source in sources(model, net).items():
        p = source[-1]
        change = torch.zeros_like(net.embedded)
        change[p] = net.delta(source)
        for v in NODES:
            kind, l, _, q = v
            before = source[0] == "input" or (source[1], ORDER[source[0]]) < (l, ORDER[kind])
            for slot in "qkv" if kind == "z" else ("",):
                if before and (p == q or (slot in ("k", "v") and p < q)):
                    yield u, change, str(key_of(model, v)), v, slot
        yield u, change, "output", None, ""


def test_weights_are_those_of_runs_written_out(asked, found):
    _, _, ours, net = found
    weights = {(e.source, e.target, e.slot): e.weight for e in ours.edges if not e.source.startswith("error")}
    expected = {}
    for u, change, v, node, slot in readings(asked, net):
        if node is None:
            value = net.to_output(change) if int(u.rpartition("@")[2]) == net.ids.shape[1] - 1 else 0.0
        else:
            value = net.weight(node, slot, change)
        expected[u, v, slot] = value
    assert len(expected) > 40
    assert {slot for *_, slot in expected} == {"", "q", "k", "v"}
    assert weights.keys() <= expected.keys()
    assert {key: weights.get(key, 0.0) for key in expected} == pytest.approx(expected, rel=1e-5, abs=CLOSE)


def test_measured_edges_are_those_of_runs_written_out(asked, found):
    writes, metric, _, net = found
    cases = list(readings(asked, net))
    edges = [Edge(u, v, 0.0, slot) for u, _, v, _, slot in cases]
    expected = [
        net.to_output(change) if node is None else net.measured(node, slot, change)
        for _, change, _, node, slot in cases
    ]
    assert patch_node_edges(writes, edges, metric).tolist() == pytest.approx(expected, rel=1e-5, abs=CLOSE)


@pytest.mark.parametrize("smallest", [0.0, 0.2])
def test_edges_and_error_into_a_slot_sum_to_the_weight_of_everything_that_is_read(asked, found, smallest):
    writes, metric, ours, net = found
    some = attribute_node_edges(writes, [key_of(asked, node) for node in NODES], metric, smallest=smallest)
    assert smallest == 0.0 or len(some.edges) < len(ours.edges)
    for v in NODES:
        for slot in "qkv" if v[0] == "z" else ("",):
            whole = net.whole(lambda l, kind, v=v: (l, ORDER[kind]) < (v[1], ORDER[v[0]]))
            total = sum(e.weight for e in some.edges if (e.target, e.slot) == (str(key_of(asked, v)), slot))
            assert total == pytest.approx(net.weight(v, slot, whole), rel=1e-4, abs=1e-5)
    total = sum(e.weight for e in some.edges if e.target == "output")
    assert total == pytest.approx(net.to_output(net.whole(lambda l, kind: True)), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("source", "target", "slot"),
    [
        ("error@4", "blocks.0.mlp.act/neurons/5@2", ""),
        ("input@9", "blocks.0.mlp.act/neurons/5@2", ""),
        ("input@2", "blocks.0.attn.z/heads/1@2", ""),
        ("input@2", "blocks.0.mlp.act/neurons/5@2", "q"),
        ("blocks.1.attn.z/heads/0@4", "blocks.0.attn.z/heads/1@2", "q"),
        ("blocks.0.attn.z/heads/0", "output", ""),
    ],
)
def test_an_edge_that_is_none_is_refused(found, source, target, slot):
    writes, metric, *_ = found
    with pytest.raises(PatchclampError):
        patch_node_edges(writes, [Edge(source, target, 0.0, slot)], metric)


def test_a_place_follows_the_order_of_the_network():
    order = ["embed", "blocks.0.attn.z", "blocks.0.resid_mid", "blocks.0.mlp.act", "blocks.0.resid_out"]
    places = [
        place_of(EdgeMap(2, 4, 4), path, "neurons") for path in [*order, "blocks.1.resid_in", "blocks.1.mlp.write"]
    ]
    assert [place.writes for place in places] == sorted(place.writes for place in places)
    assert place_of(EdgeMap(2, 4, 4, True), "blocks.0.mlp.act", "neurons").reads == 0
    with pytest.raises(CannotIntervene):
        place_of(EdgeMap(2, 4, 4), "blocks.0.mlp.pre", "neurons")


@pytest.mark.parametrize("name", ["gemma2", "gpt_neox", "olmo2"])
def test_every_family_has_edges_whose_strongest_are_measured(tiny_language_model, name):
    found = explain(tiny_language_model(name), PROMPT, " w5", contrast=" w6", top=4, n_controls=20, edges=3)
    edges = found.graph().edges
    assert found.edges.about["kind"] == "direct"
    assert sum(e.measured is not None for e in edges) == 3
    for edge in edges:
        if edge.target == "output" and edge.measured is not None:
            assert edge.measured == pytest.approx(edge.weight, abs=1e-5)


def test_where_no_edges_are_known_the_graph_says_why(tiny_language_model):
    model = tiny_language_model("gpt2")
    found = explain(model, PROMPT, " w5", contrast=" w6", top=4, n_controls=20, edges=0).graph()
    assert found.about["edges"] == {"kind": "total", "why": "none were asked for"}
    assert {(e.target, e.measured) for e in found.edges} == {("output", None)}
    strange = explain(model, PROMPT, " w5", contrast=" w6", levels=["blocks.*.mlp.pre"], top=4, n_controls=20).graph()
    assert strange.about["edges"]["kind"] == "total"
    assert "blocks.0.mlp.pre" in strange.about["edges"]["why"]
