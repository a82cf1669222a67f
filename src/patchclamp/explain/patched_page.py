"""Patched page: activation patching as one page of maps, which needs nothing but itself."""

import math
from collections.abc import Mapping

from patchclamp.attribute.patched import Cell, Map, Patched
from patchclamp.core.few_values import caution
from patchclamp.core.task import words_of
from patchclamp.explain.markup import boxed, general, inline, known, number, page, percent, safe, span, visible

ROW, LEFT, FOOT = 24, 92, 74
"""Heights of a row and of what stands below, and the room for names on the left, in pixels."""
CELLS, LISTED, WRITTEN = 4000, 20, 0.005
"""Cells that tell their interval, and that are listed; the least effect that is written into its cell."""
_STYLE = """
.map { overflow-x: auto; margin: 1rem 0 2.2rem } .map svg { max-width: none }
.map rect { stroke: var(--paper); stroke-width: 1 }
.map rect.none { fill: var(--tint) }
.map rect.carries { fill: rgb(var(--carries)) } .map rect.against { fill: rgb(var(--against)) }
.map .name { text-anchor: end; font-size: 12px; fill: var(--soft) }
.map .place { font-size: 11px; fill: var(--soft) }
.map .value { text-anchor: middle; font-size: 10.5px; pointer-events: none }
.map .value.deep { fill: var(--paper) }
"""


def patched_page(found: Patched, *, command: str | None = None) -> str:
    """Write what patching found as one HTML page without script or outside reference.

    Args:
        found: the result.
        command: how to make it again, shown at the end.

    Returns:
        str: the page, light or dark as its reader's screen is; a cell tells its numbers where a pointer rests.

    Example:
        >>> from patchclamp.attribute.patching import patch_sites
        >>> from patchclamp.opening import load, open_task
        >>> cat = load("organism:cat")
        >>> page = patched_page(patch_sites(cat, cat.read(open_task("planted", cat))))
        >>> page[:15], "blocks.0.mlp.write/whole/0" in page, "<script" in page
        ('<!doctype html>', True, False)
    """
    cells = found.strongest(CELLS)
    told = {(cell.key, cell.place): cell for cell in cells}
    title = f"Activation patching in {found.subject.get('slug', '')}"
    body = [
        f"<header><p class='soft'>patchclamp</p><h1>{inline(title)}</h1>{_lead(found)}</header>",
        *(f"<section><h2>{inline(_named(one))}</h2>{_figure(one, found, told)}</section>" for one in found.maps()),
        f"<section><h2>The strongest</h2>{_table(cells[:LISTED], found)}</section>",
        f"<section><h2>Made from</h2>{_pairs(found)}</section>",
    ]
    if command:
        body.append(f"<section><h2>Made by</h2><pre>{inline(command)}</pre></section>")
    return page(title, body, style=_STYLE)


def heat_map(one: Map, found: Patched, told: Mapping[tuple[str, str], Cell] | None = None) -> str:
    """Draw one map: a row for each block or unit, a column for each place, deeper where the effect is larger.

    Args:
        one: the map.
        found: what it is of.
        told: cells whose interval and p stand with their values.

    Returns:
        str: an SVG.
    """
    n_rows, n_places = one.values.shape
    wide = 46 if n_places <= 16 else 30
    top = max(1.0, _largest(one))
    width, height = LEFT + wide * n_places, ROW * n_rows + FOOT
    parts = []
    for i, (label, key) in enumerate(zip(one.rows, one.keys, strict=True)):
        y = ROW * i
        parts.append(f'<text class="name" x="{LEFT - 8}" y="{y + ROW / 2}" dy=".35em">{inline(label[-14:])}</text>')
        for j, place in enumerate(found.places):
            parts.append(_cell(float(one.values[i, j]), LEFT + wide * j, y, wide, top, key, place, told or {}))
    for j, (place, token) in enumerate(zip(found.places, found.tokens, strict=True)):
        x, y = LEFT + wide * j + wide / 2, ROW * n_rows + 12
        name = f"{place} {token}" if token else place
        parts.append(
            f'<text class="place" x="{x:.0f}" y="{y}" transform="rotate(40 {x:.0f} {y})"><title>{safe(name)}</title>'
            f"{inline(name if len(name) < 13 else name[:12] + '…')}</text>"
        )
    said = f"{one.name}: {n_rows} rows by {n_places} places"
    return (
        f'<svg role="img" aria-label="{safe(said)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )


def _largest(one: Map) -> float:
    """Return the largest mean effect of a map, either sign."""
    return max((abs(float(v)) for v in one.values.ravel() if known(float(v))), default=0.0)


def _cell(
    value: float, x: int, y: int, wide: int, top: float, key: str, place: str, told: Mapping[tuple[str, str], Cell]
) -> str:
    if not math.isfinite(value):
        return ""
    cell = told.get((key, place))
    title = f"{key} at {place}: {number(value, signed=True)}"
    if cell is not None and cell.n > 1:
        title += f" ({span(cell.low, cell.high)}), p {general(cell.p)}, {cell.n} pairs"
    elif cell is not None:
        title += ", one pair"
    share = abs(value) / top
    kind = "none" if abs(value) < WRITTEN else "carries" if value > 0 else "against"
    depth = "" if kind == "none" else f' fill-opacity="{0.08 + 0.92 * share:.2f}"'
    written = ""
    if kind != "none" and wide > 40:
        deep = " deep" if share > 0.55 else ""
        middle = f'x="{x + wide / 2:.0f}" y="{y + ROW / 2:.0f}"'
        written = f'<text class="value{deep}" {middle} dy=".35em">{round(100 * value)}</text>'.replace("-", "−")
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{wide}" height="{ROW}"{depth}><title>{safe(title)}</title></rect>'
        + written
    )


