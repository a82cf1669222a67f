"""A noun reads JSON as it was written: a value of another kind is refused or kept as it is, never taken for another."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from patchclamp.core.condition import When
from patchclamp.core.corpus import Corpus
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.intervention import Intervention, Source, spans
from patchclamp.core.provenance import Provenance
from patchclamp.core.site import Site
from patchclamp.core.stats import Interval
from patchclamp.core.task import Case, Part, Task
from patchclamp.core.training import Training

FALSE = [True, "1", "", math.nan, math.inf, 10**400, 10**30, 1.5, -1, None, [], {}, [True], ["1"], {"a": True}, 3, "x"]
MADE = Provenance("cat", "12ab", "attribute/relp", versions={"torch": "2"}, seconds=1.0)


class Held:
    """Recorded values, of which JSON keeps the hash."""

    hash = "12ab"

    def mean(self, site: str) -> Any:
        """Return nothing: nobody runs it."""

    def of(self, site: str, stimulus: int) -> Any:
        """Return nothing: nobody runs it."""

    def donors(self, site: str, position: int, avoid: str) -> list[int]:
        """Return nothing: nobody runs it."""


HELD = Held()
CASE = Case("the old cat", "the old dog", (" sat",), (" ran",), "verb", "animals", (Part("noun", 8, 11),))
NOUNS = [
    Estimate(0.4, Interval(0.3, 0.5, 0.95, "bootstrap"), 20, "r", Interval(-0.1, 0.1, 0.95, "shuffled"), 0.05, 0.9),
    Training(4, 2, 1, {"loss": ((1, 0.5), (2, 0.25))}, MADE, ((0.5, 0.5), (0.9, 0.5), (0.8, 0.9))),
    Task((CASE, Case((1, 2)), Case(np.array([[1, 2]])), Case(np.array([True]))), "logit", "t", ((CASE, "too long"),)),
    Graph({"slug": "cat"}, {"kind": "logit"}, (Node("a", "neuron", 1.0, {"n": 2.0}),), (Edge("a", "b", 0.5, "q"),)),
    Corpus("text.txt", window=16),
    Site("a", "mlp.act", 8, n_heads=2, layer=1, places=(2, 4), calls=3),
    MADE,
    When(7, above=0.5, below=2.0, site="blocks.0.mlp.act"),
    When(direction=[1.0, 2.0], above=0.5),
    Intervention("a", "set", (1, 2), at=spans("3:5"), value=[1.0, 2.0], when=When(7, above=0.5)),
    Intervention("a", "patch", source=Source(HELD, 1, {2: 3}, 4)),
]


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every value lies within nested data."""
    yield at
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield from places(value, (*at, key))


def put(data: Any, at: tuple[Any, ...], value: Any) -> Any:
    """Return the data with another value at a place."""
    if not at:
        return value
    other = dict(data) if isinstance(data, dict) else list(data)
    other[at[0]] = put(data[at[0]], at[1:], value)
    return other


def meaning(data: Any) -> Any:
    """Return data in which a whole number is the number that it is, and what is empty is absent."""
    if isinstance(data, dict):
        return {name: meaning(one) for name, one in data.items() if one not in (None, "", [], (), {})}
    if isinstance(data, list | tuple):
        return [meaning(one) for one in data]
    return float(data) if type(data) is int and abs(data) < 1e300 else data


def said(data: Any) -> str:
    """Return data as text, in which 1 and true differ."""
    return json.dumps(meaning(data), sort_keys=True)


def read(noun: Any, data: Any) -> Any:
    more = {"sources": {"12ab": HELD}} if isinstance(noun, Intervention) else {}
    return type(noun).from_json(data, **more)


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: type(noun).__name__)
def test_a_false_value_is_refused_or_kept_as_it_is(noun):
    whole = json.loads(json.dumps(noun.to_json()))
    assert said(read(noun, whole).to_json()) == said(whole)
    taken = []
    for at in places(whole):
        for value in FALSE:
            changed = put(whole, at, value)
            try:
                again = read(noun, changed)
            except PatchclampError as error:
                if not all(part.strip() for part in error.to_json().values()):
                    taken.append((at, value))
                continue
            if not is_derived(noun, at, value) and said(again.to_json()) != said(changed):
                taken.append((at, value))
    assert taken == []


def is_derived(noun: Any, at: tuple[Any, ...], value: Any) -> bool:
    """Return whether a part is written and not read, or stands for all that was left out."""
    whole = at in ((), ("provenance",)) and value == {}  # a provenance without any part
    return whole or (
        isinstance(noun, Training) and at[:1] in (("acc",), ("bwt",), ("fwt",), ("learning",), ("accuracy",))
    )
