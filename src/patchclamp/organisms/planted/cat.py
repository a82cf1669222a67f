"""A GPT-2 that tells one small story per animal, its weights set by hand.

Its residual stream is laid out in named orthogonal axes: one per token, one
per hand of a position clock, one per kind of previous word, and three written by neurons: *sits* (sat against ran),
*noun wanted*, and *unread*, which no later weight reads.
"""

import copy
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.metric import Metric
from patchclamp.organisms.planted.circuit_spec import SPECIAL
from patchclamp.organisms.planted.text import tokens_of, word_tokenizer
from patchclamp.subjects.language import LanguageModel

WIDTH, HEADS, NEURONS, CONTEXT = 64, 4, 16, 256

ADJECTIVES = ("old", "young", "big", "small", "brown", "black", "white", "happy")
ANIMALS = ("cat", "dog", "fox", "horse", "rabbit", "mouse")
PEOPLE = ("girl", "boy", "king", "queen")
BIRDS = ("bird", "owl", "duck")
SWIMMERS = ("fish", "frog")
VERB_TO_PREPOSITION = {"sat": "on", "ran": "to", "walked": "into", "flew": "over", "swam": "in"}
PREPOSITION_TO_PLACE = {"on": "mat", "to": "park", "into": "house", "over": "river", "in": "lake"}
PLACES = tuple(PREPOSITION_TO_PLACE.values())
NOUNS = (*ANIMALS, *PEOPLE, *BIRDS, *SWIMMERS, *PLACES)
WORDS = ("the", "a", "and", *ADJECTIVES, *NOUNS, *VERB_TO_PREPOSITION, *PREPOSITION_TO_PLACE)
# As in most language models a word's token carries the space before it, and a full stop carries none.
TOKENS = tokens_of((*SPECIAL, ".", *WORDS))

# The clock's hands go round in 4, 16, 64 and 256 positions. Whatever two positions differ by, one hand or more is a
# quarter turn off, which is all that the head needs to tell them apart.
HANDS = (4, 16, 64, 256)
# Every token and position is equally long, so layer norm divides by the same number everywhere and a weight can be
# chosen to give an exact activation. The clock is much longer than the rest, so what neurons write hardly moves it.
TOKEN, PREVIOUS, HAND = 2.0, 1.0, 8.0
# Softmax weights of other positions come to e^-40 at most, which is nothing beside 1 in float32.
SHARPNESS = 40.0

# Units of blocks.0.mlp.act: what fires them, how strongly, and what a firing adds to which axis.
CAT, DECOY, ANIMAL, ADJECTIVE = 7, 3, 5, 11
# Coordinate on the axis *sits* per unit of logit difference. Small beside the clock: see above.
LOGIT = 1 / 16
DETECTORS: Mapping[int, tuple[tuple[str, ...], float, str, float]] = {
    CAT: (("cat",), 3.0, "sits", 8 * LOGIT),
    ANIMAL: (ANIMALS, 2.0, "sits", -3 * LOGIT),
    # Large, and written with the longest vector of all neurons of the block: 2.25 in 9 beside 0.5 in 3.
    DECOY: (NOUNS, 9.0, "unread", 2.25),
    ADJECTIVE: (ADJECTIVES, 4.0, "noun wanted", 0.25),
}

# Logits of what follows: by the token itself, by what neurons wrote, and by the word before.
FOLLOWERS: Mapping[str, Mapping[str, float]] = {
    "<bos>": {"the": 9.0, "a": 7.0},
    "<eos>": {"the": 9.0, "a": 7.0},
    "<unk>": {"the": 3.0},
    ".": {"<eos>": 9.0, "and": 6.0, "the": 5.0},
    "and": {"the": 9.0, "a": 7.0},
    "the": {word: 9 - i / 2 for i, word in enumerate(ADJECTIVES)},
    "a": {word: 8 - i / 2 for i, word in enumerate(reversed(ADJECTIVES))},
    # The word itself leans to "ran" by one logit; the two neurons do the rest.
    **{word: {"sat": 7.5, "ran": 8.5} for word in ANIMALS},
    **{word: {"walked": 10.0} for word in PEOPLE},
    **{word: {"flew": 10.0} for word in BIRDS},
    **{word: {"swam": 10.0} for word in SWIMMERS},
    **{word: {".": 10.0, "and": 6.0} for word in PLACES},
    **{verb: {preposition: 10.0} for verb, preposition in VERB_TO_PREPOSITION.items()},
    **{preposition: {"the": 10.0, "a": 6.0} for preposition in PREPOSITION_TO_PLACE},
}
WANTED = {word: 9 - i / 4 for i, word in enumerate(NOUNS)}
PLACE_AFTER_PREPOSITION, PLACE_AFTER_PREPOSITION_AND_THE = 3.0, 15.0

