"""A similarity in a terminal."""

from rich.markup import escape

from patchclamp.core.similarity import Similarity
from patchclamp.report.terminal.estimate import sentence
from patchclamp.report.terminal.table import open_console

NOUN = "Similarity"


def show(similarity: Similarity, _top: int) -> None:
    """Print how alike two recordings are."""
    out = open_console()
    first, second = similarity.names
    out.print(f"[bold]{escape(first)}[/] and [bold]{escape(second)}[/], over {similarity.over}")
    out.print(escape(sentence(similarity.estimate)))
    for name, rival in similarity.rivals.items():
        out.print(f"{escape(name)}: {escape(sentence(rival))}")
