"""Circuit evaluate's tables: by size, over all sizes, part by part."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from patchclamp.cli.tables import _console, _grid, _print


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
        table.add_row(f"{p['size']:,}", f"{p['share']:.1%}", *cells)
    a = d["area"]
    over = f"{a['low']:.0%}–{a['high']:.0%}"
    table.add_row("[bold]area[/]", over, *(_with(a[name]) for name in ("kept", "rest", "random", "ahead")))
    table.add_row("whole model", "100%", "1.00", "0.00", "1.00", "0.00")
    _print(out, table)
    out.print(
        f"area ahead of random circuits: p = {a['p_pairs']:.2g} over pairs (signs flipped, two-sided), p = "
        f"{a['p_random']:.2g} by its rank among {d['about']['random']} random circuits. |1 − F| over the same sizes: "
        f"{_with(a['distance'])}"
    )
    _minimal(out, d.get("minimality"))
    _recovery(out, d.get("recovery"))
    out.print(
        r"Faithfulness F = \[m(C) − m(∅)] / \[m(M) − m(∅)] of means over pairs, 95 % bootstrap over pairs; everything "
        "else: F of all parts but the circuit's, low where it is complete. Random circuits: mean and middle 95 %, as "
        f"many parts of each kind ({d['about']['random']} of them). Area: trapezoids over the share, by its range.",
        style="dim",
    )


def _minimal(out: Any, d: Mapping[str, Any] | None) -> None:
    if d is None:
        return
    out.print(f"\n[bold]Minimality[/] at {d['size']:,} parts: what F loses when one part alone leaves")
    table = _grid("part", "share of m(M) − m(∅)", numbers=("share of m(M) − m(∅)",))
    for row in sorted(d["parts"], key=lambda row: -row["value"])[:10]:
        table.add_row(escape(row["part"]), _with(row))
    _print(out, table)
    if d["random"]:
        out.print(
            f"{d['needed']:.0%} of {len(d['parts'])} parts move m more than each of {len(d['random'])} random other "
            f"parts that were put in (largest {max(map(abs, d['random'])):.3f})"
        )


def _recovery(out: Any, d: Mapping[str, Any] | None) -> None:
    if d is None:
        return
    i = d["interval"]
    out.print("\n[bold]Recovery of exact patching[/]")
    table = _grid("", "Spearman (95 %)", f"among its first {d['true']:,}", "AUROC", numbers=("AUROC",))
    table.add_row(
        "these scores",
        f"{d['spearman']:.2f} ({i['low']:.2f} to {i['high']:.2f})",
        f"{d['precision']:.0%}",
        f"{d['auroc']:.3f}",
    )
    table.add_row("random order", "0.00", f"{d['chance']:.0%}", "0.500")
    table.add_row("exact patching", "1.00", "100%", "1.000")
    _print(out, table)


def _with(d: Mapping[str, float]) -> str:
    value, low, high = (_plain(d[name]) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})" if d["low"] == d["low"] else value


def _plain(x: float) -> str:
    text = f"{x:.2f}"
    return text if float(text) else "0.00"
