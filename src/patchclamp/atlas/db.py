"""Db: an atlas opened for reading."""

from dataclasses import dataclass

from patchclamp.atlas import pages

Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Asked:
    """What Find was asked.

    Args:
        words: searched in descriptions, promoted tokens and tokens at top examples.
        fires_on: a token at a top example, its leading space included or not.
        site: only units of this site.
        concept: only units whose best concept is this.
        frequency: lowest and highest share of tokens above zero.
        maximum: lowest and highest maximum.
        score: lowest and highest score of the best description.
        described: only units with (or without) a description.
        sort: what to sort by.
        descending: largest first; None for what is usual.
    """

    words: str = ""
    fires_on: str = ""
    site: str = ""
    concept: str = ""
    frequency: Range = (None, None)
    maximum: Range = (None, None)
    score: Range = (None, None)
    described: bool | None = None
    sort: pages.Sort = "key"
    descending: bool | None = None


class Atlas:
    """Read an atlas."""

    hash: str

    def page(self) -> pages.AtlasPage:
        """Return Home."""
        raise NotImplementedError

    def find(self, asked: Asked, *, cursor: str = "", limit: int = 50) -> pages.UnitList:
        """Return the units that match."""
        raise NotImplementedError

    def unit(self, key: str) -> pages.UnitPage:
        """Return a unit's page."""
        raise NotImplementedError

    def examples(
        self, key: str, kind: pages.Kind, *, low: float | None = None, high: float | None = None, limit: int = 20
    ) -> pages.Examples:
        """Return a unit's examples of one kind."""
        raise NotImplementedError

    def graphs(self) -> pages.GraphList:
        """Return the graphs."""
        raise NotImplementedError

    def graph(self, id: str, *, max_nodes: int = 100) -> pages.GraphPage:
        """Return a graph."""
        raise NotImplementedError

    def runs(self) -> pages.RunList:
        """Return the runs."""
        raise NotImplementedError

    def run(self, id: str) -> pages.RunPage:
        """Return a run."""
        raise NotImplementedError
