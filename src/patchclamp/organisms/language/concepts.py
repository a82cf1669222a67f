"""The closed list of what a token can truly be, and which of them a word has by itself."""

from collections.abc import Callable, Mapping
from functools import cache

from patchclamp.organisms.language import words
from patchclamp.organisms.language.world import CITIES, COUNTRIES

CONCEPTS: Mapping[str, str] = {
    "english": "a word of English text",
    "french": "a word of French",
    "german": "a word of German",
    "spanish": "a word of Spanish",
    "python": "part of a Python program",
    "cpp": "part of a C++ program",
    "julia": "part of a Julia program",
    "java": "part of a Java program",
    "name": "a person's name",
    "woman": "a woman's name",
    "man": "a man's name",
    "animal": "an animal, in any language",
    "food": "a food, in any language",
    "colour": "a colour, in any language",
    "place": "a kind of place, such as a park",
    "object": "a thing of the household",
    "garment": "something worn",
    "tool": "a tool",
    "vehicle": "a vehicle",
    "plant": "a plant",
    "instrument": "a musical instrument",
    "job": "a profession",
    "city": "a city of the world",
    "country": "a country of the world",
    "day": "a day of the week, in any language",
    "month": "a month",
    "year": "digits of a year",
    "number_word": "a number written as a word",
    "noun_singular": "an English common noun in the singular",
    "noun_plural": "an English common noun in the plural",
    "verb_singular": "an English verb in the third person singular",
    "verb_plural": "an English verb in the plural or the bare form",
    "verb_past": "an English verb in the past, or its participle",
    "adjective": "an adjective or colour, in any language",
    "article": "an article, in any language",
    "preposition": "a word that can be a preposition, in any language",
    "conjunction": "a word that can be a conjunction, in any language",
    "pronoun": "a word that can be a pronoun, demonstratives and possessives among them, in any language",
    "she": "a pronoun for a woman",
    "he": "a pronoun for a man",
    "masculine": "an article or noun of masculine gender (French, German, Spanish)",
    "feminine": "an article or noun of feminine gender (French, German, Spanish)",
    "neuter": "an article or noun of neuter gender (German)",
    "subject": "the head noun of a subject that another noun parts from its verb",
    "distractor": "a noun between the subject and its verb",
    "giver": "the person who gives, where a sentence says that one person gives a gift to another",
    "receiver": "the person who is given something, likewise",
    "repeated_name": "a name that stands in the document a second time or more",
    "sentence_start": "the first word of a sentence",
    "sentence_end": "the sign that ends a sentence",
    "comma": "a comma of natural text",
    "comparative": "a comparative, such as taller",
    "superlative": "a superlative, such as tallest",
    "deciding_step": "part of the step of a reasoning chain without which the answer would be another",
    "keyword": "a keyword of a program",
    "identifier": "a name in a program",
    "number": "a number in a program",
    "string": "text between quotes in a program",
    "operator": "an operator of a program",
    "open_bracket": "an opening bracket of a program",
    "close_bracket": "a closing bracket of a program",
    "comment": "part of a program's comment",
    "block": "part of a program's indented line",
    "invented": "a word that no lexicon holds",
    "repeat": "an invented word that stands in the document a second time or more",
}

KINDS = ("animal", "food", "colour", "place", "object", "garment", "tool", "vehicle", "plant", "instrument", "job")
_GENDER = {"m": "masculine", "f": "feminine", "n": "neuter"}
_ARTICLES = {
    "french": {"le": "m", "un": "m", "la": "f", "une": "f"},
    "german": {"der": "m", "einen": "m", "die": "f", "eine": "f", "das": "n"},
    "spanish": {"el": "m", "un": "m", "la": "f", "una": "f"},
}
_EVENTS = (
    *("day", "month", "strike", "festival", "drought", "reign", "trial", "siege", "famine", "journey", "war"),
    "quarrel",
)
_LITERAL = {
    word: concept
    for concept, listed in {
        "noun_singular": "kind talk name money plant day home flag trade word job city animal colour food place "
        "country tool garment vehicle instrument fact strike year festival list heading drought object reign riddle "
        "land passport town trial siege famine journey way war quarrel meal citizen dish month dinner week "
        "end map doctor",
        "noun_plural": "friends taxes others years people",
        "verb_singular": "lives earns knows comes learns says pays belongs shows votes lies",
        "verb_plural": "think know do say grow can",
        "verb_past": "lent meant came began ended said showed offered handed solved lived stopped passed put lasted "
        "born died grew been",
        "adjective": "open closed next last favourite far more",
        "pronoun": "everyone nobody some",
        "preposition": "like without",
    }.items()
    for word in listed.split()
}
_COMPARED = (
    "taller tallest shorter shortest older oldest younger youngest faster fastest slower slowest richer richest "
    "poorer poorest"
)


