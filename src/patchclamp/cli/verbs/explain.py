"""Explain an answer."""

import shlex
import time
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import add_bases, check_shown, load_model, load_prompt, load_words, note_unknown
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import CHAT, add_basis, add_controls, add_model
from patchclamp.cli.output import Outputs, add_graph, check_writable, emit, log, refuse_if_unwritable
from patchclamp.cli.progress import Meter
from patchclamp.core.checks import at_least
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import find_default, list_names
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Which neurons, heads or channels gave this answer, proved by ablating them beside random sets."
QUESTION = "why"
LIKELIEST = 8
"""Answers that are listed where none is named."""
EXAMPLE = "patchclamp explain organism:cat 'the old cat' --target ' sat' --contrast ' ran'"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    parser.add_argument(
        "prompt",
        metavar="PROMPT",
        help="the text, without a space at its end; or an image: a file, FILE.npz:17, digits:17",
    )
    parser.add_argument(
        "--target",
        metavar="TEXT",
        help="the answer, with its leading space; of an image the class; without it the model's likeliest answers are "
        "listed",
    )
    parser.add_argument("--contrast", metavar="TEXT", help="the answer that it is compared with")
    parser.add_argument(
        "--counterpart",
        metavar="PROMPT",
        help="a prompt of as many tokens, or an image, under which the answer should be lost",
    )
    parser.add_argument(
        "--baseline",
        metavar="zero|DIR",
        help="the baseline that replaces values: zero (default), or the means of a survey's folder",
    )
    parser.add_argument(
        "--method",
        choices=list_names("attribute", "unit", option="direction"),
        default=find_default("explain", "attribute"),
        help="how units are scored (default: integrated_gradients); quicker: relp or attribution_patching; "
        "activation_patching replaces every unit",
    )
    parser.add_argument(
        "--level",
        metavar="LEVELS",
        help="neuron, head, channel, feature, patterns of sites, several joined by commas (default: what the model "
        "has, and with --basis the features)",
    )
    add_basis(parser)
    parser.add_argument("--chat", action="store_true", help=CHAT)
    parser.add_argument(
        "--top", type=int, default=20, metavar="K", help="how many causes to name and ablate (default: 20)"
    )
    add_controls(parser, "random sets", least=20)
    parser.add_argument(
        "--edges",
        type=int,
        default=10,
        metavar="N",
        help="how many of the strongest edges among the causes to measure; 0 seeks no edges (default: 10)",
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="B", help="rows of a forward pass (default: up to 64, what memory holds)"
    )
    parser.add_argument(
        "--full", action="store_true", help="print everything that was measured, with the keys of the units"
    )
    parser.add_argument("--out", metavar="FILE", help="write the graph as JSON")
    parser.add_argument("--report", metavar="FILE", help="write a page to look at, as one HTML file")
    parser.add_argument("--atlas", metavar="DIR", help="add the graph to an atlas of the same model, as a layer")


