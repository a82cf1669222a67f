"""Score units or edges of a model."""

import time
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from patchclamp.cli.loading import load_model, print_scoring_cost
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import MODEL, add_loading, add_out, add_report, add_seed
from patchclamp.cli.output import Outputs, add_graph, finish, log, refuse_if_unwritable, refuse_out
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "Score the units or edges of a model over a prompt or over pairs of prompts."
QUESTION = "why"
EXAMPLE = "patchclamp attribute organism:cat 'the old cat' --target ' sat' --contrast ' ran'"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="a text or an image; or give --pairs")
    parser.add_argument("--target", metavar="ANSWER", help="the answer, with its leading space; of an image a class")
    parser.add_argument("--contrast", metavar="ANSWER", help="the answer that it is compared with")
    parser.add_argument(
        "--counterpart", metavar="PROMPT", help="a prompt of as many tokens under which the answer is lost"
    )
    parser.add_argument(
        "--pairs", metavar="FILE", help="a CSV or JSONL file of pairs, or task:NAME of a language organism"
    )
    add_loading(parser)
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many keys to list (default: 10)")
    parser.add_argument("--atlas", metavar="DIR", help="add the units of one prompt to an atlas of this model")
    parser.use("attribute", "attribute")
    add_seed(parser)
    add_out(parser)
    add_report(parser)


def run(options: Namespace) -> int:
    """Score units or edges of a model, and list the highest."""
    from patchclamp.attribute import attribute as run

    refuse_out(options)
    _check_question(options)
    model = load_model(options)
    if options.atlas is not None:
        refuse_if_unwritable(options.atlas, model)
    task = _task(model, options)
    log(f"{options.method} over {len(task):,} case{'s' * (len(task) != 1)} of {model.name}")
    cases = model.read(task)
    _state(model, cases, options)
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
    if not options.json:
        _show_question(cases)
    return finish(options, scores) or outputs.code


def _state(model: Any, cases: Any, options: Namespace) -> None:
    """Print what scoring takes."""
    from importlib import import_module

    from patchclamp.attribute.engine import count_task
    from patchclamp.core.method import Sizes
    from patchclamp.core.method_files import find_method

    card = find_method(options.method, "attribute")
    own = card.make_options(given_options(options))
    build = getattr(import_module(card.run.__module__), "rule", None)
    if build is None:  # of another engine, such as that of regions
        cost = card.cost(Sizes(cases=len(cases)), own)
        log(f"about {cost.forward:,} forward and {cost.backward:,} backward passes")
        return
    level: Any = getattr(own, "level", "edge")
    by_position = getattr(own, "by_position", False)
    counted = count_task(model, cases, build(own), level=level, by_position=by_position)
    stated = replace(counted, method=card.name)
    print_scoring_cost(stated, "edges" if level == "edge" else "units")


def _show_question(cases: Any) -> None:
    """Print what m is; of several cases, that of the first."""
    from rich.markup import escape

    from patchclamp.core.task import words_of
    from patchclamp.report.terminal.table import open_console

    n, first, out = len(cases), cases.read[0], open_console()
    shown = escape(repr(words_of(cases.task.cases[0].shown)))
    several = f", the first of {n:,} cases" if n > 1 else ""
    out.print(f"[bold]{shown}[/]{several}: m = {escape(first.explained)}")
    for line in cases.answer_notes():
        out.print(f"note: {escape(line)}")


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


def _about(model: Any, case: Any) -> dict[str, Any]:
    """Return what an atlas shows beside the units of one prompt."""
    [shown] = model.stimuli(case.shown)
    return {
        "prompt": case.shown, "target": case.targets[0], "contrast": case.contrasts[0] if case.contrasts else None,
        "corrupt": case.counterpart, "layers": model.n_layers,
        "tokens": [model.tokenizer.token(int(i)) for i in shown.ids] if hasattr(model, "tokenize") else [],
    }  # fmt: skip
