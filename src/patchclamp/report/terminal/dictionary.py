"""A dictionary in a terminal: its sites, how it was made, and how its loss fell."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_names import name_site
from patchclamp.core.plain_numbers import (
    ABSENT,
    format_general,
    format_percent,
    format_range,
    is_known,
)
from patchclamp.report.terminal.table import make_table, open_console, print_table

HIDDEN = 1.5
"""How many times more must be unexplained without first tokens before a warning says so."""


def show_dictionary(folder: str, facts: Mapping[str, Any]) -> None:
    """Print what a dictionary holds."""
    out = open_console()
    subject = facts["subject"]
    made = f"{subject.get('slug') or 'a model that it does not name'}  {str(subject.get('hash', ''))[:12]}"
    by = f"{escape(facts['name'])} by {escape(facts['method'])}"
    out.print(f"[bold]{escape(folder)}[/]  {by}, made on {escape(made)}")
    table = make_table(
        "site",
        "reads",
        "units",
        "width",
        "activation",
        "norm of what a unit writes",
        "hash",
        numbers=("units", "width"),
    )
    for each in facts["bases"]:
        kept = " ".join([each["activation"], *([str(each["k"])] if each["k"] else []), *(["+ skip"] * each["skip"])])
        low, mean, high = each["norm"]
        table.add_row(
            each["site"],
            each["reads"] or "",
            f"{each['units']:,}",
            str(each["width"]),
            kept,
            f"{format_general(mean)} ({format_range(low, high, format_general)})",
            each["hash"][:12],
        )
    print_table(out, table)
    made_how = make_table("how it was made", "")
    for name, value in dict.fromkeys(_spelt(facts["about"])):
        made_how.add_row(name, value)
    if made_how.row_count:
        print_table(out, made_how)


def _spelt(about: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is known of a making, a name and its facts at a time; the sites of coders stand in the table."""
    plain = {k: v for k, v in about.items() if not isinstance(v, Mapping) and not _is_rows(v) and v not in (None, "")}
    facts = ", ".join(f"{k} {_fact(v)}" for k, v in plain.items() if k not in ("reads", "writes"))
    if facts:
        yield of, escape(facts)
    for name, value in about.items():
        if isinstance(value, Mapping):
            yield from _spelt(value, name)
        elif _is_rows(value):
            for each in value:
                yield from _spelt(each, name)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _fact(value: Any) -> str:
    if isinstance(value, float) and not is_known(value):
        return ABSENT
    if isinstance(value, float):
        return format_general(value, 4)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def first_lines(
    site: str, norm: float, tokens: float, unexplained: float | None, without: float | None
) -> Iterator[str]:
    """Yield what the first token of each stimulus holds of a site's size, and a warning where it hides the rest.

    Yields:
        str: a line.

    Example:
        >>> list(first_lines("resid", 0.25, 0.0625, 0.125, 0.125))
        ['resid: first tokens (6.2% of all) hold 25.0% of the squared norm; unexplained without them 0.125']
    """
    left = "" if without is None else f"; unexplained without them {format_general(without)}"
    of_all, of_norm = format_percent(tokens, 1), format_percent(norm, 1)
    yield f"{site}: first tokens ({of_all} of all) hold {of_norm} of the squared norm{left}"
    if unexplained is not None and without is not None and without > HIDDEN * unexplained:
        yield (
            f"warning: at {site} first tokens hide what is not explained: {format_general(unexplained)} of the "
            f"variance with them, {format_general(without)} without; --skip-first 1 leaves them out, --bos "
            "puts a BOS token in their place"
        )


BARS = "▁▂▃▄▅▆▇█"

SHOWN = ("loss", "unexplained", "l0", "dead")


def describe_decomposition(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return in one sentence how much of what sites do their features explain, with how many at a time.

    Args:
        rows: by site its features, and of the text that they were made on ``unexplained``, ``l0`` and ``dead``.

    Example:
        >>> describe_decomposition([{"site": "embed", "units": 8, "unexplained": 0.25, "l0": 1.5, "dead": 0.5}])
        '8 features explain 75% of the variance of Embedding, 1.5 of them active at a time; 50% never fire.'
    """
    units = f"{sum(row['units'] for row in rows):,} features"
    said = f"{units} of {len(rows)} sites" if len(rows) != 1 else units
    of = name_site(rows[0]["site"]) if len(rows) == 1 else "each"

    def between(name: str, write: Callable[[float], str]) -> str:
        known = [float(row[name]) for row in rows if is_known(row[name])]
        ends = dict.fromkeys(write(x) for x in (min(known), max(known))) if known else {}
        return " to ".join(ends)

    rows = [{**row, "explained": 1 - row["unexplained"] if is_known(row["unexplained"]) else None} for row in rows]
    explained = between("explained", format_percent)
    if not explained:
        return f"{said}; how much they explain was not measured."
    if min(row["explained"] for row in rows if row["explained"] is not None) < 0:
        return f"No evidence: {said} explain less of the variance of {of} than its mean does."
    active, dead = between("l0", format_general), between("dead", format_percent)
    more = f", {active} of them active at a time" if active else ""
    if dead:
        more += "; none is dead" if dead == "0%" else f"; {dead} never fire"
    return f"{said} explain {explained} of the variance of {of}{more}."


def show_decomposition(
    made: Any, rows: Sequence[Mapping[str, Any]], out: str, typed: str = "MODEL", *, full: bool = True
) -> None:
    """Print what was made: one sentence, a row for each site, and in full how it went and what first tokens hold.

    Args:
        made: the dictionary.
        rows: a row for each site.
        out: its folder.
        typed: how the model was named.
        full: print everything.
    """
    console = open_console()
    console.print(f"[bold]{escape(describe_decomposition(rows))}[/]")
    console.print(f"{made.method} features '{made.name}' of {made.subject['slug']}, in {out}", markup=False)
    shown, over_time = (SHOWN, ("loss over time",)) if full else (SHOWN[1:], ())
    table = make_table("site", "features", *shown, *over_time, numbers=("features", *shown))
    for row in rows:
        values = ["" if row[name] is None else format_general(row[name]) for name in shown]
        curve = made.curves.get(row["site"], {}).get("loss", [])
        cells = [sparkline([value for _, value in curve])] if full else []
        table.add_row(row["site"], f"{row['units']:,}", *values, *cells)
    print_table(console, table)
    for row in rows:
        if row["reads"]:
            console.print(f"{row['site']} is written from {row['reads']}", markup=False)
    console.print(
        "unexplained: share of the variance; l0: active features per vector; dead: share of features that never fire",
        markup=False,
    )
    for site, first in made.about.get("first_tokens", {}).items():
        for line in first_lines(site, first["norm"], first["tokens"], first["unexplained"], first["without"]):
            if full or line.startswith("warning"):
                console.print(line, markup=False)
    more = "" if full else "; everything that was measured: --full"
    console.print(f"is it true? patchclamp evaluate {typed} {out} --inputs OTHER_TEXT{more}", markup=False, style="dim")


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Return a curve as one line of bars, its own least lowest and its own largest highest.

    Example:
        >>> sparkline([3.0, 2.0, 1.0])
        '█▅▁'
    """
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    n = min(width, len(values))
    edges = [len(values) * i // n for i in range(n + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in means)
