"""What an atlas holds, in a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import format_fixed, human_bytes
from patchclamp.report.terminal.table import make_table, open_console, print_table


def show_atlas(page: Any) -> None:
    """Print what an atlas holds: the numbers of its first page."""
    out = open_console()
    out.print(f"[bold]atlas[/] {escape(page.name)} of {escape(page.subject.slug)}: {page.n_units:,} units")
    corpus = page.corpus
    pictures = page.modality == "image"
    labelled = f"; {corpus.labelled:,} labelled {'pictures' if pictures else 'tokens'}" if corpus.labelled else ""
    if page.recording is not None:
        return _show_recording(out, page)
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
    _print_pairs(out, rows)
    sites = make_table("site", "units", "described", "silent", numbers=("units", "described", "silent"))
    for row in page.sites:
        name = row.site if row.basis in ("neurons", "channels") else f"{row.site}/{row.basis}"
        sites.add_row(escape(name), f"{row.units:,}", f"{row.described:,}", f"{row.silent:,}")
    print_table(out, sites)
    _print_notes(out, page)


def _print_pairs(out: Any, rows: Mapping[str, str]) -> None:
    table = make_table("", "")
    table.show_header = False
    for name, value in rows.items():
        table.add_row(name, escape(value))
    print_table(out, table)


def _print_notes(out: Any, page: Any) -> None:
    for note in page.notes:
        out.print(f"[bold dark_orange]note[/]: {escape(note)}")
    out.print(
        "what was typed and what was logged (runs.sqlite) is under no hash: others may have changed it", style="dim"
    )


def _show_recording(out: Any, page: Any) -> None:
    """Print what an atlas of a recorded brain holds."""
    one = page.recording
    rate = "rate unknown" if one.rate is None else f"{one.rate:g} Hz"
    labels = [
        f"{name} per {of}"
        for of, names in (("unit", one.unit_labels), ("trial", one.trial_labels), ("time", one.time_labels))
        for name in names
    ]
    within = (
        "" if one.mean_r_within is None else f", within the {one.n_groups} groups {format_fixed(one.mean_r_within)}"
    )
    _print_pairs(
        out,
        {
            "recording": f"{page.corpus.name}  {page.subject.hash[:12]}, in {one.measure}",
            "time": f"{one.trials:,} trial{'s' if one.trials != 1 else ''} of {one.samples:,} samples, {rate}",
            "labels": ", ".join(labels) or "none",
            "correlation": f"mean r of all pairs {format_fixed(one.mean_r)}{within}",
            "flaws": f"{one.missing:,} samples missing, {one.constant:,} units constant",
            "units": f"{page.n_described:,} described",
            "on disk": human_bytes(page.bytes),
            "hash": page.hash[:16],
        },
    )
    table = make_table("begin with", "why", "measured")
    for suggestion in page.begin:
        row = suggestion.row
        table.add_row(escape(row.name), suggestion.why, escape(" · ".join(part.text for part in row.line)))
    if page.begin:
        print_table(out, table)
    out.print(one.cannot, style="dim")
    _print_notes(out, page)
