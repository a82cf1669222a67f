"""Text that a model writes, without and with a change, in a terminal."""

from collections.abc import Sequence

from rich.text import Text

from patchclamp.core.plain_text import plain
from patchclamp.report.terminal.table import open_console


def show_generation(
    prompt: str, bare: str, changed: str | None, clamps: Sequence[str], at: str | None, *, word: str = "clamped"
) -> None:
    """Print a continuation without and with clamps (or what ``word`` says), the changed part marked."""
    out = open_console()
    prompt = plain(prompt)
    out.print(Text.assemble(("without  ", "bold"), (prompt, "dim"), plain(bare)))
    if changed is None:
        return
    same = next((i for i, (a, b) in enumerate(zip(bare, changed, strict=False)) if a != b), None)
    if same is None:
        same = min(len(bare), len(changed))
    where = f" at {at}" if at else ""
    label = f"{', '.join(clamps)}{where}"
    out.print(
        Text.assemble(
            (f"{word:<9}", "bold"),
            (prompt, "dim"),
            plain(changed[:same]),
            (plain(changed[same:]), "bold blue"),
        )
    )
    out.print(Text(f"         {label}" + ("" if bare != changed else " (the text is the same)"), style="dim"))
