"""Every public function, constructor and method refuses what its annotations forbid, in three parts, before any work."""

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
import pytest
import torch
from beartype.door import is_bearable
from beartype.roar import BeartypeException

import patchclamp as pc
from patchclamp.core.arguments import Least
from patchclamp.core.errors import PatchclampError
from patchclamp.core.rooms import ROOMS

HOMES = sorted({*ROOMS, "ablate", "atlas", "calibrate", "organisms", "recipes", "record", "report", "train"})
WRONG = [
    None, True, math.nan, math.inf, -1, 10**30, 1.5, "", "text", "x" * 5000, "a\0b", b"bytes", [], (), {}, [[1, [2]]],
    ["a"], [None], (1, 2), [math.nan], [True], {"a": 1}, {1: None}, {"a": [object()]}, range(3), {1}, 1j,
    np.array([1.0, 2.0]), np.array([1, 2]), np.array(["a"]), np.zeros((2, 2, 2)), torch.tensor([1.0]),
    torch.tensor([1, 2]), object(), SimpleNamespace(), len, int,
]  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A public callable: what errors call it, and whether it makes an object that may hold NaN as a measurement."""

    label: str
    run: Callable[..., Any]
    first: tuple[Any, ...]
    makes: bool

    @property
    def hints(self) -> dict[str, Any]:
        """Return the annotations of its named parameters, where they can be read."""
        inner = inspect.unwrap(self.run)
        if isinstance(self.run, type):
            inner = inspect.unwrap(self.run.__init__)
        named = inspect.signature(self.run).parameters.values()
        names = [p.name for p in named if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        hints = {}
        for name in names[len(self.first) :]:
            hint = getattr(inner, "__annotations__", {}).get(name)
            try:
                holder = types.SimpleNamespace(__annotations__={"it": hint})
                hints[name] = typing.get_type_hints(holder, inner.__globals__, include_extras=True)["it"]
            except (NameError, AttributeError):
                continue
        return hints


def public() -> Iterator[tuple[str, Any]]:
    """Yield what users are given by name, and the nouns of the package that its annotations name."""
    homes = [pc, *(importlib.import_module(f"patchclamp.{home}") for home in HOMES)]
    found = {}
    for home in homes:
        for name in home.__all__:
            thing = getattr(home, name)
            # A room that has the name of its verb is called as this is.
            thing = getattr(thing, name, thing) if inspect.ismodule(thing) else thing
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found.setdefault(id(thing), (name, thing))
    left = list(found.values())
    while left:
        name, thing = left.pop(0)
        yield name, thing
        for call in calls(name, thing):
            for part in leaves(list(call.hints.values())):
                if inspect.isclass(part) and part.__module__.startswith("patchclamp.") and id(part) not in found:
                    found[id(part)] = (part.__name__, part)
                    left.append((part.__name__, part))


def calls(name: str, thing: Any) -> Iterator[Call]:
    """Yield a callable, and of a class its constructor and public methods."""
    if not isinstance(thing, type):
        yield Call(name, thing, (), False)
        return
    if getattr(thing, "_is_protocol", False) or issubclass(thing, Exception | tuple):
        return
    if "__init__" in vars(thing):
        yield Call(thing.__name__, thing, (), True)
    for attribute, member in vars(thing).items():
        if attribute.startswith("_"):
            continue
        if isinstance(member, classmethod | staticmethod):
            yield Call(f"{thing.__name__}.{attribute}", getattr(thing, attribute), (), False)
        elif inspect.isfunction(member):
            yield Call(f"{thing.__name__}.{attribute}", member, (None,), False)


def leaves(hint: Any) -> list[Any]:
    """Return every type that an annotation is made of."""
    if isinstance(hint, list):
        return [leaf for one in hint for leaf in leaves(one)]
    inside = get_args(hint)
    return [get_origin(hint), *leaves(list(inside))] if inside else [hint]


def top(hint: Any) -> list[Any]:
    """Return the alternatives of an annotation."""
    return list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]


def as_tuples(value: Any) -> Any:
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def forbids(hint: Any, value: Any, makes: bool) -> bool:
    """Return whether an annotation forbids a value, as beartype and the rules of the house see it."""
    kinds = top(hint)
    if any(kind in (Any, object) for kind in leaves(hint)) or value is None and type(None) in kinds:
        return any(forbids_plain(kind, value, makes) for kind in []) or surely(hint, value)
    return forbids_plain(hint, value, makes)


def surely(hint: Any, value: Any) -> bool:
    """Return whether beartype alone forbids a value, whatever stands in for it."""
    try:
        return not is_bearable(value, hint) and not is_bearable(as_tuples(value), hint) and not as_lists(hint, value)
    except (BeartypeException, RecursionError, TypeError):
        return False


def as_lists(hint: Any, value: Any) -> bool:
    """Return whether a tuple stands where a list is annotated."""
    return isinstance(value, tuple) and is_bearable(list(value), hint)


def forbids_plain(hint: Any, value: Any, makes: bool) -> bool:
    kinds = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in top(hint)]
    least = [mark.number for kind in top(hint) if get_origin(kind) is Annotated for mark in get_args(kind)[1:] if isinstance(mark, Least)]
    if isinstance(value, bool):
        return bool not in kinds and not any(get_origin(kind) is not None and bool in leaves(kind) for kind in kinds)
    if type(value) is int and any(kind in (int, float) for kind in kinds):
        return abs(value) >= 2**63 or (bool(least) and int in kinds and value < least[0])
    if type(value) is float and float in kinds:
        return not makes and math.isnan(value)
    if isinstance(value, str) and str in kinds:
        place = any(isinstance(get_origin(k) or k, type) and issubclass(get_origin(k) or k, os.PathLike) for k in kinds)
        return place and (len(value) > 4095 or "\0" in value)
    return surely(hint, value)


CALLS = [call for name, thing in public() for call in calls(name, thing)]


def outcome(call: Call, name: str, value: Any) -> str:
    """Return what is wrong with how a wrong argument is answered; empty where it is refused as it should be."""
    import signal
    signal.signal(signal.SIGALRM, _late); signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        call.run(*call.first, **{name: value})
    except PatchclampError as error:
        if f" for {name} of " not in error.expected:
            return f"refused for something else: {error}"
        return "" if all(part.strip() for part in error.to_json().values()) else f"an empty part: {error}"
    except BaseException as error:  # noqa: BLE001  whatever it is, it is the fault
        return f"{type(error).__name__}: {error}"[:160]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "accepted"


def _late(*_):
    raise TimeoutError("late")


def test_what_annotations_forbid_is_refused_by_name_before_any_work():
    tried, faults = 0, {}
    for call in CALLS:
        for name, hint in call.hints.items():
            for value in WRONG:
                if forbids(hint, value, call.makes):
                    tried += 1
                    if os.environ.get("SHOW") == "2": print(call.label, name, f"{value!r:.30}", flush=True)
                    if wrong := outcome(call, name, value):
                        faults.setdefault(f"{call.label}({name})", []).append(f"{value!r:.40} → {wrong}")
    print(tried, sum(map(len, faults.values())), len({label.partition("(")[0] for label in faults}), "callables")
    if os.environ.get("SHOW"):
        for label, some in faults.items():
            print(label, len(some), some[0])
    assert tried > 10_000
    assert faults == {}
