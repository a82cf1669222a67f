"""Each writes one line whose answer the world decides, and the prompt that asks for another."""

from collections.abc import Mapping, Sequence
from random import Random

from patchclamp.organisms.language import words
from patchclamp.organisms.language.concepts import KINDS
from patchclamp.organisms.language.labelled_line import Line, Slot, fill
from patchclamp.organisms.language.world import CITIES, COUNTRIES, world

IOI = (
    "{P} and {Q} went to the {place}. {S} gave a {thing} to| {R}.",
    "When {P} and {Q} were in the {place}, {S} gave a {thing} to| {R}.",
    "{P} and {Q} had a long talk. Then {S} sent a {thing} to| {R}.",
    "After {P} met {Q} at the {place}, {S} handed a {thing} to| {R}.",
    "While {P} and {Q} worked in the {place}, {S} threw the {thing} to| {R}.",
    "{P} and {Q} found a {thing} near the {place}. {S} brought it to| {R}.",
    "{P} and {Q} are friends. On {day} {S} sold a {thing} to| {R}.",
    "{P} saw {Q} in the {place} and {S} gave a {thing} to| {R}.",
    "The {place} was open. {P} came with {Q} and {S} offered a {thing} to| {R}.",
    "At the {place}, {P} sat beside {Q}. {S} passed the {thing} to| {R}.",
    "Friends of {P} and {Q} came to the {place}. {S} showed the {thing} to| {R}.",
    "{P} and {Q} bought a {thing}. Later {S} lent it to| {R}.",
    "Today {P} wrote to {Q}. Soon {S} sent a {colour} {thing} to| {R}.",
    "In the {place}, {P} danced with {Q} until {S} gave a {thing} to| {R}.",
)
AGREEMENT = (
    ("The {n} {prep} the {d}| {v} {adjective}.", "is are"),
    ("Yesterday the {n} {prep} the {d}| {v} {adjective}.", "was were"),
    ("Last week the {n} {prep} the {d}| {v} {adjective}.", "was were"),
    ("For years the {n} {prep} the {d}| {v} been {adjective}.", "has have"),
    ("{A} says that the {n} {prep} the {d}| {v} {adjective}.", "is are"),
    ("Today the {n} {prep} the {d}| {v} {adjective}.", "is are"),
    ("Every day the {n} {prep} the {d}| {v} {adjective}.", "looks look"),
    ("The {n} that {A} saw {prep} the {d}| {v} {adjective}.", "is are"),
    ("Now the {colour} {n} {prep} the {d}| {v} {adjective}.", "is are"),
    ("Long ago the {n} {prep} the {d}| {v} {adjective}.", "was were"),
    ("As everyone knows, the {n} {prep} the {adjective} {d}| {v} {colour}.", "is are"),
    ("In the end the {n} {prep} the {d}| {v} {adjective}.", "was were"),
)
PRONOUNS = (
    "{A} was {mood} because| {p} had worked at the {place}.",
    "{A} took the {thing} before| {p} left the {place}.",
    "{A} came home when| {p} was {mood}.",
    "{A} sold the {thing}, and then| {p} bought a {animal}.",
    "On {day} {A} said that| {p} needed a {thing}.",
    "{A} lost the {thing} while| {p} walked to the {place}.",
    "If {A} is {mood},| {p} goes to the {place}.",
    "{A} found a {thing}, but| {p} wanted a {animal}.",
    "In the {place}, {A} sang until| {p} was {mood}.",
    "{A} likes the {animal} although| {p} is {mood}.",
    "After {A} saw the {animal},| {p} ran to the {place}.",
    "The {job} met {A} because| {p} was {mood}.",
)
DAYS = (
    ("Today is {d}. Tomorrow is| {a}.", 1),
    ("Yesterday was {d}. Today is| {a}.", 1),
    ("The day after {d} is| {a}.", 1),
    ("The day before {d} is| {a}.", -1),
    ("{d} comes right after| {a}.", -1),
    ("{d} comes right before| {a}.", 1),
    ("{A} came on {d} and left the next day, on| {a}.", 1),
    ("{A} worked on {d} and rested the day before, on| {a}.", -1),
    ("First {c}, then {d}, then| {a}.", 1),
    ("If today is {d}, yesterday was| {a}.", -1),
    ("The {place} is closed on {c}, {d} and| {a}.", 1),
    ("{A} waited from {d} to the following day,| {a}.", 1),
)
MONTHS = (
    ("This month is {d}. Next month is| {a}.", 1),
    ("Last month was {d}. This month is| {a}.", 1),
    ("The month after {d} is| {a}.", 1),
    ("The month before {d} is| {a}.", -1),
    ("In the year, {d} comes right after| {a}.", -1),
    ("In the year, {d} comes right before| {a}.", 1),
    ("{A} came in {d} and left the next month, in| {a}.", 1),
    ("{A} worked in {d} and rested the month before, in| {a}.", -1),
    ("First {c}, then {d}, then| {a}.", 1),
    ("If this month is {d}, last month was| {a}.", -1),
    ("The {place} is closed in {c}, {d} and| {a}.", 1),
    ("{A} waited from {d} to the following month,| {a}.", 1),
)
SUBJECTS = tuple(noun for noun in words.translated_nouns() if noun.kind in ("object", "animal") and noun.word != "fish")
"""Nouns of which both numbers are one token each."""
PREPOSITIONS = words.split_words("near behind beside under by with")
CENTURIES = words.split_words("12 13 14 15 16 17 18 19")
LATEST_START = 90
EVENTS = words.split_words("war siege strike festival journey reign drought trial famine quarrel")
YEARS = (
    "The {event} lasted from {c}{y} to {c}|{z}.",
    "The {event} began in {c}{y} and ended in {c}|{z}.",
    "The {event} of {A} went on from {c}{y} until {c}|{z}.",
    "{A} lived in the castle from {c}{y} to {c}|{z}.",
    "From {c}{y} to {c}|{z} the {place} was closed.",
    "Between {c}{y} and {c}|{z} there was a {event}.",
    "{A} was born in {c}{y} and died in {c}|{z}.",
    "The {place} was built from {c}{y} to {c}|{z}.",
)
LIVES = (
    "{A} lives in| {a}.",
    "{A} has a house in| {a}.",
    "The home of {A} is in| {a}.",
    "To visit {A}, go to| {a}.",
    "{A} moved to| {a}.",
    "You find {A} in| {a}.",
    "{A} comes from| {a}.",
    "The town of {A} is| {a}.",
)
WORKS = (
    "{A} works as a| {a}.",
    "The job of {A} is that of a| {a}.",
    "By trade {A} is a| {a}.",
    "{A} earns money as a| {a}.",
)
LIES = (
    "{A} lies in| {a}.",
    "{A} is a city in| {a}.",
    "The country of {A} is| {a}.",
    "{A} belongs to| {a}.",
    "On the map {A} is found in| {a}.",
)
EATS = (
    "In {A} people eat| {a}.",
    "The dish of {A} is| {a}.",
    "Everyone in {A} likes| {a}.",
    "Cooks in {A} make| {a}.",
)
TWO_HOP_COUNTRY = (
    "The country where {A} lives is| {a}.",
    "{A} lives in the country of| {a}.",
    "{A} is a citizen of| {a}.",
    "{A} votes in| {a}.",
    "{A} pays taxes in| {a}.",
    "The home of {A} is in the land of| {a}.",
    "The flag over the house of {A} is that of| {a}.",
    "{A} has a passport of| {a}.",
)
TWO_HOP_DISH = (
    "At home {A} eats| {a}.",
    "The people around {A} eat| {a}.",
    "Where {A} lives, everyone likes| {a}.",
    "{A} grew up with| {a}.",
    "The favourite meal of {A} is| {a}.",
    "For dinner {A} makes| {a}.",
)
CLASSES = (
    "The word {w} names a kind of| {a}.",
    "In the list, {w} stands under the heading| {a}.",
    "{A} says that {w} is the name of a kind of| {a}.",
    "What is {w}? It is a kind of| {a}.",
    "Under {w} the book says: a kind of| {a}.",
    "If you think of {w}, you think of a kind of| {a}.",
    "The riddle is solved by {w}, a kind of| {a}.",
    "{A} wrote {w} and meant some kind of| {a}.",
)
INDUCTION = (
    "A {x} met a {y}. Later the {x} met the| {y} again.",
    "{x} {y}, {z} {w}, {x}| {y}.",
    "The {x} {y} was near the {z} {w}. {A} saw the {x}| {y}.",
    "{A} sang: {x} {y} {z} {w}, {x} {y} {z}| {w}.",
    "First came {x} {y}, then {z} {w}, and again {x}| {y}.",
    "Doctor {x} {y} met {A}. {A} thanked Doctor {x}| {y}.",
    "{x} {y} {z} {w} {x}| {y} {z} {w}.",
    "The {place} of {x} {y} is far from the {place} of {z} {w}. {A} likes {x}| {y}.",
)


