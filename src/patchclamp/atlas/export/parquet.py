"""An atlas as tables, for DuckDB, pandas, Polars and whoever else reads them.

Row groups are written as they fill, so that memory holds one of each table and never the atlas. Every column carries
what it means as metadata of its field.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from patchclamp.atlas.atlas import Atlas
from patchclamp.atlas.export.output_path import Exported, new_folder, sizes
from patchclamp.atlas.export.recorded_tables import RECORDED_COLUMNS, recorded_rows
from patchclamp.atlas.read.reader import NotFound
from patchclamp.atlas.read.recorded import RECORDING
from patchclamp.atlas.serve.screens.unit.examples import STORED, Kind
from patchclamp.atlas.serve.screens.unit.page import DescriptionView, UnitPage
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.unit import UnitKey

GROUP = {"units": 1000, "examples": 8192}
"""Rows of a row group; 1,000 in the tables that are not named."""
ALL = 10**9
COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    "units": {
        "key": ("text", "subject/site/basis/index; joins the tables"),
        "site": ("text", "site"),
        "layer": ("integer", "block number, null where it is in none"),
        "basis": ("text", "basis"),
        "index": ("integer", "number in the basis"),
        "counted": ("integer", "tokens that the statistics count"),
        "frequency": ("number", "share of them above zero"),
        "mean": ("number", "mean activation"),
        "deviation": ("number", "standard deviation"),
        "minimum": ("number", "lowest activation"),
        "maximum": ("number", "highest activation"),
        "silent": ("truth", "never rose above zero"),
        "quantiles": ("quantiles", "activation at probabilities, from a uniform sample"),
        "histogram_edges": ("numbers", "bin edges, one more than bins; null where there is no histogram"),
        "histogram_tokens": ("integers", "tokens per bin"),
        "histogram_pieces": ("integers", "windows of 32 tokens per bin, by their maximum"),
        "fires_on": ("tokens", "tokens at its top examples, counted by weight"),
        "promotes": ("tokens", "tokens that its write direction promotes"),
        "suppresses": ("tokens", "tokens that it suppresses"),
        "excited_by": ("tokens", "tokens whose embedding drives it"),
        "inhibited_by": ("tokens", "tokens whose embedding holds it down"),
        "driven_by": ("units", "earlier units by read · write"),
        "query_reads": ("units", "of a head: earlier units that its queries read, times a unit of the same site"),
        "key_reads": ("units", "the same of its keys"),
        "similar": ("units", "units by the cosine of write directions"),
        "together": ("units", "units by the correlation of activations"),
        "concepts": ("concepts", "concepts or patterns of tokens that it detects, by AUROC with a 95 % interval"),
        "attention": ("measures", "of a head: mean attention by where it goes, and how much it copies and erases"),
        "not_known": ("reasons", "why a panel is empty, by the name of its column"),
    },
    "head_pairs": {
        "key": ("text", "the attention head"),
        "name": ("text", "attends (over the text), writes or matches (by its weights)"),
        "rank": ("integer", "order within its name"),
        "source": ("text", "the token that is attended to"),
        "target": ("text", "the token that attends; of writes the one that is promoted"),
        "source_id": ("integer", "its id"),
        "target_id": ("integer", "its id"),
        "weight": ("number", "mean attention, logits, or q · k"),
        "n": ("integer", "how often, of attends; else null"),
    },
    "examples": {
        "key": ("text", "the unit"),
        "kind": ("text", "top, quantile, random, interval, lowest or counter"),
        "rank": ("integer", "order within its kind"),
        "value": ("number", "activation at the marked token"),
        "mark": ("integer", "index of the marked token in tokens"),
        "stimulus": ("integer", "number of the stimulus in the text"),
        "position": ("integer", "logical position of the marked token"),
        "tokens": ("texts", "the tokens' text"),
        "ids": ("integers", "their ids"),
        "acts": ("numbers", "activation at each (float16); null where not finite"),
        "special": ("integers", "indices of tokens that no statistics count"),
        "bytes": ("integers", "indices of tokens that are parts of characters; their text is hex"),
        "before": ("truth", "tokens of the stimulus stand before the first"),
        "after": ("truth", "some stand after the last"),
        "reason": ("text", "of a counter-example: what the words get wrong"),
    },
    "descriptions": {
        "key": ("text", "the unit"),
        "text": ("text", "the words"),
        "author": ("text", "who wrote them"),
        "made": ("text", "when, ISO 8601; null where not known"),
        "evidence": ("texts", "ids of the stimuli that the author was shown"),
        "scores": ("scores", "how well the words hold, with intervals"),
        "fails_on": ("integer", "examples that they get wrong"),
        "layer": ("text", "the layer of the atlas that holds them"),
    },
    "notes": {
        "key": ("text", "the unit"),
        "kind": ("text", "note, star, description or tag"),
        "text": ("text", "the words; empty for a star"),
        "author": ("text", "who wrote it"),
        "time": ("text", "when, ISO 8601"),
    },
    "graphs": {
        "graph": ("text", "id of the explained answer"),
        "prompt": ("text", "the prompt"),
        "target": ("text", "the answer explained"),
        "contrast": ("text", "the answer it was compared with, null without"),
        "method": ("text", "how nodes were scored"),
        "metric": ("number", "m with nothing changed"),
        "nodes": ("integer", "nodes of the graph"),
        "edges": ("integer", "edges of the graph"),
    },
    "graph_nodes": {
        "graph": ("text", "id of the explained answer"),
        "node": ("text", "key with position, or input@p or output"),
        "kind": ("text", "neuron, head, feature, site (the whole of one), input, output or error"),
        "key": ("text", "the unit in this atlas, null where it has none"),
        "score": ("number", "predicted effect on m"),
        "measured": ("number", "what replacing it alone took from m, null where not measured"),
        "measures": ("measures", "everything else that was measured, by name"),
    },
    "graph_edges": {
        "graph": ("text", "id of the explained answer"),
        "source": ("text", "node it leaves"),
        "target": ("text", "node it reaches"),
        "weight": ("number", "its weight"),
        "slot": ("text", "what the target reads it as: q, k or v of a head; empty where it reads one thing"),
    },
}
"""Every table's columns: the kind of value, and what it means."""


