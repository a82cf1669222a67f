"""The words in which a planted circuit is written down, and the residual stream's named axes.

A circuit is data. Its residual stream has one axis per token, one constant axis (*one*), and whatever axes its heads
and neurons write. A *reading* is a weighted sum of coordinates, as mapping from axis to weight; what is *written* maps
axes to coordinates. Architects turn both into weights.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.errors import PatchclampError

WIDTH, HEADS, CONTEXT = 256, 4, 64
HEAD = WIDTH // HEADS
EPSILON = 1e-5
# Lengths: of the constant axis, of a token, and (1) of most of what heads and neurons write. What a unit writes moves
# the norm's divisor by 0.02 per cent, and bfloat16, which keeps three digits of the stream, still shows it.
CONSTANT, TOKEN = 48.0, 4.0
# What the norms divide by where one unit of length 1 has written. All three are short binary fractions, so weights and
# stream hold just what is meant and activations are exact to six digits.
DIVISOR = 3.1875
GROUND = WIDTH * (DIVISOR**2 - EPSILON) - 1
# Squared length that is left for the clock.
CLOCK = GROUND - CONSTANT**2 - TOKEN**2
ONE, BOS, EOS, UNKNOWN = "one", "<bos>", "<eos>", "<unk>"
SPECIAL = (BOS, EOS, UNKNOWN)
PUNCTUATION = (".", ",")

# Names of methods, as cards give them.
GRADIENTS = ("attribution_patching", "relp", "integrated_gradients")
EXACT = "activation_patching"

Reading = Mapping[str, float]
Written = Mapping[str, float]


@dataclass(frozen=True)
class Match:
    """One term of a head's score: a reading at the query's position times one at the key's."""

    query: Reading
    key: Reading


@dataclass(frozen=True)
class Offset:
    """A term of a head's score that depends on positions alone: strength · f(query − key − back).

    f(0) = 1, and −0.87 < f < 0.70 at every other distance within the context.

    Args:
        back: how many positions before the query it is highest.
        strength: its height; negative to look away.
        spares_bos: the first token gets 0 instead.
    """

    back: int
    strength: float
    spares_bos: bool = False


@dataclass(frozen=True)
class Head:
    """An attention head: where it looks, what it reads there, and what it writes.

    Args:
        layer: block.
        index: which head of the block.
        match: terms of its score by content.
        moves: what it reads at the source, each with what one unit of it writes.
        offset: term of its score by position.
    """

    layer: int
    index: int
    match: tuple[Match, ...]
    moves: tuple[tuple[Reading, Written], ...]
    offset: Offset | None = None

    @property
    def key(self) -> str:
        """Its unit key."""
        return f"blocks.{self.layer}.attn.z/heads/{self.index}"


@dataclass(frozen=True)
class Neuron:
    """An MLP neuron: activation = max(0, reading), and what one unit of activation writes.

    Args:
        layer: block.
        index: which neuron of the block.
        fires: the reading.
        writes: coordinates per unit of activation.
        gated: readings of gate and up in a gated MLP, activation = max(0, gate) · up; by default ``fires`` and 1.
        beside: squared length of what heads and neurons before it have written where it reads; only needed where its
            activation must be exact.
    """

    layer: int
    index: int
    fires: Reading
    writes: Written
    gated: tuple[Reading, Reading] | None = None
    beside: float = 0.0


@dataclass(frozen=True)
class Claims:
    """What methods make of a circuit: those that rank its true nodes first, and those that cannot, each with why."""

    find: tuple[str, ...] = ()
    miss: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoy:
    """A unit that looks important and is not.

    Args:
        unit: key with position.
        activation: of a neuron; of a head the length of its z.
        why_inert: one sentence.
    """

    unit: str
    activation: float
    why_inert: str


