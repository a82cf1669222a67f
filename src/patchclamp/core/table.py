"""A noun as a plain table: one line as text, a table in a notebook, a DataFrame, a plot."""

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_numbers import ABSENT
from patchclamp.core.plain_text import plain

SHOWN = 10
"""Rows that a notebook shows."""
PLOTS = "patchclamp.report.plots"
"""What draws plots: named and not imported, because it lies on a floor above and needs matplotlib."""


@dataclass(frozen=True)
class Table:
    """Hold what people read of a noun.

    Args:
        title: the noun in one line.
        columns: names of the columns.
        rows: cells, numbers as numbers.
        total: rows in all, of which ``rows`` are the first; as many as there are where negative.
        drawn: the column of labels and the column of numbers that a plot shows; empty where there is nothing to draw.
        interval: the columns of the lower and upper ends of the drawn number's interval; empty without one.

    Example:
        >>> Table("two units", ("unit", "score"), (("a", 1.5), ("b", math.nan))).cells()
        [['a', '1.5'], ['b', '–']]
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    total: int = -1
    drawn: tuple[str, ...] = ()
    interval: tuple[str, ...] = ()

    def cells(self) -> list[list[str]]:
        """Return the rows as text, numbers with three significant digits."""
        return [[_write_cell(cell) for cell in row] for row in self.rows]

    def to_html(self) -> str:
        """Return the table as HTML whose text cannot be anything else than text."""
        parts = [f"<div><b>{_safe(self.title)}</b></div>"]
        if self.rows:
            numbers = [all(isinstance(row[i], int | float) for row in self.rows) for i in range(len(self.columns))]
            sides = [f' style="text-align: {"right" if number else "left"}"' for number in numbers]
            heads = "".join(f"<th{side}>{_safe(name)}</th>" for name, side in zip(self.columns, sides, strict=True))
            body = "".join(
                f"<tr>{''.join(f'<td{side}>{_safe(cell)}</td>' for cell, side in zip(row, sides, strict=True))}</tr>"
                for row in self.cells()
            )
            parts.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>")
        if (left := self.total - len(self.rows)) > 0:
            parts.append(f"<div><small>and {left:,} more: <code>.to_pandas()</code> has all</small></div>")
        return "".join(parts)

    def to_pandas(self) -> Any:
        """Return the rows as a pandas DataFrame.

        Raises:
            PatchclampError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as problem:
            raise PatchclampError(
                expected="the package pandas", got="none", remedy="pip install 'patchclamp[notebook]'"
            ) from problem
        return pandas.DataFrame(list(self.rows), columns=list(self.columns))


@dataclass(frozen=True, eq=False)
class Matrix:
    """Hold what a heat map of a noun shows.

    Args:
        title: the noun in one line.
        rows: names of the rows, the first one lowest.
        columns: names of the columns.
        values: ``(row, column)`` numbers.
        quantity: what the numbers are.
        labels: what is written into each cell; nothing where empty.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Any
    quantity: str
    labels: Sequence[Sequence[str]] = ()


class Tabular:
    """Give a noun its line, its table in a notebook, its DataFrame and its plot, all from ``table``."""

    def table(self, top: int | None = None) -> Table:
        """Return the noun as a table: its first ``top`` rows, all of them where None."""
        raise NotImplementedError(f"{type(self).__name__} has no table")

    def heat_map(self) -> Matrix | None:
        """Return the noun as a heat map; None where bars show it."""
        return None

    def __repr__(self) -> str:
        """Return the noun in one line."""
        return f"{type(self).__name__}: {plain(self.table(0).title)}"

    def _repr_html_(self) -> str:
        return self.table(SHOWN).to_html()

    def to_pandas(self) -> Any:
        """Return all rows as a pandas DataFrame.

        Returns:
            pandas.DataFrame: numbers as numbers.

        Raises:
            PatchclampError: pandas is not installed.

        Cost: memory of every row as Python objects, some 200 bytes each.
        """
        return self.table().to_pandas()

    def plot(self, axes: Any = None) -> Any:
        """Draw the noun's numbers with matplotlib: the first twenty of them as bars, or all as a heat map.

        Args:
            axes: where to draw; a new figure where None.

        Returns:
            matplotlib.axes.Axes: what was drawn on.

        Raises:
            PatchclampError: matplotlib is not installed, or there are no numbers to draw.
        """
        return importlib.import_module(PLOTS).plot(self, axes)


def estimate_table(title: str, named: Mapping[str, Any], of: str, top: int | None = None) -> Table:
    """Return estimates as a table: value, interval, p, ceiling and n of each.

    Args:
        title: the noun in one line.
        named: name → Estimate.
        of: what the names are of: ``target``.
        top: rows at most.

    Returns:
        Table: a row per estimate, drawn with its interval.

    Example:
        >>> estimate_table("nothing", {}, "target").columns[:2]
        ('target', 'value')
    """
    rows = tuple(
        (name, one.value, one.low, one.high, one.unit, one.p, one.ceiling, one.n)
        for name, one in list(named.items())[:top]
    )
    columns = (of, "value", "low", "high", "unit of measure", "p", "ceiling", "n")
    return Table(title, columns, rows, len(named), (of, "value"), ("low", "high"))


def _write_cell(cell: Any) -> str:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return ABSENT if cell is None else str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3g}" if math.isfinite(cell) else ABSENT


def _safe(text: str) -> str:
    return escape(plain(text))
