"""Unit: everything about one unit, and its examples."""

from dataclasses import dataclass
from typing import Literal

from patchclamp.atlas.pages.parts import ConceptScore, GraphRow, ScoreView, Source, TokenView, TokenWeight

Kind = Literal["top", "quantile", "random", "counter", "interval"]
"""Why an example was chosen: see ``Examples``."""


@dataclass(frozen=True)
class Quantile:
    """A probability and the activation at it, from the survey's uniform sample of tokens."""

    probability: float
    value: float | None


@dataclass(frozen=True)
class Statistics:
    """What the unit did over all counted tokens.

    Args:
        counted: number of tokens.
        frequency: share of them above zero.
        mean: mean activation.
        deviation: standard deviation.
        minimum: lowest.
        maximum: highest.
        quantiles: from the lowest probability up.
    """

    counted: int
    frequency: float | None
    mean: float | None
    deviation: float | None
    minimum: float | None
    maximum: float | None
    quantiles: list[Quantile]


@dataclass(frozen=True)
class Histogram:
    """Counts of activations in bins of equal width.

    A piece is 32 consecutive tokens of a stimulus. ``examples?interval=low,high`` gives pieces by their maximum, which
    ``pieces`` counts; ``tokens`` counts every token.

    Args:
        edges: ``len(tokens) + 1`` bin edges from the minimum to the maximum; the last bin holds its upper edge.
        tokens: counted tokens per bin.
        pieces: pieces per bin, by their maximum.
    """

    edges: list[float]
    tokens: list[int]
    pieces: list[int]


@dataclass(frozen=True)
class Example:
    """One place in the text, with the unit's activation at every token around it.

    Args:
        kind: why it was chosen.
        value: activation at the marked token; what ``data-act`` shows.
        mark: index of the marked token in ``tokens``.
        tokens: the tokens' text, as it is: spaces and line breaks are not marked.
        ids: their ids.
        acts: the unit's activation at each (float16); None where it is not finite.
        special: indices of tokens that no statistics count (beginning of text, special).
        bytes: indices of tokens that are parts of characters; their text is their bytes in hex.
        before: whether tokens of the same stimulus stand before the first.
        after: whether some stand after the last.
        stimulus: number of the stimulus in the text.
        position: logical position of the marked token in it.
        reason: of a counter-example, what the description gets wrong here; empty elsewhere.
    """

    kind: Kind
    value: float
    mark: int
    tokens: list[str]
    ids: list[int]
    acts: list[float | None]
    special: list[int]
    bytes: list[int]
    before: bool
    after: bool
    stimulus: int
    position: int
    reason: str


@dataclass(frozen=True)
class Examples:
    """Examples of one unit.

    ``top``: the stimuli with the highest activation, marked there. ``quantile``: one token per decile of a uniform
    sample, from low to high. ``random``: tokens of the same sample, whatever their activation. ``interval``: pieces of
    32 tokens whose maximum lies in the interval, marked there. ``counter``: where a description says that the unit
    fires and it does not, or the other way round.

    Args:
        key: the unit.
        kind: which kind.
        low: lower end of the interval asked for; None elsewhere.
        high: upper end.
        examples: the examples.
        total: how many places of the text qualify; None where nobody counted.
        note: a sentence about what is shown, or why there is nothing.
        source: where this comes from.
    """

    key: str
    kind: Kind
    low: float | None
    high: float | None
    examples: list[Example]
    total: int | None
    note: str
    source: Source


@dataclass(frozen=True)
class DescriptionView:
    """Words about the unit, with who wrote them, when, from what, and how well they hold.

    Args:
        text: the words.
        author: who wrote them.
        made: when, as ISO 8601 in UTC; None where the run is not known.
        evidence: ids of the stimuli that the author was shown.
        scores: how well the words hold.
        fails_on: examples that the words get wrong; see ``Examples``, kind ``counter``.
        run: the run that wrote them.
    """

    text: str
    author: str
    made: str | None
    evidence: list[str]
    scores: list[ScoreView]
    fails_on: int
    run: str


@dataclass(frozen=True)
class Neighbour:
    """Another unit, how near it is, and what is known of it."""

    key: str
    value: float
    fires_on: TokenView | None
    description: str | None


@dataclass(frozen=True)
class KindCount:
    """How many examples of a kind there are."""

    kind: Kind
    n: int


@dataclass(frozen=True)
class UnitPage:
    """Unit: what does it do, and how sure are we?

    Args:
        key: its key.
        subject: slug of the model.
        site: its site.
        layer: block number, or None.
        basis: its basis.
        index: its number.
        previous: key of the unit before; None at the first.
        next: key of the unit after; None at the last.
        statistics: over all counted tokens.
        histogram: of activations; None where it never changed or was not finite.
        silent: it never rose above zero; the page then says "never fired in N tokens".
        fires_on: tokens at its top examples, the most frequent first; ``weight`` counts them.
        descriptions: the best scored first.
        concepts: labelled concepts that it tells best.
        promotes: tokens that its write direction promotes most, through the unembedding alone.
        suppresses: tokens that it suppresses most.
        excited_by: tokens whose embedding drives it most, straight through its read direction.
        inhibited_by: tokens whose embedding holds it down most.
        driven_by: earlier units whose write direction its read direction picks up most: w_read · w_write.
        similar: units with the nearest write direction (cosine).
        together: units that rise and fall with it (correlation over a sample of tokens).
        not_known: reason for each of the panels above that this site or model cannot have, by name of the field.
        examples: how many of each kind there are.
        graphs: explained answers in which it stands.
        source: where this page comes from.
    """

    key: str
    subject: str
    site: str
    layer: int | None
    basis: str
    index: int
    previous: str | None
    next: str | None
    statistics: Statistics
    histogram: Histogram | None
    silent: bool
    fires_on: list[TokenWeight]
    descriptions: list[DescriptionView]
    concepts: list[ConceptScore]
    promotes: list[TokenWeight]
    suppresses: list[TokenWeight]
    excited_by: list[TokenWeight]
    inhibited_by: list[TokenWeight]
    driven_by: list[Neighbour]
    similar: list[Neighbour]
    together: list[Neighbour]
    not_known: dict[str, str]
    examples: list[KindCount]
    graphs: list[GraphRow]
    source: Source


@dataclass(frozen=True)
class Trial:
    """What a unit does along a text that somebody typed; needs a server with a model attached.

    Args:
        key: the unit.
        tokens: the tokens' text, the tokenizer's own beginning included.
        ids: their ids.
        acts: the unit's activation at each; None where it is not finite.
        special: indices of tokens that statistics would not count.
        bytes: indices of tokens that are parts of characters; their text is their bytes in hex.
        source: where this comes from.
    """

    key: str
    tokens: list[str]
    ids: list[int]
    acts: list[float | None]
    special: list[int]
    bytes: list[int]
    source: Source
