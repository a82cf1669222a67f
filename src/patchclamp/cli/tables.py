"""Tables of results in a terminal."""

import itertools
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeGuard

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from patchclamp.cli.console import terminal_of
from patchclamp.cli.layout import print_whole
from patchclamp.cli.progress import human_bytes
from patchclamp.cli.terminal import PlainConsole
from patchclamp.core.method_index import find_default, find_title

BAR, WIDE, GRAPH_ROWS = 12, 120, 20
ABSENT = "–"
"""What stands in place of a number that is not there."""
POOR, CLEAR = 0.5, 0.9
"""Below this rank correlation predictions are said to agree poorly."""
MORE = 0.01
"""A rival takes more where it does so by one hundredth."""
HELD = {"zero": "zero", "mean": "their means", "corrupted": "their values on the corrupted prompt"}
REPLACED = {
    "zero": "set to zero",
    "mean": "set to their means",
    "corrupted": "given their values on the corrupted prompt",
}


def _console() -> Console:
    """Return the terminal; where output goes elsewhere, lines are wide and nothing is folded at 80."""
    options: dict[str, Any] = {"file": terminal_of(sys.stdout), "highlight": False, "emoji": False}
    bare = PlainConsole(**options)
    return bare if bare.is_terminal else PlainConsole(**options, width=WIDE)


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign; what rounds to zero has none, and what is absent or not finite is a dash."""
    if not _is_known(value):
        return ABSENT
    text = f"{value:+.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


def _fixed(value: float | None, digits: int = 2) -> str:
    """Return a number without a plus sign; a dash where it is absent or not finite."""
    return _signed(value, digits).removeprefix("+")


def _general(value: float | None, digits: int = 3, *, sign: str = "-") -> str:
    """Return a number with some significant digits, a plus sign too where asked; a dash where it is not known."""
    return f"{value:{sign}.{digits}g}" if _is_known(value) else ABSENT


def _percent(share: float | None, digits: int = 0) -> str:
    """Return a share in percent; a dash where it is absent or not finite."""
    return f"{_fixed(100 * share, digits)}%" if _is_known(share) else ABSENT


def _range(low: float | None, high: float | None, show: Callable[[float | None], str] = _signed) -> str:
    """Return both ends of an interval; a dash where one of them is absent or not finite."""
    return f"{show(low)} to {show(high)}" if _is_known(low) and _is_known(high) else ABSENT


def _largest(values: Iterable[float | None]) -> float:
    """Return the largest magnitude among the numbers that are known; 0 without any."""
    return max((abs(value) for value in values if _is_known(value)), default=0.0)


def _shown(token: str) -> str:
    """Return a token with its spaces and breaks visible."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def _grid(*columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table


def _print(out: Console, table: Table) -> None:
    """Print a table of which nothing is cut, however narrow the terminal is."""
    print_whole(out, table)


def sites(model: Any, found: Sequence[Any]) -> None:
    """Print sites, equal blocks folded into one line."""
    out = _console()
    out.print(f"[bold]{escape(model.name)}[/]  {type(model.module).__name__}  {model.hash[:12]}")
    table = _grid("site", "shape", "record", "clamp", "gradient", "axes")
    can = model.capabilities
    # Stages differ in width and size: then every block has its own line.
    kinds = {(site.kind, site.path.rsplit(".", 2)[-2], site.describe()) for site in found if site.layer is not None}
    whole = len(kinds) > len({(kind, before) for kind, before, _ in kinds})
    for path, site in [(site.path, site) for site in found] if whole else _folded(found):
        clamp, gradient = ("yes" if yes else "no" for yes in (site.writable and can.intervene, can.differentiate))
        record = "tap" if site.tapped else "yes" if site.calls == 1 else "no"
        table.add_row(path, site.describe(), record, clamp, gradient, " ".join(site.axes))
    _print(out, table)
    if any(site.tapped for site in found):
        out.print("tap: read inside the attention function, with the model's own eager arithmetic", style="dim")
    if any(site.calls > 1 for site in found):
        out.print("not recorded: its module runs several times in one forward; a change reaches every run", style="dim")
    for what, why in can.missing:
        out.print(f"missing: {what}: {escape(why)}")