@dataclass(frozen=True)
class Circuit:
    """A planted circuit with everything that is known of it.

    Args:
        name: of the circuit, without the architecture.
        what: one plain sentence.
        words: the vocabulary, beside special tokens and punctuation.
        logits: axis to what one unit of it adds to the logits of words.
        heads: those that have any weights.
        neurons: those that have any weights.
        prompt: what the answer is asked of.
        corrupt: as many tokens, and no answer.
        target: the answer.
        contrast: the answer that it is compared with.
        logit_difference: m, target against contrast.
        effects: true node to m(clean) − m(clean with the node's value replaced by 0).
        inputs: position to m(clean) − m(with the unknown word in its place).
        edges: pair of nodes to m(clean) − m(clean with the second node as it is where only the first is replaced).
        decoys: units that look important and are not.
        claims: what methods make of it.
        claims_in: architecture to further claims.
        either: true nodes of which any one is enough.
        layers: number of blocks.
        width: neurons per block.
    """

    name: str
    what: str
    words: tuple[str, ...]
    logits: Mapping[str, Mapping[str, float]]
    heads: tuple[Head, ...]
    neurons: tuple[Neuron, ...]
    prompt: str
    corrupt: str
    target: str
    contrast: str
    logit_difference: float
    effects: Mapping[str, float]
    inputs: Mapping[int, float]
    edges: Mapping[tuple[str, str], float]
    decoys: tuple[Decoy, ...]
    claims: Claims
    claims_in: Mapping[str, Claims] = field(default_factory=dict)
    either: tuple[str, ...] = ()
    layers: int = 2
    width: int = 32

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word, in the order of token ids."""
        return (*SPECIAL, *PUNCTUATION, *self.words)

    @property
    def axes(self) -> tuple[str, ...]:
        """Every named axis of the residual stream: the constant one, tokens, what heads and neurons write."""
        written: list[Written] = [w for head in self.heads for _, w in head.moves]
        written += [neuron.writes for neuron in self.neurons]
        return tuple(dict.fromkeys((ONE, *self.vocabulary, *(axis for w in written for axis in w))))


# -- the residual stream ----------------------------------------------------------------------------------------------


class Stream:
    """Lay named axes into the residual stream: rows of a Hadamard matrix, orthonormal to the last bit.

    The first row is left out; the others have mean zero, so layer norm subtracts nothing and RMS norm does the same.

    Args:
        axes: names.
        units: axis to the coordinate that counts as 1 in a reading; by default 1.

    Raises:
        PatchclampError: more axes than the stream is wide.
    """

    def __init__(self, axes: Iterable[str], units: Mapping[str, float]) -> None:
        self.axes = {axis: i for i, axis in enumerate(axes)}
        self.units = units
        if len(self.axes) >= WIDTH:
            raise PatchclampError(
                expected=f"at most {WIDTH - 1} axes", got=str(len(self.axes)), remedy="Use fewer words, or share axes."
            )

    def reading(self, weights: Reading, beside: float = 0.0) -> Float[Tensor, " width"]:
        """Return the vector whose product with the normalised stream is the reading.

        Args:
            weights: the reading.
            beside: squared length of what heads and neurons have written where it is read.
        """
        divisor = math.sqrt((GROUND + beside) / WIDTH + EPSILON)
        return self.writing({axis: divisor * w / self.units.get(axis, 1.0) ** 2 for axis, w in weights.items()})

    def writing(self, coordinates: Written) -> Float[Tensor, " width"]:
        """Return the vector with these coordinates, in the axes' own units.

        Raises:
            PatchclampError: there is no such axis.
        """
        unknown = [axis for axis in coordinates if axis not in self.axes]
        if unknown:
            raise PatchclampError(
                expected="axes that a token, a head or a neuron writes",
                got=repr(unknown[0]),
                remedy="Check the circuit's readings for a misspelt axis.",
            )
        total = torch.zeros(WIDTH, dtype=torch.float64)
        for axis, x in coordinates.items():
            total += x * self.units.get(axis, 1.0) * _hadamard()[self.axes[axis] + 1]
        return total


@cache
def _hadamard() -> Tensor:
    rows = torch.ones(1, 1, dtype=torch.float64)
    while len(rows) < WIDTH:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return rows / math.sqrt(WIDTH)


# -- what circuits have in common -------------------------------------------------------------------------------------


def read_any(words: Iterable[str], weight: float = 1.0) -> dict[str, float]:
    """Return the reading that is ``weight`` on each of some words and 0 on others."""
    return dict.fromkeys(words, weight)


def sink(score: float) -> Match:
    """Give the first token a score whatever the query, so that a head without a match rests there."""
    return Match({ONE: score}, {BOS: 1.0})


def match_same_word(words: Iterable[str], score: float, key: str = "{}") -> tuple[Match, ...]:
    """Score a key that names the query's own word.

    Args:
        words: those that count.
        score: height.
        key: the key's axis, ``{}`` standing for the word.

    Returns:
        tuple[Match, ...]: one term per word.
    """
    return tuple(Match({word: score}, {key.format(word): 1.0}) for word in words)


def move_word(words: Iterable[str], to: str) -> tuple[tuple[Reading, Written], ...]:
    """Read which word stands at the source and write it on axes of its own, ``{}`` standing for the word."""
    return tuple(({word: 1.0}, {to.format(word): 1.0}) for word in words)


def promote_words(words: Iterable[str], logit: float) -> dict[str, Mapping[str, float]]:
    """Let each word's own axis, *say* and the word, promote it."""
    return {f"say {word}": {word: logit} for word in words}


def promote_next(words: Iterable[str], logits: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    """Let each of some words promote what comes next."""
    return dict.fromkeys(words, logits)


def previous_word(layer: int, index: int, words: Iterable[str]) -> Head:
    """Return the head that writes which word stands one position back; the first token looks at itself.

    Returns:
        Head: the head.
    """
    return Head(layer, index, (), move_word(words, "after {}"), Offset(1, 100.0))


def make_resting_head(layer: int, index: int) -> Head:
    """Return a head that attends to the first token from everywhere and writes what nothing reads."""
    return Head(layer, index, (sink(20.0),), (({BOS: 1.0}, {"rest": 1.0}),))


def detector(
    layer: int, index: int, words: Iterable[str], activation: float, writes: Written, *, beside: float = 0.0
) -> Neuron:
    """Return a neuron whose reading is ``activation`` on some words and −1 on every other.

    Args:
        layer: block.
        index: which neuron.
        words: what it fires on.
        activation: how strongly.
        writes: coordinates written by a whole firing.
        beside: see ``Neuron``.

    Returns:
        Neuron: the neuron.
    """
    fires = {ONE: -1.0, **read_any(words, activation + 1)}
    return Neuron(layer, index, fires, {axis: x / activation for axis, x in writes.items()}, beside=beside)
