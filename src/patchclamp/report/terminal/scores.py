"""Scores in a terminal: the largest, and whether they were measured."""

from rich.markup import escape

from patchclamp.core.method_index import is_measured
from patchclamp.core.plain_numbers import format_signed
from patchclamp.core.scores import Scores
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Scores"


def show(scores: Scores, top: int) -> None:
    """Print scores, the largest by magnitude first."""
    out = open_console()
    ends = f"; m {format_signed(scores.metric_clean)}" + (
        f", on the counterpart {format_signed(scores.metric_baseline)}" if scores.baseline == "corrupted" else ""
    )
    out.print(f"{len(scores):,} keys scored by {escape(scores.provenance.label)}, in units of {scores.unit}{ends}")
    table = make_table("key", "score", *scores.measures, numbers=("score", *scores.measures))
    for i in scores.places(top, signed=False).tolist():
        more = [format_signed(float(column[i])) for column in scores.measures.values()]
        table.add_row(escape(str(scores.key(i))), format_signed(float(scores.values[i])), *more)
    print_table(out, table)
    if str(scores.index[0]).partition("@")[0].rpartition("/")[0].rpartition("/")[2].startswith("grid-"):
        out.print(
            "each region by itself, rows from the top left; `patchclamp evaluate` says whether their order holds",
            style="dim",
        )
        return
    if is_measured(scores.provenance.method):
        out.print("measured: each by itself was replaced, and this is what m lost", style="dim")
        return
    out.print("predicted, not measured: `patchclamp explain` and `circuit find` replace what they name", style="dim")
