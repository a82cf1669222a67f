"""Units that a text names: a key or a part of one, ``2/16``, or words such as ``Block 0 · MLP neuron 9``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from patchclamp.core.plain_names import name_site, name_unit

_WORD = re.compile(r"[a-z]+|\d+")
_PAIR = re.compile(r"(\d{1,6})\s*/\s*(\d{1,9})")
_KEY = re.compile(r"(.*?)(?:/(\d{1,9}))?/?")
_ALIKE = {"layer": "block", "heads": "head", "neurons": "neuron", "channels": "channel", "features": "feature"}


@dataclass(frozen=True)
class Named:
    """Units that a text names.

    Args:
        units: numbers among all of those that it names one by one.
        sites: first and past-the-last number of the sites that it names whole.
    """

    units: tuple[int, ...] = ()
    sites: tuple[tuple[int, int], ...] = ()


def named_units(sites: Sequence[Sequence[Any]], slug: str, text: str) -> Named:
    """Return the units of an atlas that a text names; none where it is no name.

    Args:
        sites: the atlas's: number, path, kind, block, basis, first unit and how many.
        slug: the subject's, which a key may begin with.
        text: what was typed.

    Returns:
        Named: single units, or whole sites where the text names no number.

    Example:
        >>> sites = [(0, "blocks.0.mlp.act", "mlp.act", 0, "neurons", 0, 12)]
        >>> [named_units(sites, "cat", text).units for text in ("0/9", "mlp.act/neurons/9", "Block 0 · MLP neuron 9")]
        [(9,), (9,), (9,)]
        >>> named_units(sites, "cat", "layer 0").sites
        ((0, 12),)
    """
    typed = text.strip().lower()
    if pair := _PAIR.fullmatch(typed):
        return _at([row for row in sites if row[3] == int(pair[1])], int(pair[2]))
    if "/" in typed or "." in typed:
        return _by_key(sites, typed.removeprefix(f"{slug.lower()}/"))
    return _by_words(sites, typed)


def _at(sites: Sequence[Sequence[Any]], index: int | None) -> Named:
    if index is None:
        return Named(sites=tuple((row[5], row[5] + row[6]) for row in sites))
    return Named(tuple(row[5] + index for row in sites if index < row[6]))


def _by_key(sites: Sequence[Sequence[Any]], typed: str) -> Named:
    """Return units by a part of a key: with a number behind a stroke one of each site, else sites whole."""
    match = _KEY.fullmatch(typed)
    place, number = (match[1], match[2]) if match else (typed, None)
    if len(place) < 2:
        return Named()
    keys = [(row, f"{row[1]}/{row[4]}".lower()) for row in sites]
    whole = [row for row, key in keys if place in (key, str(row[1]).lower())]
    return _at(whole or [row for row, key in keys if place in key], None if number is None else int(number))


def _by_words(sites: Sequence[Sequence[Any]], typed: str) -> Named:
    parts = [_ALIKE.get(part, part) for part in _WORD.findall(typed)]
    words = {part for part in parts if not part.isdigit()}
    numbers = [int(part) for part in parts if part.isdigit() and len(part) < 10]
    if not words or len(numbers) > 2 or len(parts) > 16:
        return Named()
    units: tuple[int, ...] = ()
    whole: tuple[tuple[int, int], ...] = ()
    for row in sites:
        own = _words_of(str(row[1]), str(row[4]))
        if not words <= own:
            continue
        layer, index = _read_numbers(numbers, "block" in words, in_block=row[3] is not None)
        if layer is not None and layer != row[3]:
            continue
        found = _at([row], index)
        units, whole = units + found.units, whole + found.sites
    return Named(units, whole)


def _read_numbers(numbers: Sequence[int], says_block: bool, *, in_block: bool) -> tuple[int | None, int | None]:
    """Return block and index: of one number its word says which it is, of two the first is the block."""
    if len(numbers) == 2:
        return (numbers[0], numbers[1]) if in_block else (-1, None)
    if not numbers:
        return None, None
    return (numbers[0], None) if says_block else (None, numbers[0])


@lru_cache(maxsize=4096)
def _words_of(path: str, basis: str) -> frozenset[str]:
    """Return the words of a site and of its units."""
    names = f"{name_site(path, basis)} {name_unit(f'{path}/{basis}/0')}".lower()
    return frozenset(_ALIKE.get(word, word) for word in _WORD.findall(names) if not word.isdigit())
