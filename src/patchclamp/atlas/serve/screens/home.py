"""What is in the atlas."""

from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from patchclamp.atlas.read.graph_row import graph_row
from patchclamp.atlas.read.reader import Reading, number_or_none, page_of
from patchclamp.atlas.read.recorded import CANNOT_CLAMP, RECORDING
from patchclamp.atlas.read.responses import CorpusView, GraphRow, Source
from patchclamp.atlas.read.suggestions import Suggestion, suggest_units
from patchclamp.atlas.serve.served import Served
from patchclamp.atlas.store.layers import Layer
from patchclamp.atlas.store.sqlite_files import VERSION
from patchclamp.core.model_comparison import ModelComparison
from patchclamp.core.plain_names import name_site

MOST_GROUPS = 50


@dataclass(frozen=True)
class SubjectView:
    """The model: its slug in keys, the name it was loaded by, its hash, class and dtype."""

    slug: str
    name: str
    hash: str
    architecture: str
    dtype: str


@dataclass(frozen=True)
class SiteRow:
    """One site of the atlas, with how many of its units there are, are described, and never rose above zero.

    Args:
        site: its path.
        name: the site in words.
        kind: what it is of a block, such as ``mlp.act``.
        layer: block number, or None.
        basis: its basis.
        units: number of units.
        described: of them, with a description.
        silent: of them, never above zero.
    """

    site: str
    name: str
    kind: str
    layer: int | None
    basis: str
    units: int
    described: int
    silent: int


@dataclass(frozen=True)
class LayerRow:
    """One layer that was added to the base.

    Args:
        id: its kind with its content hash; also the id of the run that made it.
        kind: ``descriptions``, ``graph``, ``comparison`` or ``basis``.
        rows: descriptions, nodes of the graph, features, or of a comparison the tokens or conditions compared.
        title: the author of descriptions, the prompt and answer of a graph, what was compared, or a basis and its
            sites.
        bytes: size on disk.
    """

    id: str
    kind: str
    rows: int
    title: str
    bytes: int


@dataclass(frozen=True)
class GroupRow:
    """A group of recorded units and how many are in it."""

    name: str
    units: int


@dataclass(frozen=True)
class RecordingView:
    """A recorded brain.

    Args:
        measure: unit of measure of the samples.
        rate: samples per second; None where nobody stated it.
        start: seconds of the first sample.
        trials: how many.
        samples: of each.
        axes: names of the coordinates of units; empty where none are given.
        trial_labels: what is known of every trial, by name.
        time_labels: what is known of every sample.
        unit_labels: what is known of every unit.
        groups: sets of units, at most 50.
        n_groups: how many there are.
        mean_r: mean correlation of all pairs; None where there is no pair.
        mean_r_within: mean within groups, each group counting once.
        missing: samples that are missing, of all units together.
        constant: units with one value throughout.
        shifts: circular shifts that say what chance gives.
        blocks: trials or blocks of time that intervals are over.
        numbered: whether the file names no unit, so that they are called by their numbers, counted from 0.
        cannot: why it cannot be clamped.
    """

    measure: str
    rate: float | None
    start: float
    trials: int
    samples: int
    axes: list[str]
    trial_labels: list[str]
    time_labels: list[str]
    unit_labels: list[str]
    groups: list[GroupRow]
    n_groups: int
    mean_r: float | None
    mean_r_within: float | None
    missing: int
    constant: int
    shifts: int
    blocks: int
    numbered: bool
    cannot: str


