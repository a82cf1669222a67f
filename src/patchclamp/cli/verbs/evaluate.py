"""Evaluate a circuit, a dictionary, a direction, descriptions or an explainer: it reads what lies in the folder."""

import json
from argparse import SUPPRESS, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import (
    add_bases,
    check_images,
    check_language,
    load_model,
    load_pairs,
    open_cases,
    open_features,
    print_assumed,
    read_lines,
)
from patchclamp.cli.method_options import MethodParser, find_card, given_options
from patchclamp.cli.options import MODEL, add_basis, add_conditions, add_loading, add_pairs, add_seed, refuse_typed
from patchclamp.cli.output import CURVE, Outputs, check_writable, emit, finite, log
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Is it true: a circuit on other pairs, features on other text, a direction, descriptions, or an explainer."
QUESTION = "is it true"
EXAMPLE = "patchclamp evaluate organism:language-gpt2 ioi --pairs task:ioi"

ENDINGS = (".svg", ".html", ".json")
LEAST_RANDOM, MOST_RANDOM = 20, 10_000
CIRCUIT = ("sizes", "baseline", "train", "controls", "magnitude", "seen", "exact", "full", "out")
DICTIONARY = ("window", "max_tokens", "batch_size", "skip_first")
DIRECTION = ("strength", "nats", "unit", "controls", "max_new_tokens")
ASKED = {
    "a circuit": ("pairs", CIRCUIT),
    "features": ("inputs", DICTIONARY),
    "a direction": ("prompts", DIRECTION),
    "descriptions": ("prompts", ("controls",)),
    "an explainer": ("inputs", ("explainer", "controls")),
}
"""What is evaluated → the option that says on what, and the options that it alone has."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}; or an atlas, whose descriptions have scores")
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="what circuit find, decompose, steer fit or describe wrote"
    )
    on = parser.add_mutually_exclusive_group()
    add_pairs(parser, on)
    on.add_argument(
        "--inputs",
        metavar="PATH",
        help="features: text that they were not made on, which may have labels; an explainer: an image, a folder, an "
        "npz or npy file, digits; PATH:0:10 some",
    )
    on.add_argument("--prompts", metavar="FILE", help="a direction, descriptions: prompts, one a line")
    add_loading(parser, text=False)
    add_seed(parser)
    add_basis(parser)
    parser.add_argument(
        "--controls",
        type=int,
        default=SUPPRESS,
        metavar="N",
        help="random circuits beside a circuit (default: 99, or 20 where that takes long; least: 20), directions "
        "beside a direction (99), orders of regions beside an explainer's (20, least: 19), neurons beside described "
        "ones (99, least: 19)",
    )
    _add_circuit(parser)
    _add_dictionary(parser)
    _add_direction(parser)
    explainer = parser.add_argument_group("an explainer, descriptions")
    explainer.add_argument(
        "--explainer", default=SUPPRESS, metavar="NAME", help="of the room attribute, over regions (default: occlusion)"
    )
    parser.use("evaluate", "evaluate", kind="benchmark", takes="Scores", own=("n_random",))


def _add_circuit(parser: MethodParser) -> None:
    group = parser.add_argument_group("a circuit")
    group.add_argument(
        "--sizes",
        default=SUPPRESS,
        metavar="SIZES",
        help="more sizes than 1 to 50%%, such as 12,7.5%% (parts, or a share)",
    )
    group.add_argument(
        "--baseline",
        choices=("corrupted", "mean"),
        default=SUPPRESS,
        help="what stands outside the circuit: each pair's corrupted prompt (default), or the mean over --train",
    )
    group.add_argument(
        "--train", default=SUPPRESS, metavar="PAIRS", help="--baseline mean: the pairs that the circuit was found on"
    )
    group.add_argument(
        "--magnitude", action="store_true", default=SUPPRESS, help="take parts by magnitude, not from the highest down"
    )
    group.add_argument(
        "--seen", action="store_true", default=SUPPRESS, help="use the pairs that it was found on too, and say so"
    )
    group.add_argument(
        "--exact",
        default=SUPPRESS,
        metavar="DIR",
        help="a circuit of the same parts by --method activation_patching, to compare with",
    )
    group.add_argument("--full", action="store_true", default=SUPPRESS, help="print everything that was measured")
    group.add_argument(
        "--out", default=SUPPRESS, metavar="FILE", help="write the curve as .svg or .html, or everything as .json"
    )


def _add_dictionary(parser: MethodParser) -> None:
    group = parser.add_argument_group("features")
    add_conditions(group)
    for name, help in (
        ("--window", "tokens per stimulus (default: 128, or a shorter context)"),
        ("--max-tokens", "stop after N (default: 50,000)"),
        ("--batch-size", "stimuli per pass (default: 8)"),
        ("--skip-first", "count nothing of each window's first N tokens (default: 0)"),
    ):
        group.add_argument(name, type=int, default=SUPPRESS, metavar="N", help=help)


def _add_direction(parser: MethodParser) -> None:
    group = parser.add_argument_group("a direction")
    for name, kind, metavar, help in (
        ("--strength", float, "S", "in the site's units (default: what --nats says)"),
        ("--nats", float, "X", "mean KL divergence per token of the default strength (default: 0.1)"),
        ("--unit", int, "I", "which direction (default: 0)"),
        ("--max-new-tokens", int, "N", "of a continuation (default: 24)"),
    ):
        group.add_argument(name, type=kind, default=SUPPRESS, metavar=metavar, help=help)


def run(options: Namespace) -> int:
    """Read the noun, evaluate it, and show what came of it."""
    if options.folder is None and (Path(options.model) / "base" / "base.sqlite").is_file():
        return _evaluate_atlas(options)
    if options.folder is None and options.inputs is not None:
        _refuse_others(options, "an explainer")
        return _evaluate_explainer(options)
    if options.folder is None:
        raise PatchclampError(
            expected="a folder to evaluate, or --inputs for an explainer",
            got="neither",
            remedy="See `patchclamp evaluate --help`.",
        )
    kind = _kind_of(options)
    _refuse_others(options, kind)
    evaluate = {
        "a circuit": _evaluate_circuit,
        "features": _evaluate_dictionary,
        "a direction": _evaluate_direction,
        "descriptions": _evaluate_descriptions,
    }
    return evaluate[kind](options)


def _kind_of(options: Namespace) -> str:
    """Return what lies in the folder, in words.

    A dictionary of one site is a direction where prompts are given.

    Raises:
        PatchclampError: nothing that can be evaluated.
    """
    from patchclamp.core.bundle import Bundle
    from patchclamp.core.circuit import load_circuit

    folder = Path(options.folder)
    if not (folder / "manifest.json").is_file():
        return "features" if options.prompts is None else "a direction"
    kind = Bundle.open(folder).manifest["kind"]
    if kind == "descriptions":
        return "descriptions"
    if kind in ("scores", "circuit"):
        load_circuit(folder)
        return "a circuit"
    raise PatchclampError(
        expected="a circuit, features, a direction or descriptions",
        got=f"{folder}, of kind {kind}",
        remedy=f"`patchclamp info {folder}` says what it holds.",
    )


def _refuse_others(options: Namespace, kind: str) -> None:
    """Refuse what is not said of this kind, and options of others, before anything is loaded.

    Raises:
        PatchclampError: names them.
    """
    if kind != "a circuit":
        refuse_typed(options, ("n", "layout", "basis", "chat"), kind)
    if kind != "an explainer":
        refuse_typed(options, ("method",), kind)
    on, own = ASKED[kind]
    given = [name for name in ("pairs", "inputs", "prompts") if getattr(options, name) is not None]
    if given != [on]:
        raise PatchclampError(
            expected=f"--{on} with {kind}",
            got=f"--{given[0]}" if given else "none",
            remedy=f"{options.folder or options.model} is {kind}: say what it is evaluated on.",
        )
    others = {name for _, names in ASKED.values() for name in names} - set(own)
    strange = [f"--{name.replace('_', '-')}" for name in sorted(others) if hasattr(options, name)]
    if kind not in ("features", "a direction"):
        flags = {"site": "--sites", "reads": "--reads", "center": "--center", "bos": "--bos"}
        strange += [flag for name, flag in flags.items() if getattr(options, name) is not None]
    if strange or (given_options(options) and kind != "an explainer"):
        raise PatchclampError(
            expected=f"options of {kind}",
            got=", ".join(strange) or f"--{next(iter(given_options(options))).replace('_', '-')}",
            remedy="Leave it out; `patchclamp evaluate --help` lists the options of each.",
        )


def _controls(options: Namespace) -> dict[str, int]:
    """Return --controls, where it was typed, as benchmarks call it."""
    return {"n_random": options.controls} if hasattr(options, "controls") else {}


def _typed(options: Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the options that were typed, by name; the others have the defaults of the function."""
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


