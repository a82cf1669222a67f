"""Lay one circuit into the weights of a GPT-2 or of a Llama.

Both get the same stream, the same scores and the same activations, so that one set of numbers holds for both. They
differ in how positions are known: GPT-2 has a clock in its position embeddings, Llama turns queries and keys.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.organisms.planted.circuit_spec import (
    BOS,
    CLOCK,
    CONSTANT,
    CONTEXT,
    EOS,
    EPSILON,
    HEAD,
    HEADS,
    ONE,
    TOKEN,
    WIDTH,
    Circuit,
    Head,
    Match,
    Neuron,
    Offset,
    Stream,
    Written,
)

# Radians per position of the hands that tell positions apart, and their shares in an offset's score; with these no
# distance but 0 within the context scores above 0.70. Llama's rotary speeds are powers of the same ratio.
RATIO = 0.4
SPEEDS = tuple(RATIO**i for i in range(4))
SHARES = (0.64, 0.13, 0.11, 0.12)
HAND = math.sqrt(CLOCK / len(SPEEDS))
# Llama's pairs from this one on turn by less than a thousandth over the whole context: there content is compared.
SLOW = 12
# An axis as long as GPT-2's clock, which nothing reads: so both architectures divide by the same number.
STILL = "still"
KEY_VALUE_HEADS = 2
# silu(x) = x to seven digits where x > 20, and 0 to the bit where x < −104: gates are that much larger.
GATE = 128.0


def gpt2(circuit: Circuit) -> Any:
    """Lay a circuit into a GPT-2: layer norm, learned positions, ReLU."""
    from transformers import GPT2Config, GPT2LMHeadModel

    words = circuit.vocabulary
    config = GPT2Config(
        vocab_size=len(words),
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=circuit.layers,
        n_head=HEADS,
        n_inner=circuit.width,
        activation_function="relu",
        layer_norm_epsilon=EPSILON,
        tie_word_embeddings=False,
        bos_token_id=words.index(BOS),
        eos_token_id=words.index(EOS),
    )
    stream = Stream((*circuit.axes, *_hands()), {**_units(words), **dict.fromkeys(_hands(), HAND)})
    model = _blank(GPT2LMHeadModel, config)
    with torch.no_grad():
        _embed(stream, words, model.transformer.wte.weight)
        for position in range(CONTEXT):
            model.transformer.wpe.weight[position] = stream.writing(_clock(position))
        for head in circuit.heads:
            attention = model.transformer.h[head.layer].attn
            own = slice(head.index * HEAD, (head.index + 1) * HEAD)
            query, key, value = (part[:, own].T for part in attention.c_attn.weight.split(WIDTH, dim=1))
            terms = (*head.match, *_clock_terms(head.offset))
            _score(stream, terms, range(HEAD), query, key)
            _move(stream, head, value, attention.c_proj.weight[own])
        for neuron in circuit.neurons:
            mlp = model.transformer.h[neuron.layer].mlp
            mlp.c_fc.weight[:, neuron.index] = stream.reading(neuron.fires, neuron.beside)
            mlp.c_proj.weight[neuron.index] = stream.writing(neuron.writes)
        _unembed(stream, circuit, model.lm_head.weight)
    return model


def llama(circuit: Circuit) -> Any:
    """Lay a circuit into a Llama: RMS norm, rotary positions, grouped key-value heads, gated MLP."""
    from transformers import LlamaConfig, LlamaForCausalLM

    words = circuit.vocabulary
    config = LlamaConfig(
        vocab_size=len(words),
        max_position_embeddings=CONTEXT,
        hidden_size=WIDTH,
        num_hidden_layers=circuit.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        intermediate_size=circuit.width,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": RATIO ** -(HEAD / 2)},
        bos_token_id=words.index(BOS),
        eos_token_id=words.index(EOS),
    )
    stream = Stream((*circuit.axes, STILL), {**_units(words), STILL: math.sqrt(CLOCK)})
    model = _blank(LlamaForCausalLM, config)
    _check_groups(circuit)
    with torch.no_grad():
        _embed(stream, words, model.model.embed_tokens.weight, {STILL: 1.0})
        for head in circuit.heads:
            attention = model.model.layers[head.layer].self_attn
            own, shared = (slice(i * HEAD, (i + 1) * HEAD) for i in (head.index, head.index * KEY_VALUE_HEADS // HEADS))
            query, key = attention.q_proj.weight[own], attention.k_proj.weight[shared]
            _score(stream, head.match, _slowest_first(), query, key)
            _turn(stream, head.offset, query, key)
            _move(stream, head, attention.v_proj.weight[shared], attention.o_proj.weight[:, own].T)
        for neuron in circuit.neurons:
            _gate(stream, neuron, model.model.layers[neuron.layer].mlp)
        _unembed(stream, circuit, model.lm_head.weight)
    return model


ARCHITECTS: Mapping[str, Callable[[Circuit], Any]] = {"gpt2": gpt2, "llama": llama}


def _blank(kind: Any, config: Any) -> Any:
    """Make a model of zeros, its norms' gains 1."""
    # The constructor draws random weights; the caller's random numbers must not notice.
    with torch.random.fork_rng(devices=[]):
        model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = parameter.ndim == 1 and not name.endswith("bias")
            parameter.fill_(1.0 if gain else 0.0)
    return model


