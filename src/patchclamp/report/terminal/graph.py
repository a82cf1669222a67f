"""A graph's target and strongest nodes, in a terminal."""

import math
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import (
    format_signed,
    is_known,
)
from patchclamp.report.terminal.table import make_table, open_console, print_table

ROWS = 20


def show_graph(found: Any) -> None:
    """Print a graph's target and strongest nodes."""
    out = open_console()
    asked = f": {escape(str(found.about['prompt']))}" if found.about.get("prompt") else ""
    out.print(f"[bold]graph[/] of {escape(str(found.subject.get('slug')))}{asked}")
    table = make_table("node", "score", "measured", numbers=("score", "measured"))
    nodes = sorted(found.nodes, key=lambda n: -abs(n.score) if is_known(n.score) else math.inf)
    for node in nodes[:ROWS]:
        measured = node.measures.get("measured")
        table.add_row(escape(node.key), format_signed(node.score), "" if measured is None else format_signed(measured))
    print_table(out, table)
    if len(nodes) > ROWS:
        out.print(f"… and {len(nodes) - ROWS} more; --json lists them", style="dim")
    if found.measures:
        out.print("  ".join(f"{name} {format_signed(value)}" for name, value in found.measures.items()), style="dim")