@cache
def _lexicon(language: str) -> dict[str, frozenset[str]]:
    lexicon: dict[str, set[str]] = {}

    def add(word: str, *concepts: str) -> None:
        lexicon.setdefault(word, set()).update(concepts)

    for name in words.NAMES:
        add(name, "name", "woman" if name in words.WOMEN else "man")
    for day in words.DAYS[language]:
        add(day, "day")
    if language == "english":
        _english(add)
        return {word: frozenset(concepts) for word, concepts in lexicon.items()}
    for noun in words.translated_nouns():
        word, gender = noun.in_language(language)
        add(word, noun.kind, _GENDER[gender])
    for table in (words.ADJECTIVES, words.MOODS, words.COLOURS):
        for english in table:
            for gender in "mf":
                extra = ("colour",) if table is words.COLOURS else ()
                add(words.adjective(english, language, gender), "adjective", *extra)
    for kind, listed in words.FUNCTION_ABROAD[language].items():
        for word in listed.split():
            add(word, kind)
    for word, gender in _ARTICLES[language].items():
        add(word, _GENDER[gender])
    she, he = {"french": ("elle", "il"), "german": ("sie", "er"), "spanish": ("ella", "él")}[language]
    add(she, "she")
    add(he, "he")
    return {word: frozenset(concepts) for word, concepts in lexicon.items()}


def _english(put: Callable[..., None]) -> None:
    for noun in words.nouns():
        put(noun.word, noun.kind, "noun_singular")
        put(noun.plural, noun.kind, "noun_plural")
    for colour in words.colours():
        put(colour, "colour", "adjective")
    for word in (*words.ADJECTIVES, *words.MOODS, *words.OTHER_ADJECTIVES):
        put(word, "adjective")
    for verb in (*words.REGULAR_VERBS, *words.IRREGULAR_VERBS):
        third, past = words.verb_forms(verb)
        put(verb, "verb_plural")
        put(third, "verb_singular")
        put(past, "verb_past")
    for word, concept in {
        "is": "verb_singular",
        "has": "verb_singular",
        "are": "verb_plural",
        "have": "verb_plural",
        "was": "verb_past",
        "were": "verb_past",
        "had": "verb_past",
    }.items():
        put(word, concept)
    for kind, listed in words.FUNCTION.items():
        for word in listed.split():
            put(word, kind)
    for word in ("she", "her", "herself"):
        put(word, "pronoun", "she")
    for word in ("he", "his", "him", "himself"):
        put(word, "pronoun", "he")
    for month in words.MONTHS:
        put(month, "month")
    for number in words.NUMBERS:
        put(number, "number_word")
    for common in (*KINDS, *_EVENTS):
        put(common, "noun_singular")
    put("shows", "verb_singular")
    for city in CITIES:
        put(city, "city")
    for country in COUNTRIES:
        put(country, "country")
    for i, word in enumerate(_COMPARED.split()):
        put(word, "superlative" if i % 2 else "comparative")


@cache
def concepts_of(word: str, language: str, literal: bool = False) -> frozenset[str]:
    """Return the concepts that a word of natural text has by itself: those of its lexicon, and its language.

    Args:
        word: the word.
        language: whose.
        literal: whether it stands in the template itself, where a few words mean another thing ("a kind of").

    Returns:
        frozenset[str]: names in ``CONCEPTS``.
    """
    if literal and language == "english" and word.lower() in _LITERAL:
        return frozenset({_LITERAL[word.lower()], language})
    lexicon = _lexicon(language)
    own = lexicon.get(word) or lexicon.get(word.lower()) or frozenset()
    return own | {language}
