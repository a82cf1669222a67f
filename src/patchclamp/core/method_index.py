"""The index of all methods, read from a generated file, so that help, docs and pages need no framework."""

import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.rooms import FOLDERS, ROOMS

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

    def load(self) -> Method:
        """Import the method itself."""
        return _load(str(self.data["file"]))


@checked
def methods(room: str | None = None, *, kind: str = "method") -> tuple[Card, ...]:
    """Return what there is: the cards of all methods, or of one room's, without importing any.

    Args:
        room: one of the eight rooms; all where left out.
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


@checked
def find_method(name: str | Method, room: str, *, kind: str = "method") -> Method:
    """Return a method of a room by its name; a Method object is returned as it is.

    Args:
        name: of the method, or a method of your own.
        room: where it is looked for.
        kind: ``method`` or ``benchmark``.

    Raises:
        PatchclampError: no such method in this room.
    """
    if isinstance(name, Method):
        return name
    known = methods(room, kind=kind)
    for card in known:
        if card.name == name:
            return card.load()
    raise PatchclampError(
        expected=f"a {kind} of the room {room} among {', '.join(card.name for card in known) or 'none yet'}",
        got=repr(name),
        remedy=f"`patchclamp methods --room {room}` describes them; a Method object of your own serves too.",
    )


def find_default(verb: str, room: str | None = None, *, key: str = "") -> str:
    """Return the name of the method that a verb uses where none is named: the card whose ``default_for`` says so.

    Args:
        verb: of the command line and of Python.
        room: of the verb's methods; the verb's own name where left out.
        key: what is keyed by, where a verb has several defaults.

    Raises:
        PatchclampError: no method is the default.
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


def list_files() -> Iterator[tuple[str, Path]]:
    """Yield the file of every card in the package with its kind, as they lie in their folders."""
    package = FILE.parent
    for kind, folders in FOLDERS.items():
        for folder in folders:
            for path in sorted((package / folder).glob("*")):
                is_card = path.suffix == ".py" or (path / "__init__.py").is_file()
                if is_card and not path.name.startswith("_"):
                    yield kind, path


def load_all() -> list[Method]:
    """Import every card in the package, whatever the generated file says."""
    return [_load(path.relative_to(FILE.parents[1]).as_posix()) for _, path in list_files()]


def build_index() -> list[dict[str, Any]]:
    """Import every card and return the index as the generated file holds it.

    Raises:
        PatchclampError: a file without a card, or one that says another room or kind than its folder.
    """
    entries = []
    for kind, path in list_files():
        file = path.relative_to(FILE.parents[1]).as_posix()
        entry = _load(file).to_json() | {"file": file}
        room = path.relative_to(FILE.parent).parts[0]
        if (entry["kind"], entry["room"], entry["name"]) != (kind, room, path.stem):
            raise PatchclampError(
                expected=f"in {file} a {kind} of the room {room} called {path.stem}",
                got=f"{entry['kind']} {entry['room']}/{entry['name']}",
                remedy="Name the file after the method, and put it into its room's folder.",
            )
        entries.append(entry)
    return sorted(entries, key=lambda entry: (list(ROOMS).index(entry["room"]), entry["kind"], entry["name"]))


def write_index() -> str:
    """Return the text of the generated file."""
    return json.dumps(build_index(), indent=1, ensure_ascii=False) + "\n"


@cache
def _index() -> tuple[Card, ...]:
    return tuple(map(Card, json.loads(FILE.read_text(encoding="utf-8"))))


def _load(file: str) -> Method:
    name = file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    method = getattr(importlib.import_module(name), "METHOD", None)
    if not isinstance(method, Method):
        raise PatchclampError(
            expected=f"in {file} a card: METHOD = Method(…)",
            got=f"{type(method).__name__}",
            remedy="See docs/methods.md, or move the file out of the folder of cards.",
        )
    return method
