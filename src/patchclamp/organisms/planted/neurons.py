"""Circuits that lie in MLPs: one neuron, a memory of facts, a decoy beside a modest cause."""

from patchclamp.organisms.planted.circuit_spec import (
    EXACT,
    GRADIENTS,
    Circuit,
    Claims,
    Decoy,
    Head,
    Match,
    Neuron,
    detector,
    make_resting_head,
    previous_word,
    promote_next,
    promote_words,
    read_any,
    sink,
)

# -- neuron -----------------------------------------------------------------------------------------------------------

_COLOURS = ("red", "green", "blue")
_NEURON_WORDS = ("the", "light", "is", "was", "stop", "go", *_COLOURS)

NEURON = Circuit(
    name="neuron",
    what="One neuron fires exactly 3.0 on ' red', nowhere else, and turns the answer from ' go' to ' stop'.",
    words=_NEURON_WORDS,
    logits={
        "halt": {"stop": 6.0},
        **promote_next(_COLOURS, {"go": 2.0}),
        "stop": {".": 5.0},
        "go": {".": 5.0},
        ".": {"<eos>": 5.0},
        "the": {"light": 5.0},
        "light": {"is": 5.0},
        "is": {"red": 5.0, "green": 4.5},
    },
    heads=(previous_word(0, 0, (*_NEURON_WORDS, "<bos>", "<eos>", "<unk>", ".", ",")), make_resting_head(1, 2)),
    neurons=(
        # The head above writes as much at every position, so the divisor is the same everywhere.
        detector(0, 13, ("red",), 3.0, {"halt": 1.0}, beside=1.0),
        detector(0, 5, _COLOURS, 5.0, {"colour": 1.0}),
        detector(1, 8, ("red",), 6.0, {"aside": 1.0}),
        detector(1, 22, ("light", "is"), 2.0, {"scene": 1.0}),
    ),
    prompt="the light is red",
    corrupt="the light is green",
    target=" stop",
    contrast=" go",
    logit_difference=3.9962,
    effects={"blocks.0.mlp.act/neurons/13@4": 5.9946},
    inputs={4: 3.9962},
    edges={
        ("input@4", "blocks.0.mlp.act/neurons/13@4"): 5.9946,
        ("input@4", "output"): -2.0004,
        ("blocks.0.mlp.act/neurons/13@4", "output"): 5.9946,
    },
    decoys=(
        Decoy("blocks.1.mlp.act/neurons/8@4", 6.0, "It fires on ' red' alone, twice as strongly, and is not read."),
        Decoy("blocks.0.mlp.act/neurons/5@4", 5.0, "It fires on every colour, and nothing reads it."),
    ),
    claims=Claims(
        ("direct_logit", *GRADIENTS, EXACT),
        {"activation": "Neuron 8 of block 1 fires 6.0 on the same word and is not read."},
    ),
)

# -- facts ------------------------------------------------------------------------------------------------------------

FACTS_OF = {
    "France": ("Paris", "French"),
    "Italy": ("Rome", "Italian"),
    "Japan": ("Tokyo", "Japanese"),
    "Egypt": ("Cairo", "Arabic"),
    "Kenya": ("Nairobi", "Swahili"),
    "Peru": ("Lima", "Spanish"),
}
_CAPITALS, _LANGUAGES = (tuple(values) for values in zip(*FACTS_OF.values(), strict=True))
_FACTS_WORDS = ("the", "queen", "king", "of", "lives", "in", "speaks", *FACTS_OF, *_CAPITALS, *_LANGUAGES)
FIRST_CAPITAL, FIRST_LANGUAGE = 5, 18


def _asker(index: int, word: str, kind: str, answers: tuple[str, ...]) -> Head:
    """Return the head that takes one kind of fact from the country to the word that asks for it."""
    moves = tuple(({f"{kind} {answer}": 1.0}, {f"say {answer}": 1.0}) for answer in answers)
    return Head(1, index, (Match({word: 40.0}, read_any(FACTS_OF)), sink(20.0)), moves)


