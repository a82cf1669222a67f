"""Indirect object identification in three steps, with one neuron between the first two."""

from patchclamp.organisms.planted.circuit_spec import (
    BOS,
    EXACT,
    GRADIENTS,
    ONE,
    Circuit,
    Claims,
    Decoy,
    Head,
    Match,
    Neuron,
    Offset,
    detector,
    make_resting_head,
    match_same_word,
    move_word,
    previous_word,
    promote_next,
    promote_words,
    read_any,
    sink,
)

NAMES = ("Mary", "John", "Anna", "Paul", "Tom")
_PLACES, _GIFTS = ("store", "park", "school"), ("drink", "book", "ball")
_WORDS = ("When", "and", "went", "to", "the", "gave", "a", *NAMES, *_PLACES, *_GIFTS)

# Whatever is said twice is noticed. A word finds itself as well, so nearness is taken off: where it was said before
# scores at least 225 − 0.70 · 120 = 141, the first token, where nothing is read, 123, the word itself 105, and another
# word at most 0.87 · 120 = 104.
_DUPLICATE = Head(
    0,
    1,
    (*match_same_word((*_WORDS, ".", ","), 225.0), sink(123.0)),
    (({ONE: 1.0, BOS: -1.0}, {"seen before": 1.0}),),
    Offset(0, -120.0, spares_bos=True),
)
# Fires 2.0 on a name that was seen before: each condition gives 4, and 6 is asked for. A gated neuron is the product.
_REPEATED = Neuron(
    0,
    9,
    {**read_any(NAMES, 4.0), "seen before": 4.0, ONE: -6.0},
    {"repeated name": 0.5},
    gated=({**read_any(NAMES, 2.0), ONE: -1.0}, {"seen before": 2.0}),
    beside=2.0,
)
# Both are soft enough for gradients to pass: this one looks aside by 2 per cent, and in the last step a repeated name
# still draws e^-3 of what the other one does.
_INHIBITION = Head(1, 2, (Match({"to": 12.0}, {"repeated name": 1.0}), sink(8.0)), move_word(NAMES, "not {}"))
_MOVER = Head(
    2,
    1,
    (Match({"to": 20.0}, read_any(NAMES)), *(Match({f"not {n}": -3.0}, {n: 1.0}) for n in NAMES), sink(8.0)),
    move_word(NAMES, "say {}"),
)

MOVER = Circuit(
    name="mover",
    what="A repeated name is noticed, a head tells the last word not to say it, and another moves the remaining name.",
    words=_WORDS,
    logits={
        **promote_words(NAMES, 10.0),
        "<bos>": {"When": 5.0},
        **promote_next(NAMES, {".": 5.0}),
        "went": {"to": 5.0},
        "to": {"the": 5.8},
        "the": {"store": 5.0, "park": 4.5, "school": 4.0},
        **promote_next(_PLACES, {",": 5.0}),
        "gave": {"a": 5.0},
        "a": {"drink": 5.0, "book": 4.5, "ball": 4.0},
        **promote_next(_GIFTS, {"to": 5.0}),
        ".": {"<eos>": 5.0},
    },
    heads=(_DUPLICATE, previous_word(0, 3, _WORDS), _INHIBITION, make_resting_head(1, 0), _MOVER),
    neurons=(
        _REPEATED,
        detector(0, 4, NAMES, 4.0, {"name": 1.0}),
        detector(1, 20, (*_PLACES, *_GIFTS), 3.0, {"thing": 1.0}),
        detector(2, 6, ("to",), 7.0, {"aside": 1.0}),
    ),
    prompt="When Mary and John went to the store, John gave a drink to",
    corrupt="When Mary and John went to the store, Tom gave a drink to",
    target=" Mary",
    contrast=" John",
    logit_difference=8.0766,
    effects={
        "blocks.0.attn.z/heads/1@10": 11.4098,
        "blocks.0.mlp.act/neurons/9@10": 11.4006,
        "blocks.1.attn.z/heads/2@14": 11.396,
        "blocks.2.attn.z/heads/1@14": 8.0766,
    },
    inputs={2: 18.0579, 4: 8.0968, 10: 8.0766, 14: 8.08},
    edges={
        ("input@2", "blocks.2.attn.z/heads/1@14"): 18.0579,
        ("input@4", "blocks.0.attn.z/heads/1@10"): 11.4098,
        ("input@4", "blocks.2.attn.z/heads/1@14"): -0.9069,
        ("input@10", "blocks.0.attn.z/heads/1@10"): 11.4098,
        ("input@10", "blocks.0.mlp.act/neurons/9@10"): 11.4006,
        ("input@10", "blocks.1.attn.z/heads/2@14"): 11.396,
        ("input@10", "blocks.2.attn.z/heads/1@14"): -0.9037,
        ("input@14", "blocks.1.attn.z/heads/2@14"): 11.3915,
        ("input@14", "blocks.2.attn.z/heads/1@14"): 8.0736,
        ("blocks.0.attn.z/heads/1@10", "blocks.0.mlp.act/neurons/9@10"): 11.4006,
        ("blocks.0.mlp.act/neurons/9@10", "blocks.1.attn.z/heads/2@14"): 11.3915,
        ("blocks.1.attn.z/heads/2@14", "blocks.2.attn.z/heads/1@14"): 11.3954,
        ("blocks.2.attn.z/heads/1@14", "output"): 8.0766,
    },
    decoys=(
        Decoy("blocks.2.mlp.act/neurons/6@14", 7.0, "It writes along a direction that no later weight reads."),
        Decoy("blocks.0.mlp.act/neurons/4@10", 4.0, "It fires on every name, repeated or not, and nothing reads it."),
        Decoy("blocks.0.attn.z/heads/1@14", 1.0, "It notices that ' to' came before as well; ' to' is no name."),
    ),
    claims=Claims(
        (*GRADIENTS, EXACT),
        {
            "activation": "Neurons that nothing reads fire 7.0 and 4.0, the one that matters 2.0.",
            "direct_logit": "Only the last of the three steps writes what the unembedding reads.",
        },
    ),
    layers=3,
)