def _folded(found: Sequence[Any]) -> list[tuple[str, Any]]:
    """Fold sites that differ only in their block into one line with the range of blocks."""
    blocks = sorted({s.layer for s in found if s.layer is not None})
    lines: list[tuple[str, Any]] = []
    for (layered, _), group in itertools.groupby(found, key=lambda s: (s.layer is not None, s.layer)):
        members = list(group)
        if not layered:
            lines += [(s.path, s) for s in members]
        elif members[0].layer == blocks[0]:
            span = f"{blocks[0]}" if len(blocks) == 1 else f"{blocks[0]}–{blocks[-1]}"
            lines += [(f"blocks.{{{span}}}.{s.kind}", s) for s in members]
    return lines


def verdicts(found: Sequence[Any], about: str, passed: bool, *, images: bool = False) -> None:
    """Print how far each check is from its law."""
    out = _console()
    shown = "three random images" if images else "random stimuli of unequal length, padded right and left"
    out.print(f"[bold]{escape(about)}[/], {shown}")
    columns = ["check", "deviation", "allowed"] + (
        ["wrong mapping", ""] if any(v.rejected is not None for v in found) else [""]
    )
    table = _grid(*columns, numbers=("deviation", "allowed", "wrong mapping"))
    for v in found:
        if v.excluded:
            table.add_row(v.name, "", "", *[""] * (len(columns) - 4), f"not applicable: {escape(v.excluded)}")
            continue
        limit = "stated" if v.limit is None else _general(v.limit)
        wrong = [] if len(columns) == 4 else ["" if v.rejected is None else _general(v.rejected)]
        table.add_row(
            v.name, _general(v.deviation), limit, *wrong, "[green]✓[/]" if v.passed else "[bold red]✗ fails[/]"
        )
    _print(out, table)
    out.print("all hold" if passed else "[bold red]not the model[/]: do not trust what is recorded at these sites")


def families(standing: dict[str, Any]) -> None:
    """Print which family keeps which part of the contract."""
    out, parts = _console(), standing["parts"]
    numbers = [str(i) for i, _ in enumerate(parts, 1)]
    table = _grid("family", *numbers, "classes", numbers=numbers)
    why: dict[str, str] = {}
    for name, entry in standing["families"].items():
        cells = ["n/a" if "excluded" in part else _general(part["deviation"], 0) for part in entry["parts"]]
        why |= {f"{name}, part {i}": p["excluded"] for i, p in enumerate(entry["parts"], 1) if "excluded" in p}
        table.add_row(name, *cells, escape(", ".join(entry["classes"])))
    _print(out, table)
    out.print("Deviation from each law on the family's tiny model; every wrong mapping was rejected.", style="dim")
    for i, part in enumerate(parts, 1):
        out.print(f"{i:2}  {escape(part['name'])}, allowed {_general(part['limit'])}", style="dim")
    for where, reason in why.items():
        out.print(f"n/a {escape(where)}: {escape(reason)}")


