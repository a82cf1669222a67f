"""What a dictionary leaves out and costs beside its rivals, and how alike two are, in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import (
    format_fixed,
    format_percent,
    format_range,
    format_signed,
    format_thousandths,
    is_known,
    known_or_least,
)
from patchclamp.report.terminal.dictionary import first_lines
from patchclamp.report.terminal.table import make_table, open_console, print_table

SHOWN = 24

RIVALS = ("neurons", "pca", "random")


def _score_text(score: Any) -> str:
    return f"{format_thousandths(score.value)} ({_ends(score.low, score.high)})"


def _ends(low: float | None, high: float | None) -> str:
    return format_range(low, high, format_thousandths).replace(" to ", "–")


def show_report(found: Any, folder: str) -> None:
    """Print what a dictionary leaves out and costs, beside its rivals and the floors."""
    out = open_console()
    out.print(
        f"[bold]{escape(folder)}[/], judged on {found.tokens:,} tokens of {found.stimuli:,} stimuli, every second one; "
        f"the other {found.fitted:,} fitted the means, neurons, pca and random; "
        f"the network's own loss {_score_text(found.loss)} nats per token"
    )
    numbers = ("units", "L0", "dead", "unexplained", "without first", "loss with x̂", "recovered")
    table = make_table("site", "", *numbers, numbers=numbers)
    last = ""
    for row in found.rows:
        first = row.site != last
        last = row.site
        own = row.name not in RIVALS
        table.add_row(
            row.site if first else "",
            f"[bold]{escape(row.name)}[/]" if own else row.name,
            f"{row.units:,}" if row.name != "neurons" else "",
            format_fixed(row.active.value, 1),
            format_percent(row.dead) if own or row.name == "random" else "",
            _score_text(row.unexplained),
            _score_text(row.unexplained_later),
            _score_text(row.loss),
            _score_text(row.recovered),
        )
    print_table(out, table)
    for site, (mean, zero) in found.held.items():
        out.print(f"{site} at its mean: loss {_score_text(mean)}; at zero {_score_text(zero)}")
        if is_known(mean.value) and is_known(found.loss.value) and mean.value <= found.loss.value:
            out.print(
                f"No share of the loss is recovered at {site}: with the site at its mean the network predicts this "
                "text no worse than as it is. Evaluate on text that it predicts, cut as it was trained on."
            )
    out.print(
        "without first: unexplained without each stimulus' first counted token. "
        "recovered: of the loss at the mean. neurons, pca and random keep as many numbers per token. "
        "95 % intervals over stimuli.",
        style="dim",
    )
    for row in found.rows:
        if row.name not in RIVALS:
            first = found.first[row.site]
            for line in first_lines(row.site, first[0], first[1], row.unexplained.value, row.unexplained_later.value):
                out.print(escape(line))
    for note in found.notes:
        out.print(f"note: {escape(note)}")


def show_concepts(concepts: Mapping[str, Any]) -> None:
    """Print the best feature, neuron, component and random direction for each concept."""
    out, own = open_console(), concepts["own"]
    sets = [name for name in concepts["means"] if name != own]
    out.print(
        f"\nConcepts on {concepts['tokens']:,} labelled tokens of "
        f"{concepts['documents']:,} documents: the best unit of each "
        "set, chosen on even documents, scored on odd ones (AUROC)"
    )
    ordered = sorted(concepts["each"].items(), key=lambda item: -known_or_least(item[1]["ahead"]["neurons"]["value"]))
    table = make_table("concept", own, *sets, "ahead of neurons", "best unit", numbers=(own, *sets))
    for concept, each in ordered if len(ordered) <= SHOWN else [*ordered[: SHOWN // 2], *ordered[-SHOWN // 2 :]]:
        gain = each["ahead"]["neurons"]
        table.add_row(
            concept,
            *(format_thousandths(each[name]["auroc"]["value"]) for name in (own, *sets)),
            f"{format_signed(gain['value'])} ({format_range(gain['low'], gain['high'])})",
            each[own]["unit"],
        )
    print_table(out, table)
    if len(ordered) > SHOWN:
        out.print(f"{len(ordered) - SHOWN} concepts between these are left out; --json has all", style="dim")
    if not ordered:
        out.print("no concept is true and untrue of twenty tokens in either half: give more labelled text")
        return
    out.print("mean  " + ", ".join(f"{name} {format_thousandths(mean)}" for name, mean in concepts["means"].items()))
    for one in concepts["counts"]:
        out.print(
            f"{one['set']} against {one['against']}: ahead in {one['ahead']} of {len(ordered)} concepts, "
            f"behind in {one['behind']}"
        )
    out.print("before φ: the same features before their activation. Ahead and behind: by 95 % intervals.", style="dim")


def show_comparison(found: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Print how alike two dictionaries are, site by site."""
    out = open_console()
    table = make_table(
        "site",
        "pairs",
        "mean |cos|",
        "at least 0.9",
        "turned at random",
        "at least 0.9 ",
        numbers=("pairs", "mean |cos|", "at least 0.9", "turned at random", "at least 0.9 "),
    )
    for site, each in found.items():
        turned = [cosine for cosine in each.control if is_known(cosine)]
        table.add_row(
            site,
            f"{each.n:,}",
            f"{format_thousandths(each.cosine)} ({_ends(each.interval.low, each.interval.high)})",
            format_percent(each.same),
            _ends(min(turned, default=None), max(turned, default=None)),
            format_percent(each.control_same),
        )
    print_table(out, table)
    out.print("pairs: matched one to one so that the sum of |cos| is largest; 95 % interval over pairs", style="dim")
    for note in notes:
        out.print(f"note: {escape(note)}")
