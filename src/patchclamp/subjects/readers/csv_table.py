"""Lines of numbers, with the names of their columns in the first line or without."""

import csv
import math
from pathlib import Path

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.neural_files import TABLE, Contents, Reader, unreadable
from patchclamp.subjects.unpacked_sizes import refuse_if_larger

CELLS = 8
"""Bytes of memory for a byte of a CSV, once each cell is a string of its own."""
_BLANK = {"", "nan", "na", "n/a", "null"}


def read(path: Path) -> Contents:
    """Read a table of numbers.

    Raises:
        PatchclampError: no numbers, a word among them, or lines of unequal length.
        Damaged: it is no text, or no CSV.
    """
    rows = rows_of(path)
    header: list[str] | None = None
    if rows and not any(_is_number(cell) for cell in rows[0]):
        header, rows = rows[0], rows[1:]
    if not rows:
        raise PatchclampError(
            expected="lines of numbers", got=f"{path}, which has none", remedy="Check that it is the right file."
        )
    width, top = len(header or rows[0]), 1 if header is None else 2
    for line, row in enumerate(rows, top):
        if len(row) != width:
            raise PatchclampError(
                expected=f"{width} columns in every line of {path.name}",
                got=f"{len(row)} in line {line}",
                remedy="Mend that line; a missing sample is an empty cell between two commas.",
            )
    columns = {} if header is None else {TABLE: tuple(header)}
    try:
        plain = np.array([[float(cell) for cell in row] for row in rows])
        if not np.isinf(plain).any():
            return Contents({TABLE: plain}, columns=columns, is_table=True)
    except ValueError:
        pass  # a gap or a word: cell by cell, several times slower, so that the error names the cell
    at = f"{path.name} line {{}}, column {{}}"
    values = [[number(cell, at.format(i, j)) for j, cell in enumerate(row, 1)] for i, row in enumerate(rows, top)]
    return Contents({TABLE: np.array(values)}, columns=columns, is_table=True)


def rows_of(path: Path) -> list[list[str]]:
    """Return the cells of a CSV, line by line, blank lines left out; lines may differ in length.

    Raises:
        Damaged: it is no text, or no CSV.
    """
    refuse_if_larger(path, CELLS * path.stat().st_size)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise unreadable(path, "a CSV in UTF-8", problem) from problem


def number(cell: str, where: str) -> float:
    """Return a cell as a float; an empty one, ``nan`` and ``na`` are missing samples.

    Raises:
        PatchclampError: it is a word, or too large for a float.
    """
    if cell.lower() in _BLANK:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise PatchclampError(
            expected="finite numbers in every line below the header, and missing samples empty or NaN",
            got=f"{cell[:40]!r} in {where}",
            remedy="Take words out of the table, and write decimals with a point and columns with a comma.",
        )
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


READER = Reader((".csv",), read)
