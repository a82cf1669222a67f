"""Scored descriptions in a terminal: a line per score and row."""

from rich.markup import escape

from patchclamp.core.plain_numbers import ABSENT, format_fixed
from patchclamp.describe.score import ScoredDescriptions
from patchclamp.report.scored_descriptions import ROWS
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "ScoredDescriptions"


def show(scored: ScoredDescriptions, _top: int) -> None:
    """Print the mean scores, each beside shuffled and random descriptions and chance."""
    out, described = open_console(), scored.descriptions
    out.print(
        f"{len(described):,} descriptions by {escape(described.author or 'hand')}, scored on windows not shown to it"
    )
    heads = ("mean", "low", "high", "chance", "units", "missing")
    table = make_table("score", "descriptions", *heads, numbers=heads)
    for one in scored.rows:
        estimate = one.estimate
        chance = ABSENT if estimate.null is None else format_fixed(estimate.null.low, 2)
        ends = [format_fixed(x, 3) for x in (estimate.value, estimate.low, estimate.high)]
        counts = f"{estimate.n:,}", f"{one.missing:,} of {one.answers:,}"
        table.add_row(escape(one.score), ROWS[one.row], *ends, chance, *counts)
    print_table(out, table)
    for cost in scored.costs:
        out.print(
            f"{escape(cost.scorer)}: {cost.calls:,} calls, {cost.windows:,} windows, {cost.tokens:,} tokens, "
            f"{cost.seconds:.1f} s",
            style="dim",
        )
