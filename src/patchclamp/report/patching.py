"""Scores of activation patching as one page of maps."""

from collections.abc import Mapping

import numpy as np

from patchclamp.core.caution import caution
from patchclamp.core.estimate import Estimate
from patchclamp.core.score_maps import SHARES, ScoreMap, count_run, map_scores, split_key, tokens_at
from patchclamp.core.scores import Scores
from patchclamp.core.stats_columns import least_p
from patchclamp.report.html import box_token, general, inline, number, page, percent, safe, span, visible

ROW, LEFT, FOOT = 24, 92, 74
"""Heights of a row and of what stands below, and the room for names on the left, in pixels."""
CELLS, LISTED, WRITTEN = 4000, 20, 0.005
"""Cells that tell their interval, and that are listed; the least effect that is written into its cell."""
NOUN = "Scores"
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


def suits(scores: Scores) -> bool:
    """Say whether scores are shares of m(clean) − m(corrupted), as patching gives them."""
    return scores.unit in SHARES.values()


def draw(scores: Scores, *, command: str | None = None) -> str:
    """Write what patching found as one HTML page without script or outside reference.

    Args:
        scores: what ``patch_sites`` gave.
        command: how to make it again, shown at the end.

    Returns:
        str: the page, light or dark as its reader's screen is; a cell tells its numbers where a pointer rests.

    Example:
        >>> from patchclamp.attribute.patching import patch_sites
        >>> from patchclamp.loaders import load, open_task
        >>> cat = load("organism:cat")
        >>> page = draw(patch_sites(cat, cat.read(open_task("planted", cat))))
        >>> page[:15], "blocks.0.mlp.write/whole/0" in page, "<script" in page
        ('<!doctype html>', True, False)
    """
    places = scores.places(CELLS, signed=False)
    estimates = dict(zip(places.tolist(), scores.estimates(places), strict=True))
    title = f"Activation patching in {scores.provenance.subject}"
    body = [
        f"<header><p class='soft'>patchclamp</p><h1>{inline(title)}</h1>{_lead(scores)}</header>",
        *(
            f"<section><h2>{inline(_name(one))}</h2>{_figure(one, scores, estimates)}</section>"
            for one in map_scores(scores)
        ),
        f"<section><h2>The strongest</h2>{_table(places[:LISTED], scores, estimates)}</section>",
        f"<section><h2>Made from</h2>{_pairs(scores)}</section>",
    ]
    if command:
        body.append(f"<section><h2>Made by</h2><pre>{inline(command)}</pre></section>")
    return page(title, body, style=_STYLE)


def heat_map(one: ScoreMap, scores: Scores, estimates: Mapping[int, Estimate] | None = None) -> str:
    """Draw one map: a row for each block or unit, a column for each place, deeper where the effect is larger.

    Args:
        one: the map.
        scores: what it is of.
        estimates: place of a score → its estimate, whose interval and p stand with the value.

    Returns:
        str: an SVG.
    """
    n_rows, n_places = one.at.shape
    tokens = tokens_at(scores)
    wide = 46 if n_places <= 16 else 30
    top = max(1.0, float(np.abs(scores.values[one.at]).max(initial=0.0)))
    width, height = LEFT + wide * n_places, ROW * n_rows + FOOT
    parts = []
    for i, (label, key) in enumerate(zip(one.rows, one.keys, strict=True)):
        y = ROW * i
        parts.append(f'<text class="name" x="{LEFT - 8}" y="{y + ROW / 2}" dy=".35em">{inline(label[-14:])}</text>')
        for j, place in enumerate(one.places):
            at = int(one.at[i, j])
            title = _title(f"{key} at {place}", float(scores.values[at]), (estimates or {}).get(at))
            parts.append(_cell(float(scores.values[at]), LEFT + wide * j, y, wide, top, title))
    for j, place in enumerate(one.places):
        x, y = LEFT + wide * j + wide / 2, ROW * n_rows + 12
        name = f"{place} {tokens[place]}" if tokens[place] else place
        parts.append(
            f'<text class="place" x="{x:.0f}" y="{y}" transform="rotate(40 {x:.0f} {y})"><title>{safe(name)}</title>'
            f"{inline(name if len(name) < 13 else name[:12] + '…')}</text>"
        )
    said = f"{one.name}: {n_rows} rows by {n_places} places"
    return (
        f'<svg role="img" aria-label="{safe(said)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )


def _title(named: str, value: float, one: Estimate | None) -> str:
    title = f"{named}: {number(value, signed=True)}"
    if one is None:
        return title
    return title + (", one pair" if one.n == 1 else f" ({span(one.low, one.high)}), p {general(one.p)}, {one.n} pairs")


def _cell(value: float, x: int, y: int, wide: int, top: float, title: str) -> str:
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


def _name(one: ScoreMap) -> str:
    return {"resid": "Residual stream", "attn.write": "What attention writes", "mlp.write": "What MLPs write"}.get(
        one.name, one.name
    )


def _lead(scores: Scores) -> str:
    denoise = scores.unit == SHARES["denoise"]
    what = (
        "Each cell puts the clean run's value at one place into the corrupted run: 100 where that alone brings the "
        "whole difference back, 0 where it brings nothing."
        if denoise
        else "Each cell puts the corrupted run's value at one place into the clean run: 100 where that alone takes "
        "the whole difference away, 0 where it takes nothing."
    )
    aligned = " Prompts differ in length: places count from the end, where m is read." * (
        scores.provenance.extra["aligned"] == "end"
    )
    facts = [
        ("pairs", f"{len(scores.cases):,}"),
        ("m, clean prompts", number(scores.metric_clean)),
        ("m, corrupted prompts", number(scores.metric_baseline)),
    ]
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        f"<p class='lead'>{what}</p><dl class='facts'>{listed}</dl>"
        f"<p class='note'>Percent of m(clean) − m(corrupted), each pair by its own, then the mean. "
        f"<b class='carries'>Blue</b> is towards the clean answer, <b class='against'>orange</b> away from it.{aligned}"
        "</p>"
    )


