"""An explanation in a terminal: the answer, its causes with receipts, and the controls beside them."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from patchclamp.core.method_index import find_default, find_title
from patchclamp.core.plain_names import name_unit
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
    known_or_least,
    random_sets,
)
from patchclamp.core.receipt import REPLACED, name_units
from patchclamp.report.terminal.receipt import print_verdict
from patchclamp.report.terminal.table import draw_bar, make_table, open_console, print_table

POOR = 0.5
"""Below this rank correlation predictions are said to agree poorly."""

MORE = 0.01
"""A rival takes more where it does so by one hundredth."""

FIRST = 8
"""Causes that are shown by default."""

BASELINES = {"zero": "zero", "mean": "their means", "corrupted": "their values on the other prompt"}


def show_explanation(
    e: Any,
    name: str,
    bases: Sequence[str] = (),
    chat: str | None = None,
    how: Sequence[str] = (),
    *,
    full: bool = False,
) -> None:
    """Print an explanation: the answer, the verdict and what to be careful of, then the causes beside random sets.

    Args:
        e: the explanation.
        name: the model, as the command at the end names it.
        bases: folders of features that were given, which the command at the end takes too.
        chat: what was said, where the prompt is a chat.
        how: options under which the model was loaded.
        full: print everything that was measured, with the keys of the units.
    """
    out, q = open_console(), e.case
    first = ", ".join(f"{escape(format_token(t))} {format_percent(p, 1)}" for t, p in e.likeliest)
    out.print(f"[bold]{escape(q.prompt + q.given)}[/] → {first}")
    print_verdict(out, e.receipts.receipt, e.cautions)
    unit = f" ({q.metric.unit})" if q.metric.unit else ""
    out.print(f"m = {escape(q.quantity.removeprefix('the '))}{unit} = {format_signed(e.metric_clean, 2)}", style="dim")
    if q.beginning:
        out.print(
            f"The answer's beginning {escape(repr(q.beginning))} is shown after the prompt: positions count it too, "
            f"and m is read {'after it' if q.given else 'along it'}."
        )
    if full:
        _print_settings(out, e)
    out.print()
    _causes(out, e, e.causes if full else e.causes[:FIRST], full=full)
    if full:
        _receipt(out, e)
        _agreement(out, e.receipts.agreement, e.method)
        _print_kept_curve(out, e)
        if e.opposing:
            out.print("\n[bold]Against the answer[/]")
            _causes(out, e, e.opposing, full=full)
    else:
        _print_controls(out, e)
    if not q.masked:
        _advice(out, e, name, bases, chat, how)


def _print_settings(out: Console, e: Any) -> None:
    """Print how the units were scored, and what m is read from."""
    q = e.case
    floor = f"m = {format_signed(e.metric_baseline, 2)} " + (
        "on the other prompt" if e.baseline == "corrupted" else f"with every unit {REPLACED[e.baseline]}"
    )
    out.print(
        f"m = {escape(q.explained)}; {floor}; scored by {find_title(e.method, 'attribute')}, values compared with "
        f"{BASELINES[e.baseline]}",
        style="dim",
    )


def _print_controls(out: Console, e: Any) -> None:
    """Print what the causes do together, beside random sets and the strongest of the simpler choices."""
    randoms, n = e.receipts.randoms, len(e.causes)
    table = make_table("", "takes from m", "", numbers=("takes from m",))
    table.add_row(f"{name_units(n)} together" if n > 1 else name_units(n), format_signed(e.measured), "")
    largest = format_signed(max(filter(is_known, randoms.measured), key=abs, default=math.nan))
    rule = f"mean; the largest {largest}; {randoms.rule}"
    table.add_row(random_sets(randoms.n_different), format_signed(randoms.mean), rule)
    # A choice that has all of our units is no rival.
    others = [rival for rival in e.receipts.rivals if rival.shared < n]
    for rival in sorted(others, key=lambda one: known_or_least(one.measured))[-1:]:
        keys = f"{len(rival.keys)} by {rival.name}"
        table.add_row(keys, format_signed(rival.measured), _say_rival(e, rival))
    out.print()
    print_table(out, table)
    _print_omitted(out, e)
    if n > FIRST:
        out.print(f"{n - FIRST} more causes, and everything that was measured: --full", style="dim")


def _print_omitted(out: Console, e: Any) -> None:
    """Print which simpler choice could not be made, and why."""
    for rival, why in e.omitted.items():
        out.print(f"not compared: {rival} ({escape(why)})", style="dim")


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
    what = "the opposite value of the first unit" if best.kind in ("neuron", "head") else "the first unit at zero"
    out.print(f"\nTry {what}: {words}", markup=False, soft_wrap=True)


def _causes(out: Console, e: Any, causes: Sequence[Any], *, full: bool) -> None:
    wide = out.width >= 100
    promotes = any(c.promotes for c in causes)
    repeated = [token for token, times in Counter(token for token, _ in e.tokens).items() if times > 1]
    scale = find_largest(c.measured for c in causes) or 1.0
    shown: dict[str, Callable[[int, Any], str | Text]] = {
        "": lambda i, c: str(i),
        "unit": lambda _, c: escape(name_unit(c.key)),
        "key": lambda _, c: escape(_local(c.key)),
        "token": lambda _, c: escape(format_token(c.token)) + (f" ({c.position})" if c.token in repeated else ""),
        "value": lambda _, c: format_fixed(c.activation),
        "predicted": lambda _, c: format_signed(c.predicted),
        "measured": lambda _, c: format_signed(c.measured),
        "effect": lambda _, c: draw_bar(c.measured, scale),
        "promotes": lambda _, c: " ".join(escape(format_token(t)) for t in c.promotes),
    }
    left_out = {"key": not full, "value": not full, "effect": not wide, "promotes": not promotes}
    names = [name for name in shown if not left_out.get(name)]
    table = make_table(*names, numbers=("", "value", "predicted", "measured"))
    for i, c in enumerate(causes, 1):
        table.add_row(*(shown[name](i, c) for name in names))
    print_table(out, table)


def _local(key: str) -> str:
    """Return a key without its subject, which the heading names."""
    return key.split("/", 1)[1]


def _receipt(out: Console, e: Any) -> None:
    randoms, n = e.receipts.randoms, len(e.causes)
    out.print(f"\n[bold]Receipt[/]: what m loses when units are {REPLACED[e.baseline]}")
    table = make_table("", "measured", "share", "", numbers=("measured", "share"))

    def row(what: str, effect: float, note: str = "") -> None:
        table.add_row(what, format_signed(effect), format_share(e.share(effect)), note)

    row(f"{name_units(n)} together" if n > 1 else name_units(n), e.measured, _p(e.receipts.receipt))
    between = ABSENT if randoms.interval is None else format_range(randoms.interval.low, randoms.interval.high)
    row(random_sets(randoms.n_different), randoms.mean, f"mean; 95 % interval {between}")
    row("  largest in magnitude", max(filter(is_known, randoms.measured), key=abs, default=math.nan))
    for rival in e.receipts.rivals:
        row(f"{len(rival.keys)} by {rival.name}", rival.measured, _say_rival(e, rival))
    print_table(out, table)
    _print_omitted(out, e)
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
        f"Random sets match these in number: {randoms.rule} ({format_percent(randoms.outside)} of their units came "
        "from another decile of size, or from a wider match). p: the share of sets at least as strong.",
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


def _say_rival(e: Any, rival: Any) -> str:
    """Return how many of a rival's units are ours, and whether it takes more than ours."""
    more = rival.measured - e.measured > MORE * abs(e.measured)
    return _count_shared(rival.shared) + (", [bold dark_orange]takes more than these[/]" if more else "")


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


def show_candidates(found: Sequence[dict[str, Any]], command: str) -> None:
    """Print a prompt's likeliest answers, and the command that explains the first.

    Args:
        found: ``answer`` and ``probability`` of each, the likeliest first.
        command: as it is typed.
    """
    out = open_console()
    out.print("[bold]Which answer? The model's likeliest are:[/]")
    table = make_table("answer", "probability", numbers=("probability",))
    for one in found:
        table.add_row(escape(format_token(one["answer"])), format_percent(one["probability"], 1))
    print_table(out, table)
    out.print(f"\nExplain the first against the second: {command}", markup=False, soft_wrap=True)
