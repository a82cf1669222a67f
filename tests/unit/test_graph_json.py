"""Graphs for other viewers: the documented fields, the page's own keys, labels and groups."""

import jsonschema
import pytest

from patchclamp.atlas.read.graph_json import GRAPH_FORMATS, graph_to_json
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Edge, Graph, Node

WORD, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
WORDS = {"type": "array", "items": WORD}


def table(required, **properties):
    return {"type": "object", "properties": properties, "required": required}


def rows(required, **properties):
    return {"type": "array", "items": table(required, **properties)}


# The fields that both viewers document, with their types.
SCHEMA = table(
    ["metadata", "qParams", "nodes", "links"],
    metadata=table(["slug", "scan", "prompt_tokens", "prompt"], slug=WORD, scan=WORD, prompt_tokens=WORDS, prompt=WORD),
    qParams=table(
        ["pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos"],
        pinnedIds=WORDS,
        supernodes={"type": "array", "items": WORDS},
        linkType=WORD,
        clickedId=WORD,
        sg_pos=WORD,
    ),
    nodes=rows(
        ["node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp"],
        node_id=WORD,
        feature=WHOLE,
        layer=WORD,
        ctx_idx=WHOLE,
        feature_type={"enum": ["cross layer transcoder", "mlp reconstruction error", "embedding", "logit"]},
        jsNodeId=WORD,
        clerp=WORD,
        token_prob=NUMBER,
        is_target_logit={"type": "boolean"},
        influence={"type": ["number", "null"]},
        activation={"type": ["number", "null"]},
    ),
    links=rows(["source", "target", "weight"], source=WORD, target=WORD, weight=NUMBER),
)
HEAD, NEURON = "m/blocks.1.attn.z/heads/2@1", "m/blocks.0.mlp.act/neurons/7@0"
GRAPH = Graph(
    {"slug": "m", "hash": "0"},
    {"kind": "logit"},
    (
        Node(HEAD, "head", 3.0, {"activation": 2.0}),
        Node(NEURON, "neuron", 1.0),
        Node("input@0", "input", 0.5),
        Node("error@1", "error", -0.5),
        Node("output", "output", 4.0),
    ),
    (
        Edge(NEURON, HEAD, 1.0, "k"),
        Edge(NEURON, HEAD, -0.25, "v", measured=-0.2),
        Edge("input@0", NEURON, 2.0),
        Edge("error@1", HEAD, 0.1, "q"),
        Edge(HEAD, "output", 3.0),
    ),
    about={
        "prompt": "a b",
        "target": ' "sat"',
        "contrast": " ran",
        "tokens": ["a", " b"],
        "layers": 2,
        "method": "attribute/relp",
    },
)


@pytest.mark.parametrize("format", GRAPH_FORMATS)
def test_a_graph_has_the_documented_fields_and_its_own_keys(format):
    data = graph_to_json(GRAPH, format=format, slug="g", labels={NEURON: "detects giver"})
    jsonschema.validate(data, SCHEMA)
    nodes = {node["node_id"]: node for node in data["nodes"]}
    assert [*nodes] == [node.key for node in GRAPH.nodes]
    assert {key for link in data["links"] for key in (link["source"], link["target"])} <= nodes.keys()
    assert {key: (n["layer"], n["ctx_idx"], n["feature_type"], n["clerp"]) for key, n in nodes.items()} == {
        HEAD: ("1", 1, "cross layer transcoder", "Block 1 · head 2"),
        NEURON: ("0", 0, "cross layer transcoder", "detects giver"),
        "input@0": ("E", 0, "embedding", "a"),
        "error@1": ("0", 1, "mlp reconstruction error", "Error"),
        "output": ("3", 1, "logit", 'Output " \'sat\'" rather than " ran" (m = 4.00)'),
    }
    assert nodes[NEURON]["feature"] == 7 * 8 // 2 + 7
    assert [nodes[key]["influence"] for key in (HEAD, NEURON)] == [pytest.approx(0.6), pytest.approx(0.8)]
    [link] = [link for link in data["links"] if link["source"] == NEURON]
    assert (link["weight"], link["slots"]) == (0.75, {"k": 1.0, "v": -0.25})
    assert ("transcoder_list" in data["metadata"]) == (format == "circuit-tracer")


def test_what_viewers_take_for_one_thing_is_one_thing():
    keys = ("blocks.0.mlp.act/neurons/2@0", "blocks.0.mlp.act/neurons/2@1", "blocks.0.attn.z/heads/2@1")
    graph = Graph({}, {}, tuple(Node(key, "neuron", 1.0) for key in keys), about={"layers": 1})
    one, same, other = (
        (node["layer"], node["feature"]) for node in graph_to_json(graph, format="circuit-tracer")["nodes"]
    )
    assert one == same == ("0", 2 * 3 // 2 + 2)
    assert other != one


@pytest.mark.parametrize(
    ("about", "token"), [({"target": " sat"}, " sat"), ({"target": 'a"b', "contrast": " ran"}, "a'b")]
)
def test_viewers_find_the_answer_between_quotation_marks(about, token):
    graph = Graph({}, {}, (Node("output", "output", 4.0),), about=about)
    [node] = graph_to_json(graph, format="neuronpedia")["nodes"]
    assert node["clerp"].split('"')[1] == token
    bare = Graph({}, {}, graph.nodes)
    assert graph_to_json(bare, format="neuronpedia")["nodes"][0]["clerp"] == "Output 4.00"


def test_groups_and_pins_are_kept_those_of_the_file_too():
    data = graph_to_json(GRAPH, format="neuronpedia", groups=[("names", [NEURON, HEAD])], pinned=["input@0"])
    assert data["qParams"]["supernodes"] == [["names", NEURON, HEAD]]
    assert data["qParams"]["pinnedIds"] == ["input@0", NEURON, HEAD]
    about = {**GRAPH.about, "groups": [{"name": "own", "nodes": [HEAD], "score": 3.0}]}
    held = Graph(GRAPH.subject, GRAPH.metric, GRAPH.nodes, GRAPH.edges, {}, about)
    assert graph_to_json(held, format="circuit-tracer")["qParams"]["supernodes"] == [["own", HEAD]]
    with pytest.raises(PatchclampError, match="keys"):
        graph_to_json(GRAPH, format="neuronpedia", pinned=["input@9"])
    with pytest.raises(PatchclampError) as refused:
        graph_to_json(GRAPH, format="neuronpedia", pinned=[""])
    assert all(refused.value.to_json().values())


def test_a_measured_edge_comes_back_from_json():
    assert Graph.from_json(GRAPH.to_json()) == GRAPH
    assert [("measured" in edge) for edge in GRAPH.to_json()["edges"]] == [False, True, False, False, False]
