"""Scored relations among units at positions, inputs and outputs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.checks import check_plain
from patchclamp.core.disk import read_text_file, write_file
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import parse, read_list, read_mapping, read_number, read_word
from patchclamp.core.plain_names import name_unit
from patchclamp.core.table import Table, Tabular

FORMAT, VERSION = "patchclamp-graph", 1


@checked
@dataclass(frozen=True)
class Node:
    """One thing that carries a score: a unit at a position (by key), an input token or an output.

    Args:
        key: the unit's key with its position; ``input@3``, ``error@3`` or ``output`` for the ends.
        kind: ``neuron``, ``head``, ``feature``, ``site`` (the whole of one), ``input``, ``output`` or ``error`` (what
            no node of the graph explains).
        score: predicted effect on the metric, in the metric's units.
        measures: other numbers about it (activation, measured effect), by name.
    """

    key: str
    kind: str
    score: float
    measures: Mapping[str, float] = field(default_factory=dict)


@checked
@dataclass(frozen=True)
class Edge:
    """A directed relation between two nodes, by key, with its weight.

    Args:
        source: where it comes from.
        target: where it goes to.
        weight: how strong it is.
        slot: what the target reads it as, where it reads several things: ``q``, ``k`` or ``v`` of a head.
        measured: what replacing this edge alone took from the metric; None where that was not measured.
    """

    source: str
    target: str
    weight: float
    slot: str = ""
    measured: float | None = None


@checked
@dataclass(frozen=True, repr=False)
class Graph(Tabular):
    """Hold an explanation as data: nodes, edges, what they explain and how much of it.

    Args:
        subject: slug and hash of the model.
        metric: the explained number, as ``Metric.to_json`` gives it.
        nodes: scored nodes.
        edges: weighted edges.
        measures: metric_clean, completeness gap and other numbers of the whole.
        about: prompt, its tokens, blocks of the model, method, seeds and versions; no part must be there.

    Example:
        >>> g = Graph({"slug": "toy"}, {"kind": "logit"}, (Node("output", "output", 1.0),))
        >>> Graph.from_json(g.to_json()) == g
        True
    """

    subject: Mapping[str, str]
    metric: Mapping[str, Any]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("subject", "metric", "about"):
            check_plain(name, getattr(self, name))

    def table(self, top: int | None = None) -> Table:
        """Return the nodes as a table, the largest scores first."""
        asked = self.about.get("prompt")
        title = f"{len(self.nodes):,} nodes and {len(self.edges):,} edges{f' of {asked!r}' if asked else ''}"
        nodes = sorted(self.nodes, key=lambda node: -abs(node.score))[:top]
        rows = tuple((name_unit(node.key), node.key, node.kind, node.score) for node in nodes)
        return Table(title, ("node", "key", "kind", "score"), rows, len(self.nodes), ("node", "score"))

    def to_json(self) -> dict[str, Any]:
        """Return the graph as JSON-ready data; measures that are not finite, which JSON has not, are left out."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "subject": dict(self.subject),
            "metric": dict(self.metric),
            "measures": finite_measures(self.measures),
            "about": dict(self.about),
            "nodes": [
                {"key": n.key, "kind": n.kind, "score": n.score, **finite_measures(n.measures)} for n in self.nodes
            ],
            "edges": [
                {
                    "source": e.source,
                    "target": e.target,
                    "weight": e.weight,
                    **({"slot": e.slot} if e.slot else {}),
                    **({} if e.measured is None or not math.isfinite(e.measured) else {"measured": e.measured}),
                }
                for e in self.edges
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Graph":
        """Read a graph from data.

        Raises:
            PatchclampError: not a graph, or one of a newer version.
            Damaged: a part is missing.
        """
        if data.get("format") != FORMAT:
            raise PatchclampError(
                expected=f"a graph, whose format is {FORMAT}",
                got=f"{data.get('format')!r}",
                remedy="`patchclamp explain … --out FILE` writes one; what --json prints is another document.",
            )
        if data.get("version") != VERSION or data["version"] is True:
            raise PatchclampError(
                expected=f"{FORMAT} version {VERSION}",
                got=f"{data.get('format')!r} version {data.get('version')!r}",
                remedy="Update patchclamp, or write the graph again.",
            )
        own = ("key", "kind", "score")
        try:
            nodes = [
                Node(
                    read_word(n["key"]),
                    read_word(n["kind"]),
                    read_number(n["score"]),
                    {k: read_number(n[k]) for k in n if k not in own},
                )
                for n in read_list(data["nodes"])
            ]
            edges = [
                Edge(
                    read_word(e["source"]),
                    read_word(e["target"]),
                    read_number(e["weight"]),
                    read_word(e.get("slot", "")),
                    read_number(e["measured"]) if "measured" in e else None,
                )
                for e in read_list(data["edges"])
            ]
            subject, metric, about = (read_mapping(data[name]) for name in ("subject", "metric", "about"))
            measures = {name: read_number(value) for name, value in read_mapping(data["measures"]).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise Damaged(
                expected="a whole graph", got=f"one with {problem}", remedy="Write the graph again."
            ) from problem
        return cls(subject, metric, tuple(nodes), tuple(edges), measures, about)

    def save(self, path: str | Path) -> None:
        """Write the graph as JSON, whole or not at all."""
        write_file(Path(path), json.dumps(self.to_json(), indent=1, allow_nan=False).encode())

    @classmethod
    def load(cls, path: str | Path) -> "Graph":
        """Read a graph that ``save`` wrote."""
        try:
            data = parse(read_text_file(Path(path)))
            if not isinstance(data, dict):
                raise ValueError("not an object")
        except (OSError, ValueError, RecursionError) as problem:
            raise Damaged(expected="a graph in JSON", got=f"{path}: {problem}", remedy="Write it again.") from problem
        return cls.from_json(data)


def finite_measures(measures: Mapping[str, float]) -> dict[str, float]:
    """Return the measures that are there: an interval over one pair, or p without random sets, is not."""
    return {name: value for name, value in measures.items() if math.isfinite(value)}
