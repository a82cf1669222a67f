"""A value among choices, a number from a bound on, an artefact of this subject."""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from patchclamp.core.arguments import shorten
from patchclamp.core.errors import PatchclampError
from patchclamp.core.nearest import find_nearest

Value = TypeVar("Value")
_SHOWN = 40
"""Choices that an error lists, at most."""
OF_THIS_MODEL = "Name the model that it was made on, or decompose this one."
"""What to do about a dictionary of another model."""
_DEEPEST = 50
"""Levels of lists and mappings in one another; JSON's reader gives up at some thousand."""


def one_of(name: str, value: Value, choices: Iterable[Any], *, remedy: str = "") -> Value:
    """Return a value that is among the choices; refuse any other.

    Args:
        name: what the value is, as a noun: ``dtype``.
        value: what was given.
        choices: all that is allowed.
        remedy: what to do; default: the nearest choice.

    Returns:
        Value: the same.

    Raises:
        PatchclampError: the value is none of them.

    Example:
        >>> one_of("dtype", "float23", ["float32", "int8"])
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: expected a dtype among float32, int8; got 'float23'. Nearest: float32.
    """
    known = list(choices)
    if isinstance(value, str | int | float | None) and value in known:
        return value
    names = [str(choice) for choice in known]
    near = find_nearest(value, names) if isinstance(value, str) else []
    if not names:
        listed = "none: there are no such names here"
    elif len(names) > _SHOWN:
        listed = f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    else:
        listed = ", ".join(names)
    raise PatchclampError(
        expected=f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name} among {listed}",
        got=shorten(value),
        remedy=remedy or (f"Nearest: {near[0]}." if near else "Choose one of these." if names else "Leave it out."),
    )


def at_least(name: str, value: Value, low: int | float, *, remedy: str = "") -> Value:
    """Return a finite number that is not below a bound; refuse any other value.

    Args:
        name: what the number is: ``k``, ``the number of pairs``.
        value: what was given.
        low: the least number that is allowed.
        remedy: what to do; default: the bound itself.

    Returns:
        Value: the same.

    Raises:
        PatchclampError: a smaller number, NaN, an infinite one, True or False, or no number.

    Example:
        >>> at_least("k", 0, 1)
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: expected k of at least 1; got 0. Give 1 or more.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and low <= value < float("inf"):  # type: ignore[operator]
        return value
    bound = f"{low:,}" if isinstance(low, int) else f"{low:g}"
    raise PatchclampError(
        expected=f"{name} of at least {bound}", got=shorten(value), remedy=remedy or f"Give {bound} or more."
    )


def within(name: str, value: Value, low: int, high: int, *, remedy: str = "Count from 0.") -> Value:
    """Return a whole number that lies between two bounds; refuse any other value.

    Args:
        name: what the number is, with its article: ``a place``.
        value: what was given.
        low: the least number that is allowed.
        high: the largest one.
        remedy: what to do.

    Returns:
        Value: the same.

    Raises:
        PatchclampError: another number, True or False, or no whole number.

    Example:
        >>> within("a stimulus", 3, 0, 2)
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: expected a stimulus from 0 to 2; got 3. Count from 0.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high:
        return value
    raise PatchclampError(expected=f"{name} from {low:,} to {high:,}", got=shorten(value), remedy=remedy)


def subject_of(artefact: Any) -> tuple[str, str]:
    """Return name and hash of the subject that an artefact was made on; empty where it does not say.

    Args:
        artefact: a noun with its provenance (Scores, Descriptions, Basis), with a ``subject`` (Dictionary, Graph), in
            a folder (StoredSurvey, StoredRecording), a Recording, or the mapping in which one of these names its
            subject.
    """
    about = artefact
    if not isinstance(about, Mapping):
        about = getattr(artefact, "provenance", None)
        if not about and hasattr(artefact, "bundle"):
            about = artefact.bundle.manifest
        if hasattr(about, "subject_hash"):
            return str(about.subject), str(about.subject_hash)
        if not isinstance(about, Mapping):
            about = {"subject": getattr(artefact, "subject", None)}
    subject = about.get("subject", about)
    if isinstance(subject, Mapping):
        return str(subject.get("slug") or ""), str(subject.get("hash") or "")
    return (subject, "") if isinstance(subject, str) else ("", "")


def same_subject(
    subject: Any, artefact: Any, *, what: str, remedy: str, by_name: bool = True, required: bool = False
) -> bool:
    """Refuse an artefact that was made on another subject; return whether it says on which weights it was made.

    Hashes of the weights are compared. The subject's own hash is computed only where the artefact has one.

    Args:
        subject: the model at hand: anything with ``name`` and ``hash``, or a mapping with ``slug`` and ``hash``.
        artefact: see ``subject_of``.
        what: the artefact as a noun with its article: ``a survey``.
        remedy: what to do.
        by_name: compare names where the artefact has no hash; another library's names are another library's.
        required: refuse an artefact that has no hash.

    Returns:
        bool: whether the artefact has a hash.

    Raises:
        PatchclampError: other weights, another name, or no hash where one is required.

    Example:
        >>> same_subject({"slug": "cat", "hash": "12ab"}, {"slug": "dog", "hash": "34cd"}, what="a survey",
        ...              remedy="Survey it.")
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: expected a survey of cat (12ab); got one of dog (34cd). Survey it.
    """
    made, digest = subject_of(artefact)
    mapped = isinstance(subject, Mapping)
    name = str(subject["slug"] if mapped else subject.name)
    if digest:
        own = str(subject["hash"] if mapped else subject.hash)
        wrong = digest != own
    else:
        own, wrong = "", required or (by_name and made not in ("", name))
    if wrong:
        raise PatchclampError(
            expected=f"{what} of {name}" + (f" ({own[:12]})" if own else ""),
            got=f"one of {made or 'another subject'}" + (f" ({digest[:12]})" if digest else ", which has no hash"),
            remedy=remedy,
        )
    return bool(digest)


def check_plain(name: str, data: Any) -> None:
    """Refuse data that JSON cannot hold, before anything is computed that is stored beside it.

    Args:
        name: what the data is: ``about``.
        data: text, finite numbers, True, False, None, and lists and mappings by text of these.

    Raises:
        PatchclampError: anything else, with its place.

    Example:
        >>> check_plain("about", {"data": {"hash": "12ab", "rows": [1, 2.5, None]}})
        >>> check_plain("about", {"data": [{1, 2}]})
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: expected text, finite numbers, True, False, None, and lists ...
    """
    if place := _unplain(data, name, 0):
        raise PatchclampError(
            expected=f"text, finite numbers, True, False, None, and lists and mappings by text of these, in {name}",
            got=place,
            remedy="Name what it is, or give its hash.",
        )


def _unplain(data: Any, place: str, depth: int) -> str:
    """Return what of some data JSON cannot hold, with its place; empty where it can hold all."""
    if data is None or isinstance(data, bool | int | str):
        return ""
    if isinstance(data, float):
        return "" if math.isfinite(data) else f"{data} at {place}"
    if depth > _DEEPEST:
        return f"more than {_DEEPEST} levels at {place[:60]}"
    if isinstance(data, Mapping):
        if strange := [key for key in data if not isinstance(key, str)]:
            return f"the key {strange[0]!r:.40} at {place}"
        parts: Iterable[tuple[Any, Any]] = data.items()
    elif isinstance(data, list | tuple):
        parts = enumerate(data)
    else:
        return f"{shorten(data)} at {place}"
    return next((found for key, one in parts if (found := _unplain(one, f"{place}[{key!r:.40}]", depth + 1))), "")
