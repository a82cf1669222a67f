"""A verdict in a terminal: its sentence, and what to be careful of."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

STYLES = {"holds": "bold blue", "weak": "bold dark_orange", "no evidence": "bold dark_orange"}
"""Grade → its style; the word itself says it too."""


def print_verdict(out: Console, receipt: Any, cautions: Sequence[str] = ()) -> None:
    """Print a receipt's sentence with its grade set off, and the cautions below it."""
    print_sentence(out, receipt.verdict, receipt.sentence, cautions)


def print_sentence(out: Console, grade: str, sentence: str, cautions: Sequence[str] = ()) -> None:
    """Print a sentence that begins with a grade, with the grade set off, and the cautions below it."""
    head, _, rest = sentence.partition(":")
    out.print(f"[{STYLES.get(grade, 'bold')}]{escape(head)}[/]:{escape(rest)}")
    for line in cautions:
        out.print(f"[dark_orange]Caution:[/] {escape(line)}")