# -- a circuit --------------------------------------------------------------------------------------------------------


def _evaluate_circuit(options: Namespace) -> int:
    from patchclamp.core.circuit import load_circuit
    from patchclamp.evaluate import evaluate
    from patchclamp.evaluate.circuit_curve import SHARES, sizes_of
    from patchclamp.evaluate.circuit_recovery import check_exact
    from patchclamp.evaluate.faithfulness import check_subject
    from patchclamp.report.terminal.faithfulness import show_evaluation

    typed = _typed(options, CIRCUIT)
    _check_circuit(typed)
    circuit = load_circuit(options.folder)
    exact = load_circuit(typed["exact"]) if "exact" in typed else None
    if exact is not None:
        check_exact(circuit, exact)
    sizes = _read_sizes(typed.get("sizes", ""))
    sizes_of(
        len(circuit),
        (*SHARES, *(size for size in sizes if isinstance(size, float))),
        [size for size in sizes if isinstance(size, int)],
    )
    model = load_model(options)
    add_bases(model, options)
    for one in filter(None, (circuit, exact)):
        check_subject(model, one)
    measure = circuit.provenance.extra.get("metric")
    cases = load_pairs(model, options, kind=measure)
    means = open_cases(model, typed["train"], options, n=None, kind=measure) if "train" in typed else None

    def state(cost: Any) -> None:
        log(
            f"{cost.pairs:,} pair{'s' * (cost.pairs != 1)} x {cost.subsets:,} sets of parts, "
            f"{cost.pairs * cost.subsets:,} prompts through the network"
            f"{' (of edges several passes each)' if circuit.of_edges else ''}; about "
            f"{human_bytes(cost.memory_bytes)} of memory"
        )

    with Meter("evaluate", "sets") as meter:
        found = evaluate(
            circuit,
            model,
            cases,
            means=means,
            exact=exact,
            sizes=sizes,
            signed="magnitude" not in typed,
            seen="seen" in typed,
            seed=options.seed,
            state=state,
            progress=meter,
            **({"n_random": typed["controls"]} if "controls" in typed else {}),
        )
    document, outputs = found.to_json(), Outputs()
    if "out" in typed:
        with outputs.attempt(typed["out"]):
            _write(Path(typed["out"]), document)
    emit(document) if options.json else show_evaluation(document, full="full" in typed)
    return outputs.code


