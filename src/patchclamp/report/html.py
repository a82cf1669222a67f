"""Numbers and text as every page shows them, and how a page looks."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby
from typing import Any, TypeGuard

Number = float | int | None
UNDEFINED = "not defined"


def number(value: Number, *, signed: bool = False) -> str:
    """Return a number as every part of the page writes it: two decimals, and three below 1 in size.

    Args:
        value: None, and what is not finite, read "not defined".
        signed: write the + too, as effects have it.

    Example:
        >>> number(9.754), number(-0.0886), number(0.0886, signed=True)
        ('9.75', '−0.089', '+0.089')
    """
    if not is_known(value):
        return UNDEFINED
    size = abs(value)
    decimals = 3 if size < 1 else 2
    digits = f"{size:.{decimals}f}" if size < 1e6 else f"{size:.2e}"
    if not float(digits):
        return digits
    return ("−" if value < 0 else "+" if signed else "") + digits


def percent(share: Number) -> str:
    """Return a share in percent; one decimal below 100, and none above."""
    if not is_known(share):
        return UNDEFINED
    if 0 < share < 0.001:
        return "under 0.1\u00a0%"
    digits = f"{abs(share):.1%}" if abs(share) < 0.9995 else f"{abs(share):.0%}"
    return ("−" if share < 0 else "") + digits.replace("%", "\u00a0%")


def general(value: Number, digits: int = 2) -> str:
    """Return a number with some significant digits, as p has them."""
    return f"{value:.{digits}g}" if is_known(value) else UNDEFINED


def span(low: Number, high: Number, *, signed: bool = False) -> str:
    """Return both ends of an interval as text, or say that it is not defined.

    Returns:
        str: ``0.30 to 0.50``, or a dash.

    Example:
        >>> span(0.25, 0.5, signed=True)
        '+0.250 to +0.500'
    """
    ends = (number(end, signed=signed) for end in (low, high))
    return " to ".join(ends) if is_known(low) and is_known(high) else UNDEFINED


def between(interval: Mapping[str, Any]) -> str:
    """Return an interval as text, or say that it is not defined."""
    return f"95\u00a0% interval {span(interval['low'], interval['high'])}"


def is_known(value: Number) -> TypeGuard[float]:
    """Return whether a number is there and finite."""
    return value is not None and math.isfinite(value)


def plain(text: str) -> str:
    r"""Return text whose control, direction and other invisible characters are written out: ``\n``, ``\u202e``."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def safe(text: str) -> str:
    """Return text that may stand anywhere in the page, attributes included."""
    return escape(plain(text), quote=True)


def local(key: str, slug: str) -> str:
    """Return a unit's key without its subject, which the page names once."""
    return key.removeprefix(f"{slug}/")


def inline(text: str) -> str:
    """Return text for between tags, where quotes mean nothing and may stand as they are."""
    return safe(text).replace("&#x27;", "'").replace("&quot;", '"')


def visible(text: str) -> str:
    """Return text whose spaces carry a faint dot, and whose invisible characters are written out in a frame."""
    groups = groupby(text, lambda c: "space" if c == " " else "text" if c.isprintable() else "code")
    pieces = ((kind, "".join(run)) for kind, run in groups)
    written = {
        "space": lambda run: "<wbr>" + '<span class="space"> </span>' * len(run),
        "text": inline,
        "code": lambda run: f'<span class="code">{inline(run)}</span>',
    }
    return "".join(written[kind](run) for kind, run in pieces)


def box_token(text: str) -> str:
    """Return a token in its own box, whatever direction it is written in."""
    return f'<bdi class="token">{visible(text)}</bdi>' if text else '<span class="soft">(empty)</span>'


def mark_changes(prompt: str, corrupt: str) -> str:
    """Return the corrupted prompt with the words marked in which it departs."""
    before, after = (re.split(r"(\s+)", text) for text in (prompt, corrupt))
    parts = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        text = inline("".join(after[start:end]))
        parts.append(f"<mark>{text}</mark>" if kind != "equal" and text else text)
    return "".join(parts)


def unit(key: str, slug: str) -> str:
    """Return a unit's key without its subject, which may be broken at its slashes."""
    return inline(local(key, slug)).replace("/", "/<wbr>")


