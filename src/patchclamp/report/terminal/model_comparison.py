"""A comparison of two models in a terminal."""

from typing import Any

from rich.markup import escape

from patchclamp.core.lens_difference import LensDifference
from patchclamp.core.model_comparison import ModelComparison
from patchclamp.core.plain_names import name_site, name_unit
from patchclamp.core.plain_numbers import format_fixed, format_general, format_range, format_token
from patchclamp.report.terminal.table import make_table, open_console, print_table

NOUN = "ModelComparison"


def show(found: ModelComparison, top: int) -> None:
    """Print how alike two models are: a sentence, then what changed most."""
    out = open_console()
    out.print(f"[bold]{escape(found.sentence)}[/]")
    for caution in found.cautions:
        out.print(escape(caution))
    if found.changes:
        out.print(f"\nNext tokens that changed most, {min(top, len(found.changes))} of {len(found.changes)}:")
        table = make_table("token", "first", "second", "after", numbers=("first", "second"))
        for one in found.changes[:top]:
            cells = (format_token(one.token), format_fixed(one.first, 3), format_fixed(one.second, 3))
            table.add_row(*map(escape, (*cells, format_token(one.context[-48:]))))
        print_table(out, table)
    if found.lens.layers:
        out.print(f"\n{escape(found.lens.sentence)}")
    if found.lens.part is not None:
        _show_lens(out, found.lens, found.lens.part, top)
    moved = [(key, row) for key, row in found.moved_units(top) if row["change"] > 0]
    if moved:
        out.print(f"\nUnits of both that moved most, {len(moved)} of {len(found.moved):,}:")
        numbers = ("change", "share", "r", "cosine", "mean", "then")
        table = make_table("unit", *numbers, numbers=numbers)
        for key, row in moved:
            table.add_row(
                escape(name_unit(key)), format_general(row["change"]), format_fixed(row["share"]),
                format_fixed(row["r"]), format_fixed(row["cosine"]), format_general(row["mean_first"]),
                format_general(row["mean_second"]),
            )  # fmt: skip
        print_table(out, table)
    pairs = found.pairs(top=top)
    if pairs:
        out.print(
            f"\nUnits paired by correlation, {len(pairs)} of {found.n_live:,} (by chance 97.5 % lie below "
            f"{format_fixed(found.threshold)}):"
        )
        table = make_table("first", "second", "r", "mutual", numbers=("r",))
        for i, j, r, mutual in pairs:
            names = (name_unit(found.key(0, i)), name_unit(found.key(1, j)))
            table.add_row(*map(escape, names), format_fixed(r), "yes" if mutual else "")
        print_table(out, table)
    if found.similarity.size:
        shuffled = format_range(found.shuffled.low, found.shuffled.high, format_fixed)
        out.print(f"\nLayers by RSA over {found.n_conditions} tokens, ceiling 1.00; shuffled {shuffled}:")
        layers = found.table(top)
        table = make_table("layer", "most alike", "similarity", "interval", numbers=("similarity",))
        for site, other, *numbers_of in layers.rows:
            table.add_row(
                escape(name_site(site)),
                escape(name_site(other)),
                format_fixed(numbers_of[0]),
                format_range(numbers_of[1], numbers_of[2], format_fixed),
            )
        print_table(out, table)
        if layers.total > len(layers.rows):
            out.print(f"and {layers.total - len(layers.rows)} layers more with --full")


def _show_lens(out: Any, lens: LensDifference, part: int, top: int) -> None:
    """Print how far the logit lenses are apart from the layer where they part, and what they say there."""
    table = make_table("layer", "mean KL", "interval", "same likeliest", numbers=("mean KL", "same likeliest"))
    for layer in lens.layers[part : part + top]:
        table.add_row(
            escape(name_site(layer.sites[0])), format_general(layer.divergence.value),
            format_range(layer.divergence.low, layer.divergence.high, format_general), f"{layer.agreement:.0%}",
        )  # fmt: skip
    print_table(out, table)
    if (left := len(lens.layers) - part - top) > 0:
        out.print(f"and {left} layers more with --full")
    at = lens.layers[part]
    out.print(f"\nWhat the lenses say at {escape(name_site(at.sites[0]))}, where they differ most:")
    table = make_table("after", "first", "second", "KL", numbers=("KL",))
    for place in at.places:
        # Of the less likely tokens those that would print as 0 % say nothing.
        said = (
            ", ".join(f"{format_token(word)} {p:.0%}" for i, (word, p) in enumerate(one) if i == 0 or p >= 0.005)
            for one in (place.first, place.second)
        )
        table.add_row(*map(escape, (format_token(place.context[-32:]), *said)), format_general(place.divergence))
    print_table(out, table)
