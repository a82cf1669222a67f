"""The rooms that methods belong to, and the folders in which each kind of card lies."""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

ROOMS: Mapping[str, str] = {
    "attribute": "Which parts carried this answer?",
    "decompose": "Which directions is activity made of?",
    "describe": "What does a unit stand for?",
    "control": "How can behaviour be changed?",
    "compare": "How alike are two networks, layers or brains?",
    "decode": "What can be read from activity, or predicted of it?",
    "learn": "How do networks learn like brains?",
    "evaluate": "Is an explanation true?",
}
"""Room → the question that its methods answer."""

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "method": (
        "attribute/methods",
        "attribute/inputs/methods",
        "decompose/methods",
        "describe/methods",
        "control/methods",
        "compare/methods",
        "decode/methods",
        "learn/methods",
        "evaluate/methods",
    ),
    "benchmark": ("evaluate/benchmarks", "describe/panels"),
    "scorer": ("describe/scorers",),
}
"""Kind of card → the folders, within the package, whose files are one card each. A folder need not exist yet."""


def make_callable(room: str, verb: Callable[..., Any]) -> None:
    """Make a room's module callable, so that ``pc.compare(…)`` runs a method and ``pc.compare.NAME`` reaches the room.

    Args:
        room: name of the room's module, ``__name__`` there.
        verb: the public function of the same name.
    """
    sys.modules[room].__class__ = type("Room", (ModuleType,), {"__call__": staticmethod(verb), "__doc__": verb.__doc__})