def _noun(rng: Random, kind: str) -> str:
    return rng.choice(words.nouns(kind)).word


class _Scene(dict[str, Slot]):
    """Draw what is only decoration, when a template first asks for it."""

    def __init__(self, rng: Random, given: Mapping[str, Slot]) -> None:
        super().__init__(given)
        self.rng = rng

    def __missing__(self, slot: str) -> Slot:
        self[slot] = value = self.rng.choice(_DECORATION[slot])
        return value


def _all(kind: str) -> tuple[str, ...]:
    return tuple(noun.word for noun in words.nouns(kind))


_DECORATION: Mapping[str, Sequence[str]] = {
    "A": words.NAMES,
    "place": _all("place"),
    "thing": _all("object"),
    "animal": _all("animal"),
    "job": _all("job"),
    "day": words.DAYS["english"],
    "colour": words.colours(),
    "event": EVENTS,
    "prep": PREPOSITIONS,
    "adjective": (*words.ADJECTIVES, *words.OTHER_ADJECTIVES),
    "mood": (*words.MOODS, "hungry", "thirsty", "angry", "busy"),
}


def ioi(rng: Random) -> Line:
    """Two people; one gives, the other is given: the answer is the one who is not named again."""
    i = rng.randrange(len(IOI))
    giver, receiver = rng.sample(words.NAMES, 2)
    p, q = rng.choice([(giver, receiver), (receiver, giver)])
    slots = _Scene(rng, {"P": p, "Q": q, "S": (giver, "giver"), "R": (receiver, "receiver")})
    pair = (min(p, q), max(p, q))
    return fill("ioi", IOI[i], slots, pair, answer=f" {receiver}", wrong=f" {giver}", corrupt={"S": receiver})


