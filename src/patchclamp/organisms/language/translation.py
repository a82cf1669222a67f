"""Translation, grammar in French, German and Spanish, and the same content said in four languages."""

from dataclasses import replace
from random import Random

from patchclamp.organisms.language import words
from patchclamp.organisms.language.labelled_line import Line, Slot, fill

TONGUES = ("french", "german", "spanish")
TRANSLATION = (
    "The {L} word for {w} is| {a}.",
    "In {L}, {w} is| {a}.",
    "In {L} we do not say {w} but| {a}.",
    "{A} asks how to say {w} in {L}: it is| {a}.",
    "{A} learns {L}: {w} is| {a}.",
    "The {L} for {w} is| {a}.",
    "From English {w} to {L}:| {a}.",
)
CONTINUATION = {
    "french": (
        "Voici {the}. C'est| {one} {adj}.",
        "{A} voit {the}. C'est| {one} {adj}.",
        "{A} cherche {the}, mais| {it} est {adj}.",
        "Ici, {the} est {adj}, et| {it} est {adj2}.",
        "{A} a {the} et veut aussi| {one} {adj}.",
    ),
    "german": (
        "Hier ist {one}.| {It} ist {adj}.",
        "Das ist {one}, und| {it} ist {adj}.",
        "{A} sagt, hier ist {one}, und| {it} ist {adj}.",
        "Es gibt {the_acc}. Das ist| {one}.",
        "{A} hat {one_acc}, aber| {it} ist {adj}.",
    ),
    "spanish": (
        "Aquí está {the}. Es| {one} {adj}.",
        "{A} ve {the}. Es| {one} {adj}.",
        "{A} quiere {the}, pero compra| {one} {adj}.",
        "Este es el mercado y allí está {the}. Es| {one} {adj}.",
        "{A} tiene {the} y busca| {one} {adj}.",
    ),
}
_ARTICLES = {
    "french": {"m": ("le", "un", "il"), "f": ("la", "une", "elle")},
    "german": {"m": ("der", "ein", "er"), "f": ("die", "eine", "sie"), "n": ("das", "ein", "es")},
    "spanish": {"m": ("el", "un", "él"), "f": ("la", "una", "ella")},
}
_GENDERS = {"m": "masculine", "f": "feminine", "n": "neuter"}
CONTENTS = {
    "is": {
        "english": "The {n} is {adj}.",
        "french": "{the} est {adj}.",
        "german": "{the} ist {adj}.",
        "spanish": "{the} es {adj}.",
    },
    "does": {
        "english": "{A} {v} the {n}.",
        "french": "{A} {v} {the}.",
        "german": "{A} {v} {the_acc}.",
        "spanish": "{A} {v} {the}.",
    },
    "does_one": {
        "english": "{A} {v} a {n}.",
        "french": "{A} {v} {one}.",
        "german": "{A} {v} {one_acc}.",
        "spanish": "{A} {v} {one}.",
    },
    "in": {
        "english": "{A} is in the {n}.",
        "french": "{A} est dans {the}.",
        "german": "{A} ist in {the_dat}.",
        "spanish": "{A} está en {the}.",
    },
    "mood": {
        "english": "{A} is {mood}.",
        "french": "{A} est {mood}.",
        "german": "{A} ist {mood}.",
        "spanish": "{A} está {mood}.",
    },
    "day": {
        "english": "Today is {day}.",
        "french": "Aujourd'hui c'est {day}.",
        "german": "Heute ist {day}.",
        "spanish": "Hoy es {day}.",
    },
    "on_day": {
        "english": "On {day}, {A} {v} the {n}.",
        "french": "Ce {day}, {A} {v} {the}.",
        "german": "Am {day}, so sagt man, {v} {A} {the_acc}.",
        "spanish": "Este {day}, {A} {v} {the}.",
    },
    "both": {
        "english": "The {n} is {adj} but the {m} is {adj2}.",
        "french": "{the} est {adj} mais {the2} est {adj2}.",
        "german": "{the} ist {adj}, aber {the2} ist {adj2}.",
        "spanish": "{the} es {adj} pero {the2} es {adj2}.",
    },
}
DESCRIBING = tuple({**words.ADJECTIVES, **words.COLOURS})


def _noun_slots(noun: words.Noun, language: str) -> dict[str, Slot]:
    word, gender = noun.in_language(language)
    the, one, it = _ARTICLES[language][gender]
    marked = (language, _GENDERS[gender])
    accusative = {"der": "den", "ein": "einen" if gender == "m" else "ein"}
    dative = "der" if gender == "f" else "dem"
    return {
        "the": (f"{the} {word}", *marked),
        "one": (f"{one} {word}", *marked),
        "the_acc": (f"{accusative.get(the, the)} {word}", *marked),
        "one_acc": (f"{accusative.get(one, one)} {word}", *marked),
        "the_dat": (f"{dative} {word}", *marked),
        "it": it,
        "It": it.capitalize(),
        "n": word,
    }


def _capital(slot: Slot) -> Slot:
    surface, *marked = (slot,) if isinstance(slot, str) else slot
    return (surface[0].upper() + surface[1:], *marked)


