"""Tables of the verb ``calibrate``: planted circuits found per method, and predictions against replacements."""

import itertools
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from patchclamp.cli.tables import ABSENT, _console, _fixed, _grid, _percent, _print, _range, _signed


def calibration(found: Sequence[Any], overall: Any) -> None:
    """Print which method found how many of the planted units."""
    out = _console()
    _findings(out, found, overall)
    out.print(
        "Each cell: how many planted units stand among as many of the largest scores (neurons and heads at every "
        "position, values held against each card's baseline), and in brackets the rank of the last of them where some "
        "are missed; `patchclamp organism card NAME` says why. The circuits were built to tell methods apart: the "
        "interval over circuits says how much hangs on their choice, not how a method does in a trained network.",
        style="dim",
    )


def calibrated_edges(found: Sequence[Any], overall: Any) -> None:
    """Print which method found how many of the planted edges."""
    out = _console()
    out.print("\n[bold]Edges[/]")
    _findings(out, found, overall)
    out.print(
        "As above, of edges: the prompt held against its card's corrupted one and against itself with one word in turn "
        "unknown; an edge's strength is the largest over these. patch: exact, one edge at a time; relp: eap under the "
        "rules of RelP. Whole MLPs write and read, so what neurons beside the cause do (a decoy and what takes it off, "
        "caps, a lean) is planted too; heads that share keys and values are one reader.",
        style="dim",
    )


def joint(found: Sequence[Any]) -> None:
    """Print what nodes that back each other up do alone and together."""
    if not found:
        return
    out = _console()
    out.print("\n[bold]Either is enough[/]: what m loses by ablation")
    table = _grid("organism", "m", "alone", "both", "nodes", numbers=("m", "alone", "both"))
    for row in found:
        alone = ", ".join(_signed(x) for x in row["alone"])
        table.add_row(row["organism"], _signed(row["m"]), alone, _signed(row["together"]), ", ".join(row["nodes"]))
    _print(out, table)


def _findings(out: Console, found: Sequence[Any], overall: Any) -> None:
    methods = list(dict.fromkeys(f.method for f in found))
    table = _grid("organism", "planted", *methods, numbers=("planted", *methods))
    for name, rows in itertools.groupby(found, key=lambda f: f.organism):
        cells = {f.method: f for f in rows}
        shown = (_found(cells[method]) for method in methods)
        table.add_row(name, str(cells[methods[0]].true), *shown)
    means = [_percent(overall[method][0]) for method in methods]
    table.add_row("[bold]mean share[/]", "", *means)
    for end in ("low", "high"):
        ends = [getattr(overall[method][1], end) for method in methods]
        table.add_row(f"  95 % {end}", "", *map(_percent, ends))
    _print(out, table)


def holdings(held: Sequence[Any]) -> None:
    """Print how well each method's predictions held in each task."""
    out = _console()
    columns = ("Spearman (95 %)", "top taken out (95 %)", "random sets (95 %)", "ahead")
    for name, of in itertools.groupby(held, key=lambda h: h.organism):
        out.print(f"[bold]{name}[/]")
        table = _grid("task", "pairs", "method", *columns, numbers=("pairs", *columns))
        for task, rows in itertools.groupby(of, key=lambda h: h.task):
            for i, h in enumerate(rows):
                parts = ((h.spearman, h.spearman_interval), (h.receipt, h.receipt_interval))
                cells = [_with_interval(x, i) for x, i in (*parts, (h.control, h.control_interval))]
                table.add_row(*((task, str(h.pairs)) if i == 0 else ("", "")), h.method, *cells, _percent(h.ahead))
        _print(out, table)
    out.print(
        "Spearman: predicted against measured effects of the same 64 single nodes for every method, mean over pairs. "
        "Top: share of m(clean) − m(corrupted) that replacing the 20 highest nodes takes away, beside random sets of "
        "the same sites, positions and sizes; ahead: pairs in which it takes away more than each of 20 such sets.",
        style="dim",
    )


def _with_interval(value: float, interval: Any) -> str:
    between = _range(interval.low, interval.high, _fixed)
    return _fixed(value) + ("" if between == ABSENT else f" ({between})")


def _found(f: Any) -> str:
    if f.method == "random":
        return _fixed(f.found)
    shown = _fixed(f.found, 0)
    return shown if f.found == f.true else f"[dark_orange]{shown} ({_fixed(f.worst, 0)})[/]"
