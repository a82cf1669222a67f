"""A circuit as one page, with its picture and its receipt."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from patchclamp.core.caution import caution
from patchclamp.core.circuit import draw_graph, to_document
from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.plain_numbers import is_share
from patchclamp.core.receipt import RULE
from patchclamp.core.scores import Scores
from patchclamp.core.unit import UnitKey
from patchclamp.report.html import UNDEFINED, inline, is_known, local, number, page, percent, safe, span, unit

MOST_EDGES, MOST_UNITS, MOST_ROWS = 80, 60, 30
"""Parts of the picture, by their kind, and rows of the table, at most."""
WIDE, TALL, GAP, MARGIN, TOP = 78.0, 24.0, 52.0, 96.0, 34.0
"""Sizes in pixels: a node, the way between blocks, room for names on the left and above."""
INS = {"q": 0.2, "k": 0.5, "v": 0.8, "": 0.5}
"""Where an edge enters a node, from above: queries, keys and values have their own places."""
PARTS = {"node": "Nodes", "edge": "Edges", "neuron": "Neurons and heads", "feature": "Features and heads"}
_BLOCK = re.compile(r"blocks\.(\d+)\.")
NOUN = "Scores"
_STYLE = """
.circuit { overflow-x: auto; margin: 1.5rem 0 } .circuit svg { max-width: none }
.circuit .node rect { stroke: rgb(var(--carries)); fill: rgb(var(--carries)); stroke-width: 1 }
.circuit .node.against rect { stroke: rgb(var(--against)); fill: rgb(var(--against)); stroke-dasharray: 4 2 }
.circuit .node rect.ground { fill: var(--paper); stroke: none }
.circuit .node.end rect { stroke: var(--soft); fill: var(--tint); fill-opacity: 1 }
.circuit .node text { text-anchor: middle; font-size: 12px }
.circuit path { fill: none; stroke: rgb(var(--carries)) }
.circuit path.against { stroke: rgb(var(--against)); stroke-dasharray: 5 3 }
.circuit .head { fill: var(--soft); font-size: 12px } .circuit .slot { fill: var(--soft); font-size: 9px }
"""


def suits(scores: Scores) -> bool:
    """Say whether scores are a circuit: their first parts were measured together."""
    return "receipt" in scores.provenance.extra


def draw(scores: Scores, *, command: str | None = None) -> str:
    """Return the page of a circuit as ``circuit find`` makes it; see ``render``."""
    most = MOST_EDGES if scores.level == "edge" else MOST_UNITS
    return render(to_document(scores), draw_graph(scores, most), command=command)


def render(document: Mapping[str, Any], graph: Graph, *, command: str | None = None) -> str:
    """Write a circuit as one HTML page without script or outside reference.

    Args:
        document: what ``circuit find --json`` prints: facts, parts and the receipt.
        graph: the parts that are drawn.
        command: how to make it again, shown at the end.

    Returns:
        str: the page.
    """
    d = document
    title = f"{PARTS[d['level']]} that carry {_task(graph)}"
    body = [
        f"<section style='margin-top:0'><p class='soft'>{inline(d['subject'].get('slug', ''))}</p>"
        f"<h1>{inline(title)}</h1>{_lead(d)}</section>",
        f"<section><h2>The circuit</h2><figure class='circuit'>{draw_picture(graph)}</figure>"
        f"<p class='note'>{_legend(graph)}</p></section>",
        f"<section><h2>Receipt</h2>{_receipt(d)}</section>",
        f"<section><h2>Its parts</h2>{_table(d, graph.subject.get('slug', ''))}</section>",
    ]
    if command:
        body.append(f"<section><h2>Made by</h2><pre>{inline(command)}</pre></section>")
    return page(title, body, style=_STYLE)


def draw_picture(graph: Graph) -> str:
    """Draw a graph: a column for each block, heads above MLPs, widths of edges and depths of nodes by |score|.

    Args:
        graph: what ``Circuit.graph`` returned.

    Returns:
        str: an SVG, whose values stand in titles.
    """
    slug = graph.subject.get("slug", "")
    # Of units no relation is known: that each leads to the answer needs neither lines nor an end.
    lines = graph.about.get("level") == "edge"
    drawn = [node for node in graph.nodes if lines or node.kind != "output"]
    columns = _columns(drawn)
    spots: dict[str, tuple[float, float]] = {}
    steps = {column: i for i, column in enumerate(sorted(columns))}
    for column, nodes in columns.items():
        for row, node in _rows(nodes):
            spots[node.key] = (MARGIN / 4 + steps[column] * (WIDE + GAP), TOP + row * (TALL + 10.0))
    width = MARGIN / 2 + len(columns) * (WIDE + GAP) - GAP
    height = max(y for _, y in spots.values()) + TALL + 12
    middle = (height + TOP - TALL) / 2
    for key, (x, _) in list(spots.items()):
        if _column_of(key) in (-1, 10**6):
            spots[key] = (x, middle)
    largest = max((abs(node.score) for node in graph.nodes if node.kind != "output"), default=1.0) or 1.0
    strongest = max((abs(edge.weight) for edge in graph.edges), default=1.0) or 1.0
    parts = [
        f'<text class="head" x="{MARGIN / 4 + i * (WIDE + GAP):.0f}" y="16">{_name(column)}</text>'
        for column, i in steps.items()
    ]
    shown = sorted(graph.edges if lines else (), key=lambda edge: abs(edge.weight))
    parts += [_path(edge, spots, strongest, slug) for edge in shown]
    parts += [_box(node, *spots[node.key], largest, slug) for node in drawn]
    said = f"{len(drawn) - lines} nodes in {len(columns)} columns, {len(shown)} edges"
    return (
        f'<svg role="img" aria-label="{safe(said)}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{"".join(parts)}</svg>'
    )


def _columns(nodes: Sequence[Node]) -> dict[int, list[Node]]:
    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(_column_of(node.key), []).append(node)
    return columns


def _column_of(key: str) -> int:
    block = _BLOCK.search(key)
    return 10**6 if key == "output" else int(block[1]) if block else -1


def _name(column: int) -> str:
    return {-1: "input", 10**6: "output"}.get(column, f"block {column}")


def _rows(nodes: Sequence[Node]) -> list[tuple[int, Node]]:
    """Stack what a block has: heads by their number, then what its MLP writes, then neurons and features by score."""

    def place(node: Node) -> tuple[int, float]:
        rank = {"head": 0, "site": 1}.get(node.kind, 2)
        return rank, float(UnitKey.parse(node.key).index) if node.kind == "head" else -abs(node.score)

    return list(enumerate(sorted(nodes, key=place)))


def _label(node: Node, slug: str) -> str:
    key = local(node.key, slug)
    if node.kind == "output":
        return "answer"
    if node.kind == "site":
        return "embedding" if key.startswith("embed") else "MLP"
    index = key.rsplit("/", 1)[-1]
    return f"head {index}" if node.kind == "head" else f"{node.kind} {index}"


def _box(node: Node, x: float, y: float, largest: float, slug: str) -> str:
    depth = 0.06 + 0.5 * min(abs(node.score) / largest, 1.0)
    sign = "end" if node.kind == "output" else "against" if node.score < 0 else "carries"
    fill = "" if sign == "end" else f' fill-opacity="{depth:.2f}"'
    title = f"{local(node.key, slug)}: {number(node.score, signed=True)}"
    return (
        f'<g class="node {sign}"><title>{safe(title)}</title>'
        f'<rect class="ground" x="{x:.0f}" y="{y:.0f}" width="{WIDE:.0f}" height="{TALL:.0f}" rx="4"/>'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDE:.0f}" height="{TALL:.0f}" rx="4"{fill}/>'
        f'<text x="{x + WIDE / 2:.0f}" y="{y + 16:.0f}">{inline(_label(node, slug))}</text></g>'
    )


def _path(edge: Edge, spots: Mapping[str, tuple[float, float]], strongest: float, slug: str) -> str:
    if edge.source not in spots or edge.target not in spots:
        return ""
    (x, y), (to_x, to_y) = spots[edge.source], spots[edge.target]
    x, y, to_y = x + WIDE, y + TALL / 2, to_y + INS.get(edge.slot, 0.5) * TALL
    if to_x < x:  # within a block, where both stand in one column
        bend = f"C {x + 22:.0f} {y:.0f} {x + 22:.0f} {to_y:.0f} {x:.0f} {to_y:.0f}"
    else:
        half = (to_x - x) / 2
        bend = f"C {x + half:.0f} {y:.0f} {to_x - half:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}"
    share = min(abs(edge.weight) / strongest, 1.0)
    slot = f" ({edge.slot})" if edge.slot else ""
    title = f"{local(edge.source, slug)} → {local(edge.target, slug)}{slot}: {number(edge.weight, signed=True)}"
    kind = "against" if edge.weight < 0 else "carries"
    mark = "" if not edge.slot else f'<text class="slot" x="{to_x - 7:.0f}" y="{to_y + 3:.0f}">{edge.slot}</text>'
    return (
        f'<path class="{kind}" d="M {x:.0f} {y:.0f} {bend}" stroke-width="{0.6 + 4.4 * share:.2f}" '
        f'stroke-opacity="{0.25 + 0.6 * share:.2f}"><title>{safe(title)}</title></path>{mark}'
    )


def _task(graph: Graph) -> str:
    n = graph.about.get("n_pairs", 0)
    return f"the answer, over {n} pair{'s' * (n != 1)}"


def _lead(d: Mapping[str, Any]) -> str:
    about = d["about"]
    return (
        f"<p class='lead'>m = {number(about['m_clean'], signed=True)} on the clean prompts and "
        f"{number(about['m_corrupted'], signed=True)} on the corrupted ones, means of {len(about['pairs'])}; "
        f"{d['n_parts']:,} {PARTS[d['level']].lower()} scored by {inline(d['method'])}.</p>"
        + (f"<p class='warn'>{few}</p>" if (few := caution(len(about["pairs"]), "pairs")) else "")
    )


def _legend(graph: Graph) -> str:
    words = (
        "Columns are blocks. Deeper nodes and wider lines carry more of m; dashed ones work against it. Where a "
        "pointer rests the number is shown. "
    )
    if graph.about.get("level") == "edge":
        return words + (
            f"The {len(graph.edges)} edges of largest score; q, k and v mark what a head reads them as. A node's score "
            "is the sum of all edges out of it."
        )
    return (
        words
        + "Each unit was scored by itself, for its effect on the answer: relations between units were not computed."
    )


def _measured_line(d: Mapping[str, Any]) -> str:
    if d["about"].get("settings", {}).get("direction") == "denoise":
        return "gains, in the mean over pairs, when parts of the corrupted prompts are as in the clean ones"
    return "loses, in the mean over pairs, when parts are as in the corrupted prompts"


def _receipt(d: Mapping[str, Any]) -> str:
    r = d["receipt"]
    rows = [
        (f"these {len(r['parts'])} together", r["measured"], r["measured_share"]),
        (
            f"{r['distinct']} random set{'s' * (r['distinct'] != 1)} like them, mean",
            r["random_mean"],
            r["random_share"],
        ),
    ]
    cells = "".join(
        f"<tr><th scope='row'>{inline(name)}</th><td class='n'>{number(m, signed=True)}</td>"
        f"<td class='n'>{percent(min(max(share, 0.0), 1.0)) if is_share(share) else UNDEFINED}</td></tr>"
        for name, m, share in rows
    )
    p = (
        f"p = {number(r['p'])}: as much was taken by such a share of {r['distinct']} different random sets and these "
        "parts."
    )
    if not r["distinct"]:
        p = "No p: no other part of these kinds is left to draw random sets from."
    elif not is_known(r["p"]):
        p = f"No p: random sets have only {r['size']} parts, for so few others of these kinds are left."
    if rule := r.get("rule"):
        p += f" Random sets: {inline(rule)}."
    verdict = f"<p><b>{inline(r['sentence'])}</b></p><p class='note'>{RULE}</p>" if r.get("sentence") else ""
    return (
        f"{verdict}<p>What m {_measured_line(d)}.</p><table><thead><tr><th></th><th class='n'>measured</th>"
        f"<th class='n'>of m(clean) − m(corrupted)</th></tr></thead><tbody>{cells}</tbody></table>{_agreement(r)}"
        f"<p class='note'>95&nbsp;% interval over pairs {span(*r['interval'], signed=True)}; "
        f"{p}</p>"
    )


def _agreement(r: Mapping[str, Any]) -> str:
    """Say how predictions agree with measurements, and which to trust; nothing where all scores are measurements."""
    agreement = r.get("agreement")
    if not agreement:
        return ""
    n = len(r["parts"])
    said = f"Each of these {n} parts was also replaced by itself. " if n > 1 else "The part was replaced by itself. "
    if is_known(agreement.get("spearman")):
        said += f"Spearman’s ρ between predicted and measured effects is {number(agreement['spearman'])}. "
    if is_known(agreement.get("ratio")):
        said += f"The measured effect is {number(agreement['ratio'])} times the predicted one"
        said += f" (median over the {n} parts). " if n > 1 else ". "
    return (
        f"<p class='note'>{said}Where the two differ, trust what is measured: it is what the model did; predictions "
        "follow slopes. Other parts were not measured, and one that is predicted near zero may matter.</p>"
    )


def _table(d: Mapping[str, Any], slug: str) -> str:
    again = not d["is_measured"]  # scores of patching are measurements: the same twice would say nothing
    rows = "".join(
        f"<tr><th scope='row'>{' → '.join(unit(word, slug) for word in part['part'].split(' → '))}</th>"
        f"<td class='n'>{number(part['score'], signed=True)}</td>"
        f"<td class='n'>{span(part['low'], part['high'], signed=True)}</td>{_measured_cell(part) if again else ''}</tr>"
        for part in d["parts"][:MOST_ROWS]
    )
    return (
        f"<table><thead><tr><th>part</th><th class='n'>{'predicted' if again else 'measured'}</th>"
        f"<th class='n'>95&nbsp;% interval over pairs</th>{'<th class=n>measured alone</th>' if again else ''}"
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _measured_cell(part: Mapping[str, Any]) -> str:
    return f"<td class='n'>{'' if part['measured'] is None else number(part['measured'], signed=True)}</td>"
