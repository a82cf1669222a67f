"""What is asked and answered where a unit is described from the page.

Beside the events of ``messages``: ``described``, once the words are scored.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from patchclamp.atlas.lab.explain_messages import Seed
from patchclamp.atlas.lab.messages import LONGEST_KEY
from patchclamp.atlas.read.responses import EstimateView

MOST_TOKENS = 200_000
"""Tokens of the text that are read for one unit."""


@dataclass(frozen=True)
class DescribeAsked:
    """A unit to describe.

    Args:
        unit: its key.
        seed: of every draw.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    unit: Annotated[str, Field(min_length=1, max_length=LONGEST_KEY)]
    seed: Seed = 0


@dataclass(frozen=True)
class DescribeCost:
    """What describing one unit takes.

    Args:
        possible: whether it can be done here.
        reason: why not; empty where it can.
        tokens: of the text, shown in each pass.
        passes: over the text.
        seconds: all of it, about; None where nobody has measured.
    """

    possible: bool
    reason: str
    tokens: int
    passes: int
    seconds: float | None


@dataclass(frozen=True)
class WrongWindow:
    """A window that the words get wrong.

    Args:
        tokens: their text.
        acts: the unit's activation at each.
        bytes: indices of tokens that are parts of characters.
        ids: their ids.
        mark: index of the token that shows what is wrong.
        reason: what that is.
    """

    tokens: list[str]
    acts: list[float | None]
    bytes: list[int]
    ids: list[int]
    mark: int
    reason: str


@dataclass(frozen=True)
class Described:
    """A unit described.

    Args:
        id: what keeps it; the same for the same question.
        text: the words; empty where there are none, and ``reason`` says why.
        reason: why there are none.
        author: who wrote them.
        evidence: what the author was shown.
        scores: how well the words hold on windows that the author was not shown.
        random: the same scores of a description of nothing in particular, in the same order.
        wrong: windows that the words get wrong, the worst first.
        seconds: how long it took; 0 where the server still knew it.
    """

    id: str
    text: str
    reason: str
    author: str
    evidence: list[str]
    scores: list[EstimateView]
    random: list[EstimateView]
    wrong: list[WrongWindow]
    seconds: float
