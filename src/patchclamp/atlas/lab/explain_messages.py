"""What is asked and answered where an answer, or a file of pairs, is explained from the page.

Beside the events of ``messages``: ``explained``, once the verdict is known.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from patchclamp.atlas.lab.messages import LONGEST_TEXT, MOST_SETS, Tokens
from patchclamp.atlas.lab.uploaded_pictures import UPLOAD_ID
from patchclamp.atlas.read.responses import GraphRow, TokenView

MOST_CAUSES, MOST_PAIRS = 20, 64
"""Causes: as many as ``pc.explain`` names and replaces."""
LONGEST_ANSWER, LONGEST_PAIRS = 200, 60_000
"""Characters; a request's body may have 64 kB."""
SLOWEST_S = 600.0
"""Seconds that an explanation may take."""

Prompt = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Answer = Annotated[str, Field(min_length=1, max_length=LONGEST_ANSWER)]
Sets = Annotated[int, Field(strict=True, ge=20, le=MOST_SETS)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Top = Annotated[int, Field(strict=True, ge=1, le=MOST_CAUSES)]
ClassIndex = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
PictureId = Annotated[int, Field(strict=True, ge=0, lt=2**53)] | Annotated[str, Field(pattern=UPLOAD_ID)]
"""A kept picture's number, or an uploaded one's id."""
PartLevel = Literal["node", "neuron", "edge"]
_NOTHING_ELSE = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class ExplainAsked:
    """An answer to explain.

    Args:
        prompt: the text.
        target: the answer, as text, with its leading space.
        contrast: the answer that it is compared with; None without one.
        counterpart: a prompt of as many tokens whose values replace the causes; zero replaces them where None.
        top: causes to name and replace, at most.
        controls: random sets beside them.
        seed: of every draw.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    prompt: Prompt
    target: Answer
    contrast: Answer | None = None
    counterpart: Prompt | None = None
    top: Top = MOST_CAUSES
    controls: Sets = 99
    seed: Seed = 0


@dataclass(frozen=True)
class ExplainPictureAsked:
    """A class of a picture to explain; causes are replaced by zero.

    Args:
        picture: a kept picture's number, or an uploaded one's id.
        target: number of the class.
        contrast: number of the class that it is compared with; None without one.
        top: causes to name and replace, at most.
        controls: random sets beside them.
        seed: of every draw.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    picture: PictureId
    target: ClassIndex
    contrast: ClassIndex | None = None
    top: Top = MOST_CAUSES
    controls: Sets = 99
    seed: Seed = 0


@dataclass(frozen=True)
class CircuitAsked:
    """Pairs of prompts, to find the parts that carry their answers.

    Args:
        pairs: lines of JSON or CSV, as ``patchclamp circuit find --pairs`` takes them.
        level: ``node`` (heads and MLPs), ``neuron`` (heads and neurons) or ``edge``.
        controls: random sets.
        seed: of every draw.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    pairs: Annotated[str, Field(min_length=1, max_length=LONGEST_PAIRS)]
    level: PartLevel = "node"
    controls: Sets = 99
    seed: Seed = 0


@dataclass(frozen=True)
class Likely:
    """A possible next token and its probability."""

    token: TokenView
    probability: float


@dataclass(frozen=True)
class ExplainCost:
    """What an explanation takes.

    Args:
        units: neurons and heads at all positions.
        backward: rows of backward passes.
        forward: rows of forward passes.
        sets: random sets.
        least_p: the smallest p that so many sets can show.
    """

    units: int
    backward: int
    forward: int
    sets: int
    least_p: float


@dataclass(frozen=True)
class NextTokens:
    """The likeliest next tokens of a prompt, and what explaining one of them takes.

    Args:
        cut: the prompt's tokens.
        rows: the likeliest first.
        cost: None where the model gives no gradients, and nothing can be explained.
    """

    cut: Tokens
    rows: list[Likely]
    cost: ExplainCost | None


@dataclass(frozen=True)
class SetAside:
    """Why some pairs are not used, and how many."""

    reason: str
    pairs: int


@dataclass(frozen=True)
class PairsRead:
    """A file of pairs as the model reads it, and what finding a circuit takes.

    Args:
        pairs: those that are used.
        aside: those that are not.
        quantity: what is measured, in words.
        reversed: pairs in which the model prefers the wrong answer.
        metric_clean: mean of m on the clean prompts.
        metric_corrupted: mean of m on the corrupted prompts.
        parts: parts that are scored.
        method: how.
        forward: rows of forward passes, random sets included.
        backward: rows of backward passes.
        seconds: how long that takes about, from how long the pairs took to read.
        most_seconds: after how long a search ends without a result.
    """

    pairs: int
    aside: list[SetAside]
    quantity: str
    reversed: int
    metric_clean: float | None
    metric_corrupted: float | None
    parts: int
    method: str
    forward: int
    backward: int
    seconds: float
    most_seconds: float


@dataclass(frozen=True)
class CauseRow:
    """One unit that the answer rests on.

    Args:
        key: its key, with its place.
        name: what it is, in words.
        kind: as graphs call it.
        unit: the atlas's unit; None where it has none.
        known: what the atlas knows of it, in a few words; empty where nothing is known.
        position: where in the prompt; None for all places.
        token: the token there; empty where there is none.
        value: its activation, of a head the norm.
        predicted: how much of m it is predicted to carry.
        measured: what replacing it alone took from m; None where that was not measured.
    """

    key: str
    name: str
    kind: str
    unit: str | None
    known: str
    position: int | None
    token: str
    value: float | None
    predicted: float
    measured: float | None


@dataclass(frozen=True)
class Explained:
    """An answer, or a file of pairs, explained.

    Args:
        graph: verdict, cautions and figures; its id opens the circuit.
        causes: the parts that were replaced together, the largest first.
        rule: what the grades mean.
        seconds: how long it took; 0 where the server still knew it.
    """

    graph: GraphRow
    causes: list[CauseRow]
    rule: str
    seconds: float