def _check_circuit(typed: Mapping[str, Any]) -> None:
    baseline, out = typed.get("baseline", "corrupted"), typed.get("out")
    if (baseline == "mean") != ("train" in typed):
        raise PatchclampError(
            expected="--baseline mean together with --train PAIRS",
            got=f"--baseline {baseline}" + (" and --train" if "train" in typed else ""),
            remedy="The mean is taken over the pairs that the circuit was found on: name them.",
        )
    n_random = typed.get("controls", LEAST_RANDOM)
    if not LEAST_RANDOM <= n_random <= MOST_RANDOM:
        raise PatchclampError(
            expected=f"{LEAST_RANDOM} to {MOST_RANDOM:,} random circuits",
            got=str(n_random),
            remedy="Fewer say nothing of their spread.",
        )
    if out is None:
        return
    if not out.endswith(ENDINGS):
        raise PatchclampError(
            expected=f"--out with a name that ends in {', '.join(ENDINGS)}",
            got=out,
            remedy="svg and html are pictures of the curve, json is everything.",
        )
    check_writable(out, "--out", endings=ENDINGS, mark=CURVE)


def _read_sizes(text: str) -> list[int | float]:
    """Read sizes: ``5%`` is a share of the parts, ``12`` a number of them."""
    sizes: list[int | float] = []
    for word in (part.strip() for part in text.split(",")) if text else ():
        try:
            sizes.append(float(word[:-1]) / 100 if word.endswith("%") else int(word))
        except ValueError:
            raise PatchclampError(
                expected="sizes such as 12 or 7.5%, joined by commas", got=repr(word), remedy="Give these."
            ) from None
    return sizes


def _write(path: Path, document: Mapping[str, Any]) -> None:
    from patchclamp.core.disk import write_file
    from patchclamp.report.html import page
    from patchclamp.report.size_curve import draw_sizes

    if path.suffix == ".json":
        text = json.dumps(finite(document), indent=1)
    else:
        text = draw_sizes(document)
        text = page(document["title"], [f"<section>{text}</section>"]) if path.suffix == ".html" else text
    write_file(path, text.encode())


# -- features, a direction, descriptions, an explainer, an atlas ------------------------------------------------------


def _evaluate_dictionary(options: Namespace) -> int:
    from patchclamp.evaluate import evaluate
    from patchclamp.report.terminal.dictionary_report import show_concepts, show_report

    typed = _typed(options, DICTIONARY)
    _refuse_small(typed, ("max_tokens", "batch_size"))
    model = load_model(options)
    found = open_features(options, options.folder)
    with Meter("evaluate", "batches") as meter:
        report = evaluate(
            found,
            model,
            options.inputs,
            seed=options.seed,
            note=lambda line: log(f"note: {line}"),
            progress=meter,
            **typed,
        )
    if options.json:
        emit(report.to_json())
        return 0
    show_report(report, options.folder)
    if report.concepts is not None:
        show_concepts(report.concepts)
    return 0


