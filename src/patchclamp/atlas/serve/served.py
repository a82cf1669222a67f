"""The atlas as it is now, and the model where one is attached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.asked_graphs import AskedGraph
from patchclamp.atlas.read.reader import NotFound, Reading

LONGEST = 300
"""Most characters of a key or of words in an address."""
Number = Annotated[float | None, Query(allow_inf_nan=False)]


@dataclass(frozen=True)
class Served:
    """What the routes of a screen read.

    Args:
        atlas: gives the atlas as it is now; it may be another one after a layer was added.
        lab: the model, where one is attached.
    """

    atlas: Callable[[], Reading]
    lab: Lab | None = None

    def asked(self) -> list[AskedGraph]:
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
