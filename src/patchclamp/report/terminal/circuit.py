"""A circuit in a terminal: its first parts and what was measured of them."""

from typing import Any

from rich.markup import escape

from patchclamp.core.caution import caution
from patchclamp.core.circuit import is_measured
from patchclamp.core.plain_numbers import (
    different_sets,
    find_largest,
    format_general,
    format_percent,
    format_range,
    format_signed,
    is_known,
    random_sets,
)
from patchclamp.report.terminal.receipt import print_sentence
from patchclamp.report.terminal.table import draw_bar, make_table, open_console, print_table


def show_circuit(found: Any, document: dict[str, Any]) -> None:
    """Print a circuit's first parts with intervals, and the receipt.

    Args:
        found: the circuit.
        document: what ``--json`` prints of it.
    """
    out, about = open_console(), document["about"]
    n = len(about.get("pairs", ()))
    metric = str(about.get("metric", "not stated")).replace("_", " ")
    several = "s" if n != 1 else ""
    clean, corrupted = (format_signed(about.get(name), 2) for name in ("m_clean", "m_corrupted"))
    out.print(
        f"[bold]{escape(found.provenance.subject)}[/]: m = {escape(metric)}, mean of {n} pair{several}: "
        f"{clean} clean, {corrupted} corrupted"
    )
    out.print(_how(document), style="dim")
    if verdict := (document["receipt"] or {}).get("sentence"):
        print_sentence(out, document["receipt"]["verdict"], verdict)
    # Scores of patching are measurements: to replace the first parts once more adds nothing.
    again = [] if is_measured(found) else ["measured"]
    kind = "predicted" if again else "measured"
    table = make_table("", found.level, kind, "95 % interval", *again, "", numbers=("", "predicted", "measured"))
    scale = find_largest(part["score"] for part in document["parts"]) or 1.0
    for i, part in enumerate(document["parts"], 1):
        between = format_range(part["low"], part["high"])
        measured = ["" if part["measured"] is None else format_signed(part["measured"])] if again else []
        score = part["score"]
        table.add_row(str(i), escape(part["part"]), format_signed(score), between, *measured, draw_bar(score, scale))
    print_table(out, table)
    if few := caution(n, "pairs"):
        out.print(few, style="bold dark_orange")
    if document["n_parts"] > len(document["parts"]):
        out.print(f"… and {document['n_parts'] - len(document['parts']):,} more, in the folder", style="dim")
    if document["receipt"]:
        _receipt(out, document, edges=found.of_edges)


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


def _receipt(out: Any, document: dict[str, Any], *, edges: bool) -> None:
    r, settings = document["receipt"], document["about"].get("settings", {})
    n = len(r["parts"])
    done = "gains, in the mean over these pairs, when parts of the corrupted prompts are as in the clean ones"
    if settings.get("direction") != "denoise":
        done = "loses, in the mean over these pairs, when parts are as in the corrupted prompts"
    out.print(f"\n[bold]Receipt[/]: what m {done}")
    table = make_table(
        "", "predicted", "measured", "share", "95 % interval", numbers=("predicted", "measured", "share")
    )
    these, randoms = f"these {n} together" if n > 1 else "the first", f"{random_sets(r['distinct'])}, mean"
    rows = (
        (these, format_signed(r["predicted"]), r["measured"], r["measured_share"], r["interval"]),
        (randoms, _foretold(r), r["random_mean"], r["random_share"], r["random_interval"]),
    )
    for name, predicted, measured, share, (low, high) in rows:
        table.add_row(name, predicted, format_signed(measured), format_percent(share), format_range(low, high))
    print_table(out, table)
    if not is_known(r["measured_share"]):
        out.print(
            "No percentages are given: m is not clearly higher on these clean prompts than on the corrupted ones.",
            style="bold",
        )
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
    for name, effect in r.get("rivals", {}).items():
        out.print(f"As many others by {escape(name)}: {format_signed(effect)}")
    if agreement := agreement_text(r):
        out.print(agreement)
    out.print(
        f"These {n}: the highest scores, those near zero left out. Predicted: the sum of scores, which counts what "
        "parts in series carry more than once. "
        + (f"Random sets: {escape(r['rule'])}. " if r.get("rule") else "")
        + ("" if edges else "The embedding is in no set: to replace it is to show the corrupted prompt. ")
        + "These are the pairs that the circuit was found on; `patchclamp evaluate` takes others.",
        style="dim",
    )


def _foretold(r: dict[str, Any]) -> str:
    predicted = r.get("random_predicted")
    return "" if predicted is None else format_signed(predicted)


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
