"""Say in words what units stand for: those of a model from its weights, those of an atlas with scores."""

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import load_model
from patchclamp.cli.method_options import MethodParser, find_card, given_options
from patchclamp.cli.options import MODEL, add_loading, add_report, add_seed, refuse_typed
from patchclamp.cli.output import check_writable, emit, finish, log, refuse_out
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "Say in words what every unit of a model, or of an atlas, stands for."
QUESTION = "what does it stand for"
EXAMPLE = "patchclamp describe organism:language-llama --side write --out words"
PARQUET = ".parquet"
WINDOWS = ("window", "n_train", "n_test", "n_negative", "sampling", "least")
OF_ATLAS = ("units", "scorers", "resume", "max_tokens", "batch_size", *WINDOWS)
OF_MODEL = ("out", "report", "top")
"""Options that only atlases, and only models, have."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}; or an atlas, to which descriptions are added")
    parser.add_argument(
        "--inputs",
        metavar="FILE",
        help="of a model: prompts, one a line, for a method that runs it; of an atlas: a text (default: what was "
        "baked, where it still is)",
    )
    add_loading(parser)
    parser.add_argument("--top", type=int, default=20, metavar="K", help="how many units to list (default: 20)")
    parser.use("describe", "describe")
    add_seed(parser)
    parser.add_argument(
        "--out", metavar="PATH", help="a new or empty folder to keep the result in, or a file .parquet for its table"
    )
    add_report(parser)
    _add_atlas(parser)


def _add_atlas(parser: MethodParser) -> None:
    group = parser.add_argument_group("an atlas, with --method rule (the default there) or llm")
    group.add_argument(
        "--units", action="append", metavar="SITES", help="sites, patterns of them or keys, joined by commas (all)"
    )
    group.add_argument(
        "--scorers", metavar="LIST", help="scorers, joined by commas; none to score nothing (detection,fuzzing)"
    )
    numbers = {
        "--max-tokens": "stop after N tokens (as baked)",
        "--batch-size": "windows per forward pass (as baked)",
        "--window": "tokens of a window (32)",
        "--n-train": "windows for the author in which a unit fires (40)",
        "--n-test": "windows for the scorers in which it fires (50)",
        "--n-negative": "silent windows of each kind, on each side (50)",
        "--least": "windows in which a unit must fire, and be silent, on each side (10)",
    }
    for name, text in numbers.items():
        group.add_argument(name, type=int, metavar="N", help=text)
    group.add_argument(
        "--sampling", choices=("mix", "quantile", "top", "random"), help="how windows are drawn in which it fires (mix)"
    )
    group.add_argument("--resume", action="store_true", default=None, help="go on with an interrupted run")


def run(options: Namespace) -> int:
    """Describe the units of a model and list the first, or add descriptions to an atlas."""
    if (Path(options.model) / "base" / "base.sqlite").is_file():
        return _describe_atlas(options)
    from patchclamp.describe import describe as run

    strange = [name for name in OF_ATLAS if getattr(options, name) is not None]
    if strange:
        raise PatchclampError(
            expected=f"an atlas for --{strange[0].replace('_', '-')}",
            got=f"{options.model}, which is none",
            remedy="`patchclamp atlas bake` makes one; without the option a model is decoded from its weights.",
        )
    card = find_card(options.method, "describe")
    if "Exemplars" in {noun.rstrip("?") for noun in card.data["takes"].values()}:
        raise PatchclampError(
            expected=f"an atlas for --method {options.method}, which describes from windows of its text",
            got=f"{options.model}, which is none",
            remedy="`patchclamp atlas bake` makes one.",
        )
    parquet = options.out is not None and options.out.endswith(PARQUET)
    if parquet:
        check_writable(options.out, "--out", endings=(PARQUET,), mark=b"PAR1")
    out, options.out = options.out, None if parquet else options.out
    refuse_out(options)
    task = None if options.inputs is None else _prompts(options.inputs)
    model = load_model(options)
    log(f"{options.method} over the units of {model.name}: {_state_cost(options, model, task)}")
    with Meter("describe", "sites") as meter:
        found = run(
            model, **({} if task is None else {"task": task}), method=options.method, seed=options.seed,
            progress=meter, **given_options(options),
        )  # fmt: skip
    if parquet:
        from patchclamp.report.parquet import save_parquet

        save_parquet(found, out)
        log(f"{len(found):,} rows written to {out}")
    return finish(options, found)


def _state_cost(options: Namespace, model: Any, task: Any) -> str:
    """Return what a method that reads weights will run and hold, by its card."""
    from patchclamp.core.method import Sizes
    from patchclamp.core.method_files import find_method
    from patchclamp.core.plain_numbers import human_bytes

    card = find_method(options.method, "describe")
    n_cases, widest = 0 if task is None else len(task), max((site.width for site in model.sites()), default=0)
    sizes = Sizes(cases=n_cases, units=widest, targets=model.n_answers)
    cost = card.cost(sizes, card.make_options(given_options(options)))
    return f"{cost.forward:,} forward passes, and at most {human_bytes(cost.bytes)} of memory besides the network's own"


def _prompts(path: str) -> Any:
    """Return the task of a file's lines, each a prompt without an answer."""
    from patchclamp.core.task import Task
    from patchclamp.subjects.text import passages

    return Task.of_labels({"text": [line for _, part in passages(path) for line in part.splitlines() if line.strip()]})


