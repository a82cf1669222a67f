"""Calibration in a terminal: planted circuits found per method, and predictions against replacements."""

import itertools
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from patchclamp.core.plain_numbers import (
    ABSENT,
    format_fixed,
    format_percent,
    format_range,
    format_signed,
)
from patchclamp.report.terminal.table import make_table, open_console, print_table


def show_calibration(found: Sequence[Any], overall: Any) -> None:
    """Print which method found how many of the planted units."""
    out = open_console()
    _findings(out, found, overall)
    out.print(
        "Each cell: how many planted units stand among as many of the largest scores (neurons and heads at every "
        "position, values compared with each card's baseline), and in brackets the rank of the last of them where some "
        "are missed; `patchclamp organism card NAME` says why. The circuits were built to tell methods apart: the "
        "interval over circuits says how much hangs on their choice, not how a method does in a trained network.",
        style="dim",
    )


def show_edges(found: Sequence[Any], overall: Any) -> None:
    """Print which method found how many of the planted edges."""
    out = open_console()
    out.print("\n[bold]Edges[/]")
    _findings(out, found, overall)
    out.print(
        "As above, of edges: the prompt compared with its card's corrupted one and with itself with one word in turn "
        "unknown; an edge's strength is the largest over these. patch: exact, one edge at a time; relp: eap under the "
        "rules of RelP. Whole MLPs write and read, so what neurons beside the cause do (a decoy and what takes it off, "
        "caps, a lean) is planted too; heads that share keys and values are one reader.",
        style="dim",
    )


def show_joint(found: Sequence[Any]) -> None:
    """Print what nodes that back each other up do alone and together."""
    if not found:
        return
    out = open_console()
    out.print("\n[bold]Either is enough[/]: what m loses by ablation")
    table = make_table("organism", "m", "alone", "both", "nodes", numbers=("m", "alone", "both"))
    for row in found:
        alone = ", ".join(format_signed(x) for x in row["alone"])
        table.add_row(
            row["organism"], format_signed(row["m"]), alone, format_signed(row["together"]), ", ".join(row["nodes"])
        )
    print_table(out, table)


def _findings(out: Console, found: Sequence[Any], overall: Any) -> None:
    methods = list(dict.fromkeys(f.method for f in found))
    table = make_table("organism", "planted", *methods, numbers=("planted", *methods))
    for name, rows in itertools.groupby(found, key=lambda f: f.organism):
        cells = {f.method: f for f in rows}
        shown = (_cell(cells[method]) for method in methods)
        table.add_row(name, str(cells[methods[0]].true), *shown)
    means = [format_percent(overall[method][0]) for method in methods]
    table.add_row("[bold]mean share[/]", "", *means)
    for end in ("low", "high"):
        ends = [getattr(overall[method][1], end) for method in methods]
        table.add_row(f"  95 % {end}", "", *map(format_percent, ends))
    print_table(out, table)


def show_holdings(held: Sequence[Any]) -> None:
    """Print how well each method's predictions held in each task."""
    out = open_console()
    columns = ("Spearman (95 %)", "top taken out (95 %)", "random sets (95 %)", "ahead")
    for name, of in itertools.groupby(held, key=lambda h: h.organism):
        out.print(f"[bold]{name}[/]")
        table = make_table("task", "pairs", "method", *columns, numbers=("pairs", *columns))
        for task, rows in itertools.groupby(of, key=lambda h: h.task):
            for i, h in enumerate(rows):
                parts = ((h.spearman, h.spearman_interval), (h.receipt, h.receipt_interval))
                cells = [_with_interval(x, i) for x, i in (*parts, (h.control, h.control_interval))]
                table.add_row(
                    *((task, str(h.pairs)) if i == 0 else ("", "")), h.method, *cells, format_percent(h.ahead)
                )
        print_table(out, table)
    out.print(
        "Spearman: predicted against measured effects of the same 64 single nodes for every method, mean over pairs. "
        "Top: share of m(clean) − m(corrupted) that replacing the 20 highest nodes takes away, beside random sets of "
        "the same sites, positions and sizes; ahead: pairs in which it takes away more than each of 20 such sets.",
        style="dim",
    )


def _with_interval(value: float, interval: Any) -> str:
    between = format_range(interval.low, interval.high, format_fixed)
    return format_fixed(value) + ("" if between == ABSENT else f" ({between})")


def _cell(f: Any) -> str:
    if f.method == "random":
        return format_fixed(f.found)
    shown = format_fixed(f.found, 0)
    return shown if f.found == f.true else f"[dark_orange]{shown} ({format_fixed(f.worst, 0)})[/]"
