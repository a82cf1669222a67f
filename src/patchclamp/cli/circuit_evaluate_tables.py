"""Tables of ``circuit evaluate``: by size, over all sizes, part by part."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from patchclamp.cli.tables import (
    ABSENT,
    _console,
    _fixed,
    _general,
    _grid,
    _largest,
    _or_least,
    _percent,
    _print,
    _range,
)


def show(d: Mapping[str, Any]) -> None:
    """Print an evaluation: by size, over all sizes, part by part."""
    out = _console()
    out.print(f"[bold]{escape(d['title'])}[/]")
    out.print(escape(d["told"]), style="bold dark_orange" if d["seen"] else None)
    if d["left_out"]:
        out.print("left out: " + ", ".join(f"{n} ({reason})" for reason, n in d["left_out"].items()))
    columns = ("parts", "share", "circuit alone", "everything else", "random circuits", "ahead")
    table = _grid(*columns, numbers=columns)
    for p in d["points"]:
        cells = [_with(p[name]) for name in ("kept", "rest", "random", "ahead")]
        table.add_row(f"{p['size']:,}", _percent(p["share"], 1), *cells)
    a = d["area"]
    over = f"{_percent(a['low'])}–{_percent(a['high'])}"
    table.add_row("[bold]area[/]", over, *(_with(a[name]) for name in ("kept", "rest", "random", "ahead")))
    table.add_row("whole model", "100%", "1.00", "0.00", "1.00", "0.00")
    _print(out, table)
    out.print(
        f"area ahead of random circuits: p = {_general(a['p_pairs'], 2)} over pairs (signs flipped, two-sided), p = "
        f"{_general(a['p_random'], 2)} by its rank among {d['about']['random']} random circuits. |1 − F| over the "
        f"same sizes: {_with(a['distance'])}"
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
    table = _grid("part", "share of m(M) − m(∅)", numbers=("share of m(M) − m(∅)",))
    for row in sorted(d["parts"], key=lambda row: -_or_least(row["value"]))[:10]:
        table.add_row(escape(row["part"]), _with(row))
    _print(out, table)
    if d["random"]:
        out.print(
            f"{_percent(d['needed'])} of {len(d['parts'])} parts move m more than each of {len(d['random'])} random "
            f"other parts that were put in (largest {_fixed(_largest(d['random']), 3)})"
        )


def _recovery(out: Any, d: Mapping[str, Any] | None) -> None:
    if d is None:
        return
    i = d["interval"]
    out.print("\n[bold]Recovery of exact patching[/]")
    table = _grid("", "Spearman (95 %)", f"among its first {d['true']:,}", "AUROC", numbers=("AUROC",))
    table.add_row(
        "these scores",
        f"{_fixed(d['spearman'])} ({_range(i['low'], i['high'], _fixed)})",
        _percent(d["precision"]),
        _fixed(d["auroc"], 3),
    )
    table.add_row("random order", "0.00", _percent(d["chance"]), "0.500")
    table.add_row("exact patching", "1.00", "100%", "1.000")
    _print(out, table)


def _with(d: Mapping[str, Any]) -> str:
    between = _range(d["low"], d["high"], _fixed)
    return _fixed(d["value"]) + ("" if between == ABSENT else f" ({between})")
