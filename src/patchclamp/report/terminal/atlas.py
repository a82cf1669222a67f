"""What an atlas holds, in a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import format_fixed, format_general, format_range, format_token, human_bytes
from patchclamp.report.terminal.table import make_table, open_console, print_table

EXAMPLES, AROUND = 5, 8
"""Examples of a unit that are printed, and tokens on either side of each."""


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


def show_unit(unit: Any, atlas: Any) -> None:
    """Print what an atlas knows of a unit: its measured line, what people say of it, and its highest examples."""
    out = open_console()
    out.print(f"[bold]{escape(unit.name)}[/]  {escape(unit.key)}")
    out.print(escape(unit.line.text))
    for said in unit.descriptions:
        out.print(f"described by {escape(said.author)}: {escape(said.text)}")
    s = unit.statistics
    places = {"image": "places", "recording": "samples"}.get(unit.modality, "tokens")
    span = format_range(s.minimum, s.maximum, format_general)
    out.print(f"from {span}, mean {format_general(s.mean)}, over {s.counted:,} {places}")
    # Of pictures and recordings the page shows what words cannot.
    if unit.modality == "language":
        table = make_table("activation", "highest examples, \u00bbits token\u00ab", numbers=("activation",))
        for one in atlas.examples(unit.key, "top").examples[:EXAMPLES]:
            first = max(0, one.mark - AROUND)
            tokens = [*map(format_token, one.tokens[first : one.mark + AROUND + 1])]
            tokens[one.mark - first] = f"\u00bb{tokens[one.mark - first]}\u00ab"
            table.add_row(format_general(one.value), escape("".join(tokens)))
        print_table(out, table)


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
        "Commands and logs (runs.sqlite) are kept beside what was measured and are not part of the hash.", style="dim"
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