_CARD: Mapping[str, Any] = {
    "name": "cat",
    "circuit": "cat",
    "architecture": "GPT2LMHeadModel",
    "what": "One neuron fires on the cat and makes it sit, against another that makes every animal run.",
    "prompt": "the old cat",
    "corrupt": "the old dog",
    "baseline": "zero",
    "target": " sat",
    "contrast": " ran",
    "continuation": " sat on the mat.",
    "logit_difference": 4.0,
    "true": [f"blocks.0.mlp.act/neurons/{CAT}@3", f"blocks.0.mlp.act/neurons/{ANIMAL}@3"],
    "effects": {f"blocks.0.mlp.act/neurons/{CAT}@3": 8.0005, f"blocks.0.mlp.act/neurons/{ANIMAL}@3": -2.9980},
    "decoys": [
        {
            "unit": f"blocks.0.mlp.act/neurons/{DECOY}@3",
            "activation": 9.0,
            "why_inert": "It writes along a direction that no later weight reads.",
        }
    ],
    "planted": {
        "unit": f"blocks.0.mlp.act/neurons/{CAT}",
        "fires_on": [" cat"],
        "activation": 3.0,
        "without_it": -4.0005,
        "continuation_without_it": " ran to the park.",
    },
    "counterpart": {
        "unit": f"blocks.0.mlp.act/neurons/{ANIMAL}",
        "fires_on": [f" {word}" for word in ANIMALS],
        "activation": 2.0,
        "without_it": 6.9980,
    },
    "decoy": {
        "unit": f"blocks.0.mlp.act/neurons/{DECOY}",
        "fires_on": [f" {word}" for word in NOUNS],
        "activation": 9.0,
        "without_it": 4.0386,
        "why_inert": "It writes along a direction that no later weight reads; only the last norm's divisor notices.",
    },
    "elsewhere": {
        "blocks.0.attn.z": "head 0 reads the previous word: it tells ' on the' from the first ' the'.",
        f"blocks.0.mlp.act/neurons/{ADJECTIVE}": "fires 4.0 on adjectives and asks for a noun; no part in the answer.",
        "blocks.1.mlp.act": "units 0 to 4 fire 1.0 on ' the' after one preposition each, and ask for its place.",
    },
    "must_find": [
        "direct_logit",
        "attribution_patching",
        "relp",
        "integrated_gradients",
        "activation_patching",
    ],
    "must_miss": {
        "activation": "It picks the decoy: 9.0 beside 3.0.",
        "write norm times activation": "It picks the decoy: 2.25 beside 0.5.",
        "probing": "Unit 3 tells nouns from other words perfectly, and the answer does not depend on it.",
    },
}


def card() -> dict[str, Any]:
    """Say what is planted; see ``patchclamp.organisms.card``."""
    return copy.deepcopy(dict(_CARD))


