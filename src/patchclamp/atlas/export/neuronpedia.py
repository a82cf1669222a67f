"""An atlas in the layout that Neuronpedia exports and imports.

What is known of that layout, and from where (read in public repositories and documentation in November 2026):

- Folders ``MODEL_ID/SOURCE_ID/`` with ``release.jsonl model.jsonl sourceset.jsonl source.jsonl`` and
  ``features/ activations/ explanations/`` of ``batch-N.jsonl.gz``, one JSON object a line: docs.neuronpedia.org,
  "Exports"; ``sae_dashboard/neuronpedia/neuronpedia_export.py`` of jbloomAus/SAEDashboard writes the same. That script
  is what turns the ``batch-N.json`` of its ``NeuronpediaRunner`` into this; those files are not imported as they are.
- 1,024 features a batch, and the columns of features, activations and explanations:
  ``utils/neuronpedia-utils/neuronpedia_utils/export-data.py`` of hijohnnylin/neuronpedia.
- Which columns must be there, and of what type: ``apps/webapp/prisma/schema.prisma``. ``index`` is text.
- The import (``apps/webapp/app/api/admin/import/route.ts`` and ``lib/db/import.ts``) creates release, model, source set
  and source where they are missing, from objects that may hold no key that the schema lacks. Of the tables it takes the
  columns that the first line names, so every line names the same, and what is left out gets the schema's default.
- ``SOURCE_ID`` is ``LAYER-SET``; a model's id has letters, digits, dashes and underscores only: the same schema.
- ``binMin, binMax, binContains`` are -1, the maximum, -1 for top activations, and bin and share for intervals:
  ``neuronpedia_converter.py`` of SAEDashboard.
- ``creatorId`` and ``authorId`` name a user that must exist. ``CREATOR`` is the one that SAEDashboard falls back to.

What an atlas does not know is left empty: histograms of logits, encoder weights, correlations with L1, direct feature
attribution, embeddings of words. ``layers`` counts the blocks up to the last that the atlas has. ``frac_nonzero`` is
the share above zero, as everywhere in an atlas. Whether a given instance of Neuronpedia takes the result was not
tried: the import reads from an object store.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchclamp.atlas.atlas import Atlas
from patchclamp.atlas.export.output_path import Exported, new_folder, sizes
from patchclamp.atlas.serve.screens.home import AtlasPage, SiteRow
from patchclamp.atlas.serve.screens.unit.examples import Example
from patchclamp.atlas.serve.screens.unit.page import UnitPage

BATCH = 1024
CREATOR = "clkht01d40000jv08hvalcvly"
RELEASE, AUTHOR = "patchclamp", "patchclamp"
ALL = 10**9
_NOT_IN_IDS = re.compile(r"[^a-z0-9_-]+")
_BLOCK = re.compile(r"^blocks\.\d+\.")
_UNKNOWN: dict[str, list[Any]] = {
    name: []
    for name in (
        "correlated_features_indices",
        "correlated_features_l1",
        "correlated_features_pearson",
        "correlated_neurons_indices",
        "correlated_neurons_l1",
        "correlated_neurons_pearson",
        "decoder_weights_dist",
        "logits_hist_data_bar_heights",
        "logits_hist_data_bar_values",
        "neuron_alignment_indices",
        "neuron_alignment_l1",
        "neuron_alignment_values",
        "vector",
    )
}


@dataclass(frozen=True)
class _Names:
    """What a site is called there: model, source and set of sources."""

    model: str
    source: str
    set: str


def write_neuronpedia(atlas: Atlas, out: Path, progress: Callable[[int, int], None] | None = None) -> Exported:
    """Write an atlas in Neuronpedia's layout, one source per site.

    Returns:
        Exported: what was written, with its size in bytes.

    Raises:
        PatchclampError: something stands at ``out``, or a full disk; nothing is left behind.
        Damaged: the atlas was changed meanwhile.
    """
    home = atlas.page()
    done = 0
    with new_folder(out) as folder:
        for site in home.sites:
            names = _names(home, site)
            place = folder / names.model / names.source
            _write_heads(place, home, site, names)
            for first in range(0, site.units, BATCH):
                with ExitStack() as files:
                    lines = {
                        name: _Lines(place / name / f"batch-{first // BATCH}.jsonl.gz", files)
                        for name in ("features", "activations", "explanations")
                    }
                    for index in range(first, min(first + BATCH, site.units)):
                        unit = atlas.unit(f"{home.subject.slug}/{site.site}/{site.basis}/{index}")
                        lines["features"].put(feature(unit, names))
                        for row in _activations(atlas, unit, names, home.corpus.name):
                            lines["activations"].put(row)
                        for row in _explanations(unit, names):
                            lines["explanations"].put(row)
                        done += 1
                        if progress is not None:
                            progress(done, home.n_units)
        file_sizes = sizes(folder)
    return Exported("neuronpedia", str(out), file_sizes, done)


def _names(home: AtlasPage, site: SiteRow) -> _Names:
    def dash(text: str) -> str:
        return _NOT_IN_IDS.sub("-", text.lower()).strip("-")

    basis = "" if site.basis == "neurons" else f"-{site.basis}"
    kind = f"{RELEASE}-{dash(_BLOCK.sub('', site.site) + basis)}"
    # A source's id begins with its layer; a site outside of all blocks counts as layer 0 and keeps its whole name.
    return _Names(dash(home.subject.slug)[:128] or "model", f"{site.layer or 0}-{kind}", kind)


def _write_heads(place: Path, home: AtlasPage, site: SiteRow, names: _Names) -> None:
    """Write release, model, set and source: one line each, without a key that the schema lacks."""
    place.mkdir(parents=True)
    blocks = [one.layer for one in home.sites if one.layer is not None]
    release = f"{RELEASE}-{names.model}-{home.hash[:8]}".replace("_", "-")
    owned = {"creatorId": CREATOR, "visibility": "PUBLIC"}
    says = f"{site.site} of {home.subject.name}, an atlas by patchclamp"
    heads: dict[str, dict[str, Any]] = {
        "release": {
            "name": release,
            "description": f"Atlas {home.name} of {home.subject.name}",
            "urls": [],
            "descriptionShort": home.name,
            "creatorName": AUTHOR,
            "creatorNameShort": AUTHOR,
            **owned,
        },
        "model": {
            "id": names.model,
            "displayName": home.subject.name,
            "displayNameShort": home.subject.slug,
            "layers": max(blocks, default=0) + 1,
            "neuronsPerLayer": site.units,
            "owner": AUTHOR,
            **owned,
        },
        "sourceset": {
            "modelId": names.model,
            "name": names.set,
            "description": says,
            "type": site.kind,
            "creatorName": AUTHOR,
            "urls": [],
            "releaseName": release,
            **owned,
        },
        "source": {
            "id": names.source,
            "modelId": names.model,
            "setName": names.set,
            "dataset": home.corpus.name,
            "num_prompts": home.corpus.stimuli,
            "num_tokens_in_prompt": home.corpus.window,
            "notes": f"{says}; content hash {home.hash}",
            **owned,
        },
    }
    for name, line in heads.items():
        (place / f"{name}.jsonl").write_bytes(_line(line))


def feature(unit: UnitPage, names: _Names) -> dict[str, Any]:
    """Return a unit as a row of features."""
    bars = positive_bars(unit)
    alike = [one for one in unit.similar if one.key.rsplit("/", 1)[0] == unit.key.rsplit("/", 1)[0]]
    return {
        "modelId": names.model,
        "layer": names.source,
        "index": str(unit.index),
        "sourceSetName": names.set,
        "creatorId": CREATOR,
        "maxActApprox": unit.statistics.maximum,
        "frac_nonzero": unit.statistics.frequency or 0.0,
        "freq_hist_data_bar_values": [middle for middle, _ in bars],
        "freq_hist_data_bar_heights": [height for _, height in bars],
        "pos_str": [one.text for one in unit.promotes],
        "pos_values": [one.weight for one in unit.promotes],
        "neg_str": [one.text for one in unit.suppresses],
        "neg_values": [one.weight for one in unit.suppresses],
        "topkCosSimIndices": [int(one.key.rsplit("/", 1)[1]) for one in alike],
        "topkCosSimValues": [one.value for one in alike],
        "hasVector": False,
        "vectorLabel": None,
        "hookName": unit.site,
        **_UNKNOWN,
    }


def positive_bars(unit: UnitPage) -> list[tuple[float, int]]:
    """Return the middle and the count of each histogram bin, of activations above zero only.

    The bin in which zero lies counts what is left of those above zero: frequency · counted − the bins above.
    """
    if unit.histogram is None or not unit.statistics.frequency:
        return []
    edges, counts = unit.histogram.edges, unit.histogram.tokens
    left = round(unit.statistics.frequency * unit.statistics.counted)
    bars = []
    for low, high, n in reversed(list(zip(edges[:-1], edges[1:], counts, strict=True))):
        if high <= 0:
            break
        n = n if low > 0 else min(n, left)
        bars.append(((max(low, 0.0) + high) / 2, n))
        left -= n
    return bars[::-1]


def _activations(atlas: Atlas, unit: UnitPage, names: _Names, text: str) -> Iterator[dict[str, Any]]:
    """Yield top examples, then the pieces of every bin; what special tokens did is set to zero, as nobody counts it."""
    most = unit.statistics.maximum or 0.0
    for one in atlas.examples(unit.key, "top", limit=ALL).examples:
        yield from _activation(unit, one, names, text, (-1.0, most, -1.0))
    if unit.histogram is None:
        return
    edges, pieces = unit.histogram.edges, unit.histogram.pieces
    for low, high, n in zip(edges[:-1], edges[1:], pieces, strict=True):
        share = n / max(sum(pieces), 1)
        for one in atlas.examples(unit.key, "interval", low=low, high=high, limit=ALL).examples:
            yield from _activation(unit, one, names, text, (low, high, share))


def _activation(
    unit: UnitPage, one: Example, names: _Names, text: str, bin: tuple[float, float, float]
) -> Iterator[dict[str, Any]]:
    special = set(one.special)
    values = [0.0 if i in special else value for i, value in enumerate(one.acts)]
    finite = [value for value in values if value is not None]
    if len(finite) < len(values):
        return  # a column of numbers takes no other
    said = json.dumps([unit.key, one.kind, one.stimulus, one.position, bin])
    yield {
        "id": "c" + hashlib.sha256(said.encode()).hexdigest()[:24],
        "modelId": names.model,
        "layer": names.source,
        "index": str(unit.index),
        "creatorId": CREATOR,
        "dataSource": text,
        "dataIndex": str(one.stimulus),
        "tokens": one.tokens,
        "values": finite,
        "maxValue": max(finite),
        "minValue": min(finite),
        "maxValueTokenIndex": finite.index(max(finite)),
        "qualifyingTokenIndex": one.mark,
        "dfaValues": [],
        "dfaMaxValue": None,
        "dfaTargetIndex": None,
        "binMin": bin[0],
        "binMax": bin[1],
        "binContains": bin[2],
    }


def _explanations(unit: UnitPage, names: _Names) -> Iterator[dict[str, Any]]:
    """Yield descriptions; author and scores stand in the notes, as an author there is a user."""
    for one in unit.descriptions:
        scores = [f"{s.unit} {s.value} ({s.low} to {s.high}, n = {s.n})" for s in one.scores]
        said = json.dumps([unit.key, one.author, one.text])
        yield {
            "id": "c" + hashlib.sha256(said.encode()).hexdigest()[:24],
            "modelId": names.model,
            "layer": names.source,
            "index": str(unit.index),
            "authorId": CREATOR,
            "description": one.text,
            "typeName": None,
            "explanationModelName": None,
            "notes": "; ".join([f"by {one.author}", *scores]),
        }


class _Lines:
    """A gzipped file of lines; it comes with its first line, for the import cannot read an empty one."""

    def __init__(self, path: Path, files: ExitStack) -> None:
        self.path, self.files = path, files
        self.file: gzip.GzipFile | None = None

    def put(self, row: dict[str, Any]) -> None:
        if self.file is None:
            self.path.parent.mkdir(exist_ok=True)
            raw = self.files.enter_context(self.path.open("wb"))
            # Neither a name nor a time inside: the same atlas gives the same bytes.
            self.file = self.files.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
        self.file.write(_line(row))


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False, separators=(",", ":")).encode() + b"\n"