def _refuse_small(typed: Mapping[str, Any], names: tuple[str, ...]) -> None:
    flags = " and ".join("--" + name.replace("_", "-") for name in names)
    if small := [name for name in names if typed.get(name, 1) < 1]:
        raise PatchclampError(
            expected=f"{flags} from 1", got=", ".join(str(typed[name]) for name in small), remedy="Give larger ones."
        )


def _evaluate_direction(options: Namespace) -> int:
    from rich.markup import escape

    from patchclamp.core.task import Task
    from patchclamp.evaluate import evaluate
    from patchclamp.report.terminal.steered import show_effect
    from patchclamp.report.terminal.table import open_console

    typed = _typed(options, DIRECTION)
    _refuse_small(typed, ("controls", "max_new_tokens"))
    how = {"n_random" if name == "controls" else name: value for name, value in typed.items()}
    prompts = Task.of_labels({"text": read_lines(options.prompts)})
    dictionary = open_features(options, options.folder)
    print_assumed(dictionary)
    basis = dictionary.single()
    model = load_model(options)
    check_language(model)
    model.add_dictionary(dictionary)
    with Meter("evaluate", "continuations") as meter:
        found = evaluate(basis, model, prompts, seed=options.seed, progress=meter, **how)
    if options.json:
        emit(found.to_json())
        return 0
    open_console().print(f"[bold]{escape(options.folder)}[/] at {escape(found.site)}, over {len(prompts):,} prompts")
    show_effect(found)
    return 0


def _evaluate_descriptions(options: Namespace) -> int:
    from patchclamp.core.descriptions import Descriptions
    from patchclamp.core.task import Task
    from patchclamp.evaluate import evaluate
    from patchclamp.report.terminal.estimate import sentence

    descriptions = Descriptions.load(options.folder)
    prompts = Task.of_labels({"text": read_lines(options.prompts)})
    model = load_model(options)
    with Meter("evaluate", "clamps") as meter:
        found = evaluate(descriptions, model, prompts, seed=options.seed, progress=meter, **_controls(options))
    emit(found.to_json()) if options.json else print(sentence(found))
    return 0


def _evaluate_explainer(options: Namespace) -> int:
    from rich.markup import escape

    from patchclamp.core.method_files import find_method
    from patchclamp.evaluate import evaluate
    from patchclamp.report.terminal.estimate import sentence
    from patchclamp.report.terminal.table import open_console
    from patchclamp.subjects.images import own_answers

    name = getattr(options, "explainer", "occlusion")
    if "region" not in find_card(name, "attribute").data["keys"]:
        raise PatchclampError(
            expected="an explainer whose keys are regions",
            got=name,
            remedy="`patchclamp methods --room attribute` says what each is keyed by.",
        )
    find_method(options.method, "evaluate", kind="benchmark")
    model = load_model(options)
    check_images(model)
    task = own_answers(model, options.inputs)
    log(f"{name}, then {options.method}, over {len(task):,} image{'s' * (len(task) != 1)} of {model.name}")
    with Meter(name, "images") as meter:
        found = evaluate(
            name,
            model,
            task,
            method=options.method,
            seed=options.seed,
            progress=meter,
            **given_options(options),
            **_controls(options),
        )
    if options.json:
        emit({"explainer": name, "images": [case.shown for case in task.cases], **found.to_json()})
        return 0
    out = open_console()
    out.print(f"[bold]{escape(name)}[/] on {escape(options.inputs)}, the model's own answers")
    out.print(escape(sentence(found)))
    out.print(
        "by chance: random orders of the regions; greedy order: a strong rival, chosen on the answers; it is no bound",
        style="dim",
    )
    return 0


def _evaluate_atlas(options: Namespace) -> int:
    """Show how far the descriptions of an atlas hold: coverage, scores beside controls, cost and failures."""
    from dataclasses import asdict

    from patchclamp.atlas.atlas import open_atlas
    from patchclamp.report.terminal.scoring import show_distributions, show_trust

    refuse_typed(options, options.typed.keys() - {"json", "seed"}, "an atlas")
    atlas = open_atlas(options.model)
    page = atlas.trust()
    if not page.n_scored:
        raise PatchclampError(
            expected="an atlas whose descriptions have scores",
            got=f"{page.n_described:,} descriptions without any",
            remedy=f"`patchclamp describe {options.model}` describes its units and scores the words.",
        )
    scored = [one for one in page.methods if one.measures]
    failing = [row for one in scored for row in atlas.trust(run=one.run, author=one.author).failing]
    if options.json:
        shown = {name: value for name, value in asdict(page).items() if name not in ("points", "source", "n_failing")}
        emit({**shown, "failing": [asdict(row) for row in failing]})
        return 0
    show_trust(page)
    show_distributions(page, failing)
    return 0