def write_parquet(atlas: Atlas, out: Path, progress: Callable[[int, int], None] | None = None) -> Exported:
    """Write an atlas as a folder of Parquet tables: one file for each entry of ``COLUMNS``, of a recording of others.

    Returns:
        Exported: what was written, with its size in bytes.

    Raises:
        PatchclampError: pyarrow is not installed, something stands at ``out``, or a full disk; nothing is left behind.
        Damaged: the atlas was changed meanwhile.
    """
    arrow, parquet = _arrow()
    total = atlas.reading.n_units
    recorded = atlas.reading.about["modality"] == RECORDING
    columns = (
        RECORDED_COLUMNS | {"descriptions": COLUMNS["descriptions"], "notes": COLUMNS["notes"]} if recorded else COLUMNS
    )
    with new_folder(out) as folder:
        with ExitStack() as files:
            tables = {name: _Table(arrow, parquet, folder, name, columns[name], atlas, files) for name in columns}
            for number in range(total):
                unit = atlas.unit(str(atlas.reading.key(number)))
                for name, row in recorded_rows(atlas, unit) if recorded else _rows_of(atlas, unit):
                    tables[name].add(row)
                for said in unit.descriptions:
                    tables["descriptions"].add(_description_row(unit.key, said))
                if progress is not None:
                    progress(number + 1, total)
            for note in atlas.reading.written.notes:
                row = {"key": note.unit, **asdict(note)}
                tables["notes"].add({name: row[name] for name in COLUMNS["notes"]})
            for layer in atlas.reading.layers:
                if layer.graph is not None:
                    _add_graph(atlas, layer.id, layer.graph, tables)
            for table in tables.values():
                table.flush()
        file_sizes = sizes(folder)
    return Exported("parquet", str(out), file_sizes, total)


def _rows_of(atlas: Atlas, unit: UnitPage) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a unit's rows, each with its table."""
    yield "units", _unit_row(unit)
    for row in _head_pairs(unit):
        yield "head_pairs", row
    for row in _examples(atlas, unit):
        yield "examples", row


