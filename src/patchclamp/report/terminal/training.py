"""A training in a terminal: its curves from first to last."""

from rich.markup import escape

from patchclamp.core.training import Training
from patchclamp.report.terminal.numbers import format_general
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Training"


def show(training: Training, _top: int) -> None:
    """Print where each curve began and ended."""
    out = open_console()
    kept = f"; the weights are those after step {training.kept:,}" if training.kept < training.steps else ""
    out.print(f"{training.steps:,} of {training.planned:,} steps were taken{kept}")
    for name, one in (("ACC", training.acc), ("BWT", training.bwt), ("FWT", training.fwt)):
        if one is not None:
            out.print(f"{name}: {escape(str(one))}")
    table = make_table("measure", "first", "last", "points", numbers=("first", "last", "points"))
    for name, points in training.curves.items():
        table.add_row(escape(name), format_general(points[0][1]), format_general(points[-1][1]), f"{len(points):,}")
    print_table(out, table)
