"""An atlas opened for reading, one method per page."""

from pathlib import Path

from patchclamp.atlas.read.attached_layers import part_bases
from patchclamp.atlas.read.attention import AttentionPage
from patchclamp.atlas.read.exemplars import exemplars_of
from patchclamp.atlas.read.graph_pruning import MOST_NODES
from patchclamp.atlas.read.pictures import read_picture
from patchclamp.atlas.read.reader import open_reading
from patchclamp.atlas.serve.screens.compare import (
    MOST_ROWS,
    ComparisonList,
    ComparisonPage,
    PairList,
    comparison_list,
    comparison_page,
    pair_list,
)
from patchclamp.atlas.serve.screens.find import Asked, UnitList, find
from patchclamp.atlas.serve.screens.graphs.page import GraphList, GraphPage, graph_list, graph_page
from patchclamp.atlas.serve.screens.home import AtlasPage, atlas_page
from patchclamp.atlas.serve.screens.notes import NoteList, note_list
from patchclamp.atlas.serve.screens.pictures import PictureExamples, PictureKind, picture_examples
from patchclamp.atlas.serve.screens.recorded import RecordedUnit, Tissue, recorded_unit, tissue
from patchclamp.atlas.serve.screens.runs import RunList, RunPage, run_list, run_page
from patchclamp.atlas.serve.screens.trust import TrustPage, trust_page
from patchclamp.atlas.serve.screens.unit.examples import Examples, Kind, examples
from patchclamp.atlas.serve.screens.unit.head import example_attention
from patchclamp.atlas.serve.screens.unit.page import UnitPage, unit_page
from patchclamp.atlas.store.notes import MOST_NOTES, NoteKind
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.basis import Basis
from patchclamp.core.description import Description
from patchclamp.core.errors import report_damage
from patchclamp.core.exemplars import Exemplars


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
        self.reading = open_reading(path, check=check)

    @property
    def hash(self) -> str:
        """Content hash of base and layers together."""
        return self.reading.hash

    def page(self) -> AtlasPage:
        """Return Home: what is in this atlas."""
        return atlas_page(self.reading)

    def find(self, asked: Asked | None = None, *, cursor: str = "", limit: int = 50) -> UnitList:
        """Return the units that match what was asked; all of them where nothing was.

        Returns:
            UnitList: at most ``limit`` rows, how many match in all, and the cursor of the next page.

        Raises:
            PatchclampError: a cursor that no earlier page gave.
        """
        return find(self.reading, asked or Asked(), cursor, limit)

    def unit(self, key: str) -> UnitPage:
        """Return a unit's page.

        Args:
            key: ``[subject/]site/basis/index``.

        Raises:
            NotFound: the atlas has no such unit.
        """
        return unit_page(self.reading, key)

    def examples(
        self,
        key: str,
        kind: Kind = "top",
        *,
        low: float | None = None,
        high: float | None = None,
        limit: int = 20,
    ) -> Examples:
        """Return a unit's examples of one kind; ``interval`` wants ``low`` and ``high``.

        Returns:
            Examples: at most ``limit`` examples, and how many there are.

        Raises:
            NotFound: the atlas has no such unit.
            PatchclampError: an interval without two ends, or ends with another kind.
        """
        return examples(self.reading, key, kind, low, high, limit)

    def pictures(
        self,
        key: str,
        kind: PictureKind = "top",
        *,
        low: float | None = None,
        high: float | None = None,
        limit: int = 20,
    ) -> PictureExamples:
        """Return a unit's examples of one kind in an atlas of images; ``interval`` wants ``low`` and ``high``.

        Returns:
            PictureExamples: at most ``limit`` places on pictures, with the unit's values all over each picture.

        Raises:
            NotFound: the atlas has no such unit, or is one of text.
            PatchclampError: an interval without two ends, or ends with another kind.
        """
        return picture_examples(self.reading, key, kind, low, high, limit)

    def picture(self, number: int) -> bytes:
        """Return a picture of an atlas of images, as the network is shown it, as a PNG file.

        Raises:
            NotFound: no example stands in a picture of that number.
        """
        return read_picture(self.reading, number).png

    def recorded_unit(self, key: str, *, trial: Natural | None = None) -> RecordedUnit:
        """Return what a unit of a recorded brain did: trace, events, means over trials, tuning, neighbours.

        Args:
            key: ``[subject/]recording/neurons/index``.
            trial: the trial whose trace is shown (default: the first).

        Raises:
            NotFound: an atlas of a model, no such unit, or no trace of that trial.
        """
        return recorded_unit(self.reading, key, trial)

    def tissue(self, key: str = "") -> Tissue:
        """Return where the units of a recorded brain lie, with a unit's correlation with each, and groups.

        Raises:
            NotFound: an atlas of a model, or no such unit.
        """
        return tissue(self.reading, key)

    def exemplars(self, key: str) -> Exemplars:
        """Return a unit's stored examples as Exemplars, masked where it is at least half as active as at its mark.

        Args:
            key: ``[subject/]site/basis/index``.

        Raises:
            NotFound: the atlas has no such unit.
        """
        return exemplars_of(self.reading, key)

    def attention(self, key: str, kind: Kind = "top", rank: Natural = 0) -> AttentionPage:
        """Return an attention head's pattern along one of its examples, as the bake measured it.

        Returns:
            AttentionPage: tokens, and the weights of every target among them.

        Raises:
            NotFound: no such head, or no pattern of that example.
        """
        return example_attention(self.reading, key, kind, rank)

    def bases(self) -> list[tuple[str, Basis]]:
        """Return the bases that layers of features keep, each with the site that it writes, for ``model.add_basis``.

        Cost: reads their arrays.
        """
        with report_damage(self.reading.folder, DAMAGED):
            return [pair for part in self.reading.parts[1:] for pair in part_bases(self.reading.rows, part.schema)]

    def descriptions(self) -> list[Description]:
        """Return every description that its layers hold, with its scores."""
        return self.reading.descriptions

    def trust(self, *, run: str = "", author: str = "", measure: str = "") -> TrustPage:
        """Return how far the descriptions hold: methods beside controls, scores beside frequency, and what fails.

        Args:
            run: layer whose scores are drawn beside frequency; the one with the most by default.
            author: whose descriptions in it, likewise.
            measure: measure that is drawn, likewise.

        Returns:
            TrustPage: methods, points, and the descriptions of the chosen method that hold no better than chance.
        """
        return trust_page(self.reading, run, author, measure)

    def notes(self, key: str = "", *, kind: NoteKind | None = None) -> NoteList:
        """Return what people wrote about a unit, or about all of them; the newest first.

        Args:
            key: ``[subject/]site/basis/index``; empty for all units.
            kind: only ``note``, ``star``, ``description`` or ``tag``.

        Raises:
            NotFound: the atlas has no such unit.
        """
        return note_list(self.reading, key, kind, MOST_NOTES)

    def graphs(self) -> GraphList:
        """Return the explained answers."""
        return graph_list(self.reading)

    def graph(self, id: str, *, keep: float = 1.0, max_nodes: int = MOST_NODES) -> GraphPage:
        """Return an explained answer, its largest nodes first: the fewest that carry ``keep`` of the sum of sizes.

        Returns:
            GraphPage: nodes, edges and measures, and how many nodes pruning hides.

        Raises:
            NotFound: there is no such layer.
        """
        return graph_page(self.reading, id, keep, max_nodes)

    def comparisons(self) -> ComparisonList:
        """Return the comparisons."""
        return comparison_list(self.reading)

    def comparison(self, id: str) -> ComparisonPage:
        """Return a comparison: similarity of layers, paired and moved units, next tokens.

        Raises:
            NotFound: there is no such layer.
        """
        return comparison_page(self.reading, id)

    def pairs(self, id: str, row: Natural, column: Natural, *, limit: int = MOST_ROWS) -> PairList:
        """Return the best pairs of units of a layer of the first network and one of the second, counted from 0.

        Returns:
            PairList: the highest correlation first.

        Raises:
            NotFound: there is no such comparison, or no such layers.
        """
        return pair_list(self.reading, id, row, column, limit)

    def runs(self) -> RunList:
        """Return the runs that made this atlas, the newest first."""
        return run_list(self.reading)

    def run(self, id: str) -> RunPage:
        """Return one run, with what is needed to do it again.

        Raises:
            NotFound: no part of this atlas has that id.
        """
        return run_page(self.reading, id)


@checked
def open_atlas(path: str | Path) -> Atlas:
    """Open an atlas for reading.

    Args:
        path: the folder that ``patchclamp atlas bake`` wrote.

    Returns:
        Atlas: its pages, each a frozen dataclass: ``page find unit examples graphs graph comparisons
            comparison runs run``.

    Raises:
        PatchclampError: no atlas there, or a newer one.
        Damaged: the base is not what was baked.

    Cost: one read of the base, to compare its hash, and of every layer.
    """
    return Atlas(path)
