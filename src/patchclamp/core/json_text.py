"""JSON as it is written and read here: one spelling per value, and only finite numbers."""

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from typing import Any


def canonical(data: Any) -> bytes:
    """Return JSON with one spelling per value: sorted keys, no spaces. NaN and infinity are refused."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def seal(head: Mapping[str, Any]) -> bytes:
    """Return a head as a file's text that holds its own SHA-256, over the canonical JSON of everything else."""
    own = hashlib.sha256(canonical(head)).hexdigest()
    return json.dumps({**head, "sha256": own}, indent=1, sort_keys=True, allow_nan=False).encode()


def check_seal(head: Mapping[str, Any], data: bytes) -> None:
    """Compare a head with the text that it was read from.

    Raises:
        ValueError: not byte for byte what ``seal`` wrote.
    """
    if seal({name: value for name, value in head.items() if name != "sha256"}) != data:
        raise ValueError("it is not what was written")


def parse(text: str | bytes) -> Any:
    """Read JSON that may come from elsewhere; NaN, infinity and numbers beyond a float's range are refused.

    Raises:
        ValueError: no JSON, a number that is not finite, or an object that names one key twice.
        RecursionError: nested too deeply.

    Example:
        >>> parse('{"score": 1.5}')
        {'score': 1.5}
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_single)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:20]} is no finite number")
    return value


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r:.40} stands twice in one object")
    return mapping


def read_word(value: Any) -> str:
    """Return text as JSON gave it.

    Raises:
        TypeError: something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where text belongs")
    return value


def read_number(value: Any) -> float:
    """Return a finite number as JSON gave it: true is none, nor is text that spells one.

    Raises:
        TypeError: something else.
        ValueError: NaN, or a number beyond a float's range.

    Example:
        >>> read_number(3)
        3.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} where a number belongs")
    if not abs(value) <= sys.float_info.max:
        raise ValueError(f"{value!r:.40} where a finite number belongs")
    return float(value)


def read_whole(value: Any) -> int:
    """Return a whole number of 64 bits as JSON gave it.

    Raises:
        TypeError: something else.
    """
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError(f"{value!r:.40} where a whole number belongs")
    return value


def read_list(value: Any) -> list[Any]:
    """Return a list as JSON gave it.

    Raises:
        TypeError: something else.
    """
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} where a list belongs")
    return value


def read_mapping(value: Any) -> dict[str, Any]:
    """Return an object as JSON gave it.

    Raises:
        TypeError: something else.
    """
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} where an object belongs")
    return value


def read_numbers(value: Any) -> Any:
    """Return a number, or lists of numbers however nested, as JSON gave them.

    Raises:
        TypeError, ValueError: what ``read_number`` refuses, anywhere.
    """
    if isinstance(value, list):
        for one in value:
            read_numbers(one)
    else:
        read_number(value)
    return value
