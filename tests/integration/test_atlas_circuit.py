"""Circuit: pruning keeps the fewest that carry the share, never adds when less is asked, and says what was cut."""

import gzip
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import patchclamp as pc
from patchclamp.atlas.read.graph_pruning import ENDS, MOST_EDGES, MOST_NODES, prune
from patchclamp.atlas.store.layers import Layer
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.organisms.planted.cat import ANIMAL, CAT, DECOY

SITE = "blocks.0.mlp.act"
KINDS = ["neuron", "head", "feature", "input", "output", "error"]

scores = st.floats(-1e6, 1e6, allow_nan=False)
nodes = st.lists(st.tuples(st.sampled_from(KINDS), scores), max_size=12).map(
    lambda all_: tuple(Node(f"n{i}", kind, score) for i, (kind, score) in enumerate(all_))
)


def made(n_nodes: int, n_edges: int, seed: int = 0, places: int = 20) -> Graph:
    """Draw a graph of 12 blocks over so many of 20 tokens, with inputs, an output and errors."""
    draw = np.random.default_rng(seed)
    block, place = draw.integers(0, 12, n_nodes), draw.integers(0, places, n_nodes)
    score = draw.standard_t(2, n_nodes)
    keys = [f"cat/blocks.{b}.mlp.act/neurons/{i}@{p}" for i, (b, p) in enumerate(zip(block, place, strict=True))]
    ends = [Node(f"input@{i}", "input", 0.1 * i) for i in range(20)] + [Node("output", "output", 4.0)]
    ends += [Node(f"cat/blocks.{b}.mlp.write/error/0@3", "error", 0.01) for b in range(12)]
    inner = [Node(k, "neuron", float(s)) for k, s in zip(keys, score, strict=True)]
    ranked = sorted(range(n_nodes), key=lambda i: -abs(score[i]))
    # Edges run from lower blocks to higher ones, more often between what is large.
    at = np.sort(draw.beta(0.7, 2, (n_edges, 2)) * n_nodes, axis=1).astype(int)
    weight = draw.standard_t(3, n_edges)
    edges = [Edge(keys[ranked[a]], keys[ranked[b]], float(w)) for (a, b), w in zip(at, weight, strict=True)]
    about = {"prompt": "made", "target": " up", "method": "none", "tokens": [f" t{i}" for i in range(20)], "layers": 12}
    return Graph({"slug": "cat", "hash": ""}, {}, (*inner, *ends), tuple(edges), {"metric_clean": 4.0}, about)


@pytest.fixture
def atlas(seeded_atlas):
    return pc.atlas.open(seeded_atlas)


def with_graph(atlas, graph, id="graph-0000000000000000"):
    """Put a graph into an open atlas, beside those on disk."""
    atlas.reading.layers.append(Layer(id, "graph", 0, "made", graph=graph))
    return id


# -- pruning ----------------------------------------------------------------------------------------------------------


@given(nodes, st.floats(0, 1))
def test_the_fewest_that_carry_the_share_are_kept(all_, keep):
    shown = prune(Graph({}, {}, all_), keep)
    inner = [abs(n.score) for n in all_ if n.kind not in ENDS]
    kept = [abs(n.score) for n in shown.nodes if n.kind not in ENDS]
    # The oracle: the smallest number of largest sizes that reaches the share.
    largest = sorted(inner, reverse=True)
    least = next(n for n in range(len(inner) + 1) if math.fsum(largest[:n]) >= keep * math.fsum(inner) * (1 - 1e-9))
    if keep < 1:
        assert len(kept) == least or math.isclose(sum(largest[:least]), keep * sum(inner), rel_tol=1e-9)
    else:
        assert len(kept) == len(inner)
    assert kept == largest[: len(kept)]
    assert shown.kept is None if not sum(inner) else math.isclose(shown.kept, sum(kept) / sum(inner), rel_tol=1e-9)
    assert {n.key for n in all_ if n.kind in ENDS} <= {n.key for n in shown.nodes}
    sizes = [abs(n.score) for n in shown.nodes]
    assert sizes == sorted(sizes, reverse=True)
    assert shown.notice == ""


@given(nodes, st.floats(0, 1), st.floats(0, 1), st.integers(1, 12))
def test_asking_for_less_never_adds_a_node(all_, one, other, most):
    less, more = sorted((one, other))
    fewer, all_shown = (
        {node.key for node in prune(Graph({}, {}, all_), keep, max_nodes=most).nodes} for keep in (less, more)
    )
    assert fewer <= all_shown
    assert len(all_shown) <= most


def test_edges_run_between_what_is_shown_the_largest_first():
    graph = made(400, 3000)
    shown = prune(graph, 0.5)
    keys = {node.key for node in shown.nodes}
    expected = sorted((e for e in graph.edges if {e.source, e.target} <= keys), key=lambda e: -abs(e.weight))
    assert 0 < len(shown.edges) < len(graph.edges)
    assert [abs(e.weight) for e in shown.edges] == [abs(e.weight) for e in expected]
    cut = prune(graph, 0.5, max_edges=10)
    assert list(cut.edges) == expected[:10]
    assert cut.notice == f"{len(expected):,} edges run between shown nodes: the 10 largest are shown."


def test_what_the_limits_cut_is_said():
    graph = made(400, 0)
    cut = prune(graph, 1.0, max_nodes=100)
    assert (len(cut.nodes), len([n for n in cut.nodes if n.kind in ENDS])) == (100, 33)
    assert cut.notice == "400 nodes carry the share asked for: the 67 largest are shown."
    few = prune(graph, 1.0, max_nodes=10)
    assert [n.kind in ENDS for n in few.nodes].count(True) == 5
    assert "33 are inputs, outputs or errors: the 5 largest are shown." in few.notice
    assert prune(graph, 1.0).notice == ""


