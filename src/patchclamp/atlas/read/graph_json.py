"""A graph as the attribution-graph JSON that circuit-tracer's and Neuronpedia's viewers show.

What is known of the layout, and from where (read in public repositories in November 2026): fields and node types are
those of ``circuit_tracer/frontend/graph_models.py`` of safety-research/circuit-tracer; which must be there, and of what
type, those of ``apps/webapp/app/api/graph/graph-schema.json`` of hijohnnylin/neuronpedia.

The viewers know four types of nodes: features, errors, embeddings and logits. Neurons, heads and features are all of
the first. ``node_id`` and ``jsNodeId`` are the keys of our own graph, so that a node has one name in file and page.
``feature`` is the Cantor pairing of block and index, as circuit-tracer's; the viewers take nodes of one block and one
``feature`` for the same thing at several tokens, so the units of a block's second kind, such as its heads, are counted
on from a million. The viewers read the token of an output from between quotation marks. A head's query, key and value
are one link: its weight is their sum, and ``slots`` has each.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args

from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph, Node
from patchclamp.core.plain_names import name_unit
from patchclamp.core.provenance import read_versions
from patchclamp.core.unit import UnitKey

GraphFormat = Literal["circuit-tracer", "neuronpedia"]
GRAPH_FORMATS: tuple[GraphFormat, ...] = get_args(GraphFormat)
FEATURE, ERROR, EMBEDDING, LOGIT = "cross layer transcoder", "mlp reconstruction error", "embedding", "logit"
NEXT_KIND = 10**6
"""Added to the numbers of a block's second kind of units."""
Groups = Sequence[tuple[str, Sequence[str]]]


