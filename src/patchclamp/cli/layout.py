"""Lay out tables so that nothing is cut: wide where output is no terminal, folded or listed in a narrow one."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

LEAST = 12
"""Columns of words are folded to no fewer cells than these; a table that needs fewer is listed row by row."""


def print_whole(out: Console, table: Table) -> None:
    """Print a table of which no cell is cut.

    Where the terminal is too narrow the last column of words is folded; where that is not enough, every row is listed,
    one cell a line under the name of its column. Output that goes elsewhere is as wide as it needs to be.
    """
    widths = [max(_width(out, column.header), *(_width(out, cell) for cell in column.cells), 0)
              for column in table.columns]  # fmt: skip
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
        out.print(_listed(table, widths))
        return
    column = table.columns[last]
    column.min_width, column.max_width, column.no_wrap, column.overflow = left, left, False, "fold"
    out.print(table)


def _width(out: Console, cell: object) -> int:
    """Return how many cells of the terminal the longest line of a cell takes."""
    text = cell.plain if isinstance(cell, Text) else out.render_str(str(cell)).plain
    return max(map(cell_len, text.splitlines()), default=0)


def _listed(table: Table, widths: list[int]) -> Table:
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