def test_what_is_pinned_is_shown_besides_and_counts_in_what_is_kept():
    graph = made(400, 3000)
    plain = prune(graph, 0.5)
    small = min((node for node in graph.nodes if node.kind not in ENDS), key=lambda node: abs(node.score))
    held = prune(graph, 0.5, pinned=[small.key])
    assert {node.key for node in held.nodes} == {node.key for node in plain.nodes} | {small.key}
    assert held.kept > plain.kept
    whole = sum(abs(node.score) for node in graph.nodes if node.kind not in ENDS)
    assert held.kept == pytest.approx(plain.kept + abs(small.score) / whole)
    # Where a page is full, what is pinned has its place before the rest.
    full = prune(graph, 1.0, pinned=[small.key], max_nodes=100)
    assert len(full.nodes) == 100
    assert small.key in {node.key for node in full.nodes}


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_no_numbers_break_nothing(atlas, score):
    graph = Graph(
        {}, {}, (Node("a/b/1", "neuron", score), Node("a/b/2", "neuron", 1.0)), (Edge("a/b/1", "a/b/2", score),)
    )
    page = atlas.graph(with_graph(atlas, graph))
    assert (page.kept, {n.score for n in page.nodes}, page.edges[0].weight) == (1.0, {0.0, 1.0}, 0.0)
    json.dumps(asdict(page), allow_nan=False)
    for part in ("metric", "about"):
        with pytest.raises(PatchclampError, match=f"in {part}; got (nan|inf) at"):
            replace(graph, **{part: {"x": score}})


# -- pages ------------------------------------------------------------------------------------------------------------


def graph_of(atlas, method="integrated gradients", prompt="the old cat"):
    return next(r.id for r in atlas.graphs().rows if (r.method, r.prompt) == (method, prompt))


def test_the_planted_neurons_are_kept_and_the_decoy_is_not(atlas):
    for method in ("integrated gradients", "planted"):
        page = atlas.graph(graph_of(atlas, method), keep=0.8)
        kept = {n.key for n in page.nodes if n.kind == "neuron"}
        assert kept == {f"cat/{SITE}/neurons/{unit}@3" for unit in (CAT, ANIMAL)}
        whole = {n.key for n in atlas.graph(graph_of(atlas, method)).nodes}
        assert f"cat/{SITE}/neurons/{DECOY}@3" in whole


def test_a_page_says_where_everything_stands(atlas):
    page = atlas.graph(graph_of(atlas, "planted"))
    found = {n.key: n for n in page.nodes}
    cat = found[f"cat/{SITE}/neurons/{CAT}@3"]
    assert (cat.unit, cat.site, cat.layer, cat.position) == (f"cat/{SITE}/neurons/{CAT}", SITE, 0, 3)
    head, error = found["cat/blocks.0.attn.z/heads/0@3"], found["cat/blocks.1.mlp.write/error/0@3"]
    assert (head.unit, head.layer, head.position) == ("cat/blocks.0.attn.z/heads/0", 0, 3)
    assert (error.unit, error.kind, error.layer, error.position) == (None, "error", 1, 3)
    assert (found["input@2"].position, found["input@2"].layer, found["input@2"].site) == (2, None, "")
    assert (found["output"].position, found["output"].layer) == (None, None)
    assert (page.tokens, page.layers) == (["<bos>", " the", " old", " cat"], 2)
    assert len(page.edges) == page.total_edges == 15


def test_an_explanation_names_its_tokens_and_blocks(atlas):
    page = atlas.graph(graph_of(atlas))
    assert (page.tokens, page.layers) == (["<bos>", " the", " old", " cat"], 2)
    # What was measured of the whole stands in the list of answers.
    row = page.graph
    assert row.measured_together == pytest.approx(8.0, abs=0.01)
    assert row.sentence.startswith(f"{row.grade.capitalize()}: with ")
    assert row.quantity == "the lead of ' sat' over ' ran'"
    assert row.control_low < row.control_high < row.measured_together


def test_a_graph_without_tokens_is_still_read(atlas):
    graph = Graph(
        {"slug": "cat"}, {}, (Node(f"cat/{SITE}/neurons/7@3", "neuron", 1.0),), about={"layers": "two", "tokens": 3}
    )
    page = atlas.graph(with_graph(atlas, graph))
    assert (page.tokens, page.layers, page.nodes[0].position, page.graph.prompt) == ([], None, 3, "")


def test_a_page_is_a_graph_again(atlas):
    id = graph_of(atlas)
    [layer] = [one for one in atlas.reading.layers if one.id == id]
    page = atlas.graph(id)
    assert (page.subject, page.explains, page.about) == (layer.graph.subject, layer.graph.metric, layer.graph.about)


def test_a_hundred_thousand_edges_are_cut_and_small(atlas):
    graph = made(20_000, 100_000)
    id = with_graph(atlas, graph)
    page = atlas.graph(id, keep=0.8)
    assert (len(page.nodes), len(page.edges), page.total, page.total_edges) == (
        MOST_NODES, MOST_EDGES, 20_033, 100_000
    )  # fmt: skip
    assert "nodes carry the share asked for" in page.notice
    assert "edges run between shown nodes" in page.notice
    assert page.kept < 0.8
    assert len(gzip.compress(json.dumps(asdict(page)).encode())) < 300_000