# -- an atlas ---------------------------------------------------------------------------------------------------------


def _describe_atlas(options: Namespace) -> int:
    """Print the plan, describe and score, and show what came of it."""
    from patchclamp.atlas import describe, plan_description
    from patchclamp.atlas.atlas import open_atlas
    from patchclamp.atlas.lab import usual_model
    from patchclamp.describe.evidence import EvidenceOptions
    from patchclamp.loaders import load
    from patchclamp.report.terminal.scoring import show_plan, show_trust

    refuse_typed(options, OF_MODEL, "an atlas")
    atlas = open_atlas(options.model)
    name = usual_model(atlas.reading)
    log(f"the model is {name!r}, as runs.sqlite says")
    model = load(name, base=options.base, device=options.device, dtype=options.dtype, prepend_bos=bool(options.bos))
    given = {one: value for one in WINDOWS if (value := getattr(options, one)) is not None}
    method = options.method if "method" in options.typed else "rule"
    asked: dict[str, Any] = {
        "units": _units(options.units),
        "text": options.inputs,
        "max_tokens": options.max_tokens,
        "batch_size": options.batch_size,
        "method": method,
        "scorers": _scorers(options.scorers),
        "evidence": EvidenceOptions(**given),
    }
    planned = plan_description(options.model, model, **asked)
    if not options.json:
        show_plan(planned)
    with Meter("evidence") as text_meter, Meter("describe", "units") as meter:
        layer = describe(
            options.model, model, **asked, seed=options.seed if "seed" in options.typed else None,
            resume=bool(options.resume), command=shlex.join(["patchclamp", *options.words]), progress=meter,
            text_progress=text_meter, **given_options(options),
        )  # fmt: skip
    page = open_atlas(options.model).trust(run=layer)
    if options.json:
        from dataclasses import asdict

        method_page = next(one for one in page.methods if one.run == layer)
        emit({"layer": layer, "plan": planned.to_json(), **asdict(method_page)})
        return 0
    show_trust(page, layer)
    log(f"added as layer {layer}; `patchclamp atlas serve {options.model}` shows it")
    return 0


def _units(given: list[str] | None) -> list[str] | None:
    return None if given is None else [one.strip() for part in given for one in part.split(",") if one.strip()]


def _scorers(given: str | None) -> tuple[str, ...]:
    from patchclamp.recipes.describe_units import SCORERS

    if given is None:
        return SCORERS
    return () if given == "none" else tuple(one.strip() for one in given.split(",") if one.strip())