def explanation(e: Any, name: str, bases: Sequence[str] = (), chat: str | None = None, how: Sequence[str] = ()) -> None:
    """Print an explanation: the answer, its causes with receipts, and the controls beside them.

    Args:
        e: the explanation.
        name: the model, as the command at the end names it.
        bases: folders of features that were given, which the command at the end takes too.
        chat: what was said, where the prompt is a chat.
        how: options under which the model was loaded.
    """
    out, q = _console(), e.case
    first = ", ".join(f"{escape(_shown(t))} {_percent(p, 1)}" for t, p in e.likeliest)
    out.print(f"[bold]{escape(q.prompt + q.given)}[/] → {first}")
    floor = "on the corrupted prompt" if e.baseline == "corrupted" else f"with every unit {REPLACED[e.baseline]}"
    out.print(
        f"explained: m = {escape(q.explained)} = {_signed(e.metric_clean, 2)}; {_signed(e.metric_baseline, 2)} {floor}"
    )
    if q.beginning:
        out.print(
            f"The answer's beginning {escape(repr(q.beginning))} is shown after the prompt: positions count it too, "
            f"and m is read {'after it' if q.given else 'along it'}."
        )
    out.print(f"scored by {find_title(e.method, 'attribute')}, values held against {HELD[e.baseline]}\n", style="dim")
    out.print(f"[bold]Verdict[/]: {escape(e.receipts.receipt.summary)}\n")
    _causes(out, e.causes)
    _receipt(out, e)
    _agreement(out, e.receipts.agreement, e.method)
    _kept(out, e)
    if e.opposing:
        out.print("\n[bold]Against the answer[/]")
        _causes(out, e.opposing)
    if not q.masked:
        _advice(out, e, name, bases, chat, how)


def _advice(out: Console, e: Any, name: str, bases: Sequence[str], chat: str | None, how: Sequence[str]) -> None:
    """Print a command that turns the first cause round in the text that was scored; or why there is none."""
    q = e.case
    best = next((c for c in e.causes if c.activation and _is_known(c.activation)), None)
    if best is None:
        return
    picture = hasattr(q.clean, "pixels")
    said = chat is not None and not q.beginning
    text = chat if said else q.prompt if picture else q.text
    if text is None:
        out.print("\nNo command to try it with: no text has just the tokens that were scored.")
        return
    turned = shlex.quote(
        _local(best.key)
        + (f"={-best.activation:.2f}" if best.kind == "neuron" else "*=-1" if best.kind == "head" else "=0")
    )
    verb, what = ("classify", "class changes") if picture else ("generate", "words change")
    words = f"patchclamp {verb} {shlex.quote(name)} {shlex.quote(text)} --clamp {turned}"
    words += "".join(f" {shlex.quote(word)}" for word in (*(["--chat"] if said else []), *how))
    if best.kind == "feature":
        words += "".join(f" --basis {shlex.quote(folder)}" for folder in bases)
    out.print(f"\nTurn the first one round and see whether the {what}: {words}", markup=False, soft_wrap=True)


def _causes(out: Console, causes: Sequence[Any]) -> None:
    wide = out.width >= 100
    names = ("", "unit", "token", "value", "predicted", "measured", *(["effect"] if wide else []), "promotes")
    table = _grid(*names, numbers=("", "value", "predicted", "measured"))
    scale = _largest(c.measured for c in causes) or 1.0
    for i, c in enumerate(causes, 1):
        bar = [_bar(c.measured, scale)] if wide else []
        figures = (_fixed(c.activation), _signed(c.predicted), _signed(c.measured))
        words = " ".join(escape(_shown(t)) for t in c.promotes)
        table.add_row(str(i), escape(_local(c.key)), escape(_shown(c.token)), *figures, *bar, words)
    _print(out, table)


def _local(key: str) -> str:
    """Return a key without its subject, which the heading names."""
    return key.split("/", 1)[1]


def random_sets(n: int) -> str:
    """Return how many random sets there are, in words."""
    return f"{n} random set" + "s" * (n != 1)


def different_sets(n: int) -> str:
    """Return how many sets p rests on, in words."""
    return f"{n} different set" + "s" * (n != 1)


