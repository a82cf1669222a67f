"""Exemplars in a terminal."""

from itertools import islice

from rich.markup import escape

from patchclamp.core.exemplars import Exemplars
from patchclamp.core.plain_numbers import (
    ABSENT,
    format_signed,
)
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Exemplars"


def show(exemplars: Exemplars, top: int) -> None:
    """Print exemplars in their order."""
    out = open_console()
    said = exemplars.to_json(0)
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in said["kinds"].items()) or "none"
    out.print(
        f"{len(exemplars):,} exemplars of {said['units']:,} units of [bold]{escape(exemplars.site.path)}[/] in "
        f"{said['stimuli']:,} stimuli: {kinds}"
    )
    table = make_table(
        "unit", "kind", "value", "stimulus", "position", "tokens", numbers=("value", "stimulus", "position")
    )
    for one in islice(exemplars, top):
        key = f"{exemplars.site.path}/{exemplars.basis}/{one.unit}"
        shown = one.image or f"{len(one.ids):,}"
        number = ABSENT if one.stimulus < 0 else str(one.stimulus)
        table.add_row(escape(key), one.kind, format_signed(one.value), number, str(one.position), escape(shown))
    print_table(out, table)
