"""A model's sites in a terminal."""

import itertools
from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from patchclamp.report.terminal.table import make_table, open_console, print_table

WITHOUT_FAMILY = (
    "what works at module sites (--modules lists them): record, survey, decompose, patch and atlas bake with --sites, "
    "attribute and explain with --level, generate with --clamp"
)
"""What can be done with a language model that no family covers."""


def show_sites(model: Any, found: Sequence[Any]) -> None:
    """Print sites, equal blocks folded into one line, and what the model lacks."""
    out = open_console()
    out.print(f"[bold]{escape(model.name)}[/]  {type(model.module).__name__}  {model.hash[:12]}")
    table = make_table("site", "shape", "record", "clamp", "gradient", "axes")
    can = model.capabilities
    # Stages differ in width and size: then every block has its own line.
    kinds = {(site.kind, site.path.rsplit(".", 2)[-2], site.describe()) for site in found if site.layer is not None}
    whole = len(kinds) > len({(kind, before) for kind, before, _ in kinds})
    for path, site in [(site.path, site) for site in found] if whole else _fold_sites(found):
        clamp, gradient = ("yes" if yes else "no" for yes in (site.writable and can.intervene, can.differentiate))
        record = "tap" if site.tapped else "yes" if site.calls == 1 else "no"
        table.add_row(path, site.describe(), record, clamp, gradient, " ".join(site.axes))
    print_table(out, table)
    if any(site.tapped for site in found):
        out.print("tap: read inside the attention function, with the model's own eager arithmetic", style="dim")
    if any(site.calls > 1 for site in found):
        out.print("not recorded: its module runs several times in one forward; a change reaches every run", style="dim")
    for what, why in can.missing:
        out.print(f"missing: {what}: {escape(why)}")
    if any(what == "canonical sites" for what, _ in can.missing):
        out.print(WITHOUT_FAMILY)


def _fold_sites(found: Sequence[Any]) -> list[tuple[str, Any]]:
    """Fold sites that differ only in their block into one line with the range of blocks."""
    blocks = sorted({s.layer for s in found if s.layer is not None})
    lines: list[tuple[str, Any]] = []
    for (layered, _), group in itertools.groupby(found, key=lambda s: (s.layer is not None, s.layer)):
        members = list(group)
        if not layered:
            lines += [(s.path, s) for s in members]
        elif members[0].layer == blocks[0]:
            span = f"{blocks[0]}" if len(blocks) == 1 else f"{blocks[0]}–{blocks[-1]}"
            lines += [(f"blocks.{{{span}}}.{s.kind}", s) for s in members]
    return lines
