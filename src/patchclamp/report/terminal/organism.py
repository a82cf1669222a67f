"""Organisms and their cards in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import (
    format_fixed,
    format_range,
    format_signed,
    format_thousandths,
    known_or_least,
)
from patchclamp.report.terminal.explanation import REPLACED
from patchclamp.report.terminal.table import make_table, open_console, print_table

CLEAR = 0.9
"""AUROC from which a concept has a neuron of its own."""


def show_organisms(cards: Sequence[Any]) -> None:
    """Print the organisms, one line each."""
    out = open_console()
    table = make_table("organism", "architecture", "what is known about it")
    for card in cards:
        # What follows the colon is for the card: here it would leave no room for what is known.
        table.add_row(f"organism:{card['name']}", _family(card["architecture"]), escape(card["what"]))
    print_table(out, table)


def _family(architecture: str) -> str:
    """Return an architecture as people call it; a planted organism's is the name of its class."""
    name = architecture.split(":")[0]
    return {"GPT2LMHeadModel": "GPT-2", "LlamaForCausalLM": "Llama"}.get(name, name)


def show_card(found: Any) -> None:
    """Print what is planted in an organism, and which methods must miss it."""
    out = open_console()
    out.print(f"[bold]organism:{found['name']}[/]  {escape(found['architecture'])}\n{escape(found['what'])}\n")
    asked = f"{found['prompt']!r} → {found['target']!r} rather than {found['contrast']!r}"
    if "tasks" in found:
        training = found["training"]
        out.print(
            f"for example {escape(asked)}\n{found['parameters']:,} parameters in {found['stored']}; {found['licence']}"
        )
        out.print(f"trained {training['steps']:,} steps on {escape(found['data'])}; hash {found['hash'][:16]}\n")
        show_measured(found)
        return
    out.print(f"{escape(asked)}: logit difference {format_signed(found['logit_difference'])}")
    if found["corrupt"]:
        out.print(f"corrupted: {escape(repr(found['corrupt']))}")
    out.print(f"\n[bold]True units[/], and what m loses when each is {REPLACED[found['baseline']]} by itself")
    table = make_table("unit", "effect", numbers=("effect",))
    for key in found["true"]:
        table.add_row(escape(key), format_signed(found["effects"][key]))
    print_table(out, table)
    if found["decoys"]:
        out.print("\n[bold]Decoys[/]")
        for decoy in found["decoys"]:
            out.print(f"{escape(decoy['unit'])}: {escape(decoy['why_inert'])}")
    if found["must_miss"]:
        out.print("\n[bold]Methods that must miss something[/]")
        for method, why in found["must_miss"].items():
            out.print(f"{escape(method)}: {escape(why)}")


def show_measured(found: Any) -> None:
    """Print what a language organism can do, and how well its best neurons tell concepts."""
    out = open_console()
    what = "text: {} nats per token" if "neurons" in found else "images: {} nats per image"
    out.print(f"loss on held-out {what.format(format_fixed(found['loss'], 3))}")
    numbers = ["accuracy", *(["corrupted"] if "neurons" in found else []), "chance", "items"]
    table = make_table("task", "accuracy", "95 % interval", *numbers[1:], numbers=numbers)
    for task, f in found["tasks"].items():
        other = [format_fixed(f["corrupted"]["accuracy"], 3)] if "neurons" in found else []
        low, high = f["interval"]
        between = format_range(low, high, format_thousandths)
        table.add_row(
            task, format_thousandths(f["accuracy"]), between, *other, format_thousandths(f["chance"]), str(f["n"])
        )
    print_table(out, table)
    if "neurons" not in found:
        return
    neurons = sorted(found["neurons"].items(), key=lambda item: -known_or_least(item[1]["auroc"]))
    clear = sum(known_or_least(f["auroc"]) >= CLEAR for _, f in neurons)
    out.print(
        f"\n[bold]Best neuron for each concept[/], chosen on one half of held-out text and scored on the other: "
        f"{clear} of {len(neurons)} concepts have one with AUROC ≥ {CLEAR}"
    )
    table = make_table("concept", "AUROC", "95 % interval", "neuron", numbers=("AUROC",))
    for concept, f in neurons:
        low, high = f["interval"]
        table.add_row(concept, format_thousandths(f["auroc"]), format_range(low, high, format_thousandths), f["neuron"])
    print_table(out, table)
