"""What a server that was given permission writes: notes, graphs and descriptions that are kept."""

from pathlib import Path
from typing import Any

from patchclamp.atlas.read.reader import Reading
from patchclamp.atlas.store.layers import write_descriptions, write_graph
from patchclamp.atlas.store.notes import ANONYMOUS, Note, NoteKind, add_notes
from patchclamp.atlas.store.provenance import Run
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph

REMEDY = "Serve the atlas with --write, and open the whole address that it prints."


class NotAllowed(PatchclampError):
    """The server was given no permission to write."""


class Writer:
    """Write to one atlas; only routes under ``/api/write/``, which ask for the token, may call it.

    Args:
        folder: the atlas.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_note(
        self, atlas: Reading, unit: str, kind: NoteKind, text: str = "", author: str = "", replaces: str = ""
    ) -> Note:
        """Write what somebody says of a unit; it is on disk when this returns.

        Returns:
            Note: as it is kept, with its id and time.

        Raises:
            NotFound: the atlas has no such unit.
            PatchclampError: words that are too long or missing, nothing that it could replace, or a full disk.
        """
        key = str(atlas.key(atlas.index_of(unit)))
        note = Note(key, kind, text.strip(), author.strip() or ANONYMOUS, replaces=replaces)
        [added] = add_notes(self.folder, [note])
        return added

    def keep_graph(self, graph: Graph, run: Run | None = None) -> str:
        """Keep an explained answer as a layer of the atlas, where ``/graphs/ID`` shows it.

        Args:
            graph: the answer.
            run: how it was made.

        Returns:
            str: the layer's id; the same graph has the same one.

        Raises:
            PatchclampError: a graph of another model, or a full disk.
        """
        return write_graph(self.folder, graph, run=run)

    def keep_description(self, found: Any, run: Run) -> str:
        """Keep a described unit as a layer of the atlas.

        Args:
            found: what ``describe_units`` gave.
            run: how it was made.

        Returns:
            str: the layer's id.

        Raises:
            PatchclampError: a full disk.
        """
        return write_descriptions(
            self.folder, found.descriptions, failures=found.failures, scoring=found.scoring, run=run
        )
