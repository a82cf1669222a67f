"""Where the places of a site lie on a picture: cells of a map, or patches after some tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PicturePlaces:
    """Say where the places of a site lie on the picture.

    Args:
        before: places that lie nowhere, before the others: class tokens.
        grid: ``(y, x)`` cells that the other places are; ``(0, 0)`` where nobody knows.
        low: pixels, ``(y, x)``, by which what a place reads begins before its cell (0 or below),
        high: and ends after it (0 or above).
        size: ``(y, x)`` pixels of the picture.
    """

    before: int
    grid: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]
    size: tuple[int, int]

    def cell(self, position: int) -> tuple[int, int] | None:
        """Return the cell ``(y, x)`` of a place; None where it lies nowhere."""
        at = position - self.before
        return divmod(at, self.grid[1]) if 0 <= at < self.grid[0] * self.grid[1] else None

    def cell_box(self, position: int) -> tuple[float, float, float, float] | None:
        """Return left, top, right and bottom of a place's own cell, as shares of the picture."""
        return self._box(position, (0.0, 0.0), (0.0, 0.0))

    def box(self, position: int) -> tuple[float, float, float, float] | None:
        """Return left, top, right and bottom of what a place reads, as shares of the picture.

        Example:
            >>> PicturePlaces(0, (2, 2), (-4, -4), (4, 4), (16, 16)).box(3)
            (0.25, 0.25, 1.0, 1.0)
        """
        return self._box(position, self.low, self.high)

    def _box(
        self, position: int, low: tuple[float, float], high: tuple[float, float]
    ) -> tuple[float, float, float, float] | None:
        cell = self.cell(position)
        if cell is None:
            return None
        ends = []
        for axis in (1, 0):
            size, cells = self.size[axis], self.grid[axis]
            first = cell[axis] / cells + low[axis] / size
            last = (cell[axis] + 1) / cells + high[axis] / size
            ends.append((round(max(first, 0.0), 6), round(min(last, 1.0), 6)))
        (left, right), (top, bottom) = ends
        return left, top, right, bottom

    def name(self, position: int) -> str:
        """Return where a place lies, in words; empty where it is the whole picture, or where nobody knows.

        Example:
            >>> places = PicturePlaces(1, (2, 2), (0, 0), (0, 0), (16, 16))
            >>> places.name(0), places.name(4)
            ('class token', 'y1 x1')
        """
        if position < self.before:
            return "class token"
        cell = self.cell(position)
        return "" if cell is None or self.grid == (1, 1) else f"y{cell[0]} x{cell[1]}"
