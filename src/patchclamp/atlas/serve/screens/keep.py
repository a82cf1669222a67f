"""An answer that was explained from the page, or a unit that was described there, kept as a layer of the atlas."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import FastAPI
from pydantic import ConfigDict, Field

from patchclamp.atlas.serve.served import LONGEST, Served


@dataclass(frozen=True)
class KeepAsked:
    """Which explained answer, or described unit, is to be kept: the id that it has until then."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=LONGEST)]


@dataclass(frozen=True)
class Kept:
    """The layer that holds it now: the page of an answer is ``/graphs/{id}``."""

    id: str


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses that keep an answer, and a description."""

    @app.post("/api/write/graphs", operation_id="keepGraph")
    def keep_graph(asked: KeepAsked) -> Kept:
        """Keep an answer that was explained on this server; wants ``x-patchclamp-token``."""
        writer = served.writing()
        remembered = served.model().asked
        explained = remembered.find(asked.id)
        kept = Kept(writer.keep_graph(explained.graph, explained.run))
        remembered.forget(asked.id)
        return kept

    @app.post("/api/write/descriptions", operation_id="keepDescription")
    def keep_description(asked: KeepAsked) -> Kept:
        """Keep the description of a unit that was made on this server; wants ``x-patchclamp-token``."""
        writer = served.writing()
        found, run = served.model().described.find(asked.id)
        return Kept(writer.keep_description(found, run))
