"""Who lives where and does what, and where every city lies; the same for every seed of text."""

from dataclasses import dataclass
from functools import cache
from random import Random

from patchclamp.organisms.language.words import MEN, NAMES, WOMEN, split_words

COUNTRIES = split_words("Velia Norland Ostria Kaldor Mirava Tersia Galmar Sunda")
CITIES = split_words(
    "Arbon Belmar Corvik Dalem Elport Fennis Gorlan Hastel Isbury Jorvan Kelsey Lindon Morva Nessau Orlin Pelgrad"
)
DISHES = split_words("soup cheese rice salad honey sausage pancake omelette")
JOBS = split_words("teacher doctor baker farmer painter singer nurse pilot sailor tailor judge dancer")
UNASKED = 16
_SEED = 20_26


@dataclass(frozen=True)
class World:
    """Hold the facts.

    Args:
        city: where each person lives.
        job: what each person does.
        country: where each city lies.
        dish: what each city eats.
        unasked: people about whom training has no two-hop question.
    """

    city: dict[str, str]
    job: dict[str, str]
    country: dict[str, str]
    dish: dict[str, str]
    unasked: frozenset[str]


@cache
def world() -> World:
    """Return the one world, drawn from a fixed seed; every city has as many people as every other."""
    rng = Random(_SEED)
    people, cities = list(NAMES), list(CITIES)
    rng.shuffle(people)
    rng.shuffle(cities)
    country = {city: COUNTRIES[i % len(COUNTRIES)] for i, city in enumerate(cities)}
    dishes = [DISHES[i % len(DISHES)] for i in range(len(cities))]
    rng.shuffle(dishes)
    few = Random(f"unasked/{_SEED}")
    unasked = frozenset(few.sample(WOMEN, UNASKED // 2)) | frozenset(few.sample(MEN, UNASKED // 2))
    return World(
        city={person: cities[i % len(cities)] for i, person in enumerate(people)},
        job={person: rng.choice(JOBS) for person in people},
        country=country,
        dish=dict(zip(cities, dishes, strict=True)),
        unasked=unasked,
    )
