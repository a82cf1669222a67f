"""Activation patching over pairs, as a folder and as maps in the terminal."""

import math
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.text import Text

from patchclamp.cli.loading import add_bases, load_model, load_pairs
from patchclamp.cli.output import Outputs, emit, log
from patchclamp.cli.progress import Meter, human_bytes, human_s
from patchclamp.cli.tables import _console, _general, _grid, _print, _range, _shown, _signed
from patchclamp.core.errors import PatchclampError
from patchclamp.core.few_values import caution

PAGE = "patching.html"
TOP = 10
COLUMN, LABEL = 5, 12
"""Characters of a map's column, and of what stands before each row."""


def patch(options: Namespace) -> int:
    """Patch every place of every pair, write the folder, and show maps and the strongest cells."""
    from patchclamp.attribute.patching import plan_patching
    from patchclamp.attribute.patching_folder import patch_to_folder
    from patchclamp.core.disk import refuse_occupied
    from patchclamp.explain.patched_page import patched_page

    if options.top < 0:
        raise PatchclampError(expected="at least 0 cells", got=str(options.top), remedy="Give another --top.")
    refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    add_bases(model, options)
    cases = load_pairs(model, options, kind=options.metric)
    job = plan_patching(
        model, cases, options.sites, positions=options.positions, direction="noise" if options.noise else "denoise",
        batch_size=options.batch_size,
    )  # fmt: skip
    log(
        f"{job.n_cells:,} cells at most: {human_bytes(job.n_bytes + job.held_bytes)} of memory "
        f"besides the model's, about {human_bytes(job.disk_bytes)} on disk, {human_s(job.seconds())} at most"
    )
    # The words that make the same folder again, however often it was gone on with.
    command = shlex.join(["patchclamp", *(word for word in options.words if word != "--resume")])
    outputs = Outputs()

    def page(found: Any) -> str | None:
        drawn: str | None = None
        with outputs.attempt("the page"):
            drawn = patched_page(found, command=command)
        return drawn

    with Meter("patch", "cells") as meter:
        found = patch_to_folder(job, options.out, resume=options.resume, progress=meter, page=page)
    if options.json:
        emit({"out": options.out, **found.to_json()})
    else:
        _show(found, options.out, options.top)
    return outputs.code


def info(options: Namespace) -> int:
    """Show what an earlier run found."""
    from patchclamp.attribute.patching_folder import open_patched

    found = open_patched(options.folder)
    if options.json:
        emit({"path": options.folder, "kind": "patching", "whole": True, **found.to_json()})
    else:
        _show(found, options.folder, TOP)
    return 0


def _show(found: Any, folder: str, top: int) -> None:
    out = _console()
    m_clean, m_corrupted = (_general(float(m.mean()), sign="+") for m in (found.m_clean, found.m_corrupted))
    n, about = len(found.pairs), found.about
    into, what = ("corrupted", "clean") if found.direction == "denoise" else ("clean", "corrupted")
    out.print(
        f"[bold]{escape(found.subject['slug'])}[/], {n:,} pair{'s' * (n != 1)}: {what} values into the {into} run; "
        f"m on clean prompts {m_clean}, on corrupted ones {m_corrupted} "
        f"({about['metric'].replace('_', ' ')})"
    )
    for reason, count in found.aside.items():
        out.print(f"set aside: {count:,}, {reason}", style="dim")
    out.print(
        "Effects in percent of m(clean) − m(corrupted), means over pairs; · rounds to 0"
        + ("; positions count from the end, for prompts differ in length" if about["aligned"] == "end" else ""),
        style="dim",
    )
    for one in found.maps():
        _map(out, one, found)
    _strongest(out, found, top)
    out.print(
        f"Over all pairs {about['run']:,} patches were run; in {about['agree']:,} more both prompts agree, and nothing "
        f"changes. {folder}: {PAGE} to look at, patching.json, every pair's effects",
        style="dim", markup=False,
    )  # fmt: skip


def _map(out: Any, one: Any, found: Any) -> None:
    values = one.values
    # Columns in which nothing happens say so once; where there are too many, the largest stay.
    largest = np.nan_to_num(np.abs(values)).max(0)
    room = max((out.width - LABEL) // COLUMN, 1)
    alive = np.flatnonzero(largest >= 0.005)
    shown = np.sort(alive[np.argsort(-largest[alive], kind="stable")][:room])
    if not len(shown):
        shown = np.arange(len(largest))[-1:]
    named = one.name + (" (block.unit)" if "/" in one.name else "")
    out.print(f"\n[bold]{escape(named)}[/]")
    wide = max([COLUMN, *(len(found.places[i]) + 1 for i in shown)])
    heads = "".join(f"{found.places[i]:>{wide}}" for i in shown)
    out.print(f"{'':{LABEL}}{heads}", style="dim", markup=False)
    if (found.per_place[shown] < len(found.pairs)).any():
        counts = "".join(f"{found.per_place[i]:>{wide}}" for i in shown)
        out.print(f"{'pairs':{LABEL}}{counts}", style="dim", markup=False)
    for label, row in zip(one.rows, values[:, shown], strict=True):
        line = Text(f"{label[-LABEL + 1 :]:{LABEL}}")
        for value in row:
            line.append(f"{_percent(value):>{wide}}", style=_style(value))
        out.print(line)
    notes = []
    if len(shown) < len(largest):
        quiet = len(largest) - len(alive)
        less = len(alive) - len(shown)
        notes += [f"{_places(quiet)} where nothing reaches 0.5 %"] * (quiet > 0)
        notes += [f"{_places(less)} where less happens"] * (less > 0)
    if one.left_out:
        notes.append(f"{one.left_out:,} weaker rows")
    if notes:
        out.print(f"not shown: {', '.join(notes)}", style="dim")


def _places(n: int) -> str:
    return f"{n} place{'s' * (n != 1)}"


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{100 * value:.0f}" if abs(value) >= 0.005 else "·"


def _style(value: float) -> str:
    if not abs(value) >= 0.005:
        return "dim"
    return ("bold " if abs(value) >= 0.25 else "") + ("blue" if value > 0 else "dark_orange")


def _strongest(out: Any, found: Any, top: int) -> None:
    cells: Sequence[Any] = found.strongest(top)
    if not cells:
        return
    tokens = dict(zip(found.places, found.tokens, strict=True))
    out.print()
    table = _grid("unit", "at", "token", "share", "95 % interval", "p", "pairs", numbers=("at", "share", "p", "pairs"))
    for cell in cells:
        between = "one pair" if cell.n == 1 else _range(cell.low, cell.high)
        token = escape(_shown(tokens[cell.place]))
        p = "" if cell.n == 1 else _general(cell.p, 2)
        table.add_row(escape(cell.key), cell.place, token, _signed(cell.mean), between, p, f"{cell.n:,}")
    _print(out, table)
    if few := caution(len(found.pairs), "pairs"):
        out.print(few, style="bold dark_orange")
    if len(found.pairs) > 1:
        out.print(
            f"Intervals by bootstrap over pairs; p by flipping their signs, about {_general(found.least_p, 2)} at "
            f"least with so many pairs, not corrected for {len(found.means):,} cells.",
            style="dim",
        )
