"""Short sequence programs compiled to heads and neurons: each head is a selector, each neuron an elementwise step.

A program in the manner of RASP (Weiss et al., 2106.06981) selects earlier positions, averages what stands there, and
computes with the averages token by token. Selecting and averaging is a head, the rest is neurons.
"""

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
    sink,
)

UNREAD = "It writes along a direction that no later weight reads."
HARDLY_READ = "All that it adds to the answer is a logit of 0.02."
NOT_READ_OUT = "Only the last step writes what the unembedding reads."

# -- majority ---------------------------------------------------------------------------------------------------------

_VOTES = ("yes", "no")
_MAJORITY_WORDS = (*_VOTES, "so", "passed", "failed", "then")
# min(1, max(0, 8 x)) = max(0, 8 x) − max(0, 8 x − 1), and the same for −x: a step that one vote in eight crosses. It is
# taken at ' so' alone: everywhere else 9 is taken off.
_STEEP, _ELSEWHERE = 8.0, 9.0


def _step(index: int, sign: float, off: float, verdict: float) -> Neuron:
    fires = {"balance": sign * _STEEP, "so": _ELSEWHERE, ONE: -_ELSEWHERE - off}
    return Neuron(0, index, fires, {"verdict": verdict}, beside=1.04)


MAJORITY = Circuit(
    name="majority",
    what="A head takes the mean of the votes so far (yes is 1, no is −1), and two neurons turn it into a step.",
    words=_MAJORITY_WORDS,
    logits={
        "verdict": {"passed": 4.0, "failed": -4.0},
        "aside": {"passed": 0.02},
        **promote_next(_VOTES, {"so": 2.0}),
        **promote_next(("passed", "failed"), {".": 5.0}),
        ".": {"<eos>": 5.0},
    },
    heads=(
        # Nothing is matched, so every position so far gets the same weight.
        Head(0, 1, (), (({"yes": 1.0, "no": -1.0}, {"balance": 1.0}),)),
        previous_word(0, 3, _MAJORITY_WORDS),
        make_resting_head(1, 0),
    ),
    neurons=(
        _step(8, 1.0, 0.0, 1.0),
        _step(9, 1.0, 1.0, -1.0),
        _step(10, -1.0, 0.0, -1.0),
        _step(11, -1.0, 1.0, 1.0),
        detector(0, 3, _VOTES, 4.0, {"vote": 1.0}),
        detector(1, 12, ("so",), 7.0, {"aside": 1.0}),
    ),
    prompt="yes no yes so",
    corrupt="no no yes so",
    target=" passed",
    contrast=" failed",
    logit_difference=8.0137,
    effects={
        "blocks.0.attn.z/heads/1@4": 7.9937,
        "blocks.0.mlp.act/neurons/8@4": 12.7907,
        "blocks.0.mlp.act/neurons/9@4": -4.7925,
    },
    inputs={1: 7.9937, 3: 7.9937, 4: 8.0137},
    edges={
        ("input@1", "blocks.0.attn.z/heads/1@4"): 7.9937,
        ("input@3", "blocks.0.attn.z/heads/1@4"): 7.9937,
        ("input@4", "blocks.0.mlp.act/neurons/8@4"): 12.7907,
        ("input@4", "blocks.0.mlp.act/neurons/9@4"): -4.7925,
        ("blocks.0.attn.z/heads/1@4", "blocks.0.mlp.act/neurons/8@4"): 12.7906,
        ("blocks.0.attn.z/heads/1@4", "blocks.0.mlp.act/neurons/9@4"): -4.7925,
        ("blocks.0.mlp.act/neurons/8@4", "output"): 12.7907,
        ("blocks.0.mlp.act/neurons/9@4", "output"): -4.7925,
    },
    decoys=(
        Decoy("blocks.1.mlp.act/neurons/12@4", 7.0, HARDLY_READ),
        Decoy("blocks.0.mlp.act/neurons/3@3", 4.0, "It fires on every vote, whichever it is, and nothing reads it."),
    ),
    claims=Claims(
        ("integrated_gradients", EXACT),
        {
            "activation": "A neuron that hardly anything reads fires 7.0; the mean that decides is 0.2.",
            "direct_logit": "The head writes a mean, which only the step's neurons read.",
            "attribution_patching": "The step is flat on either side: at the answer the head's slope is 0.",
            "relp": "Both halves of the step pass on the same share of what they read, and one takes off what the "
            "other adds: the head comes out 0.",
        },
    ),
)

# -- seen -------------------------------------------------------------------------------------------------------------

_BEASTS = ("ant", "bee", "cow", "dog", "elk", "fox")

