"""Tables: results as people read them in a terminal."""

import itertools
import shlex
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from patchclamp.cli.progress import human_bytes

BAR, WIDE, ENOUGH = 12, 120, 8


class _Console(Console):
    """A console that leaves a closed pipe to the caller."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console() -> Console:
    """Return the terminal; where output goes elsewhere, lines are wide and nothing is folded at 80."""
    bare = _Console(highlight=False)
    return bare if bare.is_terminal else _Console(highlight=False, width=WIDE)


def _shown(token: str) -> str:
    """Return a token with its spaces and breaks visible."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def _grid(*columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True, overflow="ellipsis")
    return table


def _print(out: Console, table: Table) -> None:
    """Print a table; where the terminal is narrow only the last column gives way."""
    for column in table.columns[:-1]:
        cells = (cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain for cell in column.cells)
        column.min_width = max([cell_len(str(column.header)), *map(cell_len, cells)])
    out.print(table)


def sites(model: Any, found: Sequence[Any]) -> None:
    """Print sites, equal blocks folded into one line."""
    out = _console()
    out.print(f"[bold]{escape(model.name)}[/]  {type(model.module).__name__}  {model.hash[:12]}")
    table = _grid("site", "shape", "record", "clamp", "gradient", "axes")
    can = model.capabilities
    for path, site in _folded(found):
        clamp, gradient = ("yes" if yes else "no" for yes in (site.writable and can.intervene, can.differentiate))
        record = "tap" if site.tapped else "yes"
        table.add_row(path, site.describe(), record, clamp, gradient, " ".join(site.axes))
    _print(out, table)
    if any(site.tapped for site in found):
        out.print("tap: read inside the attention function, with the model's own eager arithmetic", style="dim")
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


def verdicts(found: Sequence[Any], about: str, passed: bool) -> None:
    """Print how far each check is from its law."""
    out = _console()
    out.print(f"[bold]{escape(about)}[/], random stimuli of unequal length, padded right and left")
    columns = ["check", "deviation", "allowed"] + (
        ["wrong mapping", ""] if any(v.rejected is not None for v in found) else [""]
    )
    table = _grid(*columns, numbers=("deviation", "allowed", "wrong mapping"))
    for v in found:
        limit = "stated" if v.limit is None else f"{v.limit:.3g}"
        wrong = [] if len(columns) == 4 else ["" if v.rejected is None else f"{v.rejected:.3g}"]
        table.add_row(
            v.name, f"{v.deviation:.3g}", limit, *wrong, "[green]✓[/]" if v.passed else "[bold red]✗ fails[/]"
        )
    _print(out, table)
    out.print("all hold" if passed else "[bold red]not the model[/]: do not trust what is recorded at these sites")


def explanation(e: Any, name: str) -> None:
    """Print an explanation: the answer, its causes with receipts, and the random sets beside them."""
    out, q = _console(), e.question
    first = ", ".join(f"{escape(_shown(t))} {p:.1%}" for t, p in e.likeliest)
    out.print(f"[bold]{escape(q.prompt + q.given)}[/] → {first}")
    what = " − ".join(f"logit({escape(_shown(a))})" for a in q.answers)
    if q.metric.kind == "sequence_log_probability":
        what = f"log P({escape(_shown(q.answers[0]))})"
    against = "" if e.corrupted is None else f", {e.corrupted:+.2f} on the corrupted prompt"
    out.print(f"explained: m = {what} = {e.baseline:+.2f}{against}\n")
    wide = out.width >= 100
    names = ("", "unit", "token", "value", "predicted", "measured", *(["effect"] if wide else []), "promotes")
    table = _grid(*names, numbers=("", "value", "predicted", "measured"))
    scale = max((abs(c.measured) for c in e.causes), default=1.0) or 1.0
    for i, c in enumerate(e.causes, 1):
        bar = [_bar(c.measured / scale)] if wide else []
        figures = (f"{c.activation:.2f}", f"{c.predicted:+.3f}", f"{c.measured:+.3f}")
        words = " ".join(escape(_shown(t)) for t in c.promotes)
        table.add_row(str(i), escape(_local(c.key)), escape(_shown(c.token)), *figures, *bar, words)
    _print(out, table)
    _receipt(out, e)
    if e.opposing:
        against_it = ", ".join(f"{_local(c.key)} {c.predicted:+.2f}" for c in e.opposing)
        out.print(f"\nPredicted against the answer: {escape(against_it)}")
    best = next((c for c in e.causes if c.kind == "neuron"), None)
    if best is not None:
        unit = _local(best.key)
        turned = shlex.quote(f"{unit}={-best.activation:.2f}")
        words = f"patchclamp generate {shlex.quote(name)} {shlex.quote(q.prompt)} --clamp {turned}"
        out.print(f"\nTurn it round and read on: {words}", markup=False, soft_wrap=True)


