"""What an atlas holds, in a terminal."""

from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import human_bytes
from patchclamp.report.terminal.table import make_table, open_console, print_table


def show_atlas(page: Any) -> None:
    """Print what an atlas holds: the numbers of its first page."""
    out = open_console()
    out.print(f"[bold]atlas[/] {escape(page.name)} of {escape(page.subject.slug)}: {page.n_units:,} units")
    table = make_table("", "")
    table.show_header = False
    corpus = page.corpus
    pictures = page.modality == "image"
    labelled = f"; {corpus.labelled:,} labelled {'pictures' if pictures else 'tokens'}" if corpus.labelled else ""
    shown = (
        f"{corpus.stimuli:,} pictures"
        if pictures
        else f"{corpus.counted:,} tokens counted, {corpus.stimuli:,} windows of {corpus.window}"
    )
    rows = {
        "subject": f"{page.subject.name}  {page.subject.hash[:12]}  {page.subject.architecture}, {page.subject.dtype}",
        "pictures" if pictures else "text": f"{corpus.name}: {shown}{labelled}",
        "units": f"{page.n_described:,} described, {page.n_scored:,} with a score, {page.n_silent:,} never above zero",
        "examples": f"{page.n_examples:,}",
        "layers": ", ".join(f"{one.id} ({one.title}, {one.rows} rows)" for one in page.layers) or "none",
        "on disk": human_bytes(page.bytes),
        "hash": page.hash[:16],
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    print_table(out, table)
    sites = make_table("site", "units", "described", "silent", numbers=("units", "described", "silent"))
    for row in page.sites:
        name = row.site if row.basis in ("neurons", "channels") else f"{row.site}/{row.basis}"
        sites.add_row(escape(name), f"{row.units:,}", f"{row.described:,}", f"{row.silent:,}")
    print_table(out, sites)
    for note in page.notes:
        out.print(f"[bold dark_orange]note[/]: {escape(note)}")
    out.print(
        "what was typed and what was logged (runs.sqlite) is under no hash: others may have changed it", style="dim"
    )
