"""An explanation in a terminal: the answer, its causes with receipts, and the controls beside them."""

import math
import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from patchclamp.core.method_index import find_default, find_title
from patchclamp.core.plain_numbers import (
    ABSENT,
    different_sets,
    find_largest,
    format_fixed,
    format_percent,
    format_range,
    format_share,
    format_signed,
    format_token,
    is_known,
    is_share,
    random_sets,
)
from patchclamp.report.terminal.table import draw_bar, make_table, open_console, print_table

POOR = 0.5
"""Below this rank correlation predictions are said to agree poorly."""

MORE = 0.01
"""A rival takes more where it does so by one hundredth."""

BASELINES = {"zero": "zero", "mean": "their means", "corrupted": "their values on the corrupted prompt"}

REPLACED = {
    "zero": "set to zero",
    "mean": "set to their means",
    "corrupted": "given their values on the corrupted prompt",
}


def show_explanation(
    e: Any, name: str, bases: Sequence[str] = (), chat: str | None = None, how: Sequence[str] = ()
) -> None:
    """Print an explanation: the answer, its causes with receipts, and the controls beside them.

    Args:
        e: the explanation.
        name: the model, as the command at the end names it.
        bases: folders of features that were given, which the command at the end takes too.
        chat: what was said, where the prompt is a chat.
        how: options under which the model was loaded.
    """
    out, q = open_console(), e.case
    first = ", ".join(f"{escape(format_token(t))} {format_percent(p, 1)}" for t, p in e.likeliest)
    out.print(f"[bold]{escape(q.prompt + q.given)}[/] → {first}")
    if q.target and e.likeliest and is_known(e.probability) and e.likeliest[0][1] > e.probability:
        likely, p = e.likeliest[0]
        named = q.target_names[0]
        token = "the first token of " if q.metric.kind == "sequence_log_probability" else ""
        out.print(
            f"[bold dark_orange]The model itself answers otherwise: {escape(format_token(likely))} "
            f"{format_percent(p, 1)}, against {format_percent(e.probability, 1)} for {token}"
            f"{escape(format_token(named))}.[/]"
        )
    floor = "on the corrupted prompt" if e.baseline == "corrupted" else f"with every unit {REPLACED[e.baseline]}"
    clean, without = format_signed(e.metric_clean, 2), format_signed(e.metric_baseline, 2)
    out.print(f"explained: m = {escape(q.explained)} = {clean}; {without} {floor}")
    for line in q.answer_notes:
        out.print(f"note: {escape(line)}")
    if q.beginning:
        out.print(
            f"The answer's beginning {escape(repr(q.beginning))} is shown after the prompt: positions count it too, "
            f"and m is read {'after it' if q.given else 'along it'}."
        )
    out.print(
        f"scored by {find_title(e.method, 'attribute')}, values compared with {BASELINES[e.baseline]}\n", style="dim"
    )
    out.print(f"[bold]Verdict[/]: {escape(e.sentence)}\n")
    _causes(out, e.causes)
    _receipt(out, e)
    _agreement(out, e.receipts.agreement, e.method)
    _print_kept_curve(out, e)
    if e.opposing:
        out.print("\n[bold]Against the answer[/]")
        _causes(out, e.opposing)
    if not q.masked:
        _advice(out, e, name, bases, chat, how)


def _advice(out: Console, e: Any, name: str, bases: Sequence[str], chat: str | None, how: Sequence[str]) -> None:
    """Print a command that turns the first cause round in the text that was scored; or why there is none."""
    q = e.case
    best = next((c for c in e.causes if c.activation and is_known(c.activation)), None)
    if best is None:
        return
    picture = hasattr(q.clean, "pixels")
    said = chat is not None and not q.beginning
    text = chat if said else q.prompt if picture else q.text
    if text is None:
        out.print("\nNo command to try it with: no text has just the tokens that were scored.")
        return
    turned = shlex.quote(
        _local(best.key)
        + (f"={-best.activation:.2f}" if best.kind == "neuron" else "*=-1" if best.kind == "head" else "=0")
    )
    words = f"patchclamp generate {shlex.quote(name)} {shlex.quote(text)} --clamp {turned}"
    words += "".join(f" {shlex.quote(word)}" for word in (*(["--chat"] if said else []), *how))
    if best.kind == "feature":
        words += "".join(f" --basis {shlex.quote(folder)}" for folder in bases)
    out.print(f"\nTry the opposite value of the first unit: {words}", markup=False, soft_wrap=True)


def _causes(out: Console, causes: Sequence[Any]) -> None:
    wide = out.width >= 100
    names = ("", "unit", "token", "value", "predicted", "measured", *(["effect"] if wide else []), "promotes")
    table = make_table(*names, numbers=("", "value", "predicted", "measured"))
    scale = find_largest(c.measured for c in causes) or 1.0
    for i, c in enumerate(causes, 1):
        bar = [draw_bar(c.measured, scale)] if wide else []
        figures = (format_fixed(c.activation), format_signed(c.predicted), format_signed(c.measured))
        words = " ".join(escape(format_token(t)) for t in c.promotes)
        table.add_row(str(i), escape(_local(c.key)), escape(format_token(c.token)), *figures, *bar, words)
    print_table(out, table)


def _local(key: str) -> str:
    """Return a key without its subject, which the heading names."""
    return key.split("/", 1)[1]