def run(options: Namespace) -> int:
    """Explain an answer."""
    from patchclamp.recipes import explain as run
    from patchclamp.recipes.answer import check_counts
    from patchclamp.report import save_report
    from patchclamp.report.terminal.explanation import show_explanation

    files = {f"--{name}": getattr(options, name) for name in ("out", "report") if getattr(options, name) is not None}
    for option, name in files.items():
        check_writable(name, option)
    if len({Path(name).resolve() for name in files.values()}) < len(files):
        raise PatchclampError(
            expected="two files", got="one for --out and --report", remedy="Give the report a name of its own."
        )
    check_counts(options.top, options.controls)
    if options.edges < 0:
        raise PatchclampError(
            expected="--edges from 0", got=str(options.edges), remedy="0 seeks no edges; 10 are sought without --edges."
        )
    if options.batch_size is not None:
        at_least("--batch-size", options.batch_size, 1)
    means = means_of(options)
    model = load_model(options)
    check_shown(model)
    if options.target is None:
        return _list_answers(model, options)
    if options.atlas is not None:
        refuse_if_unwritable(options.atlas, model)
    add_bases(model, options)
    levels = [*model.levels, *(["feature"] if options.basis else [])]
    if options.level is not None:
        levels = [level.strip() for level in options.level.split(",")]
    seen = not hasattr(model, "tokenize")
    prompt, corrupt = (load_prompt(model, words, options.chat) for words in (options.prompt, options.counterpart))
    contrasts = () if options.contrast is None else (options.contrast,)
    case = model.read_case(prompt, (options.target,), contrasts, counterpart=corrupt)
    for shown in () if seen else filter(None, (case.clean, case.counterpart)):
        note_unknown(model, shown)
    state_cost(model, options, prompt, levels)
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with Meter("explain", "replacements") as meter:
        found = run(
            model, prompt, options.target, contrast=options.contrast, counterpart=corrupt, means=means,
            method=options.method, levels=levels, top=options.top,
            n_controls=options.controls, edges=options.edges, seed=options.seed,
            batch_size=options.batch_size, progress=meter,
        )  # fmt: skip
    if options.full and (n := len(found.causes)) < options.top:
        log(
            f"note: --top {options.top}, and {n} cause{'s' * (n != 1)}: no more units push towards the answer, or no "
            "others of their kinds would be left to draw random sets from"
        )
    named = seen or options.chat or hasattr(model, "class_index")
    if options.prompt.endswith(" ") and not named:
        log("note: the prompt ends in a space, which most vocabularies put before the next word instead")
    for answer in () if named else filter(None, (options.target, options.contrast)):
        if not answer.startswith(" "):
            log(f"note: {answer!r} was taken as it stands, without a space before it; is {' ' + answer!r} meant?")
    seconds, outputs = time.monotonic() - clock, Outputs()
    if options.out:
        with outputs.attempt("the graph"):
            found.graph().save(options.out)
            log(f"graph written to {options.out}")
    if options.atlas is not None:
        with outputs.attempt("the atlas layer"):
            measured = f", measured {found.measured:+.4f}"
            layer = add_graph(options.atlas, found.graph(), options, began, seconds, log=measured)
            log(f"graph added to {options.atlas} as {layer}")
    if options.report:
        with outputs.attempt("the report"):
            save_report(found, options.report, command=shlex.join(["patchclamp", *options.words]))
            log(f"report written to {options.report}")
    if options.json:
        emit(found.to_json())
    else:
        chat = options.prompt if options.chat else None
        show_explanation(found, options.model, options.basis, chat, load_words(options), full=options.full)
    return outputs.code


def _list_answers(model: Any, options: Namespace) -> int:
    """Print the likeliest answers, and the command that explains the first of them."""
    from patchclamp.atlas.lab.next_token import read_at
    from patchclamp.report.terminal.explanation import show_candidates
    from patchclamp.subjects.apply import upcast

    prompt, of_text = load_prompt(model, options.prompt, options.chat), model.stimulus_kind == "text"
    [shown] = model.stimuli(prompt, **({"answered": True} if of_text else {}))
    if not model.n_answers:
        model.require("differentiate")  # refuses a model without its head, and says what works
    at_last = not of_text or hasattr(model, "class_index")  # a picture, or a text that is given a class
    logits = upcast(model.run([shown], logits=(-1 if at_last else read_at(model, shown),)).logits[0, 0])
    best = logits.double().softmax(-1).topk(min(LIKELIEST, len(logits)))
    found = [
        {"answer": model.answer_name(id), "probability": p}
        for id, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    words = ["patchclamp", *options.words]
    target, contrast = (one["answer"] for one in found[:2])
    at = 1 + options.words.index("--") if "--" in options.words else len(words)
    against = [] if "contrast" in options.typed else ["--contrast", contrast]
    command = shlex.join([*words[:at], "--target", target, *against, *words[at:]])
    if options.json:
        emit({"candidates": found})
    else:
        show_candidates(found, command)
    return 0


def state_cost(model: Any, options: Namespace, prompt: Any, levels: list[str]) -> None:
    """Say what will be scored, and what that costs."""
    from patchclamp.recipes.explanation_cost import cost_of_explanation

    cost = cost_of_explanation(
        model,
        max(map(len, model.stimuli(prompt))),
        method=options.method,
        levels=levels,
        top=options.top,
        n_controls=options.controls,
        batch_size=options.batch_size,
    )
    log(
        f"{cost.units:,} units at all positions: {cost.scoring}, about {cost.receipts:,} rows of forward passes for "
        f"the receipts; the time of {cost.forwards:,.0f} forward passes of the prompt, and {human_bytes(cost.bytes)} "
        "of memory besides the network's own",
    )


def means_of(options: Namespace) -> Any:
    """Return the survey whose means are the baseline, or None."""
    if options.baseline is not None and options.counterpart is not None:
        raise PatchclampError(
            expected="one baseline", got="--baseline and --counterpart", remedy="Leave one of them out."
        )
    if options.baseline in (None, "zero"):
        return None
    from patchclamp.core.survey import StoredSurvey

    return StoredSurvey(options.baseline)
