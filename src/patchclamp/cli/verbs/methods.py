"""List the methods, or describe one."""

from argparse import Namespace
from collections.abc import Sequence

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.output import emit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.nearest import find_nearest
from patchclamp.core.rooms import FOLDERS, ROOMS

SUMMARY = "List the methods, by the question that they answer; describe one with its options."
QUESTION = "what is here"
EXAMPLE = "patchclamp methods compare/rsa"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", nargs="?", metavar="ROOM/NAME", help="one method, described whole; or a room")
    parser.add_argument("method", nargs="?", metavar="NAME", help="the method, where its room stands by itself")
    parser.add_argument("--room", metavar="ROOM", help="only those of one room, such as attribute or compare")


def _say_nearest(name: str, known: Sequence[str]) -> str:
    if room := find_nearest(name, ROOMS, cutoff=0.8):
        return f"List a room's with `patchclamp methods --room {room[0]}`."
    near = find_nearest(name, known)
    return f"Nearest: {near[0]}." if near else "Name its room too: ROOM/NAME; --room ROOM lists those of one."


def run(options: Namespace) -> int:
    """List the methods, or describe one."""
    from patchclamp.core import method_index
    from patchclamp.report.terminal.method import describe_card, show_card, show_cards

    name = options.name
    if options.method is not None:
        name = f"{name}/{options.method}"
    elif name in ROOMS and options.room is None:
        options.room, name = name, None
    cards = [card for kind in FOLDERS for card in method_index.methods(options.room, kind=kind)]
    if name is not None:
        known = {f"{card.room}/{card.name}": card for card in cards}
        by_name = [card for card in cards if card.name == name]
        chosen = known.get(name) or (by_name[0] if len(by_name) == 1 else None)
        if chosen is None:
            raise PatchclampError(
                expected=f"a method among {', '.join(known)}",
                got=repr(name),
                remedy=_say_nearest(name, [*known, *(card.name for card in cards)]),
            )
        if options.json:
            emit(describe_card(chosen))
        else:
            show_card(chosen)
        return 0
    if options.json:
        emit([describe_card(card) for card in cards])
        return 0
    show_cards(cards)
    return 0
