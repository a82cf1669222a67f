"""Faithfulness of a circuit by its size, as one SVG without outside reference."""

from collections.abc import Mapping, Sequence
from typing import Any

from patchclamp.report.html import is_known, number, percent, safe, span
from patchclamp.report.svg import Axis

WIDE, HIGH = 720, 420
LEFT, RIGHT, TOP, FOOT = 64, 24, 56, 64
STYLE = (
    "svg{font:14px system-ui,sans-serif;background:#fff;color:#1b1f24}text{fill:currentColor}.tick{font-size:12px;"
    "opacity:.75}.grid{stroke:currentColor;opacity:.12}.level{stroke:currentColor;opacity:.5;stroke-dasharray:2 4}"
    ".band{fill:#8a8f98;opacity:.25}.random{stroke:#8a8f98;stroke-width:2;fill:none}.rest{stroke:#b45f06;"
    "stroke-width:2;fill:none;stroke-dasharray:6 4}.kept{stroke:#1f6feb;stroke-width:2.5;fill:none}"
    "circle.kept{fill:#1f6feb}circle.rest{fill:#b45f06;stroke-dasharray:none}.whisker{stroke:#1f6feb;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){svg{background:#14171a;color:#e6e8eb}.kept,.whisker{stroke:#6ea8fe}"
    "circle.kept{fill:#6ea8fe}.rest{stroke:#f0a35e}circle.rest{fill:#f0a35e}}"
)


def draw_sizes(found: Mapping[str, Any]) -> str:
    """Draw a circuit's faithfulness by size, what is left without it, and random circuits of equal size, as SVG.

    Args:
        found: an evaluation as the command writes it in JSON.

    Returns:
        str: SVG without script or outside baseline; values stand in titles.
    """
    points = [p for p in found["points"] if is_known(p["share"])]
    shares = [0.0, *(p["share"] for p in points)]
    across = Axis(0.0, max(shares))
    ends = [p[name][end] for p in points for name in ("kept", "rest", "random") for end in ("low", "high")]
    up = Axis.over([1.0, *(p["kept"]["value"] for p in points), *ends], margin=0.06)

    def x(share: float) -> float:
        return round(LEFT + across.at(share) / 100 * (WIDE - LEFT - RIGHT), 2)

    def y(value: float) -> float:
        return round(HIGH - FOOT - up.at(value) / 100 * (HIGH - TOP - FOOT), 2)

    def line(kind: str, name: str, start: float) -> str:
        places = [(0.0, start), *((p["share"], p[name]["value"]) for p in points if is_known(p[name]["value"]))]
        return f'<polyline class="{kind}" points="{" ".join(f"{x(s)},{y(v)}" for s, v in places)}"/>'

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y(v)}" y2="{y(v)}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{y(v)}" dy=".35em" text-anchor="end">{label}</text>'
        for v, label in up.ticks()
    ]
    parts += [
        f'<text class="tick" x="{x(share)}" y="{HIGH - FOOT + 20}" text-anchor="middle">{percent(share)}</text>'
        for share in _apart(shares, lambda share: x(share))
    ]
    parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y(1.0)}" y2="{y(1.0)}"/>')
    band = [(p["share"], p["random"]["low"]) for p in points] + [
        (p["share"], p["random"]["high"]) for p in reversed(points)
    ]
    corners = " ".join(f"{x(s)},{y(v)}" for s, v in [(0.0, 0.0), *band] if is_known(v))
    parts.append(f'<polygon class="band" points="{corners}"/>')
    parts += [line("random", "random", 0.0), line("rest", "rest", 1.0), line("kept", "kept", 0.0)]
    for p in points:
        parts.append(_point(p, x(p["share"]), y))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img" width="100%">'
        f"<title>{safe(found['title'])}</title><desc>{safe(found['told'])}</desc><style>{STYLE}</style>"
        f'<text x="{LEFT}" y="20">{safe(found["title"])}</text><text class="tick" x="{LEFT}" y="40">'
        f"solid: the circuit alone; dashed: everything but it; grey: random circuits (mean, middle 95 %)</text>"
        + "".join(parts)
        + f'<text class="tick" x="{WIDE - RIGHT}" y="{HIGH - 14}" text-anchor="end">share of parts kept</text>'
        f'<text class="tick" x="{LEFT}" y="{HIGH - 14}">faithfulness by size</text></svg>\n'
    )


def _point(p: Mapping[str, Any], x: float, y: Any) -> str:
    kept, rest, random = p["kept"], p["rest"], p["random"]
    title = (
        f"{p['size']:,} parts: {number(kept['value'])}; everything but them: {number(rest['value'])}; "
        f"as many at random: {number(random['value'])} ({span(random['low'], random['high'])})"
    )
    whisker = ""
    if is_known(kept["low"]) and is_known(kept["high"]):
        whisker = f'<line class="whisker" x1="{x}" x2="{x}" y1="{y(kept["low"])}" y2="{y(kept["high"])}"/>'
    dot = f'<circle class="rest" cx="{x}" cy="{y(rest["value"])}" r="3"/>' if is_known(rest["value"]) else ""
    if is_known(kept["value"]):
        dot += f'<circle class="kept" cx="{x}" cy="{y(kept["value"])}" r="4.5"><title>{safe(title)}</title></circle>'
    return whisker + dot


def _apart(shares: Sequence[float], x: Any) -> list[float]:
    """Return the shares whose labels do not run into one another."""
    chosen: list[float] = []
    for share in shares:
        if not chosen or x(share) - x(chosen[-1]) >= 48:
            chosen.append(share)
    return chosen
