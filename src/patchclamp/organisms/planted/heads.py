"""Circuits that attention alone carries: copying, induction, and one word broadcast to many."""

from patchclamp.organisms.planted.circuit_spec import (
    EXACT,
    GRADIENTS,
    ONE,
    Circuit,
    Claims,
    Decoy,
    Head,
    Match,
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

# -- copy -------------------------------------------------------------------------------------------------------------

_THINGS = ("lamp", "book", "cup", "key", "ring")
_COPY_WORDS = ("the", "box", "holds", "a", "so", "Ada", "takes", "opens", *_THINGS)

COPY = Circuit(
    name="copy",
    what="One head attends from the last ' the' to the thing in the box and promotes it.",
    words=_COPY_WORDS,
    logits={
        **promote_words(_THINGS, 8.0),
        **promote_next(_THINGS, {".": 5.0}),
        ".": {"<eos>": 5.0},
        "the": {"box": 3.0},
        "box": {"holds": 5.0},
        "holds": {"a": 5.0},
        "takes": {"the": 5.0},
    },
    heads=(
        previous_word(0, 0, _COPY_WORDS),
        Head(1, 2, (Match({"the": 40.0}, read_any(_THINGS)), sink(20.0)), move_word(_THINGS, "say {}")),
        make_resting_head(1, 0),
    ),
    neurons=(
        detector(0, 6, _THINGS, 5.0, {"thing": 1.0}),
        detector(0, 21, ("the", "a"), 3.0, {"article": 1.0}),
        detector(1, 9, ("the",), 7.0, {"aside": 1.0}),
    ),
    prompt="the box holds a lamp, so Ada takes the",
    corrupt="the box holds a cup, so Ada takes the",
    target=" lamp",
    contrast=" book",
    logit_difference=7.9893,
    effects={"blocks.1.attn.z/heads/2@10": 7.9893},
    inputs={5: 7.9893, 10: 7.9892},
    edges={
        ("input@5", "blocks.1.attn.z/heads/2@10"): 7.9893,
        ("input@10", "blocks.1.attn.z/heads/2@10"): 7.9893,
        ("blocks.1.attn.z/heads/2@10", "output"): 7.9893,
    },
    decoys=(
        Decoy("blocks.1.mlp.act/neurons/9@10", 7.0, "It writes along a direction that no later weight reads."),
        Decoy("blocks.0.mlp.act/neurons/6@5", 5.0, "It tells things from other words, and nothing reads it."),
        Decoy("blocks.0.attn.z/heads/0@10", 1.0, "It writes the word before on axes that nothing reads."),
    ),
    claims=Claims(
        ("direct_logit", *GRADIENTS, EXACT),
        {"activation": "Neuron 9 of block 1 fires 7.0 at the last word and is not read; the head's z has length 1."},
    ),
)

# -- induction --------------------------------------------------------------------------------------------------------

_FIRST, _LAST = ("Ada", "Tom", "Eva", "Max"), ("Lane", "Reed", "Hall", "Ford")
_INDUCTION_WORDS = ("met", "saw", "and", "Later", "then", "today", *_FIRST, *_LAST)
_SEEN = (*_INDUCTION_WORDS, ".", ",")

INDUCTION = Circuit(
    name="induction",
    what="A previous-word head marks what each word follows; an induction head finds what followed the last word.",
    words=_INDUCTION_WORDS,
    logits={**promote_words(_SEEN, 8.0), **promote_next(_FIRST, {"and": 2.0})},
    heads=(
        previous_word(0, 1, _SEEN),
        # Not so sharp that gradients die in the softmax: at the answer the head looks aside by 2 per cent.
        Head(1, 2, (*match_same_word(_SEEN, 12.0, "after {}"), sink(8.0)), move_word(_SEEN, "say {}")),
        make_resting_head(1, 0),
    ),
    neurons=(
        detector(0, 3, _FIRST, 4.0, {"first name": 1.0}),
        detector(0, 17, _LAST, 4.0, {"last name": 1.0}),
        detector(1, 11, _FIRST, 6.0, {"aside": 1.0}),
    ),
    prompt="Ada Lane met Tom Reed. Later Ada",
    corrupt="Eva Lane met Tom Reed. Later Ada",
    target=" Lane",
    contrast=" Reed",
    logit_difference=7.8444,
    effects={"blocks.0.attn.z/heads/1@2": 7.8444, "blocks.1.attn.z/heads/2@8": 7.8444},
    inputs={1: 7.8444, 2: 7.8444, 8: 7.8444},
    edges={
        ("input@1", "blocks.0.attn.z/heads/1@2"): 7.8444,
        ("input@2", "blocks.1.attn.z/heads/2@8"): 7.8444,
        ("input@8", "blocks.1.attn.z/heads/2@8"): 7.8444,
        ("blocks.0.attn.z/heads/1@2", "blocks.1.attn.z/heads/2@8"): 7.8444,
        ("blocks.1.attn.z/heads/2@8", "output"): 7.8444,
    },
    decoys=(
        Decoy("blocks.1.mlp.act/neurons/11@8", 6.0, "It writes along a direction that no later weight reads."),
        Decoy("blocks.0.attn.z/heads/1@5", 1.0, "The same head one name later: nobody asks what follows ' Tom'."),
    ),
    claims=Claims(
        (*GRADIENTS, EXACT),
        {
            "activation": "Neuron 11 of block 1 fires 6.0 and is not read.",
            "direct_logit": "The previous-word head writes nothing that the unembedding reads.",
        },
    ),
)

# -- broadcast --------------------------------------------------------------------------------------------------------

_PAST, _PRESENT = ("yesterday", "once"), ("today", "now")
_SINGERS = ("girl", "boy", "bird", "king")
_BROADCAST_WORDS = ("the", "and", "sang", "sings", "loud", *_SINGERS, *_PAST, *_PRESENT)
_TENSE = {**read_any(_PAST), **read_any(_PRESENT, -1.0)}

BROADCAST = Circuit(
    name="broadcast",
    what="One head takes the tense from the first word to every later word; a second one averages it over the singers.",
    words=_BROADCAST_WORDS,
    logits={
        "say tense": {"sang": 4.0, "sings": -4.0},
        **promote_next(_SINGERS, {"sang": 3.0, "sings": 3.0}),
        "sang": {".": 5.0},
        "sings": {".": 5.0},
        ".": {"<eos>": 5.0},
    },
    heads=(
        previous_word(0, 0, _BROADCAST_WORDS),
        Head(0, 2, (Match({ONE: 40.0}, read_any((*_PAST, *_PRESENT))), sink(20.0)), ((_TENSE, {"tense": 1.0}),)),
        Head(
            1,
            1,
            (Match(read_any(_SINGERS, 40.0), read_any(_SINGERS)), sink(20.0)),
            (({"tense": 1.0}, {"say tense": 1.0}),),
        ),
        make_resting_head(1, 3),
    ),
    neurons=(
        detector(0, 4, _SINGERS, 4.0, {"singer": 1.0}),
        detector(0, 19, (*_PAST, *_PRESENT), 5.0, {"time": 1.0}),
        detector(1, 7, _SINGERS, 6.0, {"aside": 1.0}),
    ),
    prompt="yesterday the girl sang, the boy sang and the bird",
    corrupt="today the girl sang, the boy sang and the bird",
    target=" sang",
    contrast=" sings",
    logit_difference=7.9862,
    effects={
        "blocks.0.attn.z/heads/2@3": 2.6752,
        "blocks.0.attn.z/heads/2@7": 2.6752,
        "blocks.0.attn.z/heads/2@11": 2.6741,
        "blocks.1.attn.z/heads/1@11": 7.9862,
    },
    inputs={1: 7.9862, 11: 7.9862},
    edges={
        ("input@1", "blocks.0.attn.z/heads/2@3"): 2.6752,
        ("input@1", "blocks.0.attn.z/heads/2@7"): 2.6752,
        ("input@1", "blocks.0.attn.z/heads/2@11"): 2.6741,
        ("input@11", "blocks.1.attn.z/heads/1@11"): 7.9862,
        ("blocks.0.attn.z/heads/2@3", "blocks.1.attn.z/heads/1@11"): 2.6752,
        ("blocks.0.attn.z/heads/2@7", "blocks.1.attn.z/heads/1@11"): 2.6752,
        ("blocks.0.attn.z/heads/2@11", "blocks.1.attn.z/heads/1@11"): 2.6751,
        ("blocks.1.attn.z/heads/1@11", "output"): 7.9862,
    },
    decoys=(
        Decoy("blocks.0.attn.z/heads/2@8", 1.0, "The broadcast at ' sang': as strong as any, and nobody reads it."),
        Decoy("blocks.1.mlp.act/neurons/7@11", 6.0, "It writes along a direction that no later weight reads."),
        Decoy("blocks.0.mlp.act/neurons/19@1", 5.0, "It sees the deciding word, and nothing reads it."),
    ),
    claims=Claims(
        (*GRADIENTS, EXACT),
        {
            "activation": "The head is as active at every later word, and neuron 7 of block 1 fires 6.0 unread.",
            "direct_logit": "Only the averaging head writes what the unembedding reads.",
        },
    ),
)
