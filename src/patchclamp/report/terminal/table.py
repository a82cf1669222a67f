"""The console and its tables, of which no cell is cut: folded, or listed row by row, where the terminal is narrow."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from patchclamp.core.plain_numbers import format_fixed, is_known
from patchclamp.core.plain_text import plain, terminal_of

BAR, WIDE = 12, 120


def open_console() -> Console:
    """Return the terminal; where output goes elsewhere, lines are wide and nothing is folded at 80."""
    options: dict[str, Any] = {"file": terminal_of(sys.stdout), "highlight": False, "emoji": False}
    bare = PlainConsole(**options)
    return bare if bare.is_terminal else PlainConsole(**options, width=WIDE)


def make_table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """Return a table without lines; the columns named in ``numbers`` stand to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table


def draw_bar(value: float | None, scale: float) -> Text:
    """Return a bar as long as a value's part of a scale; its colour says the sign."""
    # A number that is printed as zero has no bar, however small all others are.
    if not is_known(value) or not float(format_fixed(value, 3)):
        return Text("")
    size = min(round(abs(value) / scale * BAR), BAR)
    return Text(("" if value >= 0 else "−") + "█" * size, style="blue" if value >= 0 else "dark_orange")


LEAST = 12
"""Columns of words are folded to no fewer cells than these; a table that needs fewer is listed row by row."""


def print_table(out: Console, table: Table) -> None:
    """Print a table of which no cell is cut.

    Where the terminal is too narrow the last column of words is folded; where that is not enough, every row is listed,
    one cell a line under the name of its column. Output that goes elsewhere is as wide as it needs to be.
    """
    widths = [
        max(_width(out, column.header), *(_width(out, cell) for cell in column.cells), 0) for column in table.columns
    ]
    gap, room = table.padding[1], out.width
    needed = sum(widths) + gap * len(widths)
    for column, width in zip(table.columns, widths, strict=True):
        column.min_width, column.no_wrap = width, True
    if needed <= room or not out.is_terminal:
        # Rich never prints wider than its console.
        out.width = max(needed, room)
        out.print(table)
        out.width = room
        return
    words = [i for i, column in enumerate(table.columns) if column.justify == "left"]
    last = words[-1] if words else 0
    left = room - (needed - widths[last])
    if left < min(widths[last], LEAST):
        out.print(_as_list(table, widths))
        return
    column = table.columns[last]
    column.min_width, column.max_width, column.no_wrap, column.overflow = left, left, False, "fold"
    out.print(table)


def _width(out: Console, cell: object) -> int:
    """Return how many cells of the terminal the longest line of a cell takes."""
    text = cell.plain if isinstance(cell, Text) else out.render_str(str(cell)).plain
    return max(map(cell_len, text.splitlines()), default=0)


def _as_list(table: Table, widths: list[int]) -> Table:
    """Return a table's rows one below the other, each cell beside the name of its column."""
    listed = Table(box=None, pad_edge=False, padding=table.padding, show_header=False)
    listed.add_column(style="bold", no_wrap=True, min_width=max(cell_len(str(c.header)) for c in table.columns))
    listed.add_column(overflow="fold")
    columns = [
        (column.header, list(column.cells)) for column, width in zip(table.columns, widths, strict=True) if width
    ]
    for row in range(table.row_count):
        if row:
            listed.add_row("", "")
        for name, cell in _cells(columns, row):
            listed.add_row(name, cell)
    return listed


def _cells(
    columns: list[tuple[RenderableType, list[RenderableType]]], row: int
) -> Iterator[tuple[str, RenderableType]]:
    """Yield the cells of a row that hold anything, with the names of their columns."""
    for name, cells in columns:
        cell = cells[row]
        if cell.plain if isinstance(cell, Text) else str(cell):
            yield str(name), cell


class PlainConsole(Console):
    """A console whose texts cannot command the terminal, and that leaves a closed pipe to the caller."""

    def on_broken_pipe(self) -> None:
        """Raise what a closed pipe raises, where rich would end the process."""
        raise BrokenPipeError

    def render_str(self, text: str, **options: Any) -> Text:
        """Read markup; done before layout, so that columns are as wide as what is shown."""
        return super().render_str(plain(text), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """Turn anything into segments; rich's own commands are those that are marked as such."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)
