"""What describing takes, and how far descriptions hold, in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import ABSENT, format_fixed, human_bytes, human_s
from patchclamp.report.terminal.table import make_table, open_console, print_table

FAILING = 10
"""Descriptions that do not hold and are printed."""


def show_plan(plan: Any) -> None:
    """Print what describing will read, hold and write, before it begins."""
    out = open_console()
    scorers = f", scored by {', '.join(plan.scorers)}" if plan.scorers else ", not scored"
    out.print(f"[bold]plan[/] {plan.units:,} units by {escape(plan.method)}{escape(scorers)}")
    out.print(
        f"     {plan.windows:,} windows, {plan.tokens:,} tokens, {plan.passes} passes over the text; at most "
        f"{human_bytes(plan.memory_bytes)} of memory beside the model, {human_bytes(plan.disk_bytes)} of disk meanwhile"
    )
    if plan.calls:
        out.print(f"     at most {plan.calls:,} questions to a language model, about {plan.chat_tokens:,} tokens")
    if plan.seconds is not None:
        out.print(f"     about {human_s(plan.seconds)}")


def show_trust(page: Any, run: str = "") -> None:
    """Print coverage, and scores beside shuffled and random descriptions.

    Args:
        page: what Trust shows.
        run: only this layer's.
    """
    out = open_console()
    share = page.n_described / max(page.n_units, 1)
    out.print(f"{page.n_described:,} of {page.n_units:,} units described ({share:.1%}), {page.n_scored:,} with a score")
    methods = [method for method in page.methods if run in ("", method.run)]
    table = make_table("author", "measure", "mean", "95 %", "shuffled", "random", "units", "unread", numbers=("mean",))
    for method in methods:
        for one in method.measures:
            mean, unread = one.described, ABSENT if one.missing is None else f"{one.missing:.1%}"
            others = [ABSENT if x is None else format_fixed(x.value, 3) for x in (one.shuffled, one.random)]
            span = ABSENT if mean.low is None else f"{format_fixed(mean.low, 3)} to {format_fixed(mean.high, 3)}"
            table.add_row(
                escape(method.author),
                escape(one.measure),
                format_fixed(mean.value, 3),
                span,
                *others,
                f"{mean.n:,}",
                unread,
            )
    if any(method.measures for method in methods):
        print_table(out, table)
    for method in methods:
        cost = f", {method.calls:,} calls, {method.tokens:,} tokens" if method.calls else ""
        took = "" if method.seconds is None else f", {human_s(method.seconds)}"
        out.print(f"{escape(method.author)}: {method.units:,} units{cost}{took}")
        for failed in method.failed:
            out.print(f"  {failed.units:,} units have no description: {escape(failed.reason)}")
    if page.points is not None:
        out.print(
            f"{page.n_failing:,} of {page.points.total:,} hold no better than chance by {escape(page.points.measure)} "
            f"({format_fixed(page.points.chance, 2)})"
        )


def show_distributions(page: Any, failing: Sequence[Any]) -> None:
    """Print how the scores are spread over units, and the descriptions that hold least.

    Args:
        page: what Trust shows.
        failing: descriptions that hold no better than chance.
    """
    out = open_console()
    names = ("lowest", "quartile", "median", "quartile", "highest")
    table = make_table("author", "measure", *names, "0.8 or more", numbers=names)
    for method in page.methods:
        for one in method.measures:
            good = ABSENT if one.good is None else f"{one.good:.1%}"
            cuts = [format_fixed(value, 3) for value in one.quantiles] or [ABSENT] * len(names)
            table.add_row(escape(method.author), escape(one.measure), *cuts, good)
    print_table(out, table)
    worst = make_table("unit", "description", "score", "wrong on", numbers=("score",))
    for one in failing[:FAILING]:
        worst.add_row(escape(one.name), escape(one.text), format_fixed(one.score.value, 3), f"{one.wrong:,}")
    if failing:
        out.print(f"those that hold no better than chance, {min(FAILING, len(failing))} of {len(failing):,}")
        print_table(out, worst)
