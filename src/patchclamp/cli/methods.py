"""The verbs that run methods: each makes nouns of what was typed, runs one method, and shows the noun that it gives."""

import importlib
import shlex
import time
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markup import escape

from patchclamp.cli import noun_tables
from patchclamp.cli.atlas_layer import add_graph, refuse_if_unwritable
from patchclamp.cli.explain_checks import check_writable
from patchclamp.cli.loading import load_model
from patchclamp.cli.method_options import given_options
from patchclamp.cli.output import Outputs, emit, log
from patchclamp.cli.progress import Meter
from patchclamp.cli.tables import _console, _grid, _print
from patchclamp.core import method_index
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.method_index import Card
from patchclamp.core.options import describe_value
from patchclamp.core.rooms import FOLDERS, ROOMS

TOP, LISTED = 10, 20_000
"""Rows of a table, and keys of scores as JSON, of a folder that is shown again."""
NOUNS = {
    "descriptions": ("patchclamp.core.descriptions", "Descriptions"),
    "edit": ("patchclamp.core.edit", "Edit"),
    "exemplars": ("patchclamp.core.exemplars", "Exemplars"),
    "readout": ("patchclamp.core.readout", "Readout"),
    "scores": ("patchclamp.core.scores", "Scores"),
    "training": ("patchclamp.core.training", "Training"),
}
"""Kind of folder → where the noun that it holds is defined."""


def methods(options: Namespace) -> int:
    """List the methods, or describe one."""
    cards = [card for kind in FOLDERS for card in method_index.methods(options.room, kind=kind)]
    if options.name is not None:
        known = {f"{card.room}/{card.name}": card for card in cards}
        by_name = [card for card in cards if card.name == options.name]
        chosen = known.get(options.name) or (by_name[0] if len(by_name) == 1 else None)
        if chosen is None:
            raise PatchclampError(
                expected=f"a method among {', '.join(known)}", got=repr(options.name), remedy="Name its room too."
            )
        if options.json:
            emit(_entry(chosen))
        else:
            _describe(chosen)
        return 0
    if options.json:
        emit([_entry(card) for card in cards])
        return 0
    out = _console()
    for room, question in ROOMS.items():
        own = [card for card in cards if card.room == room]
        if own:
            out.print(f"[bold]{room}[/]  {question}")
            table = _grid("name", "tier", "takes", "gives", "keys", "what it is")
            for card in own:
                takes = ", ".join(dict.fromkeys(noun.rstrip("?") for noun in card.data["takes"].values()))
                keys = ", ".join(card.data["keys"])
                table.add_row(card.name, card.tier.name, takes, card.data["gives"], keys, escape(card.data["title"]))
            _print(out, table)
    out.print("`patchclamp methods ROOM/NAME` describes one with its options", style="dim")
    return 0


def _entry(card: Card) -> dict[str, Any]:
    """Return what the index says of a method, and its tier with the reason."""
    return {**card.data, "tier": card.tier.name, "tier_reason": card.tier.reason}


def _describe(card: Card) -> None:
    out, data = _console(), card.data
    out.print(f"[bold]{escape(data['title'])}[/]  {card.room}/{card.name}")
    out.print(escape(data["question"]))
    takes = ", ".join(f"{name} ({noun})" for name, noun in data["takes"].items())
    needs = f"; a subject that offers {', '.join(data['needs'])}" if data["needs"] else ""
    out.print(f"takes {escape(takes)}{needs}; gives {data['gives']}")
    papers = [f"{one['reference']}" + (f", {one['equation']}" if one["equation"] else "") for one in data["papers"]]
    out.print(f"from {escape('; '.join(papers))}")
    out.print(f"[bold]{card.tier.name}[/]: {escape(card.tier.reason)}")
    out.print(f"on {', '.join(data['calibrated_on'])} it must show: {escape(data['must_show'])}")
    for where, why in data["must_miss"].items():
        out.print(f"it must miss {escape(where)}: {escape(why)}")
    if data["options"]:
        table = _grid("option", "takes", "default", "what it does")
        for entry in data["options"]:
            default = entry["default"] if entry["default"] not in ("", [], None) else "–"
            shown = ",".join(map(str, default)) if isinstance(default, list) else str(default)
            name = f"--{entry['name'].replace('_', '-')}"
            table.add_row(name, escape(describe_value(entry)), escape(shown), escape(entry["help"]))
        _print(out, table)


def attribute(options: Namespace) -> int:
    """Score units or edges of a model, and list the highest."""
    from patchclamp.attribute import attribute as run

    refuse_out(options)
    _check_question(options)
    model = load_model(options)
    if options.atlas is not None:
        refuse_if_unwritable(options.atlas, model)
    task = _task(model, options)
    log(f"{options.method} over {len(task):,} case{'s' * (len(task) != 1)} of {model.name}")
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with Meter("attribute", "steps") as meter:
        scores = run(
            model, task, method=options.method, seed=options.seed, progress=meter, **given_options(options)
        )  # fmt: skip
    outputs = Outputs()
    if options.atlas is not None:
        with outputs.attempt("the atlas layer"):
            graph = scores.graph(about=_about(model, task.cases[0]))
            layer = add_graph(options.atlas, graph, options, began, time.monotonic() - clock, verb="attribute")
            log(f"graph added to {options.atlas} as {layer}")
    return finish(options, scores) or outputs.code