def _receipt(out: Console, e: Any) -> None:
    randoms, n = e.receipts.randoms, len(e.causes)
    out.print(f"\n[bold]Receipt[/]: what m loses when units are {REPLACED[e.baseline]}")
    table = make_table("", "predicted", "measured", "share", "", numbers=("predicted", "measured", "share"))

    def row(what: str, effect: float, note: str = "", predicted: str = "") -> None:
        table.add_row(what, predicted, format_signed(effect), format_share(e.share(effect)), note)

    row(f"these {n} together", e.measured, _p(e.receipts.receipt), format_signed(e.predicted))
    between = ABSENT if randoms.interval is None else format_range(randoms.interval.low, randoms.interval.high)
    row(random_sets(randoms.n_different), randoms.mean, f"mean; 95 % interval {between}")
    row("  largest in magnitude", max(filter(is_known, randoms.measured), key=abs, default=math.nan))
    for rival in e.receipts.rivals:
        more = (
            ", [bold dark_orange]takes more than these[/]"
            if rival.measured - e.measured > MORE * abs(e.measured)
            else ""
        )
        row(f"{len(rival.keys)} by {rival.name}", rival.measured, f"{_count_shared(rival.shared)}{more}")
    print_table(out, table)
    for rival, why in e.omitted.items():
        out.print(f"not compared: {rival} ({escape(why)})", style="dim")
    if randoms.size < n:
        out.print(
            f"Each random set has only {randoms.size} units: so many others of their kinds remain. "
            "They give no p; ask for fewer causes (--top).",
            style="bold dark_orange",
        )
    if randoms.n_different < randoms.asked:
        out.print(
            f"No more than {random_sets(randoms.n_different)} of {randoms.asked} that were asked for: these sites are "
            "small.",
            style="bold dark_orange",
        )
    if e.share(1.0) is None:
        moved = e.metric_clean - e.metric_baseline
        why = f"m(clean) − m(baseline) is {format_signed(moved)}, below 0.1."
        if is_known(moved) and moved < 0 and e.baseline != "corrupted":
            why += (
                f" With every unit {REPLACED[e.baseline]} m favours the answer: --counterpart takes another baseline."
            )
        out.print(f"No percentages are given: {why}", style="bold")
    elif is_known(e.measured) and not is_share(e.share(e.measured)):
        span = format_signed(e.metric_clean - e.metric_baseline)
        did = "raise m" if e.measured < 0 else f"take more than m(clean) − m(baseline) = {span}"
        out.print(
            f"No share is given: these units {did}, and units that work against the answer are left. Effects are in "
            "units of m.",
            style="bold",
        )
    out.print(
        "Predicted: the sum of scores, which counts what units in series carry more than once. Random sets match these "
        f"in number: {randoms.rule} ({format_percent(randoms.outside)} of their units came from another decile of "
        "size, or from a wider match). p: the share of sets at least as strong.",
        style="dim",
    )
    if e.bases:
        out.print(
            "A feature is replaced along its direction, what no feature explains stays; sets draw features that are "
            f"away from their baseline where there are any ({format_percent(randoms.idle)} of the drawn units are none "
            "such: replacing them does nothing).",
            style="dim",
        )


def _agreement(out: Console, a: Any, method: str) -> None:
    near = sum(c.near_zero for c in a.checks)
    rho, slope = (_between(x, i) for x, i in ((a.spearman, a.spearman_interval), (a.slope, a.slope_interval)))
    out.print(
        f"\n[bold]Each of {len(a.checks)} units replaced by itself[/] ({near} of them predicted near zero): Spearman's "
        f"ρ between predicted and measured effects {rho}; slope of measured on predicted effects {slope}"
    )
    measured = find_default("circuit", "attribute")
    if method == measured:
        out.print("These scores are these very measurements: agreement says nothing here.", style="dim")
    if a.spearman < POOR:
        usual = find_default("explain", "attribute")
        other = measured if method == usual else usual
        out.print(f"Predictions agree poorly with measurements here; try --method {other}.", style="bold dark_orange")


def _between(value: float, interval: Any) -> str:
    if not is_known(value):
        return "undefined"
    between = format_range(interval.low, interval.high, format_fixed)
    return f"{format_fixed(value)} (95 % interval {'undefined, too few differ' if between == ABSENT else between})"


def _count_shared(n: int) -> str:
    return f"{n} shared with ours" if n else "no unit shared with ours"


def _print_kept_curve(out: Console, e: Any) -> None:
    kept = e.receipts.kept
    # Every other power of two is enough to see the curve.
    points = [i for i, size in enumerate(kept.sizes) if size in (0, kept.nodes) or size.bit_length() % 2]
    points = [points[0], *points[1:-1][-5:], points[-1]]
    out.print(f"\n[bold]Kept alone[/], all others {REPLACED[e.baseline]}: m by number kept")
    sizes = [f"{kept.sizes[i]:,}" for i in points]
    table = make_table("", *sizes, numbers=sizes)
    for what, values in (("largest scores, either sign", kept.measured), ("random", kept.random)):
        table.add_row(what, *(format_signed(values[i], 2) for i in points))
    print_table(out, table)


def _p(receipt: Any) -> str:
    n = receipt.controls.n_different
    if not is_known(receipt.p):
        return "no p"
    least = receipt.p <= 1.5 * receipt.controls.floor
    return f"p = {receipt.p:.3f}" + (f", the least that {different_sets(n)} can show" if least else "")
