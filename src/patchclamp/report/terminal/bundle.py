"""What a folder of pieces holds, in a terminal."""

from typing import Any

from rich.markup import escape

from patchclamp.core.plain_numbers import human_bytes
from patchclamp.report.terminal.table import make_table, open_console, print_table


def describe_bundle(bundle: Any) -> dict[str, Any]:
    """Return what a bundle holds as JSON-ready data."""
    m = bundle.manifest
    nonfinite: dict[str, int] = {}
    for entry in bundle.entries:
        for key, count in entry.get("nonfinite", {}).items():
            nonfinite[key] = nonfinite.get(key, 0) + count
    return {
        "path": str(bundle.path),
        "kind": m["kind"],
        "whole": bundle.whole,
        "hash": bundle.hash,
        "subject": m.get("subject"),
        "plan": m.get("plan"),
        "versions": m.get("versions"),
        "dtype": m.get("dtype"),
        "sites": [{"path": s["path"], "width": s["width"]} for s in m.get("sites", [])],
        "pieces": len(bundle.pieces),
        "bytes": sum(bundle.sizes().values()),
        **{count: _count(bundle, count) for count in ("stimuli", "tokens")},
        "nonfinite": nonfinite,
    }


def _count(bundle: Any, name: str) -> int:
    """Return how many are in: the last line says it of a whole run, the pieces of an interrupted one.

    Images have no tokens.
    """
    return int(bundle.entries[-1].get(name, 0)) if bundle.whole else sum(e.get(name, 0) for e in bundle.pieces)


def show_bundle(found: Any) -> None:
    """Print what a bundle holds."""
    out, facts = open_console(), describe_bundle(found)
    state = "[green]whole[/]" if facts["whole"] else "[dark_orange]interrupted[/]: go on with --resume"
    out.print(f"[bold]{escape(facts['kind'])}[/] {escape(facts['path'])}: {state}")
    table = make_table("", "")
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
    print_table(out, table)
    for key, count in sorted(facts["nonfinite"].items(), key=lambda kv: -kv[1])[:10]:
        out.print(f"[bold dark_orange]not finite[/]: {escape(key)}, {count} values")
    if len(facts["nonfinite"]) > 10:
        out.print(f"… and {len(facts['nonfinite']) - 10} more units; --json lists them")
