"""A survey in a terminal: site by site the range of its units, and the unit that goes highest."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.markup import escape

from patchclamp.core.plain_names import name_unit
from patchclamp.core.plain_numbers import (
    ABSENT,
    format_fixed,
    format_percent,
    format_token,
)
from patchclamp.report.terminal.table import make_table, open_console, print_table

SHOWN = 24
"""Sites that a table shows."""
AROUND = 6
"""Tokens that are shown before a peak."""


def show_statistics(survey: Any) -> None:
    """Print what a survey found at each site."""
    out, paths = open_console(), list(survey.sites)
    numbers = ("units", "never above 0", "lowest", "mean", "highest")
    table = make_table("site", *numbers, "highest unit", numbers=numbers)
    for path in paths[:SHOWN]:
        statistics = survey.statistics(path)
        low, mean, high = (np.asarray(statistics[name], dtype=np.float64) for name in ("minimum", "mean", "maximum"))
        known = np.flatnonzero(np.isfinite(high))
        if not len(known):
            table.add_row(path, f"{len(high):,}", *[ABSENT] * 5)
            continue
        figures = [format_fixed(float(x)) for x in (low[known].min(), mean[known].mean(), high[known].max())]
        silent = int((high[known] <= 0).sum())
        table.add_row(path, f"{len(high):,}", f"{silent:,}", *figures, str(known[high[known].argmax()]))
    print_table(out, table)
    if len(paths) > SHOWN:
        out.print(f"… and {len(paths) - SHOWN} more sites", style="dim")


def show_units(units: Sequence[Any], spell: Callable[[int], str] | None = None) -> None:
    """Print the units that stand out most, each with the place where it is highest.

    Args:
        units: rows of ``StoredSurvey.stand_out``.
        spell: token id → its text; without it places of texts are numbers.
    """
    out = open_console()
    out.print("\n[bold]Units that rise highest above their own mean[/], in standard deviations")
    numbers = ("highest", "mean", "above 0")
    table = make_table("unit", *numbers, "highest at", "key", numbers=numbers)
    for unit in units:
        shares = (format_fixed(unit["maximum"]), format_fixed(unit["mean"]), format_percent(unit["active"], 1))
        table.add_row(escape(name_unit(unit["key"])), *shares, escape(_place(unit["peak"], spell)), escape(unit["key"]))
    print_table(out, table)


def _place(peak: Any, spell: Callable[[int], str] | None) -> str:
    if peak is None:
        return ABSENT
    if not peak["ids"]:
        return f"{peak['image']} at {', '.join(map(str, peak['place']))}"
    at = peak["place"][0]
    if spell is None:
        return f"token {peak['ids'][at]}, position {at}"
    before = format_token("".join(map(spell, peak["ids"][max(at - AROUND, 0) : at])))
    return f"{before}»{format_token(spell(peak['ids'][at]))}«"