def _receipt(out: Console, e: Any) -> None:
    randoms, n = e.receipts.randoms, len(e.causes)
    out.print(f"\n[bold]Receipt[/]: what m loses when units are {REPLACED[e.baseline]}")
    table = _grid("", "predicted", "measured", "share", "", numbers=("predicted", "measured", "share"))

    def row(what: str, effect: float, note: str = "", predicted: str = "") -> None:
        table.add_row(what, predicted, _signed(effect), _percent(e.share(effect)), note)

    row(f"these {n} together", e.measured, _p(e.receipts.receipt), _signed(e.predicted))
    between = ABSENT if randoms.interval is None else _range(randoms.interval.low, randoms.interval.high)
    row(random_sets(randoms.n_different), randoms.mean, f"mean; 95 % interval {between}")
    row("  largest of them, either sign", max(filter(_is_known, randoms.measured), key=abs, default=math.nan))
    for rival in e.receipts.rivals:
        more = (
            ", [bold dark_orange]takes more than these[/]"
            if rival.measured - e.measured > MORE * abs(e.measured)
            else ""
        )
        row(f"{len(rival.keys)} by {rival.name}", rival.measured, f"{rival.shared} of them the same{more}")
    _print(out, table)
    for rival, why in e.omitted.items():
        out.print(f"not compared: {rival} ({escape(why)})", style="dim")
    if randoms.size < n:
        out.print(
            f"Each random set has only {randoms.size} units: so many others of their kinds remain. "
            "They give no p; ask for fewer causes (--top).",
            style="bold dark_orange",
        )
    if randoms.n_different < randoms.asked:
        out.print(
            f"No more than {random_sets(randoms.n_different)} of {randoms.asked} that were asked for: these sites are "
            "small.",
            style="bold dark_orange",
        )
    if e.share(1.0) is None:
        moved = e.metric_clean - e.metric_baseline
        why = f"m(clean) − m(baseline) is {_signed(moved)}, and below 0.1 there is nothing to share."
        if _is_known(moved) and moved < 0 and e.baseline != "corrupted":
            why += f" With every unit {REPLACED[e.baseline]} m favours the answer: --corrupt takes another baseline."
        out.print(f"No shares: {why}", style="bold")
    out.print(
        "Predicted: the sum of scores, which counts what units in series carry more than once. Random sets match these "
        f"in number: {randoms.rule} ({_percent(randoms.outside)} of their units came from another decile of size, or "
        "from a wider match). p: the share of sets at least as strong.",
        style="dim",
    )
    if e.bases:
        out.print(
            "A feature is replaced along its direction, what no feature explains stays; sets draw features that are "
            f"away from their baseline where there are any ({_percent(randoms.idle)} of the drawn units are none "
            "such: replacing them does nothing).",
            style="dim",
        )


def _agreement(out: Console, a: Any, method: str) -> None:
    near = sum(c.near_zero for c in a.checks)
    rho, slope = (_between(x, i) for x, i in ((a.spearman, a.spearman_interval), (a.slope, a.slope_interval)))
    out.print(
        f"\n[bold]Each of {len(a.checks)} units replaced by itself[/] ({near} of them predicted near zero): Spearman's "
        f"ρ between predicted and measured effects {rho}; slope of measured on predicted effects {slope}"
    )
    measured = find_default("circuit", "attribute")
    if method == measured:
        out.print("These scores are these very measurements: agreement says nothing here.", style="dim")
    if a.spearman < POOR:
        usual = find_default("explain", "attribute")
        other = measured if method == usual else usual
        out.print(f"Predictions agree poorly with measurements here; try --method {other}.", style="bold dark_orange")


def _between(value: float, interval: Any) -> str:
    if not _is_known(value):
        return "undefined"
    between = _range(interval.low, interval.high, _fixed)
    return f"{_fixed(value)} (95 % interval {'undefined, too few differ' if between == ABSENT else between})"


def _kept(out: Console, e: Any) -> None:
    kept = e.receipts.kept
    # Every other power of two is enough to see the curve.
    points = [i for i, size in enumerate(kept.sizes) if size in (0, kept.nodes) or size.bit_length() % 2]
    points = [points[0], *points[1:-1][-5:], points[-1]]
    out.print(f"\n[bold]Kept alone[/], all others {REPLACED[e.baseline]}: m by number kept")
    sizes = [f"{kept.sizes[i]:,}" for i in points]
    table = _grid("", *sizes, numbers=sizes)
    for what, values in (("largest scores, either sign", kept.measured), ("random", kept.random)):
        table.add_row(what, *(_signed(values[i], 2) for i in points))
    _print(out, table)


