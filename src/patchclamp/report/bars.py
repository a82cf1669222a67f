"""The page of a result without a picture of its own: facts, a table with a bar in each row, and how it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from patchclamp.core.estimate import Estimate
from patchclamp.core.provenance import Provenance
from patchclamp.report.html import UNDEFINED, Number, general, inline, is_known, number, page, span
from patchclamp.report.svg import Axis, value_bar

MOST_ROWS = 50
"""Rows of a table, at most."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        name: HTML of its head.
        value: what its bar shows.
        low: lower end of its interval; None without one.
        high: upper end.
        numbers: further cells, as HTML.
        words: a last cell of text, as HTML.
    """

    name: str
    value: Number
    low: Number = None
    high: Number = None
    numbers: Sequence[str] = ()
    words: str = ""


def draw_bars(
    title: str,
    facts: Mapping[str, str],
    rows: Sequence[Row],
    heads: Sequence[str],
    *,
    words: str = "",
    notes: Sequence[str] = (),
    provenance: Provenance,
    command: str | None = None,
) -> str:
    """Return a page with one table, whose bars stand on one axis.

    Args:
        title: as text.
        facts: name → value, as text, in the order of the page.
        rows: of the table.
        heads: what the rows are, what the bars show, and the further numbers, as text.
        words: head of the cells of text; without it there are none.
        notes: as text, below the table.
        provenance: of the result.
        command: how to make it again, shown at the end.

    Returns:
        str: HTML.
    """
    axis = Axis.over([v for row in rows for v in (row.value, row.low, row.high)])
    first, shown, *more = map(inline, heads)
    head = (
        f'<th scope="col">{first}</th><th scope="col">{shown}</th><th scope="col" class="n"></th>'
        + "".join(f'<th scope="col" class="n">{name}</th>' for name in more)
        + (f'<th scope="col">{inline(words)}</th>' if words else "")
    )
    body = "".join(
        f'<tr><th scope="row">{row.name}</th><td class="effect">{value_bar(axis, row.value, row.low, row.high)}</td>'
        f'<td class="n">{number(row.value, signed=True)}</td>'
        + "".join(f'<td class="n">{cell}</td>' for cell in row.numbers)
        + (f"<td>{row.words}</td>" if words else "")
        + "</tr>"
        for row in rows
    )
    listed = "".join(f"<div><dt>{inline(name)}</dt><dd>{inline(value)}</dd></div>" for name, value in facts.items())
    remarks = "".join(f'<p class="note">{inline(note)}</p>' for note in notes)
    return page(
        title,
        [
            f'<header><p class="soft">patchclamp</p><h1>{inline(title)}</h1><dl class="facts">{listed}</dl></header>',
            f"<section><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{remarks}</section>",
            _provenance(provenance, command),
        ],
        style="td.effect { width: 30%; min-width: 8rem; padding-right: 1.2rem }",
    )


def cells(one: Estimate) -> list[str]:
    """Return an estimate's interval, what chance gives, its p and its ceiling, as cells; see ``ESTIMATE``."""
    null = "" if one.null is None else span(one.null.low, one.null.high, signed=True)
    interval = span(one.low, one.high, signed=True) if one.interval is not None else UNDEFINED
    return [
        interval,
        null,
        general(one.p) if is_known(one.p) else "",
        number(one.ceiling) if is_known(one.ceiling) else "",
    ]


ESTIMATE = ("95\u00a0% interval", "by chance", "p", "ceiling")
"""Heads of what ``cells`` returns."""


def _provenance(provenance: Provenance, command: str | None) -> str:
    facts = {
        "Method": provenance.label or "by hand",
        "Subject": " ".join(filter(None, (provenance.subject, provenance.subject_hash))),
        "Options": ", ".join(f"{name} {value}" for name, value in provenance.options.items()),
        "Seed": f"{provenance.seed}",
        "patchclamp": provenance.versions.get("patchclamp", version("patchclamp")),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{inline(value)}</dd>" for name, value in facts.items() if value)
    again = f"<h3>To make it again</h3><pre>{inline(command)}</pre>" if command else ""
    return f'<section><h2>How it was made</h2><dl class="made">{listed}</dl>{again}</section>'
