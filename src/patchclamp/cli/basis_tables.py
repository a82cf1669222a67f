"""Tables of the verb ``basis``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape

from patchclamp.cli.tables import (
    ABSENT,
    _console,
    _fixed,
    _general,
    _grid,
    _is_known,
    _or_least,
    _percent,
    _print,
    _range,
    _signed,
    _thousandths,
)

SHOWN = 24
RIVALS = ("neurons", "pca", "random")
HIDDEN = 1.5
"""How many times more must be unexplained without first tokens before a warning says so."""


def _scored(score: Any) -> str:
    return f"{_thousandths(score.value)} ({_ends(score.low, score.high)})"


def _ends(low: float | None, high: float | None) -> str:
    return _range(low, high, _thousandths).replace(" to ", "–")


def info(folder: str, facts: Mapping[str, Any]) -> None:
    """Print what a dictionary holds."""
    out = _console()
    subject = facts["subject"]
    made = f"{subject.get('slug') or 'a model that it does not name'}  {str(subject.get('hash', ''))[:12]}"
    by = f"{escape(facts['name'])} by {escape(facts['method'])}"
    out.print(f"[bold]{escape(folder)}[/]  {by}, made on {escape(made)}")
    table = _grid("site", "reads", "units", "width", "activation", "norm of what a unit writes", "hash",
                  numbers=("units", "width"))  # fmt: skip
    for each in facts["bases"]:
        kept = " ".join([each["activation"], *([str(each["k"])] if each["k"] else []), *(["+ skip"] * each["skip"])])
        low, mean, high = each["norm"]
        table.add_row(
            each["site"], each["reads"] or "", f"{each['units']:,}", str(each["width"]), kept,
            f"{_general(mean)} ({_range(low, high, _general)})", each["hash"][:12],
        )  # fmt: skip
    _print(out, table)
    made_how = _grid("how it was made", "")
    for name, value in dict.fromkeys(_spelt(facts["about"])):
        made_how.add_row(name, value)
    if made_how.row_count:
        _print(out, made_how)


def _spelt(about: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is known of a making, a name and its facts at a time; the sites of coders stand in the table."""
    plain = {k: v for k, v in about.items() if not isinstance(v, Mapping) and not _is_rows(v) and v not in (None, "")}
    told = ", ".join(f"{k} {_fact(v)}" for k, v in plain.items() if k not in ("reads", "writes"))
    if told:
        yield of, escape(told)
    for name, value in about.items():
        if isinstance(value, Mapping):
            yield from _spelt(value, name)
        elif _is_rows(value):
            for each in value:
                yield from _spelt(each, name)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _fact(value: Any) -> str:
    if isinstance(value, float) and not _is_known(value):
        return ABSENT
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def report(found: Any, folder: str) -> None:
    """Print what a dictionary leaves out and costs, beside its rivals and the floors."""
    out = _console()
    out.print(
        f"[bold]{escape(folder)}[/], judged on {found.tokens:,} tokens of {found.stimuli:,} stimuli, every second one; "
        f"the other {found.fitted:,} fitted the means, neurons, pca and random; "
        f"the network's own loss {_scored(found.loss)} nats per token"
    )
    numbers = ("units", "L0", "dead", "unexplained", "without first", "loss with x̂", "recovered")
    table = _grid("site", "", *numbers, numbers=numbers)
    last = ""
    for row in found.rows:
        first = row.site != last
        last = row.site
        own = row.name not in RIVALS
        table.add_row(
            row.site if first else "", f"[bold]{escape(row.name)}[/]" if own else row.name,
            f"{row.units:,}" if row.name != "neurons" else "", _fixed(row.active.value, 1),
            _percent(row.dead) if own or row.name == "random" else "", _scored(row.unexplained),
            _scored(row.unexplained_later), _scored(row.loss),
            _scored(row.recovered),
        )  # fmt: skip
    _print(out, table)
    for site, (mean, zero) in found.held.items():
        out.print(f"{site} at its mean: loss {_scored(mean)}; at zero {_scored(zero)}")
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


def first_lines(
    site: str, norm: float, tokens: float, unexplained: float | None, without: float | None
) -> Iterator[str]:
    """Yield what the first token of each stimulus holds of a site's size, and a warning where it hides the rest."""
    left = "" if without is None else f"; unexplained without them {_general(without)}"
    yield f"{site}: first tokens ({_percent(tokens, 1)} of all) hold {_percent(norm, 1)} of the squared norm{left}"
    if unexplained is not None and without is not None and without > HIDDEN * unexplained:
        yield (
            f"warning: at {site} first tokens hide what is not explained: {_general(unexplained)} of the variance with "
            f"them, {_general(without)} without; --skip-first 1 leaves them out, --prepend-bos puts a BOS token in "
            "their place"
        )


def concepts(told: Mapping[str, Any]) -> None:
    """Print the best feature, neuron, component and random direction for each concept."""
    out, own = _console(), told["own"]
    sets = [name for name in told["means"] if name != own]
    out.print(
        f"\nConcepts on {told['tokens']:,} labelled tokens of {told['documents']:,} documents: the best unit of each "
        "set, chosen on even documents, scored on odd ones (AUROC)"
    )
    ordered = sorted(told["each"].items(), key=lambda item: -_or_least(item[1]["ahead"]["neurons"]["value"]))
    table = _grid("concept", own, *sets, "ahead of neurons", "best unit", numbers=(own, *sets))
    for concept, each in ordered if len(ordered) <= SHOWN else [*ordered[: SHOWN // 2], *ordered[-SHOWN // 2 :]]:
        gain = each["ahead"]["neurons"]
        table.add_row(
            concept, *(_thousandths(each[name]["auroc"]["value"]) for name in (own, *sets)),
            f"{_signed(gain['value'])} ({_range(gain['low'], gain['high'])})", each[own]["unit"],
        )  # fmt: skip
    _print(out, table)
    if len(ordered) > SHOWN:
        out.print(f"{len(ordered) - SHOWN} concepts between these are left out; --json has all", style="dim")
    if not ordered:
        out.print("no concept is true and untrue of twenty tokens in either half: give more labelled text")
        return
    out.print("mean  " + ", ".join(f"{name} {_thousandths(mean)}" for name, mean in told["means"].items()))
    for one in told["counts"]:
        out.print(
            f"{one['set']} against {one['against']}: ahead in {one['ahead']} of {len(ordered)} concepts, "
            f"behind in {one['behind']}"
        )
    out.print("before φ: the same features before their activation. Ahead and behind: by 95 % intervals.", style="dim")


def comparison(found: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Print how alike two dictionaries are, site by site."""
    out = _console()
    table = _grid("site", "pairs", "mean |cos|", "at least 0.9", "turned at random", "at least 0.9 ",
                  numbers=("pairs", "mean |cos|", "at least 0.9", "turned at random", "at least 0.9 "))  # fmt: skip
    for site, each in found.items():
        turned = [cosine for cosine in each.control if _is_known(cosine)]
        table.add_row(
            site, f"{each.n:,}", f"{_thousandths(each.cosine)} ({_ends(each.interval.low, each.interval.high)})",
            _percent(each.same), _ends(min(turned, default=None), max(turned, default=None)),
            _percent(each.control_same),
        )  # fmt: skip
    _print(out, table)
    out.print("pairs: matched one to one so that the sum of |cos| is largest; 95 % interval over pairs", style="dim")
    for note in notes:
        out.print(f"note: {escape(note)}")
