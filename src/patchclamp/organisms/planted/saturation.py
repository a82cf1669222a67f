"""Circuits in which the slope at the answer says nothing about the cause."""

from patchclamp.organisms.planted.circuit_spec import (
    EXACT,
    ONE,
    Circuit,
    Claims,
    Decoy,
    Head,
    Match,
    Neuron,
    detector,
    make_resting_head,
    move_word,
    previous_word,
    promote_next,
    promote_words,
    read_any,
    sink,
)

# -- saturated --------------------------------------------------------------------------------------------------------

_GEMS = ("ruby", "pearl", "garnet")
_SATURATED_WORDS = ("the", "pirate", "hid", "a", "bring", "king", *_GEMS)

SATURATED = Circuit(
    name="saturated",
    what="A neuron marks the gem; a head looks at the mark so sharply that a slightly weaker mark changes nothing.",
    words=_SATURATED_WORDS,
    logits={**promote_words(_GEMS, 8.0), **promote_next(_GEMS, {".": 5.0}), ".": {"<eos>": 5.0}, "the": {"king": 3.0}},
    heads=(
        previous_word(0, 0, _SATURATED_WORDS),
        # p = σ(60 · mark − 15): 1 − 3e-7 with the mark, 3e-7 without it, and half-way between a rise that ten points
        # of a straight path see.
        Head(1, 2, (Match({"the": 30.0}, {"mark": 2.0}), sink(15.0)), move_word(_GEMS, "say {}")),
        make_resting_head(1, 0),
    ),
    neurons=(
        detector(0, 12, _GEMS, 2.0, {"mark": 0.5}, beside=1.0),
        detector(0, 7, ("the", "a"), 4.0, {"article": 1.0}),
        # A lean of 3 per cent of the answer: little, and all that a slope sees beside the head.
        detector(1, 19, ("the",), 6.0, {"say ruby": 0.03, "aside": 1.0}),
    ),
    prompt="the pirate hid a ruby. bring the",
    corrupt="the pirate hid a garnet. bring the",
    target=" ruby",
    contrast=" pearl",
    logit_difference=8.2298,
    effects={"blocks.0.mlp.act/neurons/12@5": 7.9902, "blocks.1.attn.z/heads/2@8": 7.9902},
    inputs={5: 7.9902, 8: 8.2298},
    edges={
        ("input@5", "blocks.0.mlp.act/neurons/12@5"): 7.9902,
        ("input@5", "blocks.1.attn.z/heads/2@8"): 7.9902,
        ("input@8", "blocks.1.attn.z/heads/2@8"): 7.9902,
        ("input@8", "output"): 0.2363,
        ("blocks.0.mlp.act/neurons/12@5", "blocks.1.attn.z/heads/2@8"): 7.9902,
        ("blocks.1.attn.z/heads/2@8", "output"): 7.9902,
    },
    decoys=(Decoy("blocks.0.mlp.act/neurons/7@8", 4.0, "It tells articles from other words, and nothing reads it."),),
    claims=Claims(
        ("integrated_gradients", EXACT),
        {
            "activation": "Neurons that hardly matter fire 6.0 and 4.0, the one that marks 2.0.",
            "direct_logit": "The marking neuron writes nothing that the unembedding reads.",
            "attribution_patching": "The softmax is flat there: the marking neuron's slope is a hundred-thousandth.",
            "relp": "It keeps the softmax's slope, which is flat there.",
        },
    ),
)

# -- backup -----------------------------------------------------------------------------------------------------------

_BACKUP_WORDS = ("ice", "sand", "snow", "sun", "and", "mean", "winter", "summer")
_CAPS = 20


def _cue(index: int, cold: str, warm: str) -> Head:
    """Return the head that looks for one pair of cues and writes the season."""
    match = (Match({"mean": 40.0}, read_any((cold, warm))), sink(20.0))
    return Head(0, index, match, (({cold: 1.0, warm: -1.0}, {"season": 1.0}),))


BACKUP = Circuit(
    name="backup",
    what="Two heads read one cue each and either is enough: what both write beyond one cue is taken off again.",
    words=_BACKUP_WORDS,
    logits={
        "season": {"winter": 4.0, "summer": -4.0},
        "winter": {".": 5.0},
        "summer": {".": 5.0},
        ".": {"<eos>": 5.0},
    },
    heads=(_cue(0, "ice", "sand"), _cue(2, "snow", "sun"), previous_word(1, 0, _BACKUP_WORDS), make_resting_head(1, 2)),
    neurons=(
        # min(x, 1) = x − max(0, x − 1), and the same for −x; in so many parts that none of them matters by itself.
        *(Neuron(1, i, {"season": 1.0, ONE: -1.0}, {"season": -1 / _CAPS}, beside=6.0) for i in range(_CAPS)),
        *(Neuron(1, _CAPS + i, {"season": -1.0, ONE: -1.0}, {"season": 1 / _CAPS}, beside=6.0) for i in range(_CAPS)),
        detector(0, 5, ("ice", "snow", "sand", "sun"), 4.0, {"weather": 1.0}),
        detector(1, 45, ("mean",), 6.0, {"aside": 1.0}),
    ),
    prompt="ice and snow mean",
    corrupt="sand and sun mean",
    target=" winter",
    contrast=" summer",
    logit_difference=7.9939,
    effects={"blocks.0.attn.z/heads/0@4": 0.0, "blocks.0.attn.z/heads/2@4": 0.0},
    inputs={1: 0.0, 3: -0.0015, 4: 7.9939},
    edges={
        ("input@1", "blocks.0.attn.z/heads/0@4"): 7.9939,
        ("input@3", "blocks.0.attn.z/heads/2@4"): 7.9939,
        ("input@4", "blocks.0.attn.z/heads/0@4"): 7.9939,
        ("input@4", "blocks.0.attn.z/heads/2@4"): 7.9939,
        ("blocks.0.attn.z/heads/0@4", "output"): 7.9939,
        ("blocks.0.attn.z/heads/2@4", "output"): 7.9939,
    },
    decoys=(Decoy("blocks.1.mlp.act/neurons/45@4", 6.0, "It writes along a direction that no later weight reads."),),
    claims=Claims(
        ("direct_logit", "integrated_gradients"),
        {
            "activation": "An unread neuron fires 6.0, and each of the caps 1.0 as the heads do.",
            "attribution_patching": "At the answer the caps take off whatever a head adds: both slopes are 0.",
            EXACT: "Without either head the other one gives the same answer.",
        },
    ),
    claims_in={
        "gpt2": Claims(miss={"relp": "The caps pass on as much as they take off: both heads come out 0."}),
        "llama": Claims(find=("relp",)),
    },
    either=("blocks.0.attn.z/heads/0@4", "blocks.0.attn.z/heads/2@4"),
    width=48,
)
