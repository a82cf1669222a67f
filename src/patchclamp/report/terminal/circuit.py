"""A circuit in a terminal: its first parts and what was measured of them."""

from typing import Any

from rich.markup import escape

from patchclamp.core.caution import caution
from patchclamp.core.circuit import is_measured
from patchclamp.core.plain_names import name_part
from patchclamp.core.plain_numbers import (
    different_sets,
    find_largest,
    format_general,
    format_range,
    format_share,
    format_signed,
    is_known,
    random_sets,
)
from patchclamp.report.terminal.receipt import print_sentence
from patchclamp.report.terminal.table import draw_bar, make_table, open_console, print_table

FIRST, NEAR = 8, 1e-3
"""Parts that are shown by default; share of the largest score from which on one is shown."""


def show_circuit(found: Any, document: dict[str, Any], *, full: bool = True) -> None:
    """Print the verdict on a circuit, its first parts with intervals, and the receipt.

    Args:
        found: the circuit.
        document: what ``--json`` prints of it.
        full: print the keys of the parts, more of them, and everything that was measured.
    """
    out, about, r = open_console(), document["about"], document["receipt"]
    n = len(about.get("pairs", ()))
    metric = (r or {}).get("quantity") or str(about.get("metric", "not stated")).replace("_", " ")
    several = "s" if n != 1 else ""
    clean, corrupted = (format_signed(about.get(name), 2) for name in ("m_clean", "m_corrupted"))
    few = caution(n, "pairs")
    notes = [f"{line}." for line in about.get("answer_notes", ())]
    if verdict := (r or {}).get("sentence"):
        print_sentence(out, r["verdict"], verdict, [*([few] if few else []), *notes])
    out.print(
        f"[bold]{escape(found.provenance.subject)}[/]: m = {escape(metric.removeprefix('the '))}, {n} pair{several}: "
        f"{clean} on clean prompts, {corrupted} on corrupted ones"
    )
    out.print(f"{_how(document)}\n", style="dim")
    # Scores of patching are measurements: to replace the first parts once more adds nothing.
    again = [] if is_measured(found) else ["measured"]
    kind, keys = "predicted" if again else "measured", ["key"] if full else []
    columns = ("", found.level, *keys, kind, "95 % interval", *again, "")
    table = make_table(*columns, numbers=("", "predicted", "measured"))
    # Those near zero carry nothing: they are in the folder.
    listed = document["parts"]
    scale = find_largest(part["score"] for part in listed) or 1.0
    shown = listed if full else [one for one in listed[:FIRST] if abs(one["score"]) > NEAR * scale] or listed[:1]
    for i, part in enumerate(shown, 1):
        between = format_range(part["low"], part["high"])
        measured = ["" if part["measured"] is None else format_signed(part["measured"])] if again else []
        named = [escape(name_part(part["part"])), *([escape(part["part"])] if full else [])]
        score = part["score"]
        table.add_row(str(i), *named, format_signed(score), between, *measured, draw_bar(score, scale))
    print_table(out, table)
    if few and not verdict:
        out.print(few, style="bold dark_orange")
    if document["n_parts"] > len(shown):
        where = "in the folder" if full else "in the folder; the first of them, and all that was measured: --full"
        out.print(f"… and {document['n_parts'] - len(shown):,} more, {where}", style="dim")
    if r:
        _receipt(out, document, edges=found.of_edges, full=full)


def _how(document: dict[str, Any]) -> str:
    settings = document["about"].get("settings", {})
    parts = {
        "direction": f"direction {settings.get('direction')}",
        "rules": f"rules {', '.join(settings.get('rules') or ()) or 'none'}",
        "steps": f"{settings.get('steps')} steps",
        "gap": f"completeness gap {format_general(settings.get('gap'), 2)}",
    }
    words = "; ".join(text for name, text in parts.items() if name in settings)
    return f"scored by {document['method']}" + (f" ({words})" if words else "")


def _receipt(out: Any, document: dict[str, Any], *, edges: bool, full: bool) -> None:
    r, settings = document["receipt"], document["about"].get("settings", {})
    n = len(r["parts"])
    done = "gains, in the mean over these pairs, when parts of the corrupted prompts are as in the clean ones"
    if settings.get("direction") != "denoise":
        done = "loses, in the mean over these pairs, when parts are as in the corrupted prompts"
    out.print(f"\n[bold]Receipt[/]: what m {done}")
    table = make_table("", "measured", "share", "95 % interval", numbers=("measured", "share"))
    these, randoms = f"these {n} together" if n > 1 else "the first", f"{random_sets(r['distinct'])}, mean"
    rows = (
        (these, r["measured"], r["measured_share"], r["interval"]),
        (randoms, r["random_mean"], r["random_share"], r["random_interval"]),
        *((f"as many by {name}", effect, None, (None, None)) for name, effect in r.get("rivals", {}).items()),
    )
    for name, measured, share, (low, high) in rows:
        table.add_row(escape(name), format_signed(measured), format_share(share), format_range(low, high))
    print_table(out, table)
    if not is_known(r["measured_share"]):
        out.print(
            "No percentages are given: m is not clearly higher on these clean prompts than on the corrupted ones.",
            style="bold",
        )
    if not full:
        return
    if not r["distinct"]:
        out.print("No p: no other part of these kinds is left to draw random sets from.", style="bold")
    elif not is_known(r["p"]):
        out.print(
            f"No p: random sets have only {r['size']} parts, for so few others of these kinds are left. Take fewer "
            "with --top.",
            style="bold",
        )
    else:
        least = r["p"] <= 1.5 / (r["distinct"] + 1)
        shown = f", the least that {different_sets(r['distinct'])} can show" if least else ""
        out.print(f"p = {r['p']:.3f}{shown}: the share of sets that take at least as much, these parts counted.")
    if 0 < r["distinct"] < r.get("asked", len(r["randoms"])):
        out.print("No more random sets than these could be drawn: few other parts of these kinds are left.")
    if agreement := agreement_text(r):
        out.print(agreement)
    out.print(
        f"These {n}: the highest scores, those near zero left out. "
        + (f"Random sets: {escape(r['rule'])}. " if r.get("rule") else "")
        + ("" if edges else "The embedding is in no set: to replace it is to show the corrupted prompt. ")
        + "These are the pairs that the circuit was found on; `patchclamp evaluate` takes others.",
        style="dim",
    )


def agreement_text(r: dict[str, Any]) -> str:
    """Return how predictions of single parts agree with their measurements, and which to trust; empty of measured ones.

    Args:
        r: a receipt as JSON-ready data.
    """
    agreement = r.get("agreement")
    if not agreement:
        return ""
    order, ratio = agreement.get("spearman"), agreement.get("ratio")
    n = len(r["parts"])
    said = f"Each of these {n} parts was also replaced by itself. " if n > 1 else "The part was replaced by itself. "
    if order is not None:
        said += f"Spearman's ρ between predicted and measured effects is {order:.2f}. "
    if ratio is not None:
        said += f"The measured effect is {ratio:.2f} times the predicted one"
        said += f" (median over the {n} parts). " if n > 1 else ". "
    return (
        f"{said}Where the two differ, trust what is measured: it is what the model did; predictions follow slopes. "
        "Other parts were not measured, and one that is predicted near zero may matter: --method "
        "activation_patching measures all."
    )
