"""The classes of an image, without and with clamps, in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.text import Text

from patchclamp.core.plain_numbers import format_percent, format_signed, is_known
from patchclamp.report.terminal.table import make_table, open_console, print_table


def show_classes(image: str, found: Sequence[Any], clamps: Sequence[str], at: str | None) -> None:
    """Print an image's likeliest classes, and beside them what clamps make of them."""
    out = open_console()
    changed = bool(clamps)
    names = ("", "class", "without", *(("clamped", "change") if changed else ()))
    table = make_table(*names, numbers=("", "without", "clamped", "change"))
    for row in found:
        before, after = row["probability"], row["clamped"]
        figures = [format_percent(before, 1)]
        if changed:
            known = is_known(before) and is_known(after)
            figures += [format_percent(after, 1), format_signed(100 * (after - before) if known else None, 1)]
        table.add_row(str(row["class"]), escape(row["name"]), *figures)
    out.print(f"[bold]{escape(image)}[/]")
    print_table(out, table)
    if changed:
        out.print(Text(f"clamped: {', '.join(clamps)}" + (f" at {at}" if at else ""), style="dim"))
