"""Found by name, and listed from their folders into the generated index."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_index import FILE, load_card, methods
from patchclamp.core.rooms import FOLDERS, ROOMS


@checked
def find_method(name: str | Method, room: str, *, kind: str = "method") -> Method:
    """Return a method of a room by its name; a Method object is returned as it is.

    Args:
        name: of the method, or a method of your own.
        room: where it is looked for.
        kind: ``method`` or ``benchmark``.

    Returns:
        Method: the card with its function.

    Raises:
        PatchclampError: no such method in this room.
    """
    if isinstance(name, Method):
        return name
    known = methods(room, kind=kind)
    for card in known:
        if card.name == name:
            method: Method = card.load()
            return method
    raise PatchclampError(
        expected=f"a {kind} of the room {room} among {', '.join(card.name for card in known) or 'none yet'}",
        got=repr(name),
        remedy=f"`patchclamp methods --room {room}` describes them; a Method object of your own serves too.",
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
    return [load_card(path.relative_to(FILE.parents[1]).as_posix()) for _, path in list_files()]


def build_index() -> list[dict[str, Any]]:
    """Import every card and return the index as the generated file holds it.

    Raises:
        PatchclampError: a file without a card, or one that says another room or kind than its folder.
    """
    entries = []
    for kind, path in list_files():
        file = path.relative_to(FILE.parents[1]).as_posix()
        entry = load_card(file).to_json() | {"file": file}
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
