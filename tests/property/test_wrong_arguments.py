"""Every public function, constructor and method refuses what its annotations forbid, by name and before any work."""

import importlib
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import torch
from beartype.door import is_bearable
from beartype.roar import BeartypeException

import patchclamp as pc
from patchclamp.core.arguments import Least
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Edge, Node
from patchclamp.core.intervention import Span
from patchclamp.core.keys import Block, EdgeIndex, EdgeKey, UnitIndex, UnitList
from patchclamp.core.provenance import Provenance
from patchclamp.core.rooms import ROOMS
from patchclamp.core.task import Part

HOMES = sorted({*ROOMS, "ablate", "atlas", "calibrate", "organisms", "recipes", "record", "report", "train"})
NOUNS = (Block, Edge, EdgeIndex, EdgeKey, Node, Part, Provenance, Span, UnitIndex, UnitList)
"""Nouns that the arguments of public names are made of."""
WRONG = [
    None, True, math.nan, math.inf, -1, 10**30, 1.5, "", "text", "x" * 5000, "a\0b", b"bytes", [], (), {}, [[1, [2]]],
    ["a"], [None], (1, 2), [math.nan], [True], [10**30], {"a": 1}, {1: None}, {"a": [object()]}, range(3), {1}, 1j,
    np.array([1.0, 2.0]), np.array([1, 2]), np.array(["a"]), np.zeros((2, 2, 2)), torch.tensor([1.0]),
    torch.tensor([1, 2]), object(), SimpleNamespace(), len, int,
]  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A public callable, what comes before its named arguments, and whether it belongs to an object.

    An object and its methods may take NaN, as something that could not be measured; a function takes none.
    """

    label: str
    run: Callable[..., Any]
    first: tuple[Any, ...]
    of_object: bool

    def hints(self) -> dict[str, Any]:
        """Return the annotations of the named arguments that can be resolved outside a type checker."""
        inner = inspect.unwrap(self.run.__init__ if isinstance(self.run, type) else self.run)
        named = [p for p in inspect.signature(self.run).parameters.values() if p.kind >= p.POSITIONAL_OR_KEYWORD]
        hints = {}
        for parameter in named[len(self.first) :]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            holder = SimpleNamespace(__annotations__={"it": inner.__annotations__[parameter.name]})
            try:
                hints[parameter.name] = typing.get_type_hints(holder, inner.__globals__, include_extras=True)["it"]
            except NameError:
                continue
        return hints


def things() -> Iterator[Any]:
    """Yield what users are given by name, each once."""
    homes = [pc, *(importlib.import_module(f"patchclamp.{home}") for home in HOMES)]
    found = {id(noun): noun for noun in NOUNS}
    for home in homes:
        for name in home.__all__:
            thing = getattr(home, name)
            # A room that can be called is the module of that name.
            found |= {id(thing): thing} if inspect.isclass(thing) or inspect.isfunction(thing) else {}
    yield from found.values()


def calls(thing: Any) -> Iterator[Call]:
    """Yield a function; of a class its constructor and public methods."""
    if not inspect.isclass(thing):
        yield Call(thing.__name__, thing, (), False)
        return
    if getattr(thing, "_is_protocol", False) or issubclass(thing, Exception | tuple):
        return
    if "__init__" in vars(thing):
        yield Call(thing.__name__, thing, (), True)
    for name, member in vars(thing).items():
        label = f"{thing.__name__}.{name}"
        if name.startswith("_"):
            continue
        if isinstance(member, classmethod | staticmethod):
            yield Call(label, getattr(thing, name), (), True)
        elif inspect.isfunction(member):
            yield Call(label, member, (None,), True)


CALLS = [call for thing in things() for call in calls(thing)]


# -- what an annotation forbids, as beartype and the rules of the house see it ----------------------------------------


def leaves(hint: Any) -> Iterator[Any]:
    """Yield every type that an annotation is made of."""
    yield get_origin(hint) or hint
    for inside in get_args(hint):
        yield from (leaf for one in (inside if isinstance(inside, list) else [inside]) for leaf in leaves(one))


def forbids(hint: Any, value: Any, *, nan: bool) -> bool:
    """Return whether an annotation forbids a value."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    least = [mark.number for kind in kinds for mark in get_args(kind)[1:] if isinstance(mark, Least)]
    kinds = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds]
    if Any in kinds or object in kinds:
        return False
    if isinstance(value, bool):
        return bool not in kinds and "Literal" not in repr(hint)
    if type(value) is int and (int in kinds or float in kinds):
        return abs(value) >= 2**63 or (float not in kinds and bool(least) and value < least[0])
    if type(value) is float and float in kinds:
        return math.isnan(value) and not nan
    if isinstance(value, str) and str in kinds:
        paths = [kind for kind in kinds if inspect.isclass(get_origin(kind) or kind)]
        is_place = any(issubclass(get_origin(kind) or kind, os.PathLike) for kind in paths)
        return is_place and (len(value) > 4095 or "\0" in value)
    try:
        return not any(is_bearable(form, hint) for form in forms(value))
    except BeartypeException:
        return False  # a protocol that cannot be looked at


def forms(value: Any) -> list[Any]:
    """Return what a value may stand for: a list for a tuple and a tuple for a list, and whole numbers for numbers."""
    if isinstance(value, list | tuple | range):
        floats = [float(one) if type(one) is int else one for one in value]
        return [make(one) for make in (list, tuple) for one in (value, floats)]
    if isinstance(value, dict):
        return [value, {name: float(one) if type(one) is int else one for name, one in value.items()}]
    return [value, value.astype(float)] if isinstance(value, np.ndarray) and value.dtype.kind == "i" else [value]


def answer(call: Call, name: str, value: Any) -> str:
    """Return what is wrong with how a wrong argument is answered; empty where it is refused as it should be."""
    try:
        call.run(*call.first, **{name: value})
    except PatchclampError as error:
        if f" for {name} of {call.label}" not in error.expected:
            return f"refused for something else: {error}"
        return "" if all(part.strip() for part in error.to_json().values()) else f"an empty part: {error}"
    except Exception as error:  # whatever it is, it is the fault
        return f"{type(error).__name__}: {error}"
    return "accepted"


def test_what_annotations_forbid_is_refused_by_name():
    tried, faults = 0, {}
    for call in CALLS:
        for name, hint in call.hints().items():
            for value in (one for one in WRONG if forbids(hint, one, nan=call.of_object)):
                tried += 1
                if wrong := answer(call, name, value):
                    faults.setdefault(f"{call.label}({name})", []).append(f"{value!r:.40} → {wrong:.160}")
    assert tried > 10_000
    assert faults == {}, f"{sum(map(len, faults.values()))} of {tried}"