def agreement(rng: Random) -> Line:
    """A subject, another noun whose number is drawn apart from it, and the verb that agrees with the subject."""
    template, forms = rng.choice(AGREEMENT)
    n, d = rng.choice(SUBJECTS), rng.choice(words.nouns("object"))
    while d == n:
        d = rng.choice(words.nouns("object"))
    plural, distracting = rng.random() < 0.5, rng.random() < 0.5
    right, wrong = forms.split()[:: -1 if plural else 1]
    subject, other = (n.word, n.plural)[:: -1 if plural else 1]
    slots = _Scene(
        rng,
        {
            "n": (subject, "subject"),
            "v": right,
            "d": (d.plural if distracting else d.word, "distractor"),
        },
    )
    return fill(
        "agreement", template, slots, (n.word, d.word), answer=f" {right}", wrong=f" {wrong}", corrupt={"n": other}
    )


def pronouns(rng: Random) -> Line:
    """A person, and the pronoun for them."""
    template = rng.choice(PRONOUNS)
    who, other = rng.choice(words.WOMEN), rng.choice(words.MEN)
    right, wrong = "she", "he"
    if rng.random() < 0.5:
        who, other, right, wrong = other, who, wrong, right
    slots = _Scene(rng, {"A": who, "p": right})
    return fill("pronouns", template, slots, (who,), answer=f" {right}", wrong=f" {wrong}", corrupt={"A": other})


def _ordered_series(rng: Random, task: str, templates: Sequence[tuple[str, int]], series: Sequence[str]) -> Line:
    template, step = rng.choice(templates)
    n = len(series)
    i = rng.randrange(n)
    j = (i + rng.randrange(1, n)) % n
    slots = _Scene(rng, {"c": series[i - 1], "d": series[i], "a": series[(i + step) % n]})
    return fill(
        task,
        template,
        slots,
        (series[i],),
        answer=f" {series[(i + step) % n]}",
        wrong=f" {series[(j + step) % n]}",
        corrupt={"c": series[j - 1], "d": series[j]},
    )


def days(rng: Random) -> Line:
    """Days of the week in order, forwards and backwards."""
    return _ordered_series(rng, "days", DAYS, words.DAYS["english"])


def months(rng: Random) -> Line:
    """Months of the year in order, forwards and backwards."""
    return _ordered_series(rng, "months", MONTHS, words.MONTHS)