def _dictionary() -> tuple[tuple[str, tuple[str, str, str]], ...]:
    entries = [
        (noun.word, tuple(noun.in_language(tongue)[0] for tongue in TONGUES)) for noun in words.translated_nouns()
    ]
    for table in (words.ADJECTIVES, words.MOODS, words.COLOURS):
        entries += [(word, tuple(words.adjective(word, tongue, "m") for tongue in TONGUES)) for word in table]
    for i, day in enumerate(words.DAYS["english"]):
        entries.append((day, tuple(words.DAYS[tongue][i] for tongue in TONGUES)))
    return tuple(entries)  # type: ignore[arg-type]


DICTIONARY = _dictionary()


def translation(rng: Random) -> Line:
    """An English word in one of three languages; the corrupted prompt names another language."""
    i = rng.randrange(len(DICTIONARY))
    word, said = DICTIONARY[i]
    this, other = rng.sample(range(3), 2)
    slots: dict[str, Slot] = {
        "A": rng.choice(words.NAMES),
        "L": TONGUES[this].capitalize(),
        "w": word,
        "a": (said[this], TONGUES[this]),
    }
    return fill(
        "translation",
        rng.choice(TRANSLATION),
        slots,
        (word, TONGUES[this]),
        answer=f" {said[this]}",
        wrong=f" {said[other]}",
        corrupt={"L": TONGUES[other].capitalize()},
    )


def continuation(rng: Random, language: str) -> Line:
    """A noun abroad, and the article or pronoun that its gender asks for."""
    template = rng.choice(CONTINUATION[language])
    noun = rng.choice(words.translated_nouns())
    gender = noun.in_language(language)[1]
    asks_pronoun = "| {it}" in template or "| {It}" in template
    article = {"m": 1, "f": 1, "n": 1} if not asks_pronoun else {"m": 2, "f": 2, "n": 2}
    form = {g: _ARTICLES[language][g][article[g]] for g in _ARTICLES[language]}
    if "| {It}" in template:
        form = {g: it.capitalize() for g, it in form.items()}
    others = [
        o for o in words.translated_nouns() if form[o.in_language(language)[1]] != form[gender] and o.kind == noun.kind
    ]
    other = rng.choice(
        others or [o for o in words.translated_nouns() if form[o.in_language(language)[1]] != form[gender]]
    )
    adjectives = rng.sample(DESCRIBING, 2)
    slots = _noun_slots(noun, language) | {
        "A": rng.choice(words.NAMES),
        "adj": words.adjective(adjectives[0], language, gender),
        "adj2": words.adjective(adjectives[1], language, gender),
    }
    return fill(
        language,
        template,
        slots,
        (noun.word,),
        language=language,
        answer=f" {form[gender]}",
        wrong=f" {form[other.in_language(language)[1]]}",
        corrupt=_noun_slots(other, language),
    )


def write_translations(rng: Random, languages: tuple[str, ...]) -> list[Line]:
    """Say one content in several languages, a line each."""
    what = rng.choice(tuple(CONTENTS))
    kind = "place" if what == "in" else rng.choice(tuple(words.TRANSLATED))
    pool = [noun for noun in words.translated_nouns() if noun.kind == kind]
    noun, second = rng.sample(pool, 2)
    who, verb = rng.choice(words.NAMES), rng.choice(tuple(words.SAID))
    adjectives, mood, day = rng.sample(DESCRIBING, 2), rng.choice(tuple(words.MOODS)), rng.randrange(7)
    lines = []
    for language in languages:
        template = CONTENTS[what][language]
        if language == "english":
            slots: dict[str, Slot] = {
                "n": noun.word,
                "m": second.word,
                "A": who,
                "v": verb,
                "adj": adjectives[0],
                "adj2": adjectives[1],
                "mood": mood,
                "day": words.DAYS[language][day],
            }
        else:
            slots = _noun_slots(noun, language) | {
                "the2": _noun_slots(second, language)["the"],
                "A": who,
                "v": words.SAID[verb].split()[TONGUES.index(language)],
                "adj": words.adjective(adjectives[0], language, noun.in_language(language)[1]),
                "adj2": words.adjective(adjectives[1], language, second.in_language(language)[1]),
                "mood": words.adjective(mood, language, "f" if who in words.WOMEN else "m"),
                "day": words.DAYS[language][day],
            }
            if template.startswith("{the}"):
                slots["the"] = _capital(slots["the"])
        # Held out is the content, in every language at once.
        filler = {"mood": (who, mood), "day": (words.DAYS["english"][day],), "is": (noun.word, adjectives[0])}
        whole = fill("said", template, slots, (), language=language)
        lines.append(replace(whole, template=what, filler=filler.get(what, (noun.word, who))))
    return lines


ABROAD_TASKS = {
    "translation": translation,
    "french": lambda rng: continuation(rng, "french"),
    "german": lambda rng: continuation(rng, "german"),
    "spanish": lambda rng: continuation(rng, "spanish"),
}
CHANCE_ABROAD = {"translation": 1 / len(DICTIONARY), "french": 1 / 2, "german": 1 / 3, "spanish": 1 / 2}