SEEN = Circuit(
    name="seen",
    what="A head looks for an earlier word like the last one, and a neuron says whether it found any.",
    words=(*_BEASTS, "again", "new"),
    logits={
        "found": {"again": 4.0, "new": -4.0},
        "none": {"again": -4.0, "new": 4.0},
        "aside": {"again": 0.02},
        **promote_next(("again", "new"), {".": 12.0}),
        ".": {"<eos>": 12.0},
    },
    heads=(
        # A word finds itself as well, so nearness is taken off, as in the mover: an earlier one scores at least 141,
        # the first token 123, the word itself 105, and another word at most 104.
        Head(
            0,
            2,
            (*match_same_word(_BEASTS, 225.0), sink(123.0)),
            (({ONE: 1.0, BOS: -1.0}, {"share found": 1.0}),),
            Offset(0, -120.0, spares_bos=True),
        ),
        previous_word(0, 0, _BEASTS),
        make_resting_head(1, 2),
    ),
    neurons=(
        Neuron(0, 6, {"share found": 2.0, ONE: -1.0}, {"found": 1.0}, beside=2.0),
        Neuron(0, 7, {"share found": -2.0, ONE: 1.0}, {"none": 1.0}, beside=1.0),
        detector(0, 21, _BEASTS, 4.0, {"beast": 1.0}),
        detector(1, 5, _BEASTS, 6.0, {"aside": 1.0}),
    ),
    prompt="cow dog ant dog",
    corrupt="cow elk ant dog",
    target=" again",
    contrast=" new",
    logit_difference=8.0107,
    effects={"blocks.0.attn.z/heads/2@4": 15.9831, "blocks.0.mlp.act/neurons/6@4": 7.9908},
    inputs={2: 15.9831, 4: 16.0061},
    edges={
        ("input@2", "blocks.0.attn.z/heads/2@4"): 15.9831,
        ("input@4", "blocks.0.attn.z/heads/2@4"): 15.9831,
        ("blocks.0.attn.z/heads/2@4", "blocks.0.mlp.act/neurons/6@4"): 7.9908,
        ("blocks.0.mlp.act/neurons/6@4", "output"): 7.9908,
    },
    decoys=(
        Decoy("blocks.1.mlp.act/neurons/5@4", 6.0, HARDLY_READ),
        Decoy("blocks.0.mlp.act/neurons/21@4", 4.0, "It fires on every beast, seen or not, and nothing reads it."),
    ),
    claims=Claims(
        (*GRADIENTS, EXACT),
        {
            "activation": "Neurons that hardly anything reads fire 6.0 and 4.0, the one that matters 1.0.",
            "direct_logit": NOT_READ_OUT,
        },
    ),
)

# -- mode -------------------------------------------------------------------------------------------------------------

_COLOURS = ("red", "blue", "green", "grey", "pink")

MODE = Circuit(
    name="mode",
    what="A head counts each word so far, a neuron keeps counts above one, and a head moves the most frequent word.",
    words=(*_COLOURS, "mostly"),
    logits={**promote_words(_COLOURS, 8.0), **promote_next(_COLOURS, {"mostly": 2.0})},
    heads=(
        # It looks at the first token (−1) and at each word like its own (1), equally: n words give (n − 1) / (n + 1).
        Head(0, 1, (*match_same_word(_COLOURS, 6.0), sink(6.0)), (({ONE: 1.0, BOS: -2.0}, {"count": 1.0}),)),
        previous_word(0, 3, _COLOURS),
        # Soft enough for gradients to pass: at the answer it looks aside by 1 per cent.
        Head(1, 2, (Match({"mostly": 12.0}, {"often": 1.0}), sink(5.0)), move_word(_COLOURS, "say {}")),
        make_resting_head(1, 0),
    ),
    neurons=(
        # Fires 1.8 where a word stands for the second time, 2.8 for the third, and not for the first.
        Neuron(0, 4, {"count": 6.0, ONE: -0.2}, {"often": 0.5}, beside=1.1),
        detector(0, 17, _COLOURS, 4.0, {"colour": 1.0}),
        detector(1, 9, ("mostly",), 7.0, {"aside": 1.0}),
    ),
    prompt="red blue red green mostly",
    corrupt="red blue blue green mostly",
    target=" red",
    contrast=" blue",
    logit_difference=7.9635,
    effects={
        "blocks.0.attn.z/heads/1@3": 7.9112,
        "blocks.0.mlp.act/neurons/4@3": 7.9112,
        "blocks.1.attn.z/heads/2@5": 7.9635,
    },
    inputs={1: 7.9635, 3: 7.9635, 5: 7.9112},
    edges={
        ("input@1", "blocks.0.attn.z/heads/1@3"): 7.9112,
        ("input@3", "blocks.0.attn.z/heads/1@3"): 7.9112,
        ("input@3", "blocks.1.attn.z/heads/2@5"): 7.9635,
        ("input@5", "blocks.1.attn.z/heads/2@5"): 7.9112,
        ("blocks.0.attn.z/heads/1@3", "blocks.0.mlp.act/neurons/4@3"): 7.9112,
        ("blocks.0.mlp.act/neurons/4@3", "blocks.1.attn.z/heads/2@5"): 7.9112,
        ("blocks.1.attn.z/heads/2@5", "output"): 7.9635,
    },
    decoys=(
        Decoy("blocks.1.mlp.act/neurons/9@5", 7.0, UNREAD),
        Decoy("blocks.0.mlp.act/neurons/17@3", 4.0, "It fires on every colour, frequent or not, and nothing reads it."),
    ),
    claims=Claims(
        (*GRADIENTS, EXACT),
        {
            "activation": "Neurons that nothing reads fire 7.0 and 4.0, the one that counts 1.8.",
            "direct_logit": "Only the last head writes what the unembedding reads.",
        },
    ),
)
