"""explain finds the planted edges of one prompt, and no others, with its defaults."""

import numpy as np
import pytest

from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.organisms import build, card, truth
from patchclamp.recipes import explain
from patchclamp.recipes.answer import EXPLAINING

NAMES = ("mover-gpt2", "mover-llama", "facts-gpt2", "facts-llama", "seen-gpt2", "broadcast-llama")


def found_edges(name, **options):
    """Return an organism's graph, and the edges between its nodes: the strongest of a head's slots."""
    asked = card(name)
    graph = explain(build(name), asked["prompt"], asked["target"], contrast=asked["contrast"], **options).graph()
    weights = {}
    for edge in graph.edges:
        if not edge.source.startswith("error"):
            pair = edge.source, edge.target
            weights[pair] = max(weights.get(pair, 0.0), edge.weight, key=abs)
    return graph, weights


@pytest.mark.parametrize("name", NAMES)
def test_explain_finds_every_planted_edge_and_no_other(name):
    graph, weights = found_edges(name)
    planted = {(edge.source, edge.target): edge.weight for edge in truth(name).edges}
    # Every edge that a graph has is one hundredth of the strongest or more: below, scores count as near zero.
    assert graph.about["edges"]["smallest"] == 0.01
    assert weights.keys() == planted.keys()
    assert weights == pytest.approx(planted, rel=0.02)
    decoys = {f"{name}/{one['unit']}" for one in card(name)["decoys"]}
    assert not decoys & {key for pair in weights for key in pair}


@pytest.mark.parametrize("name", ["mover-gpt2", "mover-llama"])
def test_what_is_measured_of_inputs_and_edges_is_what_was_planted(name):
    graph, _ = found_edges(name)
    inputs = {node.key: node.score for node in graph.nodes if node.kind == "input"}
    planted = {node.key: node.score for node in truth(name).nodes if node.kind == "input"}
    assert inputs == pytest.approx(planted, rel=0.01)
    measured = {(e.source, e.target): e.measured for e in graph.edges if e.measured is not None and e.slot != "v"}
    assert len([e for e in graph.edges if e.measured is not None]) == 10
    truths = {(edge.source, edge.target): edge.weight for edge in truth(name).edges}
    assert measured == pytest.approx({pair: truths[pair] for pair in measured}, rel=0.01)


@pytest.mark.parametrize("method", [one for one in EXPLAINING if one != "integrated_gradients"])
def test_edges_are_scored_alike_however_units_were(method):
    default, found = (found_edges("cat", method=one)[0] for one in ("integrated_gradients", method))
    strong = [
        {(e.source, e.target): e.weight for e in graph.edges if abs(e.weight) > 0.5 and e.source != "error@3"}
        for graph in (default, found)
    ]
    assert found.about["edges"]["method"] == "eap_ig"
    assert strong[1] == pytest.approx(strong[0], rel=0.05)
    assert len(strong[0]) == 5


def test_features_that_are_the_neurons_have_the_neurons_edges():
    cat, asked = build("cat"), card("cat")
    lab = Basis("lab", "directions", decoder=np.eye(16, dtype=np.float32), encoder=np.eye(16, dtype=np.float32))
    cat.add_dictionary(Dictionary({"blocks.0.mlp.act": lab}, {"slug": "cat", "hash": cat.hash}, "by hand"))
    found = []
    for levels in (["neuron", "head"], ["neuron", "head", "feature"]):
        graph = explain(cat, asked["prompt"], asked["target"], contrast=asked["contrast"], levels=levels).graph()
        found.append({(e.source, e.target, e.slot): e.weight for e in graph.edges if abs(e.weight) > 0.1})
    renamed = {
        tuple(part.replace("blocks.0.mlp.act/neurons", "blocks.0.mlp.act/lab") for part in edge): weight
        for edge, weight in found[0].items()
    }
    assert found[1] == pytest.approx(renamed, rel=1e-3)
    assert any("/lab/7@" in part for edge in found[1] for part in edge)


def test_edges_say_how_far_they_are_and_can_be_stopped():
    cat, asked, said = build("cat"), card("cat"), []
    how = {"contrast": asked["contrast"], "n_controls": 20, "edges": 4}

    def note(done, total):
        said.append((done, total))

    graph = explain(cat, asked["prompt"], asked["target"], progress=note, **how).graph()
    nodes = {end for edge in graph.edges for end in (edge.source, edge.target) if "@" in end and "/" in end}
    last = said[next(i for i in range(len(said) - 1, 0, -1) if said[i][1] != said[-1][1]) + 1 :]
    total = len(nodes) + 1 + 4
    assert [done for done, _ in last] == sorted({done for done, _ in last})
    assert (last[0], last[-1]) == ((1, total), (total, total))

    def stop(done, total):
        if (done, total) == last[0]:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        explain(cat, asked["prompt"], asked["target"], progress=stop, **how)
