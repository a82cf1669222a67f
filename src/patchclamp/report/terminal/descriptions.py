"""Descriptions in a terminal: units with their terms."""

from rich.markup import escape

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.plain_numbers import ABSENT, format_fixed, format_token
from patchclamp.report.descriptions import explain_measures
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Descriptions"


def show(found: Descriptions, top: int) -> None:
    """Print descriptions, those highest by the first measure first."""
    columns = found.columns
    out, first = open_console(), next(iter(columns), "")
    order = f", the highest by {first} first" if first else ""
    tested = "" if found.scores else ", not yet tested"
    out.print(f"{len(found):,} units described by {found.author}{order}; a description is a hypothesis{tested}")
    table = make_table("unit", *columns, "terms", numbers=tuple(columns))
    places = found.order(first) if first else range(len(found))
    for place in list(places[:top]):
        numbers = [format_fixed(float(column[place]), 3) for column in columns.values()]
        terms = [escape(format_token(found.vocabulary[int(i)])) for i in found.terms[place] if i >= 0]
        table.add_row(escape(str(found.index.key(int(place)))), *numbers, " ".join(terms) or ABSENT)
    print_table(out, table)
    if measures := explain_measures(found):
        out.print(measures, style="dim")