def _units(words: Sequence[str]) -> dict[str, float]:
    return {ONE: CONSTANT, **dict.fromkeys(words, TOKEN)}


def _embed(stream: Stream, words: Sequence[str], weight: Tensor, also: Written | None = None) -> None:
    for i, word in enumerate(words):
        weight[i] = stream.writing({ONE: 1.0, word: 1.0, **(also or {})})


def _unembed(stream: Stream, circuit: Circuit, weight: Tensor) -> None:
    for axis, promoted in circuit.logits.items():
        for word, logit in promoted.items():
            weight[circuit.vocabulary.index(word)] += stream.reading({axis: logit})


def _score(stream: Stream, terms: Sequence[Match], places: Iterable[int], query: Tensor, key: Tensor) -> None:
    """Give each term of a head's score one dimension of queries and keys."""
    # Attention divides scores by the root of the head's width.
    scale = math.sqrt(HEAD)
    free = list(places)
    if len(terms) > len(free):
        raise PatchclampError(
            expected=f"at most {len(free)} terms in a head's score",
            got=str(len(terms)),
            remedy="Match fewer words.",
        )
    for place, term in zip(free, terms, strict=False):
        query[place], key[place] = scale * stream.reading(term.query), stream.reading(term.key)


def _move(stream: Stream, head: Head, value: Tensor, output: Tensor) -> None:
    for i, (read, written) in enumerate(head.moves):
        value[i], output[i] = stream.reading(read), stream.writing(written)


# -- GPT-2 ------------------------------------------------------------------------------------------------------------


def _hands() -> list[str]:
    return [f"{part} {i}" for i in range(len(SPEEDS)) for part in ("cos", "sin")]


def _clock(position: int) -> dict[str, float]:
    """Where the hands stand."""
    angles = [position * speed for speed in SPEEDS]
    turned = [turn(angle) for angle in angles for turn in (math.cos, math.sin)]
    return dict(zip(_hands(), turned, strict=True))


def _clock_terms(offset: Offset | None) -> list[Match]:
    """Return Σ shares · cos(speed · (i − back − j)) as matches of the query's clock, turned back, with the key's."""
    if offset is None:
        return []
    terms = []
    for i, (speed, share) in enumerate(zip(SPEEDS, SHARES, strict=True)):
        cos, sin = (turn(offset.back * speed) * share * offset.strength for turn in (math.cos, math.sin))
        # At position 0 every cosine is 1 and every sine 0, so the first token's axis cancels its clock.
        spared = {BOS: -1.0} if offset.spares_bos else {}
        terms += [
            Match({f"cos {i}": cos, f"sin {i}": sin}, {f"cos {i}": 1.0, **spared}),
            Match({f"sin {i}": cos, f"cos {i}": -sin}, {f"sin {i}": 1.0}),
        ]
    return terms


# -- Llama ------------------------------------------------------------------------------------------------------------


def _slowest_first() -> list[int]:
    """Return the dimensions that hardly turn: of each pair the first one, then the second."""
    half = HEAD // 2
    return [*range(half - 1, SLOW - 1, -1), *range(HEAD - 1, half + SLOW - 1, -1)]


def _turn(stream: Stream, offset: Offset | None, query: Tensor, key: Tensor) -> None:
    """Let the fast pairs compare positions: constant queries, turned back, and constant keys."""
    if offset is None:
        return
    spared = {BOS: -1.0} if offset.spares_bos else {}
    for i, (speed, share) in enumerate(zip(SPEEDS, SHARES, strict=True)):
        size = share * offset.strength * math.sqrt(HEAD)
        query[i] = stream.reading({ONE: size * math.cos(offset.back * speed)})
        query[i + HEAD // 2] = stream.reading({ONE: -size * math.sin(offset.back * speed)})
        key[i] = stream.reading({ONE: 1.0, **spared})


def _gate(stream: Stream, neuron: Neuron, mlp: Any) -> None:
    """Make silu(gate) · up the neuron's activation: the gate ``GATE`` times as large, up as much smaller."""
    gate, up = neuron.gated or (neuron.fires, {ONE: 1.0})
    mlp.gate_proj.weight[neuron.index] = GATE * stream.reading(gate, neuron.beside)
    mlp.up_proj.weight[neuron.index] = stream.reading(up, neuron.beside) / GATE
    mlp.down_proj.weight[:, neuron.index] = stream.writing(neuron.writes)


def _check_groups(circuit: Circuit) -> None:
    """Refuse two heads of one block that would share their keys and values."""
    taken = [(head.layer, head.index * KEY_VALUE_HEADS // HEADS) for head in circuit.heads]
    if len(set(taken)) < len(taken):
        raise PatchclampError(
            expected="at most one head in each key-value group of a block",
            got=", ".join(head.key for head in circuit.heads),
            remedy=f"Give heads of one block indices {HEADS // KEY_VALUE_HEADS} apart.",
        )