@checked
def graph_to_json(
    graph: Graph,
    *,
    format: GraphFormat,
    slug: str = "graph",
    labels: Mapping[str, str] | None = None,
    groups: Groups = (),
    pinned: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a graph as the JSON of another viewer.

    Args:
        graph: the graph.
        format: ``circuit-tracer`` or ``neuronpedia``.
        slug: what the graph is called there.
        labels: words for nodes, by key; without one a node is named after its unit.
        groups: names with the keys of their nodes; of none that the graph itself holds (``about["groups"]``).
        pinned: keys of nodes that are pinned; with groups, theirs are too.

    Returns:
        dict: ``metadata``, ``qParams``, ``nodes`` and ``links``.

    Raises:
        PatchclampError: a format that is none of these, or a group or pin of a node that the graph has not.

    Example:
        >>> graph = Graph({"slug": "cat"}, {}, (Node("output", "output", 1.0),), about={"layers": 1, "prompt": "a"})
        >>> [(node["node_id"], node["layer"]) for node in graph_to_json(graph, format="neuronpedia")["nodes"]]
        [('output', '2')]
    """
    one_of("format", format, GRAPH_FORMATS)
    groups = groups or _own_groups(graph)
    keys = {node.key for node in graph.nodes}
    named = [*pinned, *(key for _, members in groups for key in members)]
    strange = [key for key in named if key not in keys]
    if strange:
        raise PatchclampError(
            expected="groups and pins of nodes of this graph",
            got=repr(strange[0][:120]),
            remedy="Name nodes by their keys.",
        )
    return {
        "metadata": _metadata(graph, format, slug),
        "qParams": {
            "pinnedIds": list(dict.fromkeys(named)),
            "supernodes": [[name, *members] for name, members in groups],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": _nodes(graph, labels or {}),
        "links": _links(graph),
    }


def _metadata(graph: Graph, format: GraphFormat, slug: str) -> dict[str, Any]:
    about = graph.about
    common = {
        "slug": slug,
        "scan": str(graph.subject.get("slug", "")),
        "prompt_tokens": _tokens(graph),
        "prompt": str(about.get("text") or about.get("prompt") or ""),
    }
    if format == "circuit-tracer":
        return {**common, "transcoder_list": [], "schema_version": 1}
    settings = {name: about[name] for name in ("method", "baseline", "seed", "edges") if name in about}
    return {
        **common,
        "info": {
            "description": str(about.get("sentence") or ""),
            "generator": {"name": "patchclamp", "version": read_versions()["patchclamp"]},
        },
        "generation_settings": settings,
    }


def _tokens(graph: Graph) -> list[str]:
    tokens = graph.about.get("tokens")
    return [str(token) for token in tokens] if isinstance(tokens, list | tuple) else []


def _nodes(graph: Graph, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    tokens = _tokens(graph)
    last = max(len(tokens) - 1, 0)
    layers = graph.about.get("layers")
    n_layers = layers if isinstance(layers, int) and not isinstance(layers, bool) else 0
    influence, kinds = _influence(graph), _kinds(graph)
    nodes = []
    for node in graph.nodes:
        place, words = _place(node, n_layers, last, tokens, kinds)
        if node.kind == "output":
            words = _output(graph, node)
        activation = node.measures.get("activation")
        nodes.append(
            {
                "node_id": node.key,
                "jsNodeId": node.key,
                **place,
                "clerp": labels.get(node.key) or words or name_unit(node.key),
                "influence": influence.get(node.key),
                "activation": activation,
                "token_prob": 0.0,
                "is_target_logit": node.kind == "output",
                "run_idx": 0,
                "reverse_ctx_idx": 0,
            }
        )
    return nodes


def _output(graph: Graph, node: Node) -> str:
    """Return what an output is called: its answer in quotation marks, where viewers look for it, and m."""
    names = [str(graph.about.get(name) or "").replace('"', "'") for name in ("target", "contrast")]
    said = " rather than ".join(f'"{name}"' for name in names if name) if names[0] else ""
    return f"Output {said} (m = {node.score:.2f})" if said else f"Output {node.score:.2f}"


def _kinds(graph: Graph) -> dict[tuple[str, str], int]:
    """Return the number of each site and basis within its block, neurons and features before heads."""
    found = set()
    for node in graph.nodes:
        with suppress(PatchclampError):
            unit = UnitKey.parse(node.key)
            found.add((_layer(unit.site), unit.basis == "heads", unit.site, unit.basis))
    numbers: dict[tuple[str, str], int] = {}
    counts: Counter[int] = Counter()
    for layer, _, site, basis in sorted(found):
        numbers[site, basis] = counts[layer]
        counts[layer] += 1
    return numbers


def _layer(site: str) -> int:
    parts = site.split(".")
    return int(parts[1]) if parts[0] == "blocks" and len(parts) > 1 and parts[1].isdigit() else 0


def _place(
    node: Node, n_layers: int, last: int, tokens: Sequence[str], kinds: Mapping[tuple[str, str], int]
) -> tuple[dict[str, Any], str]:
    """Return where a node stands and what it is there, and words for the ends; what stands nowhere is at the end."""
    begin, _, at = node.key.rpartition("@")
    position = int(at) if begin and at.isdigit() else last
    if node.kind == "output":
        return {"feature": 0, "layer": str(n_layers + 1), "ctx_idx": last, "feature_type": LOGIT}, ""
    if node.kind == "input":
        words = tokens[position] if position < len(tokens) else ""
        return {"feature": position, "layer": "E", "ctx_idx": position, "feature_type": EMBEDDING}, words
    try:
        unit = UnitKey.parse(node.key)
        layer, index = _layer(unit.site), unit.index + NEXT_KIND * kinds.get((unit.site, unit.basis), 0)
    except PatchclampError:
        layer, index = 0, 0
    if node.kind == "error":
        return {"feature": -1, "layer": str(layer), "ctx_idx": position, "feature_type": ERROR}, "Error"
    feature = (layer + index) * (layer + index + 1) // 2 + index
    return {"feature": feature, "layer": str(layer), "ctx_idx": position, "feature_type": FEATURE}, ""


def _influence(graph: Graph) -> dict[str, float]:
    """Return the share of all |scores| that a node and every larger one carry: what the viewers prune by."""
    ranked = sorted((node for node in graph.nodes if node.kind != "output"), key=lambda node: -abs(node.score))
    whole = sum(abs(node.score) for node in ranked)
    total, shares = 0.0, {}
    for node in ranked:
        total += abs(node.score)
        shares[node.key] = total / whole if whole else 0.0
    return shares


def _links(graph: Graph) -> list[dict[str, Any]]:
    links: dict[tuple[str, str], dict[str, Any]] = {}
    for edge in graph.edges:
        link = links.setdefault(
            (edge.source, edge.target), {"source": edge.source, "target": edge.target, "weight": 0.0}
        )
        link["weight"] += edge.weight
        if edge.slot:
            link.setdefault("slots", {})[edge.slot] = edge.weight
    return list(links.values())


def _own_groups(graph: Graph) -> list[tuple[str, list[str]]]:
    """Return the groups that a graph holds, as the page writes them into its file."""
    groups = graph.about.get("groups")
    found = []
    for group in groups if isinstance(groups, list | tuple) else ():
        if isinstance(group, Mapping) and isinstance(group.get("nodes"), list | tuple):
            found.append((str(group.get("name", "")), [str(key) for key in group["nodes"]]))
    return found
