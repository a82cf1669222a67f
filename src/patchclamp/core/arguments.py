"""Check the arguments of public functions by their annotations, and refuse a slip in three parts."""

import functools
import importlib
import inspect
import itertools
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from patchclamp.core.errors import PatchclampError
from patchclamp.core.nearest import find_nearest

Target = TypeVar("Target")
_NOTHING, _SPECIAL = object(), ("__init__", "__getitem__")
BARS = "patchclamp.core.notebook_bar"
"""What draws a bar in a notebook: named and not imported, because its own functions are checked."""
_LOOKED_AT = 64
"""Elements of a list that are looked at: a check costs microseconds, however long the list is."""
_WHOLE = 2**63
"""Whole numbers below it, either sign, fit the 64 bits that every array has for them."""
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Bytes of a file's name and of a path: file systems have no longer ones."""


@dataclass(frozen=True)
class Least:
    """Say how small a number may be, in an annotation."""

    number: int


Natural = Annotated[int, Least(0)]
"""A whole number from 0: an index, a seed, a number of things that may be none."""
Positive = Annotated[int, Least(1)]
"""A whole number from 1: a batch size, a limit."""


@dataclass(frozen=True)
class _Rule:
    """What an annotation allows, how people call it, and whether a list is made a tuple."""

    fits: Callable[[Any], bool]
    words: str
    tuple: bool = False


def checked(target: Target) -> Target:
    """Make a function, or a class's constructor and public methods, refuse arguments that their annotations forbid.

    A whole number is no bool and no float and has 64 bits, text is no list, and an unknown, missing or surplus argument
    is named. Where a list or a tuple is annotated an array is refused, and a list is made the tuple that it stands for.
    A path is one that a file system can have. A function takes no NaN; an object and its methods may, as what was
    measured. Annotations are read at the first call; what has none, or ``Any``, is not looked at.

    Args:
        target: a function, or a class (outside ``dataclass``, which makes the constructor).

    Cost: about a microsecond per argument.

    Example:
        >>> @checked
        ... def repeat(word: str, times: Positive = 1) -> str:
        ...     return word * times
        >>> repeat("ab", times=True)
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: expected a whole number from 1 for times of repeat; got True. ...
    """
    if isinstance(target, type):
        for name, member in list(vars(target).items()):
            kind = type(member)
            if kind in (classmethod, staticmethod) and not name.startswith("_"):
                setattr(target, name, kind(_wrap(member.__func__, f"{target.__name__}.{name}", nan=True)))
            elif isinstance(member, types.FunctionType) and (
                name in ("__init__", "__getitem__") or not name.startswith("_")
            ):
                label = target.__name__ if name == "__init__" else f"{target.__name__}.{name}"
                setattr(target, name, _wrap(member, label, nan=True))
        return target
    return typing.cast(Target, _wrap(typing.cast(Callable[..., Any], target), getattr(target, "__name__", "")))


