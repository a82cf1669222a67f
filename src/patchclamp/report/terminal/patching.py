"""Activation patching in a terminal: maps of blocks and places, and the strongest places."""

import math
from typing import Any

import numpy as np
from rich.markup import escape
from rich.text import Text

from patchclamp.core.caution import caution
from patchclamp.core.plain_names import name_unit
from patchclamp.core.plain_numbers import (
    format_general,
    format_range,
    format_signed,
    format_token,
)
from patchclamp.core.score_maps import SHARES, ScoreMap, count_run, map_scores, split_key, tokens_at
from patchclamp.core.scores import Scores
from patchclamp.core.stats_columns import least_p
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Scores"


def suits(scores: Scores) -> bool:
    """Return whether scores are shares of a patching."""
    return scores.unit in SHARES.values()


COLUMN, LABEL = 5, 12
"""Characters of a map's column, and of what stands before each row."""


def show(scores: Scores, top: int) -> None:
    """Print a map for each kind of site, and the strongest places with intervals.

    Args:
        scores: what ``patch_sites`` gave.
        top: how many of the strongest.
    """
    out = open_console()
    m_clean, m_corrupted = (format_general(m, sign="+") for m in (scores.metric_clean, scores.metric_baseline))
    n, options, extra = len(scores.cases), scores.provenance.options, scores.provenance.extra
    into, what = ("corrupted", "clean") if scores.unit == SHARES["denoise"] else ("clean", "corrupted")
    out.print(
        f"[bold]{escape(scores.provenance.subject)}[/], {n:,} pair{'s' * (n != 1)}: {what} values into the {into} run; "
        f"m on clean prompts {m_clean}, on corrupted ones {m_corrupted} "
        f"({options['metric'].replace('_', ' ')})"
    )
    for reason, count in extra["skipped"].items():
        out.print(f"set aside: {count:,}, {reason}", style="dim")
    out.print(
        "Effects in hundredths of m(clean) − m(corrupted), means over pairs: 100 brings all of it back; · rounds to 0"
        + ("; positions count from the end, for prompts differ in length" if extra["aligned"] == "end" else ""),
        style="dim",
    )
    for one in map_scores(scores):
        _map(out, one, scores)
    _strongest(out, scores, top)
    run, agree = count_run(scores)
    out.print(
        f"Over all pairs {run:,} patches were run; in {agree:,} more both prompts agree, and nothing changes. "
        "In the folder: patching.html to look at, patching.json, every pair's effects",
        style="dim",
        markup=False,
    )


def _map(out: Any, one: ScoreMap, scores: Scores) -> None:
    values, places, n_pairs = scores.values[one.at], one.places, scores.counts(one.at[0])
    # Columns in which nothing happens say so once; where there are too many, the largest stay.
    largest = np.nan_to_num(np.abs(values)).max(0)
    room = max((out.width - LABEL) // COLUMN, 1)
    alive = np.flatnonzero(largest >= 0.005)
    shown = np.sort(alive[np.argsort(-largest[alive], kind="stable")][:room])
    if not len(shown):
        shown = np.arange(len(largest))[-1:]
    named = one.name + (" (block.unit)" if "/" in one.name else "")
    out.print(f"\n[bold]{escape(named)}[/]")
    wide = max([COLUMN, *(len(places[i]) + 1 for i in shown)])
    heads = "".join(f"{places[i]:>{wide}}" for i in shown)
    out.print(f"{'':{LABEL}}{heads}", style="dim", markup=False)
    if (n_pairs[shown] < len(scores.cases)).any():
        counts = "".join(f"{n_pairs[i]:>{wide}}" for i in shown)
        out.print(f"{'pairs':{LABEL}}{counts}", style="dim", markup=False)
    for label, row in zip(one.rows, values[:, shown], strict=True):
        line = Text(f"{label[-LABEL + 1 :]:{LABEL}}")
        for value in row:
            line.append(f"{_percent(value):>{wide}}", style=_style(value))
        out.print(line)
    notes = []
    if len(shown) < len(largest):
        quiet = len(largest) - len(alive)
        less = len(alive) - len(shown)
        notes += [f"{_places(quiet)} where nothing reaches 0.5 %"] * (quiet > 0)
        notes += [f"{_places(less)} where less happens"] * (less > 0)
    if one.left_out:
        notes.append(f"{one.left_out:,} weaker rows")
    if notes:
        out.print(f"not shown: {', '.join(notes)}", style="dim")


def _places(n: int) -> str:
    return f"{n} place{'s' * (n != 1)}"


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{100 * value:.0f}" if abs(value) >= 0.005 else "·"


def _style(value: float) -> str:
    if not abs(value) >= 0.005:
        return "dim"
    return ("bold " if abs(value) >= 0.25 else "") + ("blue" if value > 0 else "dark_orange")


def _strongest(out: Any, scores: Scores, top: int) -> None:
    places = scores.places(top, signed=False)
    if not len(places):
        return
    tokens = tokens_at(scores)
    out.print()
    table = make_table(
        "unit", "at", "token", "effect", "95 % interval", "p", "pairs", numbers=("at", "effect", "p", "pairs")
    )
    for place, one in zip(places.tolist(), scores.estimates(places), strict=True):
        unit, at = split_key(scores.key(place))
        between = "one pair" if one.n == 1 else format_range(one.low, one.high)
        p = "" if one.n == 1 else format_general(one.p, 2)
        table.add_row(
            escape(name_unit(unit)),
            at,
            escape(format_token(tokens[at])),
            format_signed(one.value),
            between,
            p,
            f"{one.n:,}",
        )
    print_table(out, table)
    n = len(scores.cases)
    if few := caution(n, "pairs"):
        out.print(few, style="bold dark_orange")
    if n > 1:
        out.print(
            f"Intervals by bootstrap over pairs; p by flipping their signs, about {format_general(least_p(n), 2)} at "
            f"least with so many pairs, not corrected for {len(scores):,} cells.",
            style="dim",
        )