def _local(key: str) -> str:
    """Return a key without its subject, which the heading names."""
    return key.split("/", 1)[1]


def _receipt(out: Console, e: Any) -> None:
    replaced = "set to zero" if e.reference == "zero" else "given their values under the corrupted prompt"
    mean, ci = sum(e.controls) / len(e.controls), e.control_interval
    out.print(f"\n[bold]Receipt[/]: what m loses when units are {replaced}")
    table = _grid("", "predicted", "measured", "", numbers=("predicted", "measured"))
    table.add_row(f"these {len(e.causes)} together", f"{e.predicted:+.3f}", f"[bold]{e.measured:+.3f}[/]", _p(e))
    interval = f"mean; 95 % interval {ci.low:+.3f} to {ci.high:+.3f}"
    table.add_row(f"{len(e.controls)} random sets", "", f"{mean:+.3f}", interval)
    table.add_row("  weakest, strongest", "", f"{min(e.controls):+.3f}", f"{max(e.controls):+.3f}")
    _print(out, table)
    if e.control_size < len(e.causes):
        out.print(
            f"Each random set has only {e.control_size} units: so many others remain at these sites and positions. "
            "p flatters; ask for fewer causes (--top).",
            style="bold dark_orange",
        )
    agreement = f" Spearman's ρ of predicted against measured, one by one: {e.rank_correlation:.2f}."
    out.print(
        "Random sets match these in number, site and position; p is the share of them at least as strong."
        + (agreement if len(e.causes) >= ENOUGH and e.rank_correlation == e.rank_correlation else ""),
        style="dim",
    )


def _p(e: Any) -> str:
    least = e.p <= 1.5 / (len(e.controls) + 1)
    return f"p = {e.p:.3f}" + (f", the least that {len(e.controls)} sets can show" if least else "")


def _bar(share: float) -> Text:
    size = min(round(abs(share) * BAR), BAR)
    return Text("█" * size, style="blue" if share >= 0 else "dark_orange")


def generation(prompt: str, bare: Any, changed: Any, clamps: Sequence[str], at: str | None) -> None:
    """Print a continuation without and with clamps, the changed part marked."""
    out = _console()
    out.print(Text.assemble(("without  ", "bold"), (prompt, "dim"), bare.text))
    if changed is None:
        return
    same = next((i for i, (a, b) in enumerate(zip(bare.text, changed.text, strict=False)) if a != b), None)
    if same is None:
        same = min(len(bare.text), len(changed.text))
    where = f" at {at}" if at else ""
    label = f"{', '.join(clamps)}{where}"
    out.print(
        Text.assemble(("clamped  ", "bold"), (prompt, "dim"), changed.text[:same], (changed.text[same:], "bold blue"))
    )
    out.print(Text(f"         {label}" + ("" if bare.text != changed.text else ": no change"), style="dim"))


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
    """Return how many are in: the last line says it of a whole run, the pieces of an interrupted one."""
    return int(bundle.entries[-1][name]) if bundle.whole else sum(e.get(name, 0) for e in bundle.pieces)


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
    stimuli = f"{facts['stimuli']:,} of {plan.get('n_stimuli', 0):,} stimuli of {plan.get('window')} tokens"
    rows = {
        "subject": f"{subject.get('slug')}  {str(subject.get('hash'))[:12]}  {subject.get('dtype')}",
        "sites": f"{len(paths)}: {named}; {units:,} units",
        "text": f"{facts['tokens']:,} of {plan.get('n_tokens', 0):,} tokens, {stimuli}",
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
    out.print(f"[bold]graph[/] of {escape(str(found.subject.get('slug')))}: {escape(str(found.about.get('prompt')))}")
    table = _grid("node", "score", numbers=("score",))
    for node in sorted(found.nodes, key=lambda n: -abs(n.score))[:20]:
        table.add_row(escape(node.key), f"{node.score:+.3f}")
    _print(out, table)
