"""A readout in a terminal: targets and how well each is predicted."""

from rich.markup import escape

from patchclamp.core.plain_numbers import ABSENT, format_fixed, format_range, format_signed
from patchclamp.core.readout import Readout
from patchclamp.report.terminal.estimate import sentence
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Readout"


def show(readout: Readout, top: int) -> None:
    """Print a readout, the targets that it predicts best first."""
    out = open_console()
    (_, site), (name, _) = readout.features, readout.targets
    out.print(f"{len(readout.intercept):,} targets of [bold]{escape(name)}[/] from {len(readout.centre):,} of {site}")
    if readout.summary is not None:
        out.print(escape(sentence(readout.summary)))
    measure = readout.scores[0].unit.replace("Pearson ", "") if readout.scores else "score"
    table = make_table(
        "target", measure, "95 % interval", "by chance", "p", "ceiling", numbers=(measure, "p", "ceiling")
    )
    order = sorted(range(len(readout.scores)), key=lambda t: -_number_or_least(readout.scores[t].value))
    for t in order[:top]:
        one = readout.scores[t]
        interval = ABSENT if one.interval is None else format_range(one.interval.low, one.interval.high)
        null = ABSENT if one.null is None else format_range(one.null.low, one.null.high)
        p = ABSENT if one.p is None else format(one.p, ".2g")
        table.add_row(escape(readout.names[t]), format_signed(one.value), interval, null, p, format_fixed(one.ceiling))
    print_table(out, table)


def _number_or_least(value: float) -> float:
    return value if value == value else float("-inf")
