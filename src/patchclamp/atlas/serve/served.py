"""The atlas as it is now, the model where one is attached, and what writes where that is allowed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.asked_graphs import AskedGraph
from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.atlas.serve.writer import REMEDY, NotAllowed, Writer

LONGEST = 300
"""Most characters of a key or of words in an address."""
Number = Annotated[float | None, Query(allow_inf_nan=False)]


@dataclass(frozen=True)
class Served:
    """What the routes of a screen read.

    Args:
        atlas: gives the atlas as it is now; it may be another one after a layer was added.
        lab: the model, where one is attached.
        writer: writes to the atlas; None where the server has no permission. Routes that use it begin with
            ``/api/write/``, where the guard asks for the token.
    """

    atlas: Callable[[], Reading]
    lab: Lab | None = None
    writer: Writer | None = None

    def list_asked(self) -> list[AskedGraph]:
        """Return the answers that were explained from the page, the newest first."""
        return [] if self.lab is None else self.lab.asked.all

    def model(self) -> Lab:
        """Return the attached model.

        Raises:
            NotFound: there is none.
        """
        if self.lab is None:
            raise NotFound(
                expected="a model beside the atlas",
                got="an atlas by itself",
                remedy="Serve it with --model MODEL to try texts.",
            )
        return self.lab

    def writing(self) -> Writer:
        """Return what writes to the atlas.

        Raises:
            NotAllowed: the server has no permission to.
        """
        if self.writer is None:
            raise NotAllowed(expected="a server that may write", got="one that only reads", remedy=REMEDY)
        return self.writer