def _p(receipt: Any) -> str:
    n = receipt.controls.n_different
    if not _is_known(receipt.p):
        return "no p"
    least = receipt.p <= 1.5 * receipt.controls.floor
    return f"p = {receipt.p:.3f}" + (f", the least that {different_sets(n)} can show" if least else "")


def measured(found: Any) -> None:
    """Print what a language organism can do, and how well its best neurons tell concepts."""
    out = _console()
    what = "text: {} nats per token" if "neurons" in found else "images: {} nats per image"
    out.print(f"loss on held-out {what.format(_fixed(found['loss'], 3))}")
    numbers = ["accuracy", *(["corrupted"] if "neurons" in found else []), "chance", "items"]
    table = _grid("task", "accuracy", "95 % interval", *numbers[1:], numbers=numbers)
    for task, f in found["tasks"].items():
        other = [_fixed(f["corrupted"]["accuracy"], 3)] if "neurons" in found else []
        low, high = f["interval"]
        between = _range(low, high, _thousandths)
        table.add_row(task, _thousandths(f["accuracy"]), between, *other, _thousandths(f["chance"]), str(f["n"]))
    _print(out, table)
    if "neurons" not in found:
        return
    neurons = sorted(found["neurons"].items(), key=lambda item: -_or_least(item[1]["auroc"]))
    clear = sum(_or_least(f["auroc"]) >= CLEAR for _, f in neurons)
    out.print(
        f"\n[bold]Best neuron for each concept[/], chosen on one half of held-out text and scored on the other: "
        f"{clear} of {len(neurons)} concepts have one with AUROC ≥ {CLEAR}"
    )
    table = _grid("concept", "AUROC", "95 % interval", "neuron", numbers=("AUROC",))
    for concept, f in neurons:
        low, high = f["interval"]
        table.add_row(concept, _thousandths(f["auroc"]), _range(low, high, _thousandths), f["neuron"])
    _print(out, table)


def _thousandths(value: float | None) -> str:
    return _fixed(value, 3)


def _or_least(value: float | None) -> float:
    """Return a number to sort by: what is not known comes below everything."""
    return value if _is_known(value) else -math.inf


def organisms(cards: Sequence[Any]) -> None:
    """Print the organisms, one line each."""
    out = _console()
    table = _grid("organism", "architecture", "what is known about it")
    for card in cards:
        # What follows the colon is for the card: here it would leave no room for what is known.
        table.add_row(f"organism:{card['name']}", _family(card["architecture"]), escape(card["what"]))
    _print(out, table)


def _family(architecture: str) -> str:
    """Return an architecture as people call it; a planted organism's is the name of its class."""
    name = architecture.split(":")[0]
    return {"GPT2LMHeadModel": "GPT-2", "LlamaForCausalLM": "Llama"}.get(name, name)


def card(found: Any) -> None:
    """Print what is planted in an organism, and which methods must miss it."""
    out = _console()
    out.print(f"[bold]organism:{found['name']}[/]  {escape(found['architecture'])}\n{escape(found['what'])}\n")
    asked = f"{found['prompt']!r} → {found['target']!r} rather than {found['contrast']!r}"
    if "tasks" in found:
        training = found["training"]
        out.print(
            f"for example {escape(asked)}\n{found['parameters']:,} parameters in {found['stored']}; {found['licence']}"
        )
        out.print(f"trained {training['steps']:,} steps on {escape(found['data'])}; hash {found['hash'][:16]}\n")
        measured(found)
        return
    out.print(f"{escape(asked)}: logit difference {_signed(found['logit_difference'])}")
    if found["corrupt"]:
        out.print(f"corrupted: {escape(repr(found['corrupt']))}")
    out.print(f"\n[bold]True units[/], and what m loses when each is {REPLACED[found['baseline']]} by itself")
    table = _grid("unit", "effect", numbers=("effect",))
    for key in found["true"]:
        table.add_row(escape(key), _signed(found["effects"][key]))
    _print(out, table)
    if found["decoys"]:
        out.print("\n[bold]Decoys[/]")
        for decoy in found["decoys"]:
            out.print(f"{escape(decoy['unit'])}: {escape(decoy['why_inert'])}")
    if found["must_miss"]:
        out.print("\n[bold]Methods that must miss something[/]")
        for method, why in found["must_miss"].items():
            out.print(f"{escape(method)}: {escape(why)}")


