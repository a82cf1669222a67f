"""Frozen dataclasses of closed types, and the schema that command line, docs and pages read."""

import dataclasses
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from patchclamp.core.errors import PatchclampError

Options = TypeVar("Options")
_WORDS: Mapping[type, str] = {bool: "yes or no", int: "a whole number", float: "a number", str: "text", Path: "a path"}
_YES, _NO = ("yes", "true"), ("no", "false")


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a method that has none."""


def option(default: Any, help: str, *, least: float | int | None = None, most: float | int | None = None) -> Any:
    """Return the field of an options class: its default, what it does, and the range of a number.

    Args:
        default: the value where none is given.
        help: what it does, in a few words; shown by ``--help``, docs and pages.
        least: smallest number allowed.
        most: largest number allowed.

    Returns:
        Any: a dataclass field; annotate it with the option's type.
    """
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "most": most})


def read_schema(options: type) -> list[dict[str, Any]]:
    """Return what an options class allows, one JSON-ready mapping per option.

    Each has ``name``, ``type`` (bool, int, float, str or Path), ``many`` (a list of them), ``optional`` (may be None),
    ``choices``, ``default``, ``help``, ``least`` and ``most``.

    Raises:
        PatchclampError: no frozen dataclass, a type outside the closed list, a field that ``option`` did not make, or a
            default that its own type forbids.
    """
    if not dataclasses.is_dataclass(options) or not getattr(options, "__dataclass_params__").frozen:  # noqa: B009
        raise PatchclampError(
            expected="options in a frozen dataclass", got=f"{options!r:.60}", remedy="See core/options.py."
        )
    hints = get_type_hints(options)
    schema = [_read_field(field, hints[field.name]) for field in dataclasses.fields(options)]
    for entry in schema:
        _check_value(entry, entry["default"])
    return schema


def make_options(options: type[Options], given: Mapping[str, Any]) -> Options:
    """Return an options object from values by name, each checked against the schema.

    Lists become tuples, and whole numbers serve where a number is asked for.

    Raises:
        PatchclampError: an unknown name, or a value that its type or range forbids.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Steps:
        ...     steps: int = option(10, "points of the path", least=1)
        >>> make_options(Steps, {"steps": 4})
        Steps(steps=4)
    """
    schema = {entry["name"]: entry for entry in read_schema(options)}
    unknown = [name for name in given if name not in schema]
    if unknown:
        raise PatchclampError(
            expected=f"options among {', '.join(schema) or 'none: this method has no options'}",
            got=repr(unknown[0]),
            remedy="`patchclamp methods NAME` lists the options of a method.",
        )
    return options(**{name: _check_value(schema[name], value) for name, value in given.items()})


def read_text(entry: Mapping[str, Any], text: str) -> Any:
    """Return an option's value from what was typed; commas part the values of a list.

    Args:
        entry: the option, as ``read_schema`` describes it.
        text: what was typed.

    Raises:
        PatchclampError: text that is no such value.
    """
    if entry["optional"] and text == "none":
        return None
    parts = [part for part in text.split(",") if part] if entry["many"] else [text]
    values = [_read_one(entry, part) for part in parts]
    return _check_value(entry, tuple(values) if entry["many"] else values[0])


def to_json(options: Any) -> dict[str, Any]:
    """Return an options object as JSON-ready data, which ``make_options`` reads again."""
    return {field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _read_field(field: "dataclasses.Field[Any]", hint: Any) -> dict[str, Any]:
    if "help" not in field.metadata or field.default is dataclasses.MISSING:
        raise PatchclampError(
            expected=f"`{field.name} = option(default, help)`",
            got="a field without default or help",
            remedy="Say what the option does, and what holds where it is not given.",
        )
    optional = many = False
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        optional = True
        rest = [one for one in get_args(hint) if one is not type(None)]
        hint = rest[0] if len(rest) == 1 else hint
    if get_origin(hint) is tuple and len(get_args(hint)) == 2 and get_args(hint)[1] is Ellipsis:
        many, hint = True, get_args(hint)[0]
    choices = list(get_args(hint)) if get_origin(hint) is Literal else None
    kind = type(choices[0]) if choices else hint
    if kind not in _WORDS or (choices and len({type(one) for one in choices}) != 1):
        raise PatchclampError(
            expected="an option of type bool, int, float, str, Literal or Path, a tuple[T, ...] of one, or one or None",
            got=f"{field.name}: {hint!r}",
            remedy="What is larger is a noun, and an argument of the method.",
        )
    return {
        "name": field.name,
        "type": kind.__name__,
        "many": many,
        "optional": optional,
        "choices": choices,
        "default": _plain(field.default),
        "help": field.metadata["help"],
        "least": field.metadata["least"],
        "most": field.metadata["most"],
    }


def _check_value(entry: Mapping[str, Any], value: Any) -> Any:
    """Return a value as its option holds it.

    Raises:
        PatchclampError: a value that the option's type, choices or range forbid.
    """
    if value is None and entry["optional"]:
        return None
    if entry["many"]:
        if not isinstance(value, list | tuple):
            raise _wrong(entry, value)
        return tuple(_check_one(entry, one) for one in value)
    return _check_one(entry, value)


def _check_one(entry: Mapping[str, Any], value: Any) -> Any:
    kind = {one.__name__: one for one in _WORDS}[entry["type"]]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is Path and isinstance(value, str):
        value = Path(value)
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if fits and kind is float:
        fits = math.isfinite(value)
    if fits and kind in (int, float):
        fits = (entry["least"] is None or value >= entry["least"]) and (entry["most"] is None or value <= entry["most"])
    if not fits or (entry["choices"] and value not in entry["choices"]):
        raise _wrong(entry, value)
    return value


def _read_one(entry: Mapping[str, Any], text: str) -> Any:
    word = text.strip().lower()
    try:
        if entry["type"] == "bool":
            return {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}[word]
        if entry["type"] in ("int", "float"):
            # Python reads 1_000 and digits of other scripts as numbers; people who type them mean something else.
            if "_" in text or not text.isascii():
                raise ValueError(text)
            number = int(text) if entry["type"] == "int" else float(text)
            if entry["type"] == "int" and abs(number) >= 2**63:
                raise ValueError("more than 64 bits hold")
            return number
    except (KeyError, ValueError) as problem:
        raise _wrong(entry, text) from problem
    return text


def describe_value(entry: Mapping[str, Any]) -> str:
    """Return what an option takes, in words: ``a whole number from 1``, ``ln, identity or half (several)``."""
    words = {one.__name__: said for one, said in _WORDS.items()}[entry["type"]]
    if entry["choices"]:
        words = " or ".join(map(str, entry["choices"]))
    if entry["least"] is not None:
        words += f" from {entry['least']:g}"
    if entry["most"] is not None:
        words += f" to {entry['most']:g}"
    words += ", or several" if entry["many"] else ""
    return words + (", or none" if entry["optional"] else "")


def _wrong(entry: Mapping[str, Any], value: Any) -> PatchclampError:
    return PatchclampError(
        expected=f"{describe_value(entry)} as {entry['name']}",
        got=f"{value!r:.60}",
        remedy=f"It is {entry['help']} (default: {entry['default']}).",
    )
