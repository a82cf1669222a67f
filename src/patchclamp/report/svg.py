"""Charts as SVG that stands in a page and narrows with it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchclamp.report.html import Number, is_known, local, number, safe, span

ROW, FOOT = 42, 26
"""Heights in pixels of one bar's row, and of the axis below."""
SMALLEST = 1e-9
"""Values that differ by less are drawn as one."""


@dataclass(frozen=True)
class Axis:
    """A linear axis, on which values become percentages of a picture's width or height.

    Args:
        low: value at 0 %.
        high: value at 100 %.
    """

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[Number], *, margin: float = 0.04) -> "Axis":
        """Return the axis that shows all known values and zero, with some room at the ends that are not zero."""
        shown = [0.0, *(float(v) for v in values if is_known(v))]
        low, high = min(shown), max(shown)
        if high - low < SMALLEST:
            return cls(-1.0, 1.0)
        room = margin * (high - low)
        return cls(low - room * (low < 0), high + room * (high > 0))

    def at(self, value: float | int) -> float:
        """Return where a value lies, in percent."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)

    def ticks(self, about: int = 6) -> list[tuple[float, str]]:
        """Return round values within the axis, each with its label; a few more or fewer than asked for."""
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(s for s in (power, 2 * power, 5 * power, 10 * power) if s >= 0.7 * rough)
        decimals = max(0, -math.floor(math.log10(step * 1.001)))
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        values = [i * step for i in range(first, last + 1)]
        return [(v, f"{v:.{decimals}f}".replace("-", "−") if v else "0") for v in values]


def picture(kind: str, title: str, described: str, body: str, *, height: int | None = None) -> str:
    """Return an SVG whose horizontal places are percentages, so that it narrows while its letters keep their size.

    Returns:
        str: an ``svg`` element.

    Example:
        >>> picture("bar", "an effect", "", "")
        '<svg class="bar" role="img" aria-label="an effect" width="100%"><title>an effect</title></svg>'
    """
    tall = "" if height is None else f' height="{height}"'
    head = f"<title>{safe(title)}</title>" + (f"<desc>{safe(described)}</desc>" if described else "")
    return f'<svg class="{kind}" role="img" aria-label="{safe(title)}" width="100%"{tall}>{head}{body}</svg>'


def effects(document: Mapping[str, Any]) -> str:
    """Return the bars of the receipt: measured, random sets and rivals, on one axis."""
    receipts = document["receipts"]
    randoms, rivals = receipts["randoms"], receipts["rivals"]
    drawn, low, high = randoms["measured"], randoms["interval"]["low"], randoms["interval"]["high"]
    rows: list[tuple[str, Number, str]] = [
        ("measured", receipts["together"], "own"),
        (f"{len(drawn)} random sets, mean", randoms["mean"], "control"),
        *((rival["name"], rival["measured"], "control") for rival in rivals),
    ]
    axis = Axis.over([*(value for _, value, _ in rows), *drawn, low, high])
    zero, bottom = axis.at(0), ROW * len(rows)
    parts = [
        f'<line class="grid" x1="{axis.at(v)}%" x2="{axis.at(v)}%" y1="0" y2="{bottom}"/>'
        f'<text class="tick" x="{axis.at(v)}%" y="{bottom + 18}" text-anchor="middle">{label}</text>'
        for v, label in axis.ticks()
    ]
    parts.append(f'<line class="zero" x1="{zero}%" x2="{zero}%" y1="0" y2="{bottom}"/>')
    for i, (name, value, kind) in enumerate(rows):
        middle = ROW * i + ROW // 2
        # A group, so that a style can move the marks down where a narrow page puts the name above them.
        marks = _bar(axis, value, middle - 8, 16, kind)
        if name.endswith("random sets, mean"):
            marks += "".join(_dot(axis, v, middle, f"one random set: {number(v, signed=True)}") for v in drawn)
            marks += _whisker(axis, low, high, middle)
        parts.append(
            f'<text class="name {kind}" x="0" y="{middle}" dy=".35em">{safe(name)}</text><g class="marks">{marks}</g>'
            f'<text class="value {kind}" x="100%" y="{middle}" dy=".35em">{number(value, signed=True)}</text>'
        )
    description = "; ".join(f"{name} {number(value, signed=True)}" for name, value, _ in rows)
    return picture("effects", "What m loses when nodes are replaced", description, "".join(parts), height=bottom + FOOT)


def effect_bar(axis: Axis, predicted: Number, measured: Number) -> str:
    """Return one table row's bar: measured, with predicted as a thin line across.

    Returns:
        str: an ``svg`` element.

    Example:
        >>> effect_bar(Axis(-1.0, 1.0), 0.5, 0.4).startswith("<svg")
        True
    """
    zero = f'<line class="zero" x1="{axis.at(0)}%" x2="{axis.at(0)}%" y1="0" y2="20"/>'
    tick = ""
    if is_known(predicted):
        x = axis.at(predicted)
        tick = f'<line class="foretold" x1="{x}%" x2="{x}%" y1="2" y2="18"/>'
    title = f"measured {number(measured, signed=True)}, predicted {number(predicted, signed=True)}"
    return picture("bar", title, "", _bar(axis, measured, 5, 10, "own") + zero + tick, height=20)


def scatter(checks: Sequence[Mapping[str, Any]], slug: str) -> str:
    """Return single nodes as points, predicted to the right and measured upwards, both on one scale."""
    axis = Axis.over([v for check in checks for v in (check["predicted"], check["measured"])], margin=0.06)
    parts = _square(axis)
    for check in checks:
        p, m = check["predicted"], check["measured"]
        if not (is_known(p) and is_known(m)):
            continue
        hollow = " near" if check["near_zero"] else ""
        parts += (
            f'<circle class="check{hollow}" cx="{axis.at(p)}%" cy="{_up(axis, m)}%" r="4.5"><title>'
            f"{safe(local(check['key'], slug))}: predicted {number(p, signed=True)}, measured {number(m, signed=True)}"
            "</title></circle>"
        )
    parts += '<text class="axis" x="100%" y="100%" dy="40" text-anchor="end">predicted</text>'
    parts += '<text class="axis" x="0" y="0" dx="-40" dy="-10">measured</text>'
    return picture("scatter", "Predicted against measured, one node at a time", f"{len(checks)} nodes", parts)


def kept_curve(kept: Mapping[str, Any], metric_clean: Number) -> str:
    """Return m by number of nodes kept: the strongest first as a line, random orders as a band with its mean."""
    sizes = kept["sizes"]
    lines = [kept[name] for name in ("measured", "random", "random_low", "random_high")]
    axis = Axis.over([metric_clean, *(v for line in lines for v in line)], margin=0.12)
    places = [_place(size) for size in sizes]
    wide = max(places) or 1.0
    xs = [round(100 * place / wide, 3) for place in places]
    own, mean, low, high = ([(x, v) for x, v in zip(xs, line, strict=True) if is_known(v)] for line in lines)
    parts = "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{_up(axis, v)}%" y2="{_up(axis, v)}%"/>'
        f'<text class="tick" x="0" y="{_up(axis, v)}%" dx="-8" dy=".35em" text-anchor="end">{label}</text>'
        for v, label in axis.ticks()
    )
    parts += "".join(
        f'<text class="tick" x="{x}%" y="100%" dy="20" text-anchor="{anchor}">{label}</text>'
        for x, label, anchor in _labelled_sizes(sizes, xs)
    )
    # Only shapes are stretched in here; letters and points keep theirs outside.
    parts += '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%" aria-hidden="true">'
    parts += f'<polygon class="band" points="{_points(axis, [*low, *reversed(high)])}"/>'
    parts += f'<polyline class="mean" points="{_points(axis, mean)}"/>'
    parts += f'<polyline class="own" points="{_points(axis, own)}"/></svg>'
    parts += _level(axis, metric_clean, "m on the prompt", "start") + _level(
        axis, kept["measured"][0], "all replaced", "end"
    )
    parts += "".join(
        f'<circle class="kept" cx="{x}%" cy="{_up(axis, v)}%" r="4"><title>{size:,} kept: {number(v)}; '
        f"as many at random: {number(r)} ({number(lo)} to {number(hi)})</title></circle>"
        for size, x, v, r, lo, hi in zip(sizes, xs, *lines, strict=True)
        if is_known(v)
    )
    parts += '<text class="axis" x="100%" y="100%" dy="42" text-anchor="end">nodes kept, logarithmic</text>'
    parts += '<text class="axis" x="0" y="0" dx="-40" dy="-10">m</text>'
    description = "; ".join(f"{size} kept: {number(v)}" for size, v in zip(sizes, kept["measured"], strict=True))
    return picture("curve", "m by number of nodes kept", description, parts)


def _up(axis: Axis, value: float | int) -> float:
    """Return a height, which SVG counts downwards."""
    return round(100 - axis.at(value), 3)


def _side(value: float | int) -> str:
    return "against" if value < 0 else "carries"


def _bar(axis: Axis, value: Number, top: int, height: int, kind: str) -> str:
    if not is_known(value):
        return ""
    left, right = sorted((axis.at(0), axis.at(value)))
    width = round(right - left, 3)
    return f'<rect class="{kind} {_side(value)}" x="{left}%" width="{width}%" y="{top}" height="{height}" rx="1.5"/>'


def _dot(axis: Axis, value: Number, y: int, title: str) -> str:
    if not is_known(value):
        return ""
    return f'<circle class="draw" cx="{axis.at(value)}%" cy="{y}" r="3"><title>{title}</title></circle>'


def _whisker(axis: Axis, low: Number, high: Number, y: int) -> str:
    if not (is_known(low) and is_known(high)):
        return ""
    a, b = axis.at(low), axis.at(high)
    ends = "".join(f'<line class="whisker" x1="{x}%" x2="{x}%" y1="{y - 6}" y2="{y + 6}"/>' for x in (a, b))
    return f'<line class="whisker" x1="{a}%" x2="{b}%" y1="{y}" y2="{y}"/>{ends}'


def _square(axis: Axis) -> str:
    """Return the grid of a picture with one scale both ways, its zero lines, and the line of right predictions."""
    parts = ""
    for v, label in axis.ticks():
        kind, x, y = "grid" if v else "zero", axis.at(v), _up(axis, v)
        parts += (
            f'<line class="{kind}" x1="{x}%" x2="{x}%" y1="0" y2="100%"/>'
            f'<line class="{kind}" x1="0" x2="100%" y1="{y}%" y2="{y}%"/>'
            f'<text class="tick" x="{x}%" y="100%" dy="20" text-anchor="middle">{label}</text>'
            f'<text class="tick" x="0" y="{y}%" dx="-8" dy=".35em" text-anchor="end">{label}</text>'
        )
    return (
        parts + '<line class="identity" x1="0" x2="100%" y1="100%" y2="0"><title>measured as predicted</title></line>'
    )


def _level(axis: Axis, value: Number, name: str, anchor: str) -> str:
    if not is_known(value):
        return ""
    y, x, dx = _up(axis, value), *(("0", 6) if anchor == "start" else ("100%", -6))
    return (
        f'<line class="level" x1="0" x2="100%" y1="{y}%" y2="{y}%"/>'
        f'<text class="label" x="{x}" y="{y}%" dx="{dx}" dy="-6" text-anchor="{anchor}">{name}: {number(value)}</text>'
    )


def _place(size: int) -> float:
    """Return where a number of nodes stands: each doubling one step on, with room for none at all."""
    return 0.0 if size < 1 else 1.0 + math.log2(size)


def _labelled_sizes(sizes: Sequence[int], xs: Sequence[float]) -> list[tuple[float, str, str]]:
    """Return the sizes that get a label: none, some powers of two, and all; few enough for a narrow page."""
    every = max(1, math.ceil(len(sizes) / 6))
    inner = [i for i in range(1, len(sizes) - 1) if (i - 1) % every == 0 and xs[i] < 84]
    ends = [(xs[0], f"{sizes[0]:,}", "middle")]
    ends += [(xs[i], f"{sizes[i]:,}", "middle") for i in inner]
    return [*ends, (xs[-1], f"all {sizes[-1]:,}", "end")] if len(sizes) > 1 else ends


def _points(axis: Axis, line: Iterable[tuple[float, float | int]]) -> str:
    return " ".join(f"{x},{_up(axis, v)}" for x, v in line)


def value_bar(axis: Axis, value: Number, low: Number = None, high: Number = None) -> str:
    """Return one table row's bar: a value, with its interval where it has one.

    Returns:
        str: an ``svg`` element.

    Example:
        >>> value_bar(Axis(-1.0, 1.0), 0.5, 0.25, 0.75).startswith("<svg")
        True
    """
    zero = f'<line class="zero" x1="{axis.at(0)}%" x2="{axis.at(0)}%" y1="0" y2="20"/>'
    title = number(value, signed=True)
    if is_known(low) and is_known(high):
        title += f", {span(low, high, signed=True)}"
    return picture("bar", title, "", _bar(axis, value, 5, 10, "own") + zero + _whisker(axis, low, high, 10), height=20)
