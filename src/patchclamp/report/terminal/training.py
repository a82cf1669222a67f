"""A training in a terminal: its curves from first to last."""

from rich.markup import escape

from patchclamp.core.estimate import Estimate
from patchclamp.core.plain_numbers import format_fixed, format_general
from patchclamp.core.training import Training
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Training"


def show(training: Training, _top: int) -> None:
    """Print where each curve began and ended."""
    out = open_console()
    kept = f"; the weights are those after step {training.kept:,}" if training.kept < training.steps else ""
    out.print(f"{training.steps:,} of {training.planned:,} steps were taken{kept}")
    for name, one in measures(training):
        out.print(f"{name}: {escape(str(one))}")
    if training.accuracy:
        show_accuracy(training)
    table = make_table("measure", "first", "last", "points", numbers=("first", "last", "points"))
    for name, points in training.curves.items():
        table.add_row(escape(name), format_general(points[0][1]), format_general(points[-1][1]), f"{len(points):,}")
    print_table(out, table)


def show_accuracy(training: Training) -> None:
    """Print the accuracy on every task before any and after each."""
    out = open_console()
    names = [f"task {i + 1}" for i in range(len(training.accuracy[0]))]
    table = make_table("accuracy", *names, numbers=names)
    for after, row in enumerate(training.accuracy):
        table.add_row(f"after {names[after - 1]}" if after else "before", *(format_fixed(x, 3) for x in row))
    print_table(out, table)
    out.print(
        "ACC: mean after the last task; BWT: what a task lost since it was learnt; FWT: what it gained before that",
        style="dim",
    )


def show_rival(plain: Training) -> None:
    """Print what plain training keeps of the same tasks."""
    figures = [f"{name} {escape(str(one))}" for name, one in measures(plain)]
    open_console().print(f"plain gradient descent on the same tasks: {'; '.join(figures)}")


def measures(training: Training) -> list[tuple[str, Estimate]]:
    """Return the summaries that a training has, by name."""
    named = (("ACC", training.acc), ("BWT", training.bwt), ("FWT", training.fwt))
    return [(name, one) for name, one in named if one is not None]