def _figure(one: ScoreMap, scores: Scores, estimates: Mapping[int, Estimate]) -> str:
    less = f"<p class='note'>{one.left_out:,} weaker rows are not shown.</p>" if one.left_out else ""
    return f"<figure class='map'>{heat_map(one, scores, estimates)}</figure>{less}"


def _table(places: np.ndarray, scores: Scores, estimates: Mapping[int, Estimate]) -> str:
    tokens = tokens_at(scores)
    keys = [split_key(scores.key(place)) for place in places.tolist()]
    rows = "".join(
        f"<tr><th scope='row'>{inline(unit).replace('/', '/<wbr>')}</th><td class='n'>{inline(at)}</td>"
        f"<td>{box_token(tokens[at]) if tokens[at] else ''}</td><td class='n'>{number(c.value, signed=True)}</td>"
        f"<td class='n'>{span(c.low, c.high) if c.n > 1 else 'one pair'}</td>"
        f"<td class='n'>{general(c.p) if c.n > 1 else ''}</td><td class='n'>{c.n:,}</td></tr>"
        for (unit, at), c in zip(keys, map(estimates.__getitem__, places.tolist()), strict=True)
    )
    head = "".join(
        f"<th{right}>{name}</th>"
        for name, right in (
            ("unit", ""),
            ("at", " class='n'"),
            ("token", ""),
            ("effect", " class='n'"),
            ("95 % interval", " class='n'"),
            ("p", " class='n'"),
            ("pairs", " class='n'"),
        )
    )
    n = len(scores.cases)
    p = (
        f"<p class='note'>Intervals by bootstrap over pairs; p by flipping their signs, about {general(least_p(n))} "
        f"at least with so many pairs, not corrected for the {len(scores):,} cells.</p>"
        if n > 1
        else ""
    )
    few = caution(n, "pairs")
    warning = f"<p class='warn'>{few}</p>" if few else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{warning}{p}"


def _pairs(scores: Scores) -> str:
    skipped = "".join(
        f"<li>{count:,}: {inline(reason)}</li>" for reason, count in scores.provenance.extra["skipped"].items()
    )
    n, cells, agreeing = len(scores.cases), scores.cases.size, ""
    if "run" in scores.measures:
        run, agree = count_run(scores)
        agreeing = (
            f" In {percent(agree / max(run + agree, 1))} of them both runs have the same value, so that nothing "
            "changes; the others were run."
        )
    return (
        "".join(f"<p class='quoted'>{visible(text)}</p>" for text in scores.provenance.extra["example"])
        + f"<p class='note'>The first of {n:,} pairs; {cells:,} cells.{agreeing}</p>"
        + (f"<p>Set aside:</p><ul>{skipped}</ul>" if skipped else "")
    )
