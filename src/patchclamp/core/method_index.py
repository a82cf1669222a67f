"""The index of all methods, read from a generated file, so that help, docs and pages need no framework."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.rooms import FOLDERS, ROOMS
from patchclamp.core.tier import Tier, find_tier

FILE = Path(__file__).parents[1] / "methods.json"


@dataclass(frozen=True)
class Card:
    """What the index says of one method: all that can be said without importing it.

    Args:
        data: the method's entry, as ``Method.to_json`` writes it.
    """

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How it is called."""
        return str(self.data["name"])

    @property
    def room(self) -> str:
        """The room that it belongs to."""
        return str(self.data["room"])

    @property
    def tier(self) -> Tier:
        """Its tier by the stored calibration, and why."""
        return find_tier(f"{self.room}/{self.name}", str(self.data["outside"]))

    def load(self) -> Any:
        """Import the method itself, a ``Method``."""
        return load_card(str(self.data["file"]))


@checked
def methods(room: str | None = None, *, kind: str = "method") -> tuple[Card, ...]:
    """Return what there is: the cards of all methods, or of one room's, without importing any.

    Args:
        room: one of the eight rooms; by default all.
        kind: ``method`` or ``benchmark``.

    Raises:
        PatchclampError: an unknown room or kind.

    Example:
        >>> [card.name for card in methods("compare")]
        ['rsa']
    """
    for what, name, known in (("room", room, ROOMS), ("kind of card", kind, FOLDERS)):
        if name is not None and name not in known:
            raise PatchclampError(
                expected=f"a {what} among {', '.join(known)}", got=repr(name), remedy="Leave it out to see all."
            )
    return tuple(card for card in _index() if room in (None, card.room) and card.data["kind"] == kind)


def find_default(verb: str, room: str | None = None, *, key: str = "") -> str:
    """Return the name of the method that a verb uses where none is named: the card whose ``default_for`` says so.

    Args:
        verb: of the command line and of Python.
        room: of the verb's methods; by default the verb's own name.
        key: what is keyed by, where a verb has several defaults.

    Returns:
        str: its name within the room.

    Raises:
        PatchclampError: no method is the default.

    Example:
        >>> find_default("attribute")
        'relp'
    """
    wanted = f"{verb}:{key}" if key else verb
    for card in methods(room or verb):
        if wanted in card.data["default_for"]:
            return card.name
    raise PatchclampError(
        expected=f"a method for {wanted}",
        got="none that is its default",
        remedy=f"`patchclamp methods {room or verb}`.",
    )


def list_names(room: str, *keys: str, option: str = "") -> tuple[str, ...]:
    """Return the names of a room's methods, of those whose results are keyed by one of some kinds of key.

    Args:
        room: theirs.
        keys: ``unit``, ``edge``, …; all methods where none is named.
        option: only those with this option.

    Returns:
        tuple[str, ...]: names, in the order of ``methods``.

    Example:
        >>> list_names("attribute", "edge")
        ('activation_patching', 'eap', 'eap_ig', 'relp')
    """
    return tuple(
        card.name
        for card in methods(room)
        if (not keys or set(keys) & set(card.data["keys"]))
        and (not option or option in {one["name"] for one in card.data["options"]})
    )


def is_measured(name: str) -> bool:
    """Say whether the scores of a method, ``ROOM/NAME``, are measured effects; what has no card predicts."""
    return any(bool(card.data["measures"]) for card in _index() if f"{card.room}/{card.name}" == name)


def find_title(name: str, room: str) -> str:
    """Return a method's name as people write it; the name itself where no card has it.

    Example:
        >>> find_title("relp", "attribute")
        'relevance patching (RelP)'
    """
    return next((str(card.data["title"]) for card in methods(room) if card.name == name), name)


@cache
def _index() -> tuple[Card, ...]:
    return tuple(map(Card, json.loads(FILE.read_text(encoding="utf-8"))))


def load_card(file: str) -> Any:
    """Import the card that lies in a file of the package, as the index names it.

    Raises:
        PatchclampError: no card there.
    """
    name = file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    method = getattr(importlib.import_module(name), "METHOD", None)
    if type(method).__name__ != "Method":
        raise PatchclampError(
            expected=f"in {file} a card: METHOD = Method(…)",
            got=f"{type(method).__name__}",
            remedy="See docs/howto/method.md, or move the file out of the folder of cards.",
        )
    return method
