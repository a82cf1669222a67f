"""Methods in a terminal: the list by question, and one described with its options."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from patchclamp.core.method_index import Card
from patchclamp.core.options import describe_value
from patchclamp.core.rooms import ROOMS
from patchclamp.report.terminal.table import make_table, open_console, print_table


def describe_card(card: Card) -> dict[str, Any]:
    """Return what the index says of a method, and its tier with the reason."""
    return {**card.data, "tier": card.tier.name, "tier_reason": card.tier.reason}


def show_card(card: Card) -> None:
    """Print what a method's card says."""
    out, data = open_console(), card.data
    out.print(f"[bold]{escape(data['title'])}[/]  {card.room}/{card.name}")
    out.print(escape(data["question"]))
    takes = ", ".join(f"{name} ({noun})" for name, noun in data["takes"].items())
    needs = f"; a subject that offers {', '.join(data['needs'])}" if data["needs"] else ""
    out.print(f"takes {escape(takes)}{needs}; gives {data['gives']}")
    papers = [f"{one['reference']}" + (f", {one['equation']}" if one["equation"] else "") for one in data["papers"]]
    out.print(f"from {escape('; '.join(papers))}")
    out.print(f"[bold]{card.tier.name}[/]: {escape(card.tier.reason)}")
    out.print(f"on {', '.join(data['calibrated_on'])} it must show: {escape(data['must_show'])}")
    for where, why in data["must_miss"].items():
        out.print(f"it must miss {escape(where)}: {escape(why)}")
    if data["options"]:
        table = make_table("option", "takes", "default", "what it does")
        for entry in data["options"]:
            default = entry["default"] if entry["default"] not in ("", [], None) else "–"
            shown = ",".join(map(str, default)) if isinstance(default, list) else str(default)
            name = f"--{entry['name'].replace('_', '-')}"
            table.add_row(name, escape(describe_value(entry)), escape(shown), escape(entry["help"]))
        print_table(out, table)


def show_cards(cards: Sequence[Card]) -> None:
    """Print methods by the question that they answer."""
    out = open_console()
    for room, question in ROOMS.items():
        own = [card for card in cards if card.room == room]
        if own:
            out.print(f"[bold]{room}[/]  {question}")
            table = make_table("name", "tier", "takes", "gives", "keys", "what it is")
            for card in own:
                takes = ", ".join(dict.fromkeys(noun.rstrip("?") for noun in card.data["takes"].values()))
                keys = ", ".join(card.data["keys"])
                table.add_row(card.name, card.tier.name, takes, card.data["gives"], keys, escape(card.data["title"]))
            print_table(out, table)
    out.print("`patchclamp methods ROOM/NAME` describes one with its options", style="dim")