def _wrap(fn: Callable[..., Any], label: str, *, nan: bool = False) -> Callable[..., Any]:
    parameters = inspect.signature(fn).parameters
    named = [p for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    names = [p.name for p in named if p.kind is not p.KEYWORD_ONLY]
    required = {p.name for p in named if p.default is p.empty}
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    others = next((p for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
    shows = "progress" in parameters and parameters["progress"].default is None
    place = names.index("progress") if "progress" in names else len(parameters)
    unpacked = others is not None and get_origin(others.annotation) is typing.Unpack
    rules: dict[str, _Rule | None] = {}

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not rules:
            defaults = {p.name: _NOTHING if p.default is p.empty else p.default for p in named}
            checks = {p.name: _rule_of(fn, p.annotation, defaults[p.name], nan=nan) for p in named}
            if others is not None and unpacked:
                fields = typing.get_type_hints(get_args(others.annotation)[0], include_extras=True)
                checks.update({name: _rule_of(fn, hint, nan=nan) for name, hint in fields.items()})
            rules.update(checks)  # at once: another thread may be looking
        listed = False
        for name, value in zip(names, args, strict=False):
            rule = rules[name]
            if rule is not None:
                if not rule.fits(value):
                    _refuse(label, name, rule, value)
                listed = listed or (rule.tuple and type(value) is list)
        if listed:
            args = tuple(
                tuple(value) if type(value) is list and (rule := rules.get(name)) and rule.tuple else value
                for name, value in itertools.zip_longest(names[: len(args)], args)
            )
        for name, value in kwargs.items():
            rule = rules.get(name)
            if rule is not None:
                if not rule.fits(value):
                    _refuse(label, name, rule, value)
                if rule.tuple and type(value) is list:
                    kwargs[name] = tuple(value)  # no key comes or goes
        surplus = len(args) > len(names) and not several
        if surplus or ((others is None or unpacked) and not kwargs.keys() <= rules.keys()):
            _refuse_surplus(label, list(rules), names, args, kwargs)
        if required and (lacking := required.difference(names[: len(args)], kwargs)):
            own = [n for n in rules if n not in ("self", "cls")]
            raise PatchclampError(
                expected=f"{label}({', '.join(own)})",
                got=f"no {' and no '.join(n for n in own if n in lacking)}",
                remedy=f"help({label}) says what each is.",
            )
        if shows and "IPython" in sys.modules and kwargs.get("progress") is None and len(args) <= place:
            return importlib.import_module(BARS).run_with_bar(fn, label, args, kwargs)
        return fn(*args, **kwargs)

    return call


def _refuse(label: str, name: str, rule: _Rule, value: Any) -> None:
    raise PatchclampError(
        expected=f"{rule.words} for {name} of {label}", got=shorten(value), remedy=_remedy(rule, value, label)
    )


def _refuse_surplus(
    label: str, known: Sequence[str], names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    own = [n for n in known if n not in ("self", "cls")]
    strange = [n for n in kwargs if n not in known]
    near = find_nearest(strange[0], own) if strange else []
    raise PatchclampError(
        expected=f"arguments among {', '.join(own) or 'none'} for {label}",
        got=f"{strange[0]!r}" if strange else f"{len(args)} without a name, where at most {len(names)} stand",
        remedy=f"Nearest: {near[0]}." if near else f"help({label}) says what each is.",
    )


def shorten(value: Any) -> str:
    """Return a value as an error shows it: short, arrays by their shape."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and len(shape):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    plain = isinstance(value, str | int | float | list | tuple | dict | None)
    text = repr(value) if plain else f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else f"{text[:77]}…"


def _remedy(rule: _Rule, value: Any, label: str) -> str:
    instead = getattr(type(value), "instead", None)
    if isinstance(instead, str):
        return instead
    if _is_truth(value):
        return "True and False are no numbers here: give the number itself."
    if isinstance(value, str | os.PathLike) and "text" in rule.words and not _names_a_place(os.fspath(value)):
        return f"A name has at most {_LONGEST_NAME} bytes, a path {_LONGEST_PATH:,}, of whole characters without NUL."
    if isinstance(value, str) and "list" in rule.words:
        return f"Put it in a list: [{value[:20]!r}]."
    if hasattr(value, "tolist") and "list" in rule.words:
        return "An array is no list: its tolist() makes one."
    if isinstance(value, float) and "whole number" in rule.words:
        return "Give a whole number, such as 7; int(x) makes one."
    if isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        return "A whole number has 64 bits at most; a larger one is written as 1e30 where a number is meant."
    if isinstance(value, float) and value != value:
        return "NaN stands for no number: give one."
    if callable(value) and not isinstance(value, type):
        return f"Call it first, or see help({label})."
    return f"help({label}) says what it takes."


# -- from annotations to rules ----------------------------------------------------------------------------------------


def _rule_of(fn: Callable[..., Any], hint: Any, default: Any = _NOTHING, *, nan: bool = False) -> _Rule | None:
    """Return the rule of a parameter; its own default always fits."""
    if hint is inspect.Parameter.empty:
        return None
    try:
        holder = types.SimpleNamespace(__annotations__={"it": hint})
        names = getattr(inspect.unwrap(fn), "__globals__", {})
        rule = _rule(typing.get_type_hints(holder, names, include_extras=True)["it"], nan)
    except NameError:
        return None  # a name that only a type checker knows
    if rule is None or default is _NOTHING or rule.fits(default):
        return rule
    return _Rule(lambda v: v is default or rule.fits(v), rule.words, rule.tuple)


def _is_scalar(value: Any, kinds: str) -> bool:
    """Return whether a value is a scalar of numpy of some kinds; numpy itself takes long to import."""
    made = any(base.__module__ == "numpy" and base.__name__ == "generic" for base in type(value).__mro__)
    return made and value.dtype.kind in kinds


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or _is_scalar(value, "b")


def _is_whole(value: Any) -> bool:
    if type(value) is int:
        return -_WHOLE <= value < _WHOLE
    return (isinstance(value, int) and not isinstance(value, bool)) or _is_scalar(value, "iu")


def _may_be_nan(value: Any) -> bool:
    return type(value) is float or _is_scalar(value, "f") or _is_whole(value)


def _is_number(value: Any) -> bool:
    return _may_be_nan(value) and value == value


def _names_a_place(path: str | bytes) -> bool:
    """Return whether a file system can have a path: not whether it has one."""
    if len(path) <= _LONGEST_NAME and path.isascii() and (b"\0" if isinstance(path, bytes) else "\0") not in path:  # type: ignore[operator]
        return True
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:  # half a character
        return False
    return (
        b"\0" not in encoded
        and len(encoded) <= _LONGEST_PATH
        and max(map(len, re.split(rb"[/\\]", encoded))) <= _LONGEST_NAME
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) and _names_a_place(os.fspath(value))


_PLAIN: Mapping[Any, _Rule] = {
    type(None): _Rule(lambda v: v is None, "None"),
    None: _Rule(lambda v: v is None, "None"),
    bool: _Rule(_is_truth, "True or False"),
    int: _Rule(_is_whole, "a whole number"),
    float: _Rule(_is_number, "a number"),
    str: _Rule(lambda v: isinstance(v, str), "text"),
}
_MEASURED = _Rule(_may_be_nan, "a number")
_PLACE = _Rule(lambda v: isinstance(v, str) and _names_a_place(v), "text")


def _rule(hint: Any, nan: bool) -> _Rule | None:
    """Return the rule of an annotation; None where it allows anything, or more than can be checked."""
    if hint is Any:
        return None
    if hint is float and nan:
        return _MEASURED
    if isinstance(hint, type(None)) or (isinstance(hint, type) and hint in _PLAIN):
        return _PLAIN[hint]
    origin = get_origin(hint)
    if origin is Annotated:
        return _bound_rule(hint, nan)
    if origin is Literal:
        options = get_args(hint)
        return _Rule(lambda v: isinstance(v, str) and v in options, f"one of {', '.join(map(repr, options))}")
    if origin in (Union, types.UnionType):
        return _either(get_args(hint), nan)
    if origin is not None and isinstance(origin, type):
        return _container(origin, get_args(hint), nan)
    if hasattr(hint, "array_type") and hasattr(hint, "dims"):
        return _array(hint)
    if hint is Callable:
        return _Rule(callable, "a function")
    if isinstance(hint, type) and issubclass(hint, os.PathLike):
        return _Rule(lambda v: isinstance(v, hint) and _is_path(v), _name_of(hint))
    if isinstance(hint, type) and hint is not object:
        return _class(hint)
    return None


def _bound_rule(hint: Any, nan: bool) -> _Rule | None:
    base, *marks = get_args(hint)
    rule, least = _rule(base, nan), [m.number for m in marks if isinstance(m, Least)]
    if rule is None or not least:
        return rule
    return _Rule(lambda v: rule.fits(v) and v >= least[0], f"{rule.words} from {least[0]}")


def _either(parts: Sequence[Any], nan: bool) -> _Rule | None:
    located = any(
        issubclass(get_origin(part) or part, os.PathLike)
        for part in parts
        if isinstance(get_origin(part) or part, type)
    )
    rules = [_PLACE if part is str and located else _rule(part, nan) for part in parts]
    known = [rule for rule in rules if rule is not None]
    if len(known) < len(rules):
        return None
    fits = [rule.fits for rule in known]

    def one_fits(v: Any) -> bool:
        for fit in fits:  # noqa: SIM110 (a generator costs more than all the rest)
            if fit(v):
                return True
        return False

    made = any(rule.tuple for rule in known) and not any(_takes_lists(part) for part in parts)
    return _Rule(one_fits, " or ".join(dict.fromkeys(rule.words for rule in known)), made)


def _takes_lists(hint: Any) -> bool:
    """Return whether an annotation other than a tuple's allows a list as it is."""
    origin = get_origin(hint) or hint
    return isinstance(origin, type) and origin is not tuple and issubclass(list, origin)


def _container(origin: type, inner: Sequence[Any], nan: bool) -> _Rule | None:
    if issubclass(origin, Mapping):
        pair = [_rule(part, nan) for part in inner] or [None, None]

        def maps(v: Any) -> bool:
            parts: tuple[Iterable[Any], ...] = (v.keys(), v.values()) if isinstance(v, Mapping) else ()
            return bool(parts) and all(
                rule is None or all(map(rule.fits, part)) for rule, part in zip(pair, parts, strict=True)
            )

        return _Rule(maps, "a mapping")
    if issubclass(origin, os.PathLike):
        return _Rule(_is_path, "a path")
    if origin.__name__ == "Callable":
        return _Rule(callable, "a function")
    if not issubclass(origin, Iterable):
        return _Rule(lambda v: isinstance(v, origin), _name_of(origin))
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return _tuple_rule([_rule(part, nan) for part in inner])
    rule = _rule(inner[0], nan) if inner else None
    ordered = origin in (list, tuple) or issubclass(origin, Sequence)

    listed = origin in (list, tuple)
    needs = ("__len__", "__getitem__") if ordered else ("__iter__",)
    never = (str, bytes, Mapping)
    arrays = not ordered and rule is None

    def holds(v: Any) -> bool:
        usual = type(v) is tuple or type(v) is list
        if not usual and (
            isinstance(v, never)
            or (listed and not isinstance(v, list | tuple))
            or not all(hasattr(v, name) for name in needs)
            or (not arrays and hasattr(type(v), "__array__"))
        ):
            return False
        # Anything else may make its elements only when they are asked for.
        if rule is None or not isinstance(v, list | tuple | range | set | frozenset):
            return True
        return all(
            map(rule.fits, itertools.islice(v, _LOOKED_AT) if isinstance(v, set | frozenset) else v[:_LOOKED_AT])
        )

    words = "a list" + ("" if rule is None else f" of {_plural(rule.words)}")
    return _Rule(holds, words, origin is tuple)


def _tuple_rule(rules: Sequence[_Rule | None]) -> _Rule:
    """Return the rule of a tuple in which every element has a meaning of its own."""
    words = ", ".join("anything" if rule is None else rule.words for rule in rules)

    def holds(v: Any) -> bool:
        return (
            isinstance(v, tuple | list)
            and len(v) == len(rules)
            and all(rule is None or rule.fits(one) for rule, one in zip(rules, v, strict=True))
        )

    return _Rule(holds, f"a list of {len(rules)}: {words}", tuple=True)


def _plural(words: str) -> str:
    return {"text": "texts", "a whole number": "whole numbers", "a number": "numbers"}.get(words, f"{words}")


def _array(hint: Any) -> _Rule | None:
    """Return the rule of a jaxtyping annotation: the kind of array and its number of axes; names bind no sizes here."""
    array: Any = hint.array_type
    text = str(hint.dim_str)
    if not isinstance(array, type):
        return None
    fixed = len(text.split()) if "*" not in text and "..." not in text else None
    names = tuple(map(str, hint.dtypes)) if isinstance(hint.dtypes, list | tuple) else ()
    kinds, of_numpy = None, (array.__module__, array.__name__) == ("numpy", "ndarray")
    if names and of_numpy:
        if all(name.startswith(("int", "uint")) for name in names):
            kinds = "iu"
        elif all(name.startswith(("float", "bfloat")) for name in names):
            kinds = "iufV"  # V is ml_dtypes' bfloat16
    spelt = () if of_numpy else names

    def fits(v: Any) -> bool:
        right = type(v) is array or isinstance(v, array)
        shaped = right and (fixed is None or v.ndim == fixed) and (kinds is None or v.dtype.kind in kinds)
        return shaped and (not spelt or str(v.dtype).rpartition(".")[2] in spelt)

    return _Rule(fits, f"a {array.__module__.split('.')[0]} array of shape ({', '.join(text.split())})")


def _class(hint: type) -> _Rule | None:
    if getattr(hint, "_is_protocol", False):
        # isinstance would compute properties, such as a hash over all values.
        members = [name for name in dir(hint) if not name.startswith("_") and name not in dir(typing.Protocol)]
        if not members:
            return None

        def has_all(v: Any) -> bool:
            own = getattr(v, "__dict__", {})
            return all(hasattr(type(v), name) or name in own for name in members)

        return _Rule(has_all, _name_of(hint))
    if issubclass(hint, tuple | list | Mapping):
        return _container(hint, (), True)
    return _Rule(lambda v: isinstance(v, hint), _name_of(hint))


def _name_of(hint: type) -> str:
    words = vars(hint).get("called")
    return words if isinstance(words, str) else f"a {hint.__name__}"