def _bar(value: float | None, scale: float) -> Text:
    # A number that is printed as zero has no bar, however small all others are.
    if not _is_known(value) or not float(_fixed(value, 3)):
        return Text("")
    size = min(round(abs(value) / scale * BAR), BAR)
    return Text(("" if value >= 0 else "−") + "█" * size, style="blue" if value >= 0 else "dark_orange")


def classes(image: str, found: Sequence[Any], clamps: Sequence[str], at: str | None) -> None:
    """Print an image's likeliest classes, and beside them what clamps make of them."""
    out = _console()
    changed = bool(clamps)
    names = ("", "class", "without", *(("clamped", "change") if changed else ()))
    table = _grid(*names, numbers=("", "without", "clamped", "change"))
    for row in found:
        before, after = row["probability"], row["clamped"]
        figures = [_percent(before, 1)]
        if changed:
            known = _is_known(before) and _is_known(after)
            figures += [_percent(after, 1), _signed(100 * (after - before) if known else None, 1)]
        table.add_row(str(row["class"]), escape(row["name"]), *figures)
    out.print(f"[bold]{escape(image)}[/]")
    _print(out, table)
    if changed:
        out.print(Text(f"clamped: {', '.join(clamps)}" + (f" at {at}" if at else ""), style="dim"))


def bundle_facts(bundle: Any) -> dict[str, Any]:
    """Return what a bundle holds as JSON-ready data."""
    m = bundle.manifest
    nonfinite: dict[str, int] = {}
    for entry in bundle.entries:
        for key, count in entry.get("nonfinite", {}).items():
            nonfinite[key] = nonfinite.get(key, 0) + count
    files = [f for f in bundle.path.iterdir() if f.is_file()]
    return {
        "path": str(bundle.path), "kind": m["kind"], "whole": bundle.whole, "hash": bundle.hash,
        "subject": m.get("subject"), "plan": m.get("plan"), "versions": m.get("versions"), "dtype": m.get("dtype"),
        "sites": [{"path": s["path"], "width": s["width"]} for s in m.get("sites", [])],
        "pieces": len(bundle.pieces), "bytes": sum(f.stat().st_size for f in files),
        **{count: _counted(bundle, count) for count in ("stimuli", "tokens")},
        "nonfinite": nonfinite,
    }  # fmt: skip


def _counted(bundle: Any, name: str) -> int:
    """Return how many are in: the last line says it of a whole run, the pieces of an interrupted one.

    Images have no tokens.
    """
    return int(bundle.entries[-1].get(name, 0)) if bundle.whole else sum(e.get(name, 0) for e in bundle.pieces)


