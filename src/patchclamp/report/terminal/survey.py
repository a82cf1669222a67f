"""A survey in a terminal: site by site the range of its units, and the unit that goes highest."""

from typing import Any

import numpy as np

from patchclamp.core.plain_numbers import (
    ABSENT,
    format_fixed,
)
from patchclamp.report.terminal.table import make_table, open_console, print_table

SHOWN = 24
"""Sites that a table shows."""


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