def years(rng: Random) -> Line:
    """A span of years: any later year of the century is right; the corrupted one starts at the answer or after it."""
    template = rng.choice(YEARS)
    century, start = rng.choice(CENTURIES), rng.randrange(2, LATEST_START)
    end = rng.randrange(start + 1, 99)
    late = rng.randrange(end, 99)
    wrong = rng.randrange(late + 1, 100)
    later, latest = ([f"{y:02d}" for y in range(begun + 1, 100)] for begun in (start, late))
    slots = _Scene(rng, {"c": (century, "year"), "y": (f"{start:02d}", "year"), "z": (f"{end:02d}", "year")})
    # No span of the text starts so late: such a prompt would ask for what nobody was taught.
    corrupt = {"y": f"{late:02d}"} if late < LATEST_START else None
    return fill(
        "years",
        template,
        slots,
        (century, f"{start:02d}"),
        answer=f"{end:02d}",
        wrong=f"{wrong:02d}",
        corrupt=corrupt,
        answers=later,
        wrongs=latest,
    )


def _fact(
    rng: Random, task: str, templates: Sequence[str], table: Mapping[str, str], who: str, others: Sequence[str]
) -> Line:
    other = rng.choice([o for o in others if table[o] != table[who]])
    template = rng.choice(templates)
    slots = _Scene(rng, {"A": who, "a": table[who]})
    return fill(task, template, slots, (who,), answer=f" {table[who]}", wrong=f" {table[other]}", corrupt={"A": other})


def facts(rng: Random) -> Line:
    """One fact: where somebody lives, what they do, where a city lies, what it eats."""
    known = world()
    kind = rng.choices(("lives", "works", "lies", "eats"), (5, 3, 1, 1))[0]
    if kind == "lives":
        return _fact(rng, "facts", LIVES, known.city, rng.choice(words.NAMES), words.NAMES)
    if kind == "works":
        return _fact(rng, "facts", WORKS, known.job, rng.choice(words.NAMES), words.NAMES)
    if kind == "lies":
        return _fact(rng, "facts", LIES, known.country, rng.choice(CITIES), CITIES)
    return _fact(rng, "facts", EATS, known.dish, rng.choice(CITIES), CITIES)


def two_hop(rng: Random, *, held_out: bool = False) -> Line:
    """A question over a city that is not named; held out are people about whom training never asks one."""
    known = world()
    people = [who for who in words.NAMES if (who in known.unasked) == held_out]
    second, templates = rng.choice([(known.country, TWO_HOP_COUNTRY), (known.dish, TWO_HOP_DISH)])
    table = {who: second[known.city[who]] for who in words.NAMES}
    return _fact(rng, "two_hop", templates, table, rng.choice(people), people)


def classes(rng: Random) -> Line:
    """A word, and the class of things it belongs to."""
    kind, other = rng.sample((*KINDS, "day", "month"), 2)

    def member(kind: str) -> str:
        if kind == "colour":
            return rng.choice(words.colours())
        if kind == "day":
            return rng.choice(words.DAYS["english"])
        return rng.choice(words.MONTHS) if kind == "month" else _noun(rng, kind)

    word = member(kind)
    slots = _Scene(rng, {"w": word, "a": kind})
    return fill(
        "classes",
        rng.choice(CLASSES),
        slots,
        (word,),
        answer=f" {kind}",
        wrong=f" {other}",
        corrupt={"w": member(other)},
    )


def invent_words(rng: Random, n: int) -> list[str]:
    """Make words that no lexicon holds, each with another first syllable."""
    return [first + rng.choice(words.SYLLABLES) for first in rng.sample(words.SYLLABLES, n)]


def induction(rng: Random) -> Line:
    """A pair of invented words, and its first word again."""
    template = rng.choice(INDUCTION)
    pool = invent_words(rng, 4)
    x, y, z, w = pool
    first = "{x}|" in template or "the| {y}" in template
    slots = _Scene(rng, {name: (word, "invented") for name, word in zip("xyzw", pool, strict=True)})
    right = y if first else w
    # The corrupted prompt swaps the two second words, so that the other one is due.
    wrong = w if first else y
    if "the| {y}" in template:
        wrong = z
        corrupt = {"y": z}
    else:
        corrupt = {"y": w, "w": y}
    return fill("induction", template, slots, (x, y), answer=f" {right}", wrong=f" {wrong}", corrupt=corrupt)


ENGLISH_TASKS = {
    "ioi": ioi,
    "agreement": agreement,
    "pronouns": pronouns,
    "days": days,
    "months": months,
    "years": years,
    "facts": facts,
    "two_hop": two_hop,
    "classes": classes,
    "induction": induction,
}
CHANCE = {
    "ioi": 1 / 2,
    "agreement": 1 / 2,
    "pronouns": 1 / 2,
    "days": 1 / 7,
    "months": 1 / 12,
    "years": 0.5,
    "facts": 1 / len(CITIES),
    "two_hop": 1 / len(COUNTRIES),
    "classes": 1 / (len(KINDS) + 2),
    "induction": 1 / 4,
}
