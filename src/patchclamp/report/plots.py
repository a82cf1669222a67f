"""Plots of nouns with matplotlib: bars with their intervals, or matrices."""

from typing import Any

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_text import plain
from patchclamp.core.table import Matrix, Table, Tabular

MOST = 20
MOST_LABELS = 600
"""Cells of a heat map that still hold a text that can be read."""
WIDE = 72
"""Characters of a title."""
UNORDERED = ("unit", "node", "parameter")
"""What bars stand for that has no order of its own: the highest bar comes first."""
POSITIVE, NEGATIVE = "#2f6fb5", "#d97a1d"
"""Colours of the two signs, which colour-blind people tell apart; hatching says the sign too."""


def plot(noun: Tabular, axes: Any = None) -> Any:
    """Draw a noun's numbers.

    Args:
        noun: what has a table with numbers, or matrices.
        axes: where to draw; a new figure where None.

    Returns:
        matplotlib.axes.Axes: what was drawn on.

    Raises:
        PatchclampError: matplotlib is not installed, there are no numbers to draw, or ``axes`` are none.
    """
    if axes is not None and not callable(getattr(axes, "pcolormesh", None)):
        raise PatchclampError(
            expected="axes of matplotlib", got=type(axes).__name__, remedy="Leave axes out for a new figure."
        )
    if (matrix := noun.heat_map()) is not None:
        if axes is None:
            axes = _open_axes((3 + 0.62 * len(matrix.columns), max(3.2, 1.6 + 0.3 * len(matrix.rows))))
        _draw_matrix(axes, matrix)
        axes.set_title(_short(matrix.title), fontsize="medium")
        return axes
    table = noun.table(MOST)
    if not table.rows or not table.drawn:
        raise PatchclampError(
            expected="a result with numbers to draw", got=table.title, remedy="Print it, or see its to_pandas()."
        )
    if axes is None:
        axes = _open_axes((7, 1 + 0.3 * len(table.rows)))
    _draw_bars(axes, table)
    axes.set_title(_short(table.title), fontsize="medium")
    return axes


def _open_axes(inches: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise PatchclampError(
            expected="the package matplotlib", got="none", remedy="pip install 'patchclamp[notebook]'"
        ) from problem
    return _figure(Figure, inches).subplots()


def _figure(kind: Any, inches: tuple[float, float]) -> Any:
    """Return a figure that a notebook shows: one of pyplot's where a notebook draws them, else one by itself."""
    size: dict[str, Any] = {"figsize": inches, "layout": "constrained"}
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        return kind(**size)
    from matplotlib import pyplot

    return pyplot.figure(**size) if shell is not None else kind(**size)


def _draw_bars(axes: Any, table: Table) -> None:
    label, number = (table.columns.index(name) for name in table.drawn)
    values = np.array([np.nan if row[number] is None else float(row[number]) for row in table.rows])
    rows = list(table.rows)
    if table.drawn[0] in UNORDERED:
        order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
        values, rows = values[order], [rows[i] for i in order]
    names = [_literal(str(row[label])) for row in rows]
    error = None
    if table.interval:
        low, high = (np.array([row[table.columns.index(name)] for row in rows], float) for name in table.interval)
        error = np.maximum(np.nan_to_num(np.array([values - low, high - values])), 0)
    places = np.arange(len(values))
    bars = axes.barh(places, np.nan_to_num(values), xerr=error, color=np.where(values < 0, NEGATIVE, POSITIVE))
    for bar, value in zip(bars, values, strict=True):
        if value < 0:
            bar.set_hatch("//")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.axvline(0, color="#888", linewidth=0.8)
    axes.set_xlabel(table.columns[number])


def _draw_matrix(axes: Any, matrix: Matrix) -> None:
    """Draw a heat map from white to blue, below zero to orange with hatching, the first row lowest."""
    from matplotlib.colors import LinearSegmentedColormap

    values = np.asarray(matrix.values, dtype=np.float64)
    known = np.abs(values[np.isfinite(values)])
    most = float(known.max()) if known.size and known.max() > 0 else 1.0
    signed = bool((values < 0).any())
    scale = [*([NEGATIVE] if signed else []), "#ffffff", POSITIVE]
    colours = LinearSegmentedColormap.from_list("signs", scale)
    drawn = axes.pcolormesh(np.ma.masked_invalid(values), cmap=colours, vmin=-most if signed else 0.0, vmax=most)
    if signed:
        axes.pcolor(np.ma.masked_where(~(values < 0), values), hatch="//", alpha=0.0)
    axes.set_yticks(np.arange(len(matrix.rows)) + 0.5, [_literal(name) for name in matrix.rows])
    axes.set_xticks(np.arange(len(matrix.columns)) + 0.5, [_literal(name) for name in matrix.columns], rotation=90)
    if len(matrix.labels) and values.size <= MOST_LABELS:
        for row, labels in enumerate(matrix.labels):
            for column, label in enumerate(labels):
                dark = abs(np.nan_to_num(values[row, column])) > 0.6 * most
                place = {"ha": "center", "va": "center", "fontsize": "x-small", "clip_on": True}
                axes.text(column + 0.5, row + 0.5, _literal(label), color="white" if dark else "black", **place)
    axes.figure.colorbar(drawn, ax=axes, label=matrix.quantity)


def _short(title: str) -> str:
    """Return a title's first clause, cut where it would be wider than the axes."""
    first = title.partition("; ")[0]
    return _literal(first if len(first) <= WIDE else first[: WIDE - 1].rsplit(" ", 1)[0] + " …")


def _literal(text: str) -> str:
    """Return text that matplotlib draws as it stands: a dollar sign begins no formula."""
    return plain(text).replace("$", r"\$")
