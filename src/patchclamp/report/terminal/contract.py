"""How far a model is from each law of the contract, and which family keeps which, in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import format_general
from patchclamp.report.terminal.table import make_table, open_console, print_table


def show_verdicts(found: Sequence[Any], about: str, passed: bool, *, images: bool = False) -> None:
    """Print how far each check is from its law."""
    out = open_console()
    shown = "three random images" if images else "random stimuli of unequal length, padded right and left"
    out.print(f"[bold]{escape(about)}[/], {shown}")
    columns = ["check", "deviation", "allowed"] + (
        ["wrong mapping", ""] if any(v.rejected is not None for v in found) else [""]
    )
    table = make_table(*columns, numbers=("deviation", "allowed", "wrong mapping"))
    for v in found:
        if v.excluded:
            table.add_row(v.name, "", "", *[""] * (len(columns) - 4), f"not applicable: {escape(v.excluded)}")
            continue
        limit = "stated" if v.limit is None else format_general(v.limit)
        wrong = [] if len(columns) == 4 else ["" if v.rejected is None else format_general(v.rejected)]
        table.add_row(
            v.name, format_general(v.deviation), limit, *wrong, "[green]✓[/]" if v.passed else "[bold red]✗ fails[/]"
        )
    print_table(out, table)
    out.print("all hold" if passed else "[bold red]not the model[/]: do not trust what is recorded at these sites")


def show_families(standing: dict[str, Any]) -> None:
    """Print which family keeps which part of the contract."""
    out, parts = open_console(), standing["parts"]
    numbers = [str(i) for i, _ in enumerate(parts, 1)]
    table = make_table("family", *numbers, "classes", numbers=numbers)
    why: dict[str, str] = {}
    for name, entry in standing["families"].items():
        cells = ["n/a" if "excluded" in part else format_general(part["deviation"], 0) for part in entry["parts"]]
        why |= {f"{name}, part {i}": p["excluded"] for i, p in enumerate(entry["parts"], 1) if "excluded" in p}
        table.add_row(name, *cells, escape(", ".join(entry["classes"])))
    print_table(out, table)
    out.print("Deviation from each law on the family's tiny model; every wrong mapping was rejected.", style="dim")
    for i, part in enumerate(parts, 1):
        out.print(f"{i:2}  {escape(part['name'])}, allowed {format_general(part['limit'])}", style="dim")
    lacks: dict[tuple[str, str], list[str]] = {}
    for name, entry in standing["families"].items():
        for what, reason in entry.get("lacks", {}).items():
            lacks.setdefault((what, reason), []).append(name)
    for (what, reason), names in lacks.items():
        out.print(f"no {escape(what)} in {', '.join(names)}: {escape(reason)}")
    for where, reason in why.items():
        out.print(f"n/a {escape(where)}: {escape(reason)}")