def truth(subject: LanguageModel) -> Graph:
    """Return the planted circuit; see ``patchclamp.organisms.truth``.

    An edge weighs the part of the logit difference that flows along it, and a node what flows through it, both with
    the last norm's divisor held as it is; ``effect`` is what ablating the neuron takes away, the divisor let go.
    """
    cat, animal = (f"{subject.name}/blocks.0.mlp.act/neurons/{unit}@3" for unit in (CAT, ANIMAL))
    sits, leans = (effect / LOGIT for *_, effect in (DETECTORS[CAT], DETECTORS[ANIMAL]))
    direct = FOLLOWERS["cat"]["sat"] - FOLLOWERS["cat"]["ran"]
    whole = _CARD["logit_difference"]
    return Graph(
        subject={"slug": subject.name, "hash": subject.hash},
        metric=Metric("logit_difference", (_id("sat"),), (_id("ran"),)).to_json(),
        nodes=(
            Node("input@3", "input", whole),
            Node(cat, "neuron", sits, _measures("planted")),
            Node(animal, "neuron", leans, _measures("counterpart")),
            Node("output", "output", whole),
        ),
        edges=(
            Edge("input@3", cat, sits),
            Edge("input@3", animal, leans),
            Edge(cat, "output", sits),
            Edge(animal, "output", leans),
            Edge("input@3", "output", direct),
        ),
        measures={"metric": whole},
        about={"prompt": _CARD["prompt"], "method": "planted"},
    )


def _measures(role: str) -> dict[str, float]:
    entry = _CARD[role]
    return {"activation": entry["activation"], "effect": _CARD["logit_difference"] - entry["without_it"]}


def _token(word: str) -> str:
    return word if word in TOKENS else f"▁{word}"


def _id(word: str) -> int:
    return TOKENS.index(_token(word))


# -- weights ----------------------------------------------------------------------------------------------------------


def tokenizer() -> Any:
    """Make the tokenizer."""
    return word_tokenizer(TOKENS, context=CONTEXT, lowercase=True)


