"""Plots of nouns with matplotlib: bars with their intervals, or matrices."""

from typing import Any

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.table import Table, Tabular

MOST = 20
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
        PatchclampError: matplotlib is not installed, or there are no numbers to draw.
    """
    table = noun.table(MOST)
    if not table.rows or not table.drawn:
        raise PatchclampError(
            expected="a result with numbers to draw", got=table.title, remedy="Print it, or see its to_pandas()."
        )
    if axes is None:
        axes = _open_axes(len(table.rows))
    _draw_bars(axes, table)
    axes.set_title(table.title, fontsize="medium")
    return axes


def _open_axes(n_rows: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise PatchclampError(
            expected="the package matplotlib", got="none", remedy="pip install 'patchclamp[notebook]'"
        ) from problem
    return _figure(Figure, n_rows).subplots()


def _figure(kind: Any, n_rows: int) -> Any:
    """Return a figure that a notebook shows: one of pyplot's where a notebook draws them, else one by itself."""
    size: dict[str, Any] = {"figsize": (7, 1 + 0.3 * n_rows), "layout": "constrained"}
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        return kind(**size)
    from matplotlib import pyplot

    return pyplot.figure(**size) if shell is not None else kind(**size)


def _draw_bars(axes: Any, table: Table) -> None:
    label, number = (table.columns.index(name) for name in table.drawn)
    values = np.array([np.nan if row[number] is None else float(row[number]) for row in table.rows])
    names = [str(row[label]) for row in table.rows]
    error = None
    if table.interval:
        low, high = (np.array([row[table.columns.index(name)] for row in table.rows], float) for name in table.interval)
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