def _named(one: Map) -> str:
    return {"resid": "Residual stream", "attn.write": "What attention writes", "mlp.write": "What MLPs write"}.get(
        one.name, one.name
    )


def _lead(found: Patched) -> str:
    denoise = found.direction == "denoise"
    what = (
        "Each cell puts the clean run's value at one place into the corrupted run: 100 where that alone brings the "
        "whole difference back, 0 where it brings nothing."
        if denoise
        else "Each cell puts the corrupted run's value at one place into the clean run: 100 where that alone takes "
        "the whole difference away, 0 where it takes nothing."
    )
    aligned = " Prompts differ in length: places count from the end, where m is read." * (
        found.about.get("aligned") == "end"
    )
    facts = [
        ("pairs", f"{len(found.pairs):,}"),
        ("m, clean prompts", number(float(found.m_clean.mean()))),
        ("m, corrupted prompts", number(float(found.m_corrupted.mean()))),
    ]
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        f"<p class='lead'>{what}</p><dl class='facts'>{listed}</dl>"
        f"<p class='note'>Percent of m(clean) − m(corrupted), each pair by its own, then the mean. "
        f"<b class='carries'>Blue</b> is towards the clean answer, <b class='against'>orange</b> away from it.{aligned}"
        "</p>"
    )


def _figure(one: Map, found: Patched, told: Mapping[tuple[str, str], Cell]) -> str:
    less = f"<p class='note'>{one.left_out:,} weaker rows are not shown.</p>" if one.left_out else ""
    return f"<figure class='map'>{heat_map(one, found, told)}</figure>{less}"


def _table(cells: list[Cell], found: Patched) -> str:
    tokens = dict(zip(found.places, found.tokens, strict=True))
    rows = "".join(
        f"<tr><th scope='row'>{inline(c.key).replace('/', '/<wbr>')}</th><td class='n'>{inline(c.place)}</td>"
        f"<td>{boxed(tokens[c.place]) if tokens[c.place] else ''}</td><td class='n'>{number(c.mean, signed=True)}</td>"
        f"<td class='n'>{span(c.low, c.high) if c.n > 1 else 'one pair'}</td>"
        f"<td class='n'>{general(c.p) if c.n > 1 else ''}</td><td class='n'>{c.n:,}</td></tr>"
        for c in cells
    )
    head = "".join(
        f"<th{right}>{name}</th>"
        for name, right in (
            ("unit", ""), ("at", " class='n'"), ("token", ""), ("effect", " class='n'"),
            ("95 % interval", " class='n'"), ("p", " class='n'"), ("pairs", " class='n'"),
        )
    )  # fmt: skip
    p = (
        f"<p class='note'>Intervals by bootstrap over pairs; p by flipping their signs, about {general(found.least_p)} "
        f"at least with so many pairs, not corrected for the {len(found.means):,} cells.</p>"
        if len(found.pairs) > 1
        else ""
    )
    few = caution(len(found.pairs), "pairs")
    warning = f"<p class='warn'>{few}</p>" if few else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{warning}{p}"


def _pairs(found: Patched) -> str:
    first = found.pairs[0]
    aside = "".join(f"<li>{count:,}: {inline(reason)}</li>" for reason, count in found.aside.items())
    cells = len(found.means) * len(found.pairs)
    share = percent(found.about["agree"] / max(found.about["run"] + found.about["agree"], 1))
    return (
        "".join(f"<p class='quoted'>{visible(words_of(x))}</p>" for x in (first.shown, first.counterpart))
        + f"<p class='note'>The first of {len(found.pairs):,} pairs; {cells:,} cells. In {share} of them both runs "
        "have the same value, so that nothing changes; the others were run.</p>"
        + (f"<p>Set aside:</p><ul>{aside}</ul>" if aside else "")
    )
