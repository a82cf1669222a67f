"""Steered text in a terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from patchclamp.core.plain_numbers import format_signed
from patchclamp.report.terminal.estimate import sentence
from patchclamp.report.terminal.generation import show_generation
from patchclamp.report.terminal.receipt import print_verdict
from patchclamp.report.terminal.table import open_console


def show_steered(found: Any, *, auto: bool, nats: float) -> None:
    """Print the verdict, a prompt's continuations and the side effect."""
    out, receipt = open_console(), found.receipt
    print_verdict(out, receipt)
    chosen = f", which moves next-token predictions by {nats:g} nats" if auto else ""
    label = f"{found.site} + {found.strength:.3g} · direction"
    show_generation(found.prompt, found.without, found.steered, [label], None, word="steered")
    out.print(f"\nstrength {found.strength:.3g}{chosen}\n", style="dim")
    _print_effect(out, found)


def show_effect(found: Any) -> None:
    """Print the verdict on a direction, and its side effect."""
    out = open_console()
    print_verdict(out, found.receipt)
    _print_effect(out, found)


def _print_effect(out: Console, found: Any) -> None:
    receipt = found.receipt
    out.print(
        f"Sampled text, read without the direction, moves along it by {escape(str(receipt.measured))}; "
        f"{receipt.controls.n_different} {receipt.controls.rule}: {format_signed(receipt.controls.mean)} on average"
    )
    out.print(
        f"Side effect: {escape(sentence(found.perplexity, bare=True))} without, "
        f"{escape(sentence(found.perplexity_steered, bare=True))} with the direction, under the model as it is"
    )
