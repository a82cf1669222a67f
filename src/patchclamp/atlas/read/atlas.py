"""Db: an atlas opened for reading, one method per page."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from patchclamp.atlas import pages
from patchclamp.atlas.read.attached_layers import part_bases
from patchclamp.atlas.read.exemplars import exemplars_of
from patchclamp.atlas.read.graph_pruning import MOST_NODES, graph_page
from patchclamp.atlas.read.reader import Absent, Reading, number_or_none
from patchclamp.atlas.read.search import Asked, find
from patchclamp.atlas.read.unit_page import examples, graph_row, unit_page
from patchclamp.atlas.store.provenance import UNVERIFIED, Run
from patchclamp.atlas.store.sqlite_files import DAMAGED, VERSION
from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.errors import fitting
from patchclamp.core.exemplars import Exemplars

P = ParamSpec("P")
R = TypeVar("R")


def page_of(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Return a method that reports values which no bake writes as damage."""

    @wraps(method)
    def read(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        with fitting(self.reading.folder, DAMAGED):
            return method(self, *args, **kwargs)

    return read


@checked
class Atlas:
    """Read an atlas; each method gives the page of the same name.

    Args:
        path: the folder that ``patchclamp atlas bake`` wrote.
        check: compare the base with its hash first; one read of its file.

    Raises:
        PatchclampError: no atlas there, or a newer one.
        Damaged: the base is not what was baked.
    """

    def __init__(self, path: str | Path, *, check: bool = True) -> None:
        folder = Path(path).resolve()
        with fitting(folder, DAMAGED):
            self.reading = Reading(folder, check=check)

    @property
    def hash(self) -> str:
        """Content hash of base and layers together."""
        return self.reading.hash

    @page_of
    def page(self) -> pages.AtlasPage:
        """Return Home: what is in this atlas."""
        atlas = self.reading
        subject, run = atlas.about["subject"], atlas.runs[atlas.base_run]
        silent = dict(
            atlas.rows("SELECT site, count(*) FROM units WHERE coalesce(maximum, 0) <= 0 GROUP BY site ORDER BY site")
        )
        sites = [
            pages.SiteRow(path, kind, layer, basis, units, atlas.said_in(first, units), silent.get(id, 0))
            for id, path, kind, layer, basis, first, units in atlas.sites
        ]
        [(scored,)] = atlas.rows("SELECT count(*) FROM temp.described WHERE score IS NOT NULL")
        n_examples = sum(atlas.rows(f"SELECT count(*) FROM {part.schema}.examples")[0][0] for part in atlas.parts)
        layers = []
        for layer in atlas.layers:
            graph = layer.graph
            rows = len(graph.nodes) if graph else layer.n_features or len(layer.descriptions)
            layers.append(pages.LayerRow(layer.id, layer.kind, rows, layer.title, layer.bytes))
        return pages.AtlasPage(
            name=atlas.folder.name, hash=atlas.hash, base=str(atlas.head["base"]), version=VERSION,
            modality=str(atlas.about["modality"]),
            subject=pages.SubjectView(
                slug=atlas.slug, name=str(run.options.get("model", atlas.slug)), hash=subject["hash"],
                architecture=subject["class"], dtype=subject["dtype"],
            ),
            corpus=atlas.corpus, sites=sites, n_units=atlas.n_units, n_described=atlas.n_described,
            n_scored=scored, n_silent=sum(silent.values()), n_examples=n_examples, layers=layers, bytes=atlas.bytes,
            baked=run.command, notes=list(atlas.notes), source=atlas.source(".page()"),
        )  # fmt: skip

    @page_of
    def find(self, asked: Asked | None = None, *, cursor: str = "", limit: int = 50) -> pages.UnitList:
        """Return the units that match what was asked; all of them where nothing was.

        Raises:
            PatchclampError: a cursor that no earlier page gave.
        """
        return find(self.reading, asked or Asked(), cursor, limit)

    @page_of
    def unit(self, key: str) -> pages.UnitPage:
        """Return a unit's page.

        Args:
            key: ``[subject/]site/basis/index``.

        Raises:
            Absent: the atlas has no such unit.
        """
        return unit_page(self.reading, key)

    @page_of
    def examples(
        self,
        key: str,
        kind: pages.Kind = "top",
        *,
        low: float | None = None,
        high: float | None = None,
        limit: int = 20,
    ) -> pages.Examples:
        """Return a unit's examples of one kind; ``interval`` wants ``low`` and ``high``.

        Raises:
            Absent: the atlas has no such unit.
            PatchclampError: an interval without two ends, or ends with another kind.
        """
        return examples(self.reading, key, kind, low, high, limit)

    @page_of
    def exemplars(self, key: str) -> Exemplars:
        """Return a unit's stored examples as Exemplars, masked where it is at least half as active as at its mark.

        Args:
            key: ``[subject/]site/basis/index``.

        Raises:
            Absent: the atlas has no such unit.
        """
        return exemplars_of(self.reading, key)

    @page_of
    def bases(self) -> list[tuple[str, Basis]]:
        """Return the bases that layers of features keep, each with the site that it writes, for ``model.add_basis``.

        Cost: reads their arrays.
        """
        return [pair for part in self.reading.parts[1:] for pair in part_bases(self.reading.rows, part.schema)]

    @page_of
    def graphs(self) -> pages.GraphList:
        """Return the explained answers."""
        rows = [graph_row(layer.id, layer.graph) for layer in self.reading.layers if layer.graph]
        return pages.GraphList(rows, len(rows), self.reading.source(".graphs()"))

    @page_of
    def graph(self, id: str, *, keep: float = 1.0, max_nodes: int = MOST_NODES) -> pages.GraphPage:
        """Return an explained answer, its largest nodes first: the fewest that carry ``keep`` of the sum of sizes.

        Raises:
            Absent: there is no such layer.
        """
        return graph_page(self.reading, id, keep, max_nodes)

    @page_of
    def runs(self) -> pages.RunList:
        """Return the runs that made this atlas, the newest first."""
        rows = [_run_row(id, run) for id, run in self.reading.runs.items()]
        return pages.RunList(rows, len(rows), UNVERIFIED, self.reading.source(".runs()"))

    @page_of
    def run(self, id: str) -> pages.RunPage:
        """Return one run, with what is needed to do it again.

        Raises:
            Absent: no part of this atlas has that id.
        """
        run = self.reading.runs.get(id)
        if run is None:
            raise Absent(expected="a run that made part of this atlas", got=repr(id[:80]), remedy="/runs lists them.")
        return pages.RunPage(
            run=_run_row(id, run), host=run.host, versions=run.versions, seeds=run.seeds, hashes=run.hashes,
            options=run.options, log=list(run.log), rebuild=run.rebuild,
            curves=_curves(self.reading, id),
            unverified=UNVERIFIED, source=self.reading.source(f".run({id!r})", id),
        )  # fmt: skip


def _curves(atlas: Reading, id: str) -> dict[str, dict[str, list[list[float]]]]:
    """Return the training curves of a layer of features, without what is no list of pairs of numbers."""
    part = next((part for part in atlas.parts[1:] if part.id == id), None)
    curves = part.about["dictionary"]["curves"] if part else {}
    found: dict[str, dict[str, list[list[float]]]] = {}
    for site, measures in curves.items():
        for name, pairs in measures.items() if isinstance(measures, dict) else ():
            kept = [
                [float(x), float(y)] for x, y in (pair for pair in pairs if isinstance(pair, list) and len(pair) == 2)
                if number_or_none(y) is not None
            ] if isinstance(pairs, list) else []  # fmt: skip
            if kept:
                found.setdefault(site, {})[name] = kept
    return found


def _run_row(id: str, run: Run) -> pages.RunRow:
    return pages.RunRow(id, run.verb, run.command, run.began, number_or_none(run.duration_s), run.made)


@checked
def open_atlas(path: str | Path) -> Atlas:
    """Open an atlas for reading.

    Args:
        path: the folder that ``patchclamp atlas bake`` wrote.

    Returns:
        Atlas: its pages, each a frozen dataclass: ``page find unit examples graphs graph runs run``.

    Raises:
        PatchclampError: no atlas there, or a newer one.
        Damaged: the base is not what was baked.

    Cost: one read of the base, to compare its hash, and of every layer.
    """
    return Atlas(path)
