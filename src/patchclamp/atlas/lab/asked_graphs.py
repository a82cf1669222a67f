"""The answers that were explained from the page: in memory, the last of them, until one is kept as a layer."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from patchclamp.atlas.read.reader import NotFound
from patchclamp.atlas.store.provenance import Run
from patchclamp.core.graph import Graph

MOST_GRAPHS = 200
PREFIX = "asked-"


@dataclass(frozen=True)
class AskedGraph:
    """One explained answer.

    Args:
        id: ``asked-`` and a hash of the question and the model.
        graph: the answer.
        run: how it was made; what is remembered where it is kept.
        python: what gives the same in Python.
    """

    id: str
    graph: Graph
    run: Run
    python: str


class AskedGraphs:
    """Remember the last explained answers.

    Args:
        most: how many.
    """

    def __init__(self, most: int = MOST_GRAPHS) -> None:
        self.most = most
        self._graphs: OrderedDict[str, AskedGraph] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, asked: AskedGraph) -> None:
        """Remember one, and forget the oldest where there are too many."""
        with self._lock:
            self._graphs[asked.id] = asked
            self._graphs.move_to_end(asked.id)
            while len(self._graphs) > self.most:
                self._graphs.popitem(last=False)

    def forget(self, id: str) -> None:
        """Forget one: it is a layer now."""
        with self._lock:
            self._graphs.pop(id, None)

    def get(self, id: str) -> AskedGraph | None:
        """Return the one of an id, or None."""
        with self._lock:
            return self._graphs.get(id)

    def find(self, id: str) -> AskedGraph:
        """Return the one of an id.

        Raises:
            NotFound: it was not made here, or too long ago.
        """
        found = self.get(id)
        if found is None:
            raise NotFound(
                expected=f"one of the last {self.most} answers that were explained on this server",
                got=repr(id[:80]),
                remedy="Press “Why?” in Ask again: the address of that page holds the question.",
            )
        return found

    @property
    def all(self) -> list[AskedGraph]:
        """All of them, the newest first."""
        with self._lock:
            return list(reversed(self._graphs.values()))

    def tag(self, hash: str) -> str:
        """Return an atlas's hash together with what is remembered beside it: what pages are valid for."""
        ids = [one.id for one in self.all]
        return hash if not ids else hashlib.sha256(" ".join([hash, *ids]).encode()).hexdigest()