def _about(model: Any, case: Any) -> dict[str, Any]:
    """Return what an atlas shows beside the units of one prompt."""
    [shown] = model.stimuli(case.shown)
    return {
        "prompt": case.shown, "target": case.targets[0], "contrast": case.contrasts[0] if case.contrasts else None,
        "corrupt": case.counterpart, "layers": model.n_layers,
        "tokens": [model.tokenizer.token(int(i)) for i in shown.ids] if hasattr(model, "tokenize") else [],
    }  # fmt: skip


def compare(options: Namespace) -> int:
    """Compare two recordings."""
    from patchclamp.compare import compare as run

    refuse_out(options)
    given = given_options(options)
    first = load_recording(options.first, given.get("first_site", ""))
    second = load_recording(options.second, given.get("second_site", ""))
    with Meter("compare", "steps") as meter:
        found = run(first, second, method=options.method, seed=options.seed, progress=meter, **given)
    return finish(options, found)


def encode(options: Namespace) -> int:
    """Predict one recording from another."""
    from patchclamp.core.split import Split
    from patchclamp.decode import encode as run

    refuse_out(options)
    folds, gap = read_blocks(options.split)
    given = given_options(options)
    features = load_recording(options.features, given.get("feature_site", ""))
    targets = load_recording(options.targets, given.get("target_site", ""))
    split = Split.blocks(len(features.stimuli), folds=folds, gap=gap)
    log(f"{len(features.stimuli):,} stimuli, {split.rule}")
    with Meter("encode", "fits") as meter:
        found = run(features, targets, split, method=options.method, seed=options.seed, progress=meter, **given)
    return finish(options, found)


def info(options: Namespace, kind: str) -> int:
    """Show a noun that was kept in a folder."""
    module, name = NOUNS[kind]
    noun = getattr(importlib.import_module(module), name).load(options.folder)
    if options.json:
        emit({"path": options.folder, "kind": kind, **(noun.to_json(LISTED) if kind == "scores" else noun.to_json())})
    else:
        noun_tables.show(noun, TOP)
    return 0


def refuse_out(options: Namespace) -> None:
    """Refuse an occupied --out, a --report that cannot be written and a negative --top before any work."""
    from patchclamp.core.disk import refuse_occupied

    if getattr(options, "out", None) is not None:
        refuse_occupied(Path(options.out))
    if getattr(options, "report", None) is not None:
        check_writable(options.report, "--report")
    if getattr(options, "top", 0) < 0:
        raise PatchclampError(expected="at least 0 to list", got=str(options.top), remedy="Give another --top.")


def _check_question(options: Namespace) -> None:
    if options.atlas is not None and (options.pairs is not None or given_options(options).get("level") == "edge"):
        raise PatchclampError(
            expected="--atlas with the units of one prompt",
            got="--pairs" if options.pairs is not None else "edges",
            remedy="`patchclamp circuit find --atlas` adds what is found over pairs, edges too.",
        )
    if (options.prompt is None) == (options.pairs is None) or (options.prompt is not None and options.target is None):
        raise PatchclampError(
            expected="a prompt with its --target, or --pairs",
            got="both" if options.prompt and options.pairs else "neither" if not options.prompt else "no --target",
            remedy="See `patchclamp attribute --help`.",
        )


def _task(model: Any, options: Namespace) -> Any:
    from patchclamp.core.task import Task
    from patchclamp.loaders import open_task

    if options.pairs is not None:
        return open_task(options.pairs, model, seed=options.seed)
    return Task.of(options.prompt, options.target, contrast=options.contrast, counterpart=options.counterpart)


def load_recording(folder: str, site: str) -> Any:
    """Return a recording in memory: the site that is named, or all of them."""
    from patchclamp.core.recording import StoredRecording

    recording = StoredRecording(folder)
    if broken := recording.bundle.find_damaged():
        raise Damaged(
            expected=f"the pieces of {folder} as they were committed",
            got=f"damaged or missing: {', '.join(broken[:8])}",
            remedy="Restore them from a copy, or record again.",
        )
    return recording.load([site] if site else None)


def read_blocks(rule: str) -> tuple[int, int]:
    """Read --split: the folds, and the gap beside each."""
    name, *numbers = rule.split(":")
    if name == "blocks" and 1 <= len(numbers) <= 2 and all(one.isascii() and one.isdigit() for one in numbers):
        folds, gap = int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0
        if 2 <= folds < 10**6 and gap < 10**9:
            return folds, gap
    raise PatchclampError(
        expected="--split blocks:FOLDS or blocks:FOLDS:GAP, with at least 2 folds",
        got=repr(rule),
        remedy="For example blocks:5:2.",
    )


def finish(options: Namespace, noun: Any) -> int:
    """Keep the noun where --out says, draw it where --report says, and show it."""
    out, report, outputs = getattr(options, "out", None), getattr(options, "report", None), Outputs()
    if out is not None:
        noun.save(out)
    if report is not None:
        from patchclamp.report import save_report

        with outputs.attempt("the report"):
            save_report(noun, report, command=shlex.join(["patchclamp", *options.words]))
            log(f"report written to {report}")
    if options.json:
        emit({"out": out, **noun.to_json(getattr(options, "top", 20))})
        return outputs.code
    noun_tables.show(noun, getattr(options, "top", 20))
    if out is not None:
        log(f"kept in {out}")
    return outputs.code
