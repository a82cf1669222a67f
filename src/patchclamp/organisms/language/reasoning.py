"""Short chains, each with a step without which the answer would be another."""

from random import Random

from patchclamp.organisms.language import words
from patchclamp.organisms.language.labelled_line import Line, Slot, fill

COMPARED = (
    ("taller", "tallest", "shortest"),
    ("older", "oldest", "youngest"),
    ("faster", "fastest", "slowest"),
    ("richer", "richest", "poorest"),
)
TOP = (
    "[{U} is {more} than {V}.] {B} is {more} than {C}. The {most} is| {r}.",
    "{B} is {more} than {C}. [{U} is {more} than {V}.] The {most} is| {r}.",
    "[{U} is {more} than {V}] and {B} is {more} than {C}, so the {most} of them is| {r}.",
    "We know that {B} is {more} than {C}. We also know that [{U} is {more} than {V}.] So the {most} is| {r}.",
)
BOTTOM = (
    "{C} is {more} than {B}. [{V} is {more} than {U}.] The {least} is| {r}.",
    "[{V} is {more} than {U}.] {C} is {more} than {B}. The {least} is| {r}.",
    "{C} is {more} than {B} and [{V} is {more} than {U},] so the {least} of them is| {r}.",
    "We know that [{V} is {more} than {U}.] We also know that {C} is {more} than {B}. So the {least} is| {r}.",
)
INSIDE = (
    "The {x} is in the {box}. [The {box} is in the {p}.] The {y} is in the {q}. So the {x} is in the| {r}.",
    "[The {box} is in the {p}.] The {y} is in the {q}. The {x} is in the {box}. So the {x} is in the| {r}.",
    "{A} put the {x} in the {box}. [{B} took the {box} to the {p}.] The {y} is in the {q}. So the {x} is in the| {r}.",
)
HELD = (
    "{A} had the {x}. {A} gave it to {B}. [{B} gave it to {C}.] Now the {x} is with| {r}.",
    "First {A} had the {x}, then {B}, [and last {C}.] Now the {x} is with| {r}.",
)
BOXES = words.split_words("box bag basket bucket drawer cabinet")


def reasoning(rng: Random) -> Line:
    """Compare three people, find a thing in a box in a place, or follow a thing from hand to hand."""
    a, b, c = rng.sample(words.NAMES, 3)
    slots: dict[str, Slot] = {"A": a, "B": b, "C": c}
    kind = rng.choices(("top", "bottom", "inside", "held"), (3, 3, 2, 1))[0]
    if kind in ("top", "bottom"):
        more, most, least = rng.choice(COMPARED)
        # The deciding step puts A before B, or B before A: then both others stand against B, and B it is.
        first, second = (a, b) if rng.random() < 0.6 else (b, a)
        slots |= {"more": more, "most": most, "least": least, "U": first, "V": second, "r": first}
        return fill(
            "reasoning",
            rng.choice(TOP if kind == "top" else BOTTOM),
            slots,
            (a, b, c),
            answer=f" {first}",
            wrong=f" {second}",
            corrupt={"U": second, "V": first},
        )
    things = [noun.word for noun in words.nouns("object") if noun.word not in BOXES]
    x, y = rng.sample(things, 2)
    p, q = rng.sample([noun.word for noun in words.nouns("place")], 2)
    slots |= {"x": x, "y": y, "p": p, "q": q, "box": rng.choice(BOXES), "r": p if kind == "inside" else c}
    if kind == "inside":
        return fill(
            "reasoning", rng.choice(INSIDE), slots, (x, p), answer=f" {p}", wrong=f" {q}", corrupt={"p": q, "q": p}
        )
    other = rng.choice([name for name in words.NAMES if name not in (a, b, c)])
    return fill(
        "reasoning", rng.choice(HELD), slots, (a, b, c), answer=f" {c}", wrong=f" {other}", corrupt={"C": other}
    )