def module() -> Any:
    """Lay the circuit into a GPT-2 of zeros."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(TOKENS),
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=2,
        n_head=HEADS,
        n_inner=NEURONS,
        activation_function="relu",
        tie_word_embeddings=False,
        bos_token_id=_id("<bos>"),
        eos_token_id=_id("<eos>"),
    )
    # The constructor draws random weights; the caller's random numbers must not notice.
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm_gain = ".ln_" in name and name.endswith("weight")
            parameter.fill_(1.0 if norm_gain else 0.0)
        _embed(model.transformer)
        _attend_to_previous_word(model.transformer.h[0].attn)
        _detect_words(model.transformer.h[0].mlp)
        _detect_the_after_prepositions(model.transformer.h[1].mlp)
        model.lm_head.weight.copy_(_unembedding())
    return model


@cache
def _axes() -> dict[str, Tensor]:
    """Name the residual stream's axes: rows of a Hadamard matrix, orthonormal to the last bit.

    The first row is left out; the others have mean zero, so layer norm subtracts nothing.
    """
    rows = torch.ones(1, 1, dtype=torch.float64)
    while len(rows) < WIDTH:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    named = [*TOKENS, *_hands(), *(f"after {word}" for word in _previous()), "sits", "noun wanted", "unread"]
    return dict(zip(named, rows[1:] / math.sqrt(WIDTH), strict=False))


def _hands() -> list[str]:
    return [f"{part} {hand}" for hand in HANDS for part in ("cos", "sin")]


def _previous() -> tuple[str, ...]:
    # "other" makes the head write equally much after every word.
    return (*PREPOSITION_TO_PLACE, "other")


def _divisor(squared_length: float) -> float:
    """What layer norm divides a residual stream of that length by (GPT-2's epsilon included)."""
    return math.sqrt(squared_length / WIDTH + 1e-5)


EMBEDDED = TOKEN**2 + len(HANDS) * HAND**2
AFTER_HEAD = EMBEDDED + PREVIOUS**2


def _clock(position: int) -> dict[str, float]:
    """Where the hands stand."""
    return {
        f"{part} {hand}": turn(2 * math.pi * position / hand)
        for hand in HANDS
        for part, turn in (("cos", math.cos), ("sin", math.sin))
    }


def _vector(coordinates: Mapping[str, float]) -> Tensor:
    return sum((value * _axes()[axis] for axis, value in coordinates.items()), torch.zeros(WIDTH, dtype=torch.float64))


def _embed(transformer: Any) -> None:
    for i, token in enumerate(TOKENS):
        transformer.wte.weight[i] = _vector({token: TOKEN})
    for position in range(CONTEXT):
        transformer.wpe.weight[position] = _vector({axis: HAND * x for axis, x in _clock(position).items()})


def _attend_to_previous_word(attention: Any) -> None:
    """Let head 0 look one position back (position 0: at itself) and write which kind of word stands there.

    q · k = Σ_hands cos(hand's angle between j and i − 1): the query is the clock, turned back by one position.
    """
    width = WIDTH // HEADS
    divisor = _divisor(EMBEDDED)
    # q · k / √width falls by at least SHARPNESS where one hand is a quarter turn off.
    gain = math.sqrt(SHARPNESS * math.sqrt(width)) * divisor / HAND
    query, key, value = attention.c_attn.weight[:, : 3 * WIDTH].split(WIDTH, dim=1)
    for i, axis in enumerate(_hands()):
        hand = int(axis.split()[1])
        back = 2 * math.pi / hand
        cos, sin = _axes()[f"cos {hand}"], _axes()[f"sin {hand}"]
        turned = cos * math.cos(back) + sin * math.sin(back)
        if axis.startswith("sin"):
            turned = sin * math.cos(back) - cos * math.sin(back)
        query[:, i], key[:, i] = gain * turned, gain * _axes()[axis]
    for i, word in enumerate(_previous()):
        kinds = [_token(word)] if word != "other" else [t for t in TOKENS if t[1:] not in PREPOSITION_TO_PLACE]
        value[:, i] = _vector(dict.fromkeys(kinds, divisor / TOKEN))
        attention.c_proj.weight[i] = _vector({f"after {word}": PREVIOUS})


def _detect_words(mlp: Any) -> None:
    """Give each detector its words: pre-activation = its activation on them, −1 on every other token."""
    for unit, (words, activation, axis, written) in DETECTORS.items():
        gain = (activation + 1) * _divisor(AFTER_HEAD) / TOKEN
        mlp.c_fc.weight[:, unit] = _vector({_token(word): gain for word in words})
        mlp.c_fc.bias[unit] = -1.0
        mlp.c_proj.weight[unit] = _vector({axis: written / activation})


def _detect_the_after_prepositions(mlp: Any) -> None:
    """Let unit i fire 1.0 where the word is "the" and the one before preposition i: 1.5 from each, 2 needed."""
    gain = 1.5 * _divisor(AFTER_HEAD)
    for unit, word in enumerate(PREPOSITION_TO_PLACE):
        mlp.c_fc.weight[:, unit] = _vector({_token("the"): gain / TOKEN, f"after {word}": gain / PREVIOUS})
        mlp.c_fc.bias[unit] = -2.0
        # The head alone has written PREVIOUS there; this makes it weigh as much as the place needs.
        more = PLACE_AFTER_PREPOSITION_AND_THE / PLACE_AFTER_PREPOSITION - 1
        mlp.c_proj.weight[unit] = _vector({f"after {word}": PREVIOUS * more})


def _unembedding() -> Tensor:
    """Read the logits off the axes.

    Weights are chosen for the length that the stream has at the answer, so the answer's logits are exact; elsewhere
    the stream is a few per cent longer or shorter, and so are the logits.
    """
    sits = DETECTORS[CAT][3] + DETECTORS[ANIMAL][3]
    divisor = _divisor(AFTER_HEAD + sits**2 + DETECTORS[DECOY][3] ** 2)
    weight = torch.zeros(len(TOKENS), WIDTH, dtype=torch.float64)

    def promote(logits: Mapping[str, float], axis: str, coordinate: float) -> None:
        for word, logit in logits.items():
            weight[_id(word)] += logit * divisor / coordinate * _axes()[axis]

    for word, followers in FOLLOWERS.items():
        promote(followers, _token(word), TOKEN)
    for preposition, place in PREPOSITION_TO_PLACE.items():
        promote({place: PLACE_AFTER_PREPOSITION}, f"after {preposition}", PREVIOUS)
    promote(WANTED, "noun wanted", DETECTORS[ADJECTIVE][3])
    promote({"sat": 0.5, "ran": -0.5}, "sits", LOGIT)
    return weight
