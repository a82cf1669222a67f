"""An edit of weights in a terminal, and what else it changes."""

from typing import Any

from rich.markup import escape

from patchclamp.core.edit import Edit
from patchclamp.core.plain_numbers import ABSENT, format_fixed, format_range, format_signed
from patchclamp.report.terminal.generation import show_generation
from patchclamp.report.terminal.receipt import print_sentence
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "Edit"


def show(edit: Edit, _top: int) -> None:
    """Print the parameters that an edit changes."""
    out = open_console()
    out.print(f"[bold]edit[/] {escape(edit.claim)}, by {escape(edit.provenance.method or 'hand')}")
    table = make_table("parameter", "shape", "norm of the change", numbers=("norm of the change",))
    for entry in edit.to_json()["parameters"]:
        table.add_row(escape(entry["name"]), "×".join(map(str, entry["shape"])), format_fixed(entry["norm"]))
    print_table(out, table)
    out.print(f"weights {edit.before[:12]} before, {edit.after[:12]} with it")


def show_effects(
    made: Any,
    effects: Any,
    texts: tuple[Any, Any],
    *,
    method: str,
    prompt: str,
    target: str,
    paraphrases: str | None,
    others: str | None,
) -> None:
    """Print what an edit does to its prompt, to paraphrases and to other prompts.

    Args:
        made: the edit.
        effects: what was measured of it.
        texts: the prompt's continuation without it and with it.
        method: by which it was made.
        prompt: the fact's.
        target: the new answer.
        paraphrases: the file they came from; by default they are made.
        others: the file of prompts whose answer should stay.
    """
    out, receipt = open_console(), effects.receipt
    missed = effects.efficacy.value < 1
    if missed:
        out.print(
            f"[bold dark_orange]The new answer {escape(repr(target))} is not the likeliest with the edit: the model "
            f"writes {escape(repr(texts[1].text))}.[/]"
        )
    grade, _, rest = receipt.sentence.partition(":")
    only = " (of the gain alone)" if missed else ""
    print_sentence(out, receipt.verdict, f"{grade}{only}:{rest}")
    show_generation(prompt, texts[0].text, texts[1].text, [f"{made.size:,} weights changed"], None, word="edited")
    for entry in made.to_json()["parameters"]:
        shape = "×".join(map(str, entry["shape"]))
        out.print(
            f"         {escape(entry['name'])} {shape}, norm of the change {format_fixed(entry['norm'])}", style="dim"
        )
    out.print(
        f"\nlog P({escape(repr(target))}) gains {escape(str(receipt.measured))}; {receipt.controls.n_different} "
        f"{receipt.controls.rule}: {format_signed(receipt.controls.mean)} on average"
    )
    rows = {
        "the prompt": effects.efficacy,
        f"paraphrases: {paraphrases or 'the prompt after other text'}": effects.paraphrase,
        f"others, unchanged: {others or 'beginnings of ordinary text'}": effects.specificity,
    }
    table = make_table("", "share", "95 % interval", "random edits", "n", numbers=("share", "n"))
    for name, one in rows.items():
        ends = [ABSENT if i is None else format_range(i.low, i.high) for i in (one.interval, one.null)]
        table.add_row(escape(name), format_fixed(one.value), *ends, str(one.n))
    out.print("\nThe new answer is the likeliest on, and on other prompts the likeliest stays what it was on:")
    print_table(out, table)
    if missed:
        has = made.provenance.options.get("position") == "subject"
        first = "--position last, or other options" if has else "other options"
        out.print(f"The new answer is not the likeliest: try {first}; `patchclamp methods control/{method}` lists them")
    out.print(
        f"weights {made.before[:12]} before, {made.after[:12]} with the edit; taken away again, they are "
        + ("what they were, to the bit" if effects.undone else "NOT what they were")
    )
