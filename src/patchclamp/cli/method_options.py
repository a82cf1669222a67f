"""Options of methods on the command line: --method is read first, and brings the method's own options."""

import argparse
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from patchclamp.cli.options import Parser
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import Card, find_default, methods
from patchclamp.core.options import describe_value, read_text


class MethodParser(Parser):
    """A verb's parser whose further options are those of the method that --method names.

    Where none is named, and in ``--help``, they are those of the verb's default method. A verb that calls no ``use``
    runs no methods of a room, and has its own options alone.
    """

    room = ""
    default = ""
    kind = "method"
    gives = takes = ""
    added: Card | None = None
    own: Sequence[str] = ()

    def use(
        self, room: str, verb: str, *, kind: str = "method", gives: str = "", takes: str = "", own: Sequence[str] = ()
    ) -> None:
        """Add --method, for the methods of a room.

        Args:
            room: whose methods they are.
            verb: the verb, whose default method the index names.
            kind: of card.
            gives: only the methods that give this noun.
            takes: only those that take this one.
            own: options of methods that the verb says in its own way.
        """
        self.room, self.kind, self.gives, self.takes, self.own = room, kind, gives, takes, own
        self.default = find_default(verb, room) if kind == "method" else self.cards[0].name
        names = ", ".join(card.name for card in self.cards)
        self.add_argument(
            "--method", default=self.default, metavar="NAME",
            help=f"{names} (default: {self.default}); its own options follow below: VERB --method NAME --help",
        )  # fmt: skip

    @property
    def cards(self) -> list[Card]:
        """The methods that the verb has."""
        known = methods(self.room, kind=self.kind)
        fits = [card for card in known if self.gives in ("", card.data["gives"])]
        nouns = {card.name: {noun.rstrip("?") for noun in card.data["takes"].values()} for card in fits}
        return [card for card in fits if self.takes in ("", *nouns[card.name])]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the options of the method that the words name, then parse them."""
        words = list(args or ())
        if not self.room:
            return super().parse_known_args(words, namespace)
        named = _named(words)
        self._add(self.default if named is None else named)
        found, rest = super().parse_known_args(words, namespace)
        self._refuse_others(rest)
        return found, rest

    def _refuse_others(self, rest: Sequence[str]) -> None:
        """Refuse an option that only other methods of the room have, and name these."""
        for flag in (word.partition("=")[0] for word in rest if word.startswith("--") and self.added):
            able = [
                card.name
                for card in methods(self.room, kind=self.kind)
                if flag in {f"--{entry['name'].replace('_', '-')}" for entry in card.data["options"]}
            ]
            if able:
                raise PatchclampError(
                    expected=f"{flag} with --method {' or '.join(able)}",
                    got=f"--method {self.added.name if self.added else ''}",
                    remedy="Leave it out, or choose another method.",
                )

    def _add(self, name: str) -> None:
        if self.added is not None:
            return
        card = find_card(name, self.room, self.kind, self.cards)
        self.added = card
        group = self.add_argument_group(f"options of {card.name}")
        for entry in card.data["options"]:
            if f"--{entry['name'].replace('_', '-')}" in self._option_string_actions or entry["name"] in self.own:
                continue  # the verb has it itself
            default = entry["default"] if entry["default"] not in ("", [], None) else "none"
            shown = ",".join(map(str, default)) if isinstance(default, list) else default
            group.add_argument(
                f"--{entry['name'].replace('_', '-')}", type=_reader(entry), default=argparse.SUPPRESS,
                dest=f"option_{entry['name']}", metavar="X",
                help=f"{entry['help']}: {describe_value(entry)} (default: {shown})".replace("%", "%%"),
            )  # fmt: skip


def find_card(name: str, room: str, kind: str = "method", among: Sequence[Card] | None = None) -> Card:
    """Return a method's card without importing the method.

    Args:
        name: of the method.
        room: where it is looked for.
        kind: of card.
        among: by default all of the room.

    Raises:
        PatchclampError: no such method in this room.
    """
    known = methods(room, kind=kind) if among is None else among
    for card in known:
        if card.name == name:
            return card
    raise PatchclampError(
        expected=f"a {kind} of the room {room} among {', '.join(card.name for card in known)}",
        got=repr(name),
        remedy=f"`patchclamp methods --room {room}` describes them.",
    )


def given_options(options: Namespace) -> dict[str, Any]:
    """Return the method's own options that were typed, by name."""
    return {name.removeprefix("option_"): x for name, x in vars(options).items() if name.startswith("option_")}


def _named(words: Sequence[str]) -> str | None:
    """Return what follows --method; None where it is not there."""
    before = words[: words.index("--")] if "--" in words else words
    for i, word in enumerate(before):
        if word.startswith("--method="):
            return word.partition("=")[2]
        if word == "--method" and i + 1 < len(before):
            return before[i + 1]
    return None


def _reader(entry: dict[str, Any]) -> Any:
    def read(text: str) -> Any:
        try:
            return read_text(entry, text)
        except PatchclampError as problem:
            raise argparse.ArgumentTypeError(f"{problem.got}, not {problem.expected}") from problem

    return read