def bundle(found: Any) -> None:
    """Print what a bundle holds."""
    out, facts = _console(), bundle_facts(found)
    state = "[green]whole[/]" if facts["whole"] else "[dark_orange]interrupted[/]: go on with --resume"
    out.print(f"[bold]{escape(facts['kind'])}[/] {escape(facts['path'])}: {state}")
    table = _grid("", "")
    table.show_header = False
    subject, plan = facts["subject"] or {}, facts["plan"] or {}
    paths, units = [s["path"] for s in facts["sites"]], sum(s["width"] for s in facts["sites"])
    named = ", ".join(paths[:4]) + (" …" if len(paths) > 4 else "")
    stored = f", {facts['dtype']}" if facts["dtype"] else ""
    pieces = "1 piece" if facts["pieces"] == 1 else f"{facts['pieces']} pieces"
    # A survey of a recorded brain counts samples in stretches; its manifest keeps their number per trial.
    tokens, source, cut = ("samples", "time", "stretches") if "n_samples" in plan else ("tokens", "text", "stimuli")
    shown = f"{facts['stimuli']:,} of {plan.get('n_stimuli', 0):,}"
    text = (
        f"{facts['tokens']:,} of {plan.get('n_tokens', 0):,} {tokens}, {shown} {cut} of {plan.get('window')} {tokens}"
    )
    kind = found.manifest.get("stimuli", "text")
    rows = {
        "subject": f"{subject.get('slug')}  {str(subject.get('hash'))[:12]}  {subject.get('dtype')}",
        "sites": f"{len(paths)}: {named}; {units:,} units",
        source if kind == "text" else kind: text if kind == "text" else shown,
        "on disk": f"{human_bytes(facts['bytes'])} in {pieces}{stored}",
        "hash": facts["hash"][:16],
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    _print(out, table)
    for key, count in sorted(facts["nonfinite"].items(), key=lambda kv: -kv[1])[:10]:
        out.print(f"[bold dark_orange]not finite[/]: {escape(key)}, {count} values")
    if len(facts["nonfinite"]) > 10:
        out.print(f"… and {len(facts['nonfinite']) - 10} more units; --json lists them")


def graph(found: Any) -> None:
    """Print a graph's target and strongest nodes."""
    out = _console()
    asked = f": {escape(str(found.about['prompt']))}" if found.about.get("prompt") else ""
    out.print(f"[bold]graph[/] of {escape(str(found.subject.get('slug')))}{asked}")
    table = _grid("node", "score", "measured", numbers=("score", "measured"))
    nodes = sorted(found.nodes, key=lambda n: -abs(n.score) if _is_known(n.score) else math.inf)
    for node in nodes[:GRAPH_ROWS]:
        measured = node.measures.get("measured")
        table.add_row(escape(node.key), _signed(node.score), "" if measured is None else _signed(measured))
    _print(out, table)
    if len(nodes) > GRAPH_ROWS:
        out.print(f"… and {len(nodes) - GRAPH_ROWS} more; --json lists them", style="dim")
    if found.measures:
        out.print("  ".join(f"{name} {_signed(value)}" for name, value in found.measures.items()), style="dim")


def atlas(page: Any) -> None:
    """Print what an atlas holds: the numbers of its first page."""
    out = _console()
    out.print(f"[bold]atlas[/] {escape(page.name)} of {escape(page.subject.slug)}: {page.n_units:,} units")
    table = _grid("", "")
    table.show_header = False
    corpus = page.corpus
    labelled = f"; {corpus.labelled:,} labelled tokens" if corpus.labelled else ""
    stimuli = f"{corpus.stimuli:,} windows of {corpus.window}"
    rows = {
        "subject": f"{page.subject.name}  {page.subject.hash[:12]}  {page.subject.architecture}, {page.subject.dtype}",
        "text": f"{corpus.name}: {corpus.counted:,} tokens counted, {stimuli}{labelled}",
        "units": f"{page.n_described:,} described, {page.n_scored:,} with a score, {page.n_silent:,} never above zero",
        "examples": f"{page.n_examples:,}",
        "layers": ", ".join(f"{one.id} ({one.title}, {one.rows} rows)" for one in page.layers) or "none",
        "on disk": human_bytes(page.bytes),
        "hash": page.hash[:16],
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    _print(out, table)
    sites = _grid("site", "units", "described", "silent", numbers=("units", "described", "silent"))
    for row in page.sites:
        sites.add_row(escape(row.site), f"{row.units:,}", f"{row.described:,}", f"{row.silent:,}")
    _print(out, sites)
    for note in page.notes:
        out.print(f"[bold dark_orange]note[/]: {escape(note)}")
    out.print(
        "what was typed and what was logged (runs.sqlite) is under no hash: others may have changed it", style="dim"
    )