STYLE = """
:root { --paper: #fdfdfb; --ink: #1c2127; --soft: #5d6671; --line: #e4e6e2; --grey: #b4bac1; --tint: #f4f5f1;
  --carries: 0 98 172; --against: 184 80 0;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, Charter, Georgia, serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e4e7ea; --soft: #9ba5b0;
  --line: #2a3037; --grey: #5a636e; --tint: #1b1f24; --carries: 104 176 248; --against: 245 152 66 } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 var(--sans) }
main { max-width: 1000px; margin: 0 auto; padding: 3.5rem 1.5rem 4rem }
section { margin-top: 4rem }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.25; overflow-wrap: anywhere }
h1 { font-size: clamp(1.7rem, 5vw, 2.5rem); margin: .3rem 0 1.6rem }
h2 { font-size: 1.5rem; margin: 0 0 .8rem }
h3 { font-size: 1rem; font-weight: 650; margin: 2.2rem 0 .6rem }
p { max-width: 46rem; margin: .7rem 0; overflow-wrap: anywhere }
.lead { font-size: 1.2rem; line-height: 1.5 }
.note, .soft, figcaption, caption { color: var(--soft) }
.note, figcaption, caption { font-size: .875rem; line-height: 1.55 }
.warn { border-left: 3px solid rgb(var(--against)); padding-left: .9rem }
.carries { color: rgb(var(--carries)) } .against { color: rgb(var(--against)) }
code, pre, .code { font-family: var(--mono); font-size: .86em }
pre { background: var(--tint); padding: 1rem 1.2rem; border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere }
.code { color: var(--soft); border: 1px solid var(--line); border-radius: 3px; padding: 0 .15em }
.space { position: relative; white-space: pre }
.space::before { content: "·"; position: absolute; left: 0; color: var(--soft); opacity: .7 }
.tight { white-space: nowrap }
.token { font-family: var(--serif); background: var(--tint); border-radius: 3px; padding: .05em .22em;
  margin-right: .25em; overflow-wrap: anywhere }
.prompt { font: 1.25rem/2.1 var(--serif); max-width: none; margin: 1.2rem 0 }
.prompt .t { border-radius: 3px; padding: .12em 0; color: var(--ink); white-space: pre-wrap }
.prompt .t.carries { background: rgb(var(--carries) / calc(var(--a) * .5)) }
.prompt .t.against { background: rgb(var(--against) / calc(var(--a) * .5)) }
.prompt .t.next { border-bottom: 2px dotted var(--soft) }
.quoted { border-left: 3px solid var(--line); padding-left: .9rem; font-family: var(--serif) }
mark { background: rgb(var(--against) / .22); color: inherit; border-radius: 3px }
.shown { margin: 1.2rem 0 } .shown img { width: min(14rem, 100%); image-rendering: pixelated; border-radius: 3px }
.images { display: flex; flex-wrap: wrap; gap: 0 2.4rem } .images .shown { flex: 0 1 19rem }
.shown .heat { width: min(14rem, 100%); border-radius: 3px } .heat image { image-rendering: pixelated }
svg.heat rect.bar { fill: #fff }
.key { display: block; color: var(--soft); font-size: .78em }
.facts { display: flex; flex-wrap: wrap; gap: 1.2rem 3rem; margin: 1.6rem 0 2rem }
.facts dt { color: var(--soft); font-size: .875rem }
.facts dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums }
.facts dd.note { font-size: .875rem }
.beside, .halves { display: grid; gap: 1rem 2.5rem; align-items: start }
.beside { grid-template-columns: minmax(0, 31rem) minmax(14rem, 1fr) }
.halves { grid-template-columns: repeat(2, minmax(0, 1fr)); margin-top: 2rem }
.halves .facts { margin-top: 0 }
.made { display: grid; grid-template-columns: 11rem minmax(0, 1fr); gap: .5rem 1.5rem }
.made dt { color: var(--soft) } .made dd { margin: 0; overflow-wrap: anywhere }
figure { display: flow-root; margin: 0 } figcaption { max-width: 46rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .5rem }
th, td { text-align: left; padding: .42rem .8rem .42rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere }
thead th { color: var(--soft); font-weight: 500; font-size: .8rem; position: sticky; top: 0; background: var(--paper) }
tbody th { font-weight: 400 } .n { text-align: right; white-space: nowrap }
.nodes { table-layout: fixed } .nodes .effect { padding-right: 1.2rem }
.tall { max-height: 44rem; overflow: auto; border-bottom: 1px solid var(--line) }
.likeliest td.share { width: 55% }
.likeliest .fill { display: block; height: .7rem; border-radius: 2px; background: var(--grey) }
.likeliest .carries .fill { background: rgb(var(--carries)) }
.likeliest .against .fill { background: rgb(var(--against)) }
.swatch { display: inline-block; width: 1.6em; height: .75em; margin-right: .4em; border-radius: 2px;
  background: var(--grey) }
.swatch.line { height: 3px; vertical-align: .25em; background: rgb(var(--carries)) }
@media (max-width: 640px) {
  main { padding: 2rem 1.1rem 3rem } section { margin-top: 3rem }
  .beside, .halves, .made { grid-template-columns: minmax(0, 1fr) } .made { gap: 0 } .made dd { margin-bottom: .8rem }
  .nodes thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
  .nodes, .nodes tbody, .nodes caption { display: block }
  .nodes tr { display: grid; grid-template-columns: 1.8rem repeat(3, 1fr); padding: .7rem 0;
    border-bottom: 1px solid var(--line) }
  .nodes th, .nodes td { display: block; border: 0; padding: .1rem .5rem .1rem 0; text-align: left }
  .nodes tbody th { grid-column: 2 / -1; overflow-wrap: anywhere }
  .nodes .wide { grid-column: 2 / -1 } .nodes .from { grid-column-start: 2 } .nodes .effect { width: auto }
  .nodes td[data-label]::before { content: attr(data-label); display: block; color: var(--soft); font-size: .72rem }
  .nodes td.wide[data-label]::before { display: inline; margin-right: .7em }
  .facts { gap: .8rem 2rem }
}
@media print { :root { --paper: #fff } * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  html { font-size: 12px } body { font-size: 1rem } main { padding: 0; max-width: none } section { margin-top: 2rem }
  .tall { max-height: none; overflow: visible }
  tr, figure, .facts { break-inside: avoid } h2, h3 { break-after: avoid } }
svg { display: block; overflow: visible; font: 13px var(--sans); fill: var(--ink); font-variant-numeric: tabular-nums }
svg .tick, svg .axis { fill: var(--soft); font-size: 12px }
svg .grid { stroke: var(--line) }
svg .zero { stroke: var(--soft) }
svg rect.carries { fill: rgb(var(--carries)) }
svg rect.against { fill: rgb(var(--against)) }
svg rect.foretold.carries { fill: rgb(var(--carries) / .16); stroke: rgb(var(--carries)) }
svg rect.foretold.against { fill: rgb(var(--against) / .16); stroke: rgb(var(--against)) }
svg rect.control { fill: var(--grey) }
svg line.foretold { stroke: var(--ink); stroke-width: 2 }
svg .draw { fill: var(--paper); stroke: var(--soft) }
svg .whisker { stroke: var(--ink); stroke-width: 2 }
.effects { width: calc(100% - 16.5rem); margin: 1.6rem 4.5rem 1.4rem 12rem }
.effects .name { text-anchor: end; transform: translateX(-14px) }
.effects .value { text-anchor: end; transform: translateX(4.4rem) }
.effects text.own { font-weight: 650 }
.scatter, .curve { width: calc(100% - 4rem); margin: 2rem 1rem 3.6rem 3rem }
.scatter { aspect-ratio: 1 }
.curve { height: 20rem }
.identity { stroke: var(--soft); stroke-dasharray: 5 4 }
.check { fill: rgb(var(--carries) / .65); stroke: var(--paper) }
.check.near { fill: none; stroke: var(--ink) }
.curve .band { fill: var(--grey); fill-opacity: .35 }
.curve polyline { fill: none; stroke: var(--soft); stroke-width: 1.5; vector-effect: non-scaling-stroke }
.curve polyline.own { stroke: rgb(var(--carries)); stroke-width: 2.5 }
.kept { fill: rgb(var(--carries)); stroke: var(--paper) }
.curve .level { stroke: var(--ink); stroke-dasharray: 2 4 }
.curve .label { font-size: 12px; paint-order: stroke; stroke: var(--paper); stroke-width: 4px }
@media (max-width: 640px) {
  .effects { width: calc(100% - 4.2rem); margin-left: 0; margin-right: 4.2rem }
  .effects .name { text-anchor: start; transform: translateY(-13px); paint-order: stroke; stroke: var(--paper);
    stroke-width: 4px }
  .effects .marks { transform: translateY(6px) }
  .effects .value { transform: translate(4.2rem, 6px) }
}
"""
"""One style sheet for page and pictures: nothing is fetched, and colours change with the reader's scheme."""


def page(title: str, sections: Iterable[str], *, style: str = "", images: bool = False) -> str:
    """Return one HTML page that runs no script and asks nobody for anything.

    Args:
        title: as text.
        sections: as HTML.
        style: rules added to ``STYLE``.
        images: whether the page holds images, each written into it.

    Returns:
        str: a whole document.

    Example:
        >>> "default-src 'none'" in page("A map", ["<p>none</p>"])
        True
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'"
        f'{"; img-src data:" if images else ""}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{inline(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )
