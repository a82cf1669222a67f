"""An evaluated circuit in a terminal: by size, over all sizes, part by part."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_names import name_unit
from patchclamp.core.plain_numbers import (
    ABSENT,
    find_largest,
    format_fixed,
    format_general,
    format_percent,
    format_range,
    known_or_least,
)
from patchclamp.report.terminal.table import make_table, open_console, print_table


def show_evaluation(d: Mapping[str, Any], *, full: bool = True) -> None:
    """Print an evaluation: its verdict, by size, over all sizes; in full what each column means, and part by part."""
    out = open_console()
    out.print(f"[bold]{escape(d['sentence'])}[/]")
    out.print(escape(d["title"]))
    out.print(escape(d["told"]), style="bold dark_orange" if d["seen"] else None)
    if d["left_out"]:
        out.print("left out: " + ", ".join(f"{n} ({reason})" for reason, n in d["left_out"].items()))
    names = ("kept", "rest", "random", "ahead") if full else ("kept", "random")
    heads = {"kept": "circuit alone", "rest": "everything else", "random": "random circuits", "ahead": "ahead"}
    columns = ("parts", "share", *(heads[name] for name in names))
    table = make_table(*columns, numbers=columns)
    for p in d["points"]:
        table.add_row(f"{p['size']:,}", format_percent(p["share"], 1), *(_with(p[name]) for name in names))
    a = d["area"]
    over = f"{format_percent(a['low'])}–{format_percent(a['high'])}"
    table.add_row("[bold]area[/]", over, *(_with(a[name]) for name in names))
    if full:
        table.add_row("whole model", "100%", "1.00", "0.00", "1.00", "0.00")
    print_table(out, table)
    if not full:
        for note in d["notes"]:
            out.print(f"note: {escape(note)}", style="bold dark_orange")
        _recovery(out, d.get("recovery"))
        out.print(
            "1: as all parts do, 0: as none; area: all sizes together. --full adds everything else, and which parts "
            "could be left out",
            style="dim",
        )
        return
    p_pairs, p_random = format_general(a["p_pairs"], 2), format_general(a["p_random"], 2)
    out.print(
        f"area ahead of random circuits: p = {p_pairs} over pairs (signs flipped, two-sided), p = {p_random} by its "
        f"rank among {d['about']['random']} random circuits. |1 − F| over the same sizes: {_with(a['distance'])}"
    )
    for note in d["notes"]:
        out.print(f"note: {escape(note)}", style="bold dark_orange")
    _minimal(out, d.get("minimality"))
    _recovery(out, d.get("recovery"))
    out.print(
        r"Faithfulness F = \[m(C) − m(∅)] / \[m(M) − m(∅)] of means over pairs, 95 % bootstrap over pairs; everything "
        "else: F of all parts but the circuit's, low where it is complete. Random circuits: mean and middle 95 %, "
        f"{d['about']['random']} of them, part by part of the {d['about']['match']}. Area: trapezoids over the "
        "share, by its range.",
        style="dim",
    )


def _minimal(out: Any, d: Mapping[str, Any] | None) -> None:
    if d is None:
        return
    out.print(f"\n[bold]Minimality[/] at {d['size']:,} parts: what F loses when one part alone leaves")
    table = make_table("part", "share of m(M) − m(∅)", numbers=("share of m(M) − m(∅)",))
    for row in sorted(d["parts"], key=lambda row: -known_or_least(row["value"]))[:10]:
        name = " → ".join(map(name_unit, row["part"].split(" → ")))
        table.add_row(escape(name), _with(row))
    print_table(out, table)
    if d["random"]:
        out.print(
            f"{format_percent(d['needed'])} of {len(d['parts'])} parts move m more than each of {len(d['random'])} "
            f"random other parts that were put in (largest {format_fixed(find_largest(d['random']), 3)})"
        )


def _recovery(out: Any, d: Mapping[str, Any] | None) -> None:
    if d is None:
        return
    i = d["interval"]
    out.print("\n[bold]Recovery of exact patching[/]")
    table = make_table("", "Spearman (95 %)", f"among its first {d['true']:,}", "AUROC", numbers=("AUROC",))
    table.add_row(
        "these scores",
        f"{format_fixed(d['spearman'])} ({format_range(i['low'], i['high'], format_fixed)})",
        format_percent(d["precision"]),
        format_fixed(d["auroc"], 3),
    )
    table.add_row("random order", "0.00", format_percent(d["chance"]), "0.500")
    table.add_row("exact patching", "1.00", "100%", "1.000")
    print_table(out, table)


def _with(d: Mapping[str, Any]) -> str:
    between = format_range(d["low"], d["high"], format_fixed)
    return format_fixed(d["value"]) + ("" if between == ABSENT else f" ({between})")
