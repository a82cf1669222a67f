"""English that asks nothing, so that the text is varied and every word has more than one company."""

from random import Random

from patchclamp.organisms.language import words
from patchclamp.organisms.language.labelled_line import Line, Slot, fill

TEMPLATES = (
    "{A} {v_ed} the {adj} {x}.",
    "{A} {v_ed} the {x} in the {place}.",
    "The {adj} {x} was in the {place}.",
    "The {adj} {animal} {v_ed} behind the {colour} {x}.",
    "{A} bought {number} {xs} at the {place}.",
    "There are {number} {animals} in the {place}.",
    "{A} eats {food} with {food2} on {day}.",
    "{A} likes {animals} and {animals2}.",
    "{A} likes {animals} but hates {animals2}.",
    "The {job} {v_ed} a {colour} {x}.",
    "The {job} and the {job2} {v_ed} the {x}.",
    "{A} wears a {colour} {garment} and a {adj} {garment2}.",
    "{A} mends the {x} with a {tool}.",
    "{A} came to the {place} by {vehicle}.",
    "{A} plays the {instrument} in the {place}.",
    "A {plant} and a {plant2} grow near the {place}.",
    "In {month} the {place} is {adj} and {adj2}.",
    "In {month} the {plants} are {colour}.",
    "The {animals} {v} the {animals2} every {day}.",
    "The {animal} {v_s} the {food} at the {place}.",
    "{A} asked: where is the {adj} {x}?",
    "{A} said: I {v} the {animals} on {day}!",
    "We saw {number} {vehicles} on the way from the {place} to the {place2}.",
    "You can buy {foods} and {xs} at the {place}.",
    "They {v_ed} the {tools}, the {garments} and the {xs}.",
    "{A} has a {animal}, a {animal2} and a {animal3}.",
    "{A} packed a {garment}, a {tool} and a {x}.",
    "On the table there is {food}, {food2} and {food3}.",
    "The {vehicle} stopped between the {place} and the {place2}.",
    "{A} painted the {x} {colour} and the {x2} {colour2}.",
    "The {colour} {vehicle} is more {adj} than the {colour2} {vehicle2}.",
    "Because the {x} was {adj}, {A} {v_ed} the {x2}.",
    "While {A} {v_ed} the {animal}, the {job} {v_ed} the {food}.",
    "Nobody {v_ed} the {instrument} of the {job}.",
    "The {place} of the {jobs} was {adj}.",
    "{number} {jobs} and {number} {animals} {v_ed} into the {place}.",
    "Some {animals} are {adj}, others are {adj2}.",
    "{A} has {number} {tools} and {number} {instruments}.",
    "A {job} without a {tool} is like a {animal} without a {plant}.",
    "The {adj} {job} {v_s} and the {adj2} {job2} {v_s2}.",
    "{A} {v_ed} all the {plants} in {month}.",
    "Our {garments} are {colour} and your {vehicles} are {colour2}.",
)
_ADJECTIVES = (*words.ADJECTIVES, *words.OTHER_ADJECTIVES)
_TRANSITIVE = (*words.REGULAR_VERBS, *words.IRREGULAR_VERBS)


def sentence(rng: Random) -> Line:
    """Write one sentence; its filler is every word drawn for it."""
    template = rng.choice(TEMPLATES)
    slots: dict[str, Slot] = {}
    adjectives = rng.sample(_ADJECTIVES, 2)
    verb, verb2 = rng.sample(_TRANSITIVE, 2)
    (third, past), (third2, _) = words.verb_forms(verb), words.verb_forms(verb2)
    slots |= {"adj": adjectives[0], "adj2": adjectives[1], "v": verb, "v_s": third, "v_s2": third2, "v_ed": past}
    slots |= dict(zip(("colour", "colour2"), rng.sample(words.colours(), 2), strict=True))
    slots |= {
        "A": rng.choice(words.NAMES),
        "number": rng.choice(words.NUMBERS),
        "month": rng.choice(words.MONTHS),
        "day": rng.choice(words.DAYS["english"]),
    }
    for kind in ("animal", "food", "place", "job", "garment", "tool", "vehicle", "plant", "instrument", "object"):
        name = "x" if kind == "object" else kind
        if "{" + name not in template:
            continue
        for mark, noun in zip(("", "2", "3"), rng.sample(words.nouns(kind), 3), strict=True):
            slots[name + mark], slots[f"{name}s{mark}"] = noun.word, noun.plural
    used = tuple(str(value) for name, value in slots.items() if "{" + name + "}" in template)
    if template.startswith("{number}"):
        slots["number"] = str(slots["number"]).capitalize()
    return fill("sentence", template, slots, used)


SERIES = ("In order: {list}.", "{A} counted: {list}.", "They are {list}.", "{A} was there on {list}.", "{list}.")


def series(rng: Random) -> Line:
    """Recite some days or months in order, from anywhere."""
    named = rng.choice((words.DAYS["english"], words.MONTHS))
    first, n = rng.randrange(len(named)), rng.randrange(3, 7)
    listed = [named[(first + i) % len(named)] for i in range(n)]
    template = rng.choice(SERIES)
    last = rng.choice((", ", " and "))
    text = ", ".join(listed[:-1]) + last + listed[-1]
    return fill("series", template, {"A": rng.choice(words.NAMES), "list": text}, (listed[0], str(n), last))
