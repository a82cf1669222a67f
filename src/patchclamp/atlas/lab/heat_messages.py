"""What is asked and answered where a text is shown as a heat map of blocks against tokens.

Patching takes a while and comes as events: those of ``messages``, and ``heatpage``.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from patchclamp.atlas.lab.messages import LONGEST_TEXT, MOST_CLAMPS, ClampAsked, Key, Tokens
from patchclamp.atlas.read.responses import Source, TokenView

MOST_CELLS = 4096
"""Cells of one map, rows times tokens."""
MOST_UNITS = 24
"""Units of a site that get a row each."""
HeatOf = Literal["activation", "attribution", "patching"]
Part = Literal["resid", "attn", "mlp", "all"]

Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Other = Annotated[str, Field(max_length=LONGEST_TEXT)]
Token = Annotated[int, Field(strict=True, ge=0, lt=2**31)] | None
Clamps = Annotated[list[ClampAsked], Field(max_length=MOST_CLAMPS)]
_NOTHING_ELSE = ConfigDict(extra="forbid")


# -- asked ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LensAsked:
    """A text read through the last norm and the unembedding after every block.

    Args:
        text: the text.
        other: a text of as many tokens, from which ``patch`` takes its values; empty without one.
        clamps: changes, all at once, beside the text without them; generated steps have no place here.
        target: the token whose rank and probability are wanted everywhere; the model's own answer to the
            text where None.
        top: how many of the likeliest tokens each place gives.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    text: Text
    other: Other = ""
    clamps: Clamps = field(default_factory=list)
    target: Token = None
    top: Annotated[int, Field(strict=True, ge=1, le=10)] = 5


@dataclass(frozen=True)
class HeatAsked:
    """A heat map of a text.

    Args:
        text: the text.
        of: ``activation``: the norm of what stands at each place, or some units' own activations; ``attribution``: the
            sum of the scores of all units of a block at a token; ``patching``: what the metric loses where the values
            of the other prompt are put in at one place.
        part: of each block the residual stream, what its attention or its MLP writes; ``all`` of attribution takes
            heads and neurons together.
        unit: of ``activation``: a site, whose largest units get a row each, or a unit's key; empty for norms.
        other: the prompt whose values are put in, by patching or by clamps; empty without one.
        clamps: of ``activation``: changes, beside the text without them.
        target: the token whose logit is explained; the likeliest one where None.
        contrast: the token whose logit is taken away; of patching the other prompt's likeliest where None.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    text: Text
    of: HeatOf = "activation"
    part: Part = "resid"
    unit: Key = ""
    other: Other = ""
    clamps: Clamps = field(default_factory=list)
    target: Token = None
    contrast: Token = None


# -- answered ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LensRow:
    """What one depth would answer at every token.

    Args:
        key: the residual stream there as one unit, which clamps take.
        name: the site in words.
        short: the block's number, or ``in`` for what the first block reads.
        layer: the block whose attention belongs beside it.
        ids: for each token the likeliest next ones.
        probabilities: of these; None where they are not finite.
        ranks: for each token the target's place among all, 1 for the likeliest.
        target_probabilities: for each token P(target).
    """

    key: str
    name: str
    short: str
    layer: int
    ids: list[list[int]]
    probabilities: list[list[float | None]]
    ranks: list[int]
    target_probabilities: list[float | None]


@dataclass(frozen=True)
class LensPage:
    """Layers: what would the model answer after every block?

    Args:
        cut: the text's tokens.
        rows: in forward order, without clamps; the last is the model's own answer.
        changed: the same with them; empty where nothing is clamped.
        words: every token that a row names.
        target: the token whose rank and probability are given.
        source: where this comes from.
    """

    cut: Tokens
    rows: list[LensRow]
    changed: list[LensRow]
    words: list[TokenView]
    target: TokenView
    source: Source


@dataclass(frozen=True)
class HeatRow:
    """One row of a heat map.

    Args:
        keys: what a clamp of this row changes.
        name: the row in words.
        short: the row as few characters.
        layer: its block; None outside of the blocks.
        values: a number for each token; None where it is not finite.
        changed: the same with the clamps; empty where nothing is clamped.
    """

    keys: list[str]
    name: str
    short: str
    layer: int | None
    values: list[float | None]
    changed: list[float | None]


@dataclass(frozen=True)
class HeatPage:
    """Layers: where along the text and the blocks does it happen?

    Args:
        of: what the map is of.
        cut: the text's tokens.
        other: the other prompt's tokens, where its values are put in.
        quantity: what the numbers are.
        rows: in forward order.
        target: the token that is explained.
        contrast: the token whose logit is taken away from it.
        metric: the explained number on the text.
        other_metric: of patching, the same number on the other prompt.
        method: how it was computed; empty where it was only read.
        total: units of which the rows are the largest; as many as rows where all are shown.
        source: where this comes from.
    """

    of: HeatOf
    cut: Tokens
    other: Tokens | None
    quantity: str
    rows: list[HeatRow]
    target: TokenView | None
    contrast: TokenView | None
    metric: float | None
    other_metric: float | None
    method: str
    total: int
    source: Source