FACTS = Circuit(
    name="facts",
    what="A memory of twelve facts, one neuron each: at the country its capital and its language are written at once.",
    words=_FACTS_WORDS,
    logits={
        **promote_words((*_CAPITALS, *_LANGUAGES), 8.0),
        **promote_next((*_CAPITALS, *_LANGUAGES), {".": 5.0}),
        ".": {"<eos>": 5.0},
        "lives": {"in": 5.0},
        "in": {"the": 3.0},
        "the": {"queen": 5.0, "king": 4.5},
    },
    heads=(
        previous_word(0, 1, _FACTS_WORDS),
        _asker(0, "in", "capital", _CAPITALS),
        _asker(2, "speaks", "language", _LANGUAGES),
    ),
    neurons=(
        *(
            detector(0, FIRST_CAPITAL + i, (country,), 2.0, {f"capital {capital}": 1.0}, beside=1.0)
            for i, (country, (capital, _)) in enumerate(FACTS_OF.items())
        ),
        *(
            detector(0, FIRST_LANGUAGE + i, (country,), 3.0, {f"language {language}": 1.0}, beside=1.0)
            for i, (country, (_, language)) in enumerate(FACTS_OF.items())
        ),
        detector(1, 3, ("in", "speaks"), 6.0, {"aside": 1.0}),
    ),
    prompt="the queen of France lives in",
    corrupt="the queen of Peru lives in",
    target=" Paris",
    contrast=" Rome",
    logit_difference=7.9908,
    effects={"blocks.0.mlp.act/neurons/5@4": 7.9908, "blocks.1.attn.z/heads/0@6": 7.9908},
    inputs={4: 7.9908, 6: 7.9908},
    edges={
        ("input@4", "blocks.0.mlp.act/neurons/5@4"): 7.9908,
        ("input@4", "blocks.1.attn.z/heads/0@6"): 7.9908,
        ("input@6", "blocks.1.attn.z/heads/0@6"): 7.9908,
        ("blocks.0.mlp.act/neurons/5@4", "blocks.1.attn.z/heads/0@6"): 7.9908,
        ("blocks.1.attn.z/heads/0@6", "output"): 7.9908,
    },
    decoys=(
        Decoy("blocks.0.mlp.act/neurons/18@4", 3.0, "It knows that France speaks French, which is not asked here."),
        Decoy("blocks.1.mlp.act/neurons/3@6", 6.0, "It writes along a direction that no later weight reads."),
    ),
    claims=Claims(
        (*GRADIENTS, EXACT),
        {
            "activation": "The unread neuron of block 1 and the fact that is not asked for fire more strongly.",
            "direct_logit": "The fact's neuron writes at the country, not where the answer is given.",
        },
    ),
)

# -- decoy ------------------------------------------------------------------------------------------------------------

_ANIMALS = ("owl", "dog", "fox")
_DECOY_WORDS = ("at", "night", "noon", "the", "hoots", "barks", *_ANIMALS)
_CANCELLERS = 24
_LOUD = 12.0

DECOY = Circuit(
    name="decoy",
    what="A neuron has the largest activation and writes the most, and the next block takes exactly that off again.",
    words=_DECOY_WORDS,
    logits={
        "owlish": {"hoots": 4.0, "barks": -4.0},
        "doggish": {"hoots": -4.0, "barks": 4.0},
        "loud": {"hoots": _LOUD / 2, "barks": -_LOUD / 2},
        "hoots": {".": 5.0},
        "barks": {".": 5.0},
        ".": {"<eos>": 5.0},
    },
    heads=(previous_word(0, 0, _DECOY_WORDS), make_resting_head(1, 2)),
    neurons=(
        detector(0, 11, ("owl",), 2.0, {"owlish": 0.5}, beside=1.0),
        detector(0, 14, ("dog",), 2.0, {"doggish": 0.5}, beside=1.0),
        detector(0, 6, _ANIMALS, 9.0, {"loud": 1.0}, beside=1.0),
        detector(0, 25, ("night", "noon"), 3.0, {"time": 1.0}),
        # Each takes off its share of what neuron 6 wrote, and is silent where that is.
        *(Neuron(1, i, {"loud": 1.0}, {"loud": -1 / _CANCELLERS}, beside=3.25) for i in range(_CANCELLERS)),
    ),
    prompt="at night the owl",
    corrupt="at night the dog",
    target=" hoots",
    contrast=" barks",
    logit_difference=3.9983,
    effects={"blocks.0.mlp.act/neurons/11@4": 3.9991},
    inputs={4: 3.9983},
    edges={("input@4", "blocks.0.mlp.act/neurons/11@4"): 3.9991, ("blocks.0.mlp.act/neurons/11@4", "output"): 3.9991},
    decoys=(
        Decoy(
            "blocks.0.mlp.act/neurons/6@4",
            9.0,
            "Neurons 0 to 23 of the next block read what it writes and take it off again, a twenty-fourth each.",
        ),
    ),
    claims=Claims(
        ("attribution_patching", "integrated_gradients", EXACT),
        {
            "activation": "It picks the decoy: 9.0 beside 2.0.",
            "direct_logit": "It picks the decoy: 12 beside 4, for what cancels it comes later.",
        },
    ),
    claims_in={
        "gpt2": Claims(("relp",)),
        "llama": Claims(
            miss={
                "relp": "The half rule lets half of what each gated neuron takes off through: "
                "6 of the decoy's 12 are left beside 4."
            }
        ),
    },
)
