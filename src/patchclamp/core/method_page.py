"""The page of one method, generated from its card and its documentation."""

import inspect
import textwrap
from pathlib import Path

from patchclamp.core.method import Method, Paper
from patchclamp.core.options import describe_value, read_schema
from patchclamp.core.tier import read_calibration


def page_name(method: Method) -> str:
    """Return the name of a method's page in ``docs/methods``."""
    return f"{method.room}-{method.name}.md"


def write_page(method: Method) -> str:
    """Return a method's page in Markdown: question, use, formula, options, papers, and what proves it.

    Args:
        method: whose card and documentation are read.
    """
    text = inspect.getdoc(method.run) or ""
    first, _, rest = text.partition("\n\n")
    body, _, _ = rest.partition("Args:\n")
    source = _section(text, "Source:")
    cost = _section(text, "Cost:")
    takes = ", ".join(
        f"`{name}` ({noun.rstrip('?')}{', optional' if noun.endswith('?') else ''})"
        for name, noun in method.takes.items()
    )
    article = "an" if method.gives[0] in "AEIOU" else "a"
    needs = " and ".join(f"`{one.__name__}`" for one in method.needs)
    lines = [
        f"# {method.title[0].upper()}{method.title[1:]}",
        "",
        "<!-- generated from the method's card: PATCHCLAMP_REWRITE=1 pytest tests/conformance -->",
        "",
        f"**{method.question}** `{method.room}/{method.name}` gives {article} {method.gives}.",
        "",
        " ".join(first.split()),
        "",
        *([_prose(body), ""] if body.strip() else []),
        f"- Takes: {takes}{'; the subject must offer ' + needs if needs else ''}.",
        f"- Keys: {', '.join(method.keys) or 'none'}.",
        f"- Default for: {', '.join(method.default_for) or 'nothing'}.",
        f"- Source: {'; '.join(_cite(paper) for paper in method.papers)}. {source}",
        f"- Cost: {cost}",
        "",
        "## Options",
        "",
        *_options(method),
        "",
        "## What proves it",
        "",
        f"Tier: **{method.tier.name}**: {method.tier.reason}.",
        "",
        f"It equals its slow oracle `tests/{method.oracle.partition(':')[0].replace('.', '/')}.py`. On "
        f"{', '.join(method.calibrated_on)} it must show: {method.must_show}.",
        *[f"It must miss {where}: {why}." for where, why in method.must_miss.items()],
        "",
        *_figures(method),
    ]
    return "\n".join(lines) + "\n"


def write_pages(folder: Path, methods: list[Method]) -> dict[Path, str]:
    """Return the path and text of every method's page."""
    return {folder / page_name(method): write_page(method) for method in methods}


def _options(method: Method) -> list[str]:
    schema = read_schema(method.options)
    if not schema:
        return ["None."]
    rows = [
        f"| `{entry['name']}` | {describe_value(entry)} | {_default(entry['default'])} | {entry['help']} |"
        for entry in schema
    ]
    return ["| option | takes | default | what it does |", "|---|---|---|---|", *rows]


def _figures(method: Method) -> list[str]:
    """Return the stored figures as a table: each beside its random row and its oracle row."""
    entry = read_calibration().get(f"{method.room}/{method.name}")
    if entry is None:
        return ["No figures are stored."]
    lines = ["| on | must | figure | value | random | oracle |", "|---|---|---|---|---|---|"]
    for row in entry["rows"]:
        must = row["claim"] if row["held"] else f"{row['claim']}, which does not hold"
        lines += [
            f"| {row['place']} | {must} | {one['name']} ({one['unit']}) | {_interval(one['own'])} | "
            f"{_interval(one['random'])} | {_interval(one['oracle'])} |"
            for one in row["figures"]
        ]
    return lines


def _interval(row: list[float] | None) -> str:
    if row is None:
        return "–"
    value, low, high, _ = row
    return f"{value:.3g}" if low is None else f"{value:.3g} ({low:.3g} to {high:.3g})"


def _default(value: object) -> str:
    if value in ("", [], None):
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cite(paper: Paper) -> str:
    where = f", {paper.equation}" if paper.equation else ""
    return f"[{paper.reference}]({paper.link}){where}" if paper.link else f"our own{where}"


def _section(text: str, head: str) -> str:
    """Return a one-paragraph section of a docstring as one line."""
    _, separator, rest = text.partition(head)
    return " ".join(rest.partition("\n\n")[0].split()) if separator else ""


def _prose(body: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in textwrap.dedent(body).strip().split("\n\n"))