@dataclass(frozen=True)
class AtlasPage:
    """Home: what is in this atlas?

    Args:
        name: name of the folder.
        title: the model's name, without the folders that it lies in.
        hash: content hash of base and layers together; the ETag.
        base: content hash of the base.
        version: version of the format.
        modality: ``language``, ``image`` or ``recording``.
        recording: of a recorded brain what was recorded; None of a model.
        subject: the model.
        corpus: the text.
        sites: one row per site.
        n_units: units in all.
        n_described: units with a description.
        n_scored: units with a scored description.
        n_silent: units that never rose above zero.
        n_examples: examples in the base.
        explained: explained answers, the latest last.
        begin: a few units to begin with, each with the reason.
        layers: what was added.
        bytes: size on disk, all files together.
        baked: the command that baked it.
        notes: what a reader should know, such as a layer that could not be read.
        source: where this page comes from.
    """

    name: str
    title: str
    hash: str
    base: str
    version: int
    modality: str
    recording: RecordingView | None
    subject: SubjectView
    corpus: CorpusView
    sites: list[SiteRow]
    n_units: int
    n_described: int
    n_scored: int
    n_silent: int
    n_examples: int
    explained: list[GraphRow]
    begin: list[Suggestion]
    layers: list[LayerRow]
    bytes: int
    baked: str
    notes: list[str]
    source: Source


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the address of the first page."""

    @app.get("/api/atlas", operation_id="readAtlas")
    def read_atlas() -> AtlasPage:
        """Home: what is in this atlas?"""
        return atlas_page(served.atlas())


@page_of
def atlas_page(atlas: Reading) -> AtlasPage:
    """Return Home: what is in this atlas."""
    subject, run = atlas.about["subject"], atlas.runs[atlas.base_run]
    silent = dict(
        atlas.rows("SELECT site, count(*) FROM units WHERE coalesce(maximum, 0) <= 0 GROUP BY site ORDER BY site")
    )
    sites = [
        SiteRow(
            path,
            name_site(path, basis),
            kind,
            layer,
            basis,
            units,
            atlas.n_described_in(first, units),
            silent.get(id, 0),
        )
        for id, path, kind, layer, basis, first, units in atlas.sites
    ]
    [(scored,)] = atlas.rows("SELECT count(*) FROM temp.described WHERE score IS NOT NULL")
    n_examples = sum(atlas.rows(f"SELECT count(*) FROM {part.schema}.examples")[0][0] for part in atlas.parts)
    layers = []
    for layer in atlas.layers:
        layers.append(LayerRow(layer.id, layer.kind, _count_rows(layer), layer.title, layer.bytes))
    return AtlasPage(
        name=atlas.folder.name,
        title=_title(str(run.options.get("model", atlas.slug))),
        hash=atlas.hash,
        base=str(atlas.head["base"]),
        version=VERSION,
        modality=str(atlas.about["modality"]),
        recording=_view_recording(atlas) if atlas.about["modality"] == RECORDING else None,
        subject=SubjectView(
            slug=atlas.slug,
            name=str(run.options.get("model", atlas.slug)),
            hash=subject["hash"],
            architecture=subject["class"],
            dtype=subject["dtype"],
        ),
        corpus=atlas.corpus,
        sites=sites,
        n_units=atlas.n_units,
        n_described=atlas.n_described,
        n_scored=scored,
        n_silent=sum(silent.values()),
        n_examples=n_examples,
        explained=[graph_row(layer.id, layer.graph) for layer in atlas.layers if layer.graph],
        begin=suggest_units(atlas),
        layers=layers,
        bytes=atlas.bytes,
        baked=run.command,
        notes=list(atlas.notes),
        source=atlas.source(".page()"),
    )


def _view_recording(atlas: Reading) -> RecordingView:
    facts = atlas.about["recording"]
    groups = atlas.rows("SELECT name, count(*) FROM groups GROUP BY name ORDER BY min(rank)")
    named = atlas.rows("SELECT 1 FROM recorded WHERE name <> unit LIMIT 1")
    names = ("measure", "rate", "start", "trials", "samples", "axes", "trial_labels", "time_labels", "unit_labels")
    return RecordingView(
        **{name: facts[name] for name in (*names, "missing", "constant", "shifts", "blocks")},
        groups=[GroupRow(name, units) for name, units in groups[:MOST_GROUPS]],
        n_groups=len(groups),
        mean_r=number_or_none(facts["mean_r"]),
        mean_r_within=number_or_none(facts["mean_r_within"]),
        numbered=not named,
        cannot=CANNOT_CLAMP,
    )


def _count_rows(layer: Layer) -> int:
    if layer.comparison is not None:
        compared = layer.comparison
        return compared.n_tokens if isinstance(compared, ModelComparison) else compared.estimate.n
    return len(layer.graph.nodes) if layer.graph else layer.n_features or len(layer.descriptions)


def _title(model: str) -> str:
    """Return a model's name; of a path, its last part."""
    return Path(model).name or model if model.startswith((".", "/", "~")) else model