def _arrow() -> tuple[ModuleType, ModuleType]:
    """Return pyarrow and its Parquet part.

    Raises:
        PatchclampError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise PatchclampError(
            expected="pyarrow, which writes Parquet",
            got="an installation without it",
            remedy="pip install 'patchclamp[parquet]'",
        ) from problem
    return pyarrow, pyarrow.parquet


class _Table:
    """One file; rows wait until they fill a row group."""

    def __init__(
        self,
        arrow: ModuleType,
        parquet: ModuleType,
        folder: Path,
        name: str,
        columns: Mapping[str, tuple[str, str]],
        atlas: Atlas,
        files: ExitStack,
    ) -> None:
        kinds = _kinds(arrow)
        fields = [arrow.field(c, kinds[kind], metadata={"meaning": says}) for c, (kind, says) in columns.items()]
        about = {"atlas": atlas.hash, "patchclamp": version("patchclamp")}
        self.arrow, self.schema = arrow, arrow.schema(fields, metadata=about)
        self.most = GROUP.get(name, 1000)
        self.rows: list[dict[str, Any]] = []
        # An open file: pyarrow takes some names for addresses elsewhere.
        stream = files.enter_context((folder / f"{name}.parquet").open("xb"))
        self.writer = files.enter_context(parquet.ParquetWriter(stream, self.schema, compression="zstd"))

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) >= self.most:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.writer.write_table(self.arrow.Table.from_pylist(self.rows, self.schema))
        self.rows = []


def _kinds(arrow: ModuleType) -> dict[str, Any]:
    text, number, integer, truth = arrow.string(), arrow.float64(), arrow.int64(), arrow.bool_()

    estimate = [
        *((name, number) for name in ("value", "low", "high", "level")),
        ("interval", text),
        ("n", integer),
        ("unit", text),
        ("null_low", number),
        ("null_high", number),
        ("null", text),
        ("p", number),
        ("ceiling", number),
    ]

    def rows(**fields: Any) -> Any:
        return arrow.list_(arrow.struct(list(fields.items())))

    return {
        "text": text,
        "number": number,
        "integer": integer,
        "truth": truth,
        "texts": arrow.list_(text),
        "numbers": arrow.list_(number),
        "integers": arrow.list_(integer),
        "quantiles": rows(probability=number, value=number),
        "tokens": rows(id=integer, text=text, bytes=truth, weight=number),
        "units": rows(key=text, value=number),
        "concepts": rows(concept=text, kind=text, auroc=arrow.struct(estimate)),
        "scores": arrow.list_(arrow.struct(estimate)),
        "reasons": arrow.map_(text, text),
        "measures": arrow.map_(text, number),
    }


def _unit_row(unit: UnitPage) -> dict[str, Any]:
    page = asdict(unit)
    bins = page["histogram"] or {}
    row = {name: page[name] for name in COLUMNS["units"] if name in page}
    row |= {f"histogram_{name}": bins.get(name) for name in ("edges", "tokens", "pieces")}
    row |= {name: value for name, value in page["statistics"].items() if name in COLUMNS["units"]}
    head = unit.head
    panels = {name: page[name] for name in ("driven_by", "similar", "together")}
    panels |= {name: [] if head is None else page["head"][name] for name in ("query_reads", "key_reads")}
    for name, units in panels.items():
        row[name] = [{"key": one["key"], "value": one["value"]} for one in units]
    measured = None if head is None else {**asdict(head.shares), "copies": head.copies, "erases": head.erases}
    return row | {
        "attention": None if measured is None else [(name, x) for name, x in measured.items() if x is not None],
        "not_known": list(page["not_known"].items()),
    }


def _head_pairs(unit: UnitPage) -> Iterator[dict[str, Any]]:
    if unit.head is None:
        return
    pairs: dict[str, list[tuple[Any, ...]]] = {
        "attends": [(p.source, p.target, p.weight, p.n) for p in unit.head.attends],
        "writes": [(one.source, token, token.weight, None) for one in unit.head.writes for token in one.promoted],
        "matches": [(p.source, p.target, p.weight, None) for p in unit.head.matches],
    }
    for name, rows in pairs.items():
        for rank, (source, target, weight, n) in enumerate(rows):
            ids = {"source_id": source.id, "target_id": target.id}
            words = {"source": source.text, "target": target.text}
            yield {"key": unit.key, "name": name, "rank": rank, **words, **ids, "weight": weight, "n": n}


def _examples(atlas: Atlas, unit: UnitPage) -> Iterator[dict[str, Any]]:
    kinds: tuple[Kind, ...] = (*STORED, "counter")
    for kind in kinds:
        ends = {"low": float("-inf"), "high": float("inf")} if kind == "interval" else {}
        for rank, one in enumerate(atlas.examples(unit.key, kind, limit=ALL, **ends).examples):
            row = asdict(one)
            yield {"key": unit.key, "rank": rank, **{n: row[n] for n in COLUMNS["examples"] if n in row}}


def _description_row(key: str, said: DescriptionView) -> dict[str, Any]:
    row = asdict(said)
    return {"key": key, "layer": row["run"], **{n: row[n] for n in COLUMNS["descriptions"] if n in row}}


def _add_graph(atlas: Atlas, id: str, graph: Graph, tables: dict[str, _Table]) -> None:
    about = graph.about
    tables["graphs"].add(
        {
            "graph": id,
            "prompt": str(about.get("prompt", "")),
            "target": str(about.get("target", "")),
            "contrast": None if about.get("contrast") is None else str(about["contrast"]),
            "method": str(about.get("method", "")),
            "metric": graph.measures.get("metric_clean"),
            "nodes": len(graph.nodes),
            "edges": len(graph.edges),
        }
    )
    for node in graph.nodes:
        measures = {name: float(value) for name, value in node.measures.items() if isinstance(value, int | float)}
        tables["graph_nodes"].add(
            {
                "graph": id,
                "node": node.key,
                "kind": node.kind,
                "key": _unit_of(atlas, node.key),
                "score": float(node.score),
                "measured": measures.pop("measured", None),
                "measures": list(measures.items()),
            }
        )
    for edge in graph.edges:
        tables["graph_edges"].add(
            {
                "graph": id,
                "source": edge.source,
                "target": edge.target,
                "weight": float(edge.weight),
                "slot": edge.slot,
            }
        )


def _unit_of(atlas: Atlas, key: str) -> str | None:
    try:
        return str(atlas.reading.key(atlas.reading.index_of(str(UnitKey.parse(key).without_place()))))
    except (NotFound, PatchclampError):
        return None  # a head, an input or an output
