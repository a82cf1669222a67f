"""Does what a model's explainer says of its answers hold?"""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import check_kind, load_model
from patchclamp.cli.method_options import MethodParser, find_card, given_options
from patchclamp.cli.options import MODEL, add_loading, add_seed
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "Does an explainer's order of an image's regions take the answer away, and bring it back?"
QUESTION = "is it true"
EXAMPLE = "patchclamp evaluate organism:digits-cnn --images digits:0:10"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "--images", required=True, metavar="PATH", help="an image, a folder, an npz or npy file, digits; PATH:0:10 some"
    )
    add_loading(parser, text=False)
    parser.add_argument(
        "--explainer",
        default="occlusion",
        metavar="NAME",
        help="of the room attribute, over regions (default: occlusion)",
    )
    parser.use("evaluate", "evaluate", kind="benchmark", takes="Scores")
    add_seed(parser)


def run(options: Namespace) -> int:
    """Explain a model's own answers to some images, and evaluate the explanations."""
    from rich.markup import escape

    from patchclamp.attribute import attribute
    from patchclamp.core.method_files import find_method
    from patchclamp.report.terminal.estimate import sentence
    from patchclamp.report.terminal.table import open_console

    if "region" not in find_card(options.explainer, "attribute").data["keys"]:
        raise PatchclampError(
            expected="an explainer whose keys are regions",
            got=options.explainer,
            remedy="`patchclamp methods --room attribute` says what each is keyed by.",
        )
    benchmark = find_method(options.method, "evaluate", kind="benchmark")
    model = load_model(options)
    check_kind(model, images=True)
    task = own_answers(model, options.images)
    log(f"{options.explainer}, then {options.method}, over {len(task):,} image{'s' * (len(task) != 1)} of {model.name}")
    with Meter(options.explainer, "images") as meter:
        scores = attribute(model, task, method=options.explainer, seed=options.seed, progress=meter)
    with Meter(options.method, "images") as meter:
        found = benchmark(model, task, scores, seed=options.seed, progress=meter, **given_options(options))
    if options.json:
        emit({"explainer": options.explainer, "images": [case.shown for case in task.cases], **found.to_json()})
        return 0
    out = open_console()
    out.print(f"[bold]{escape(options.explainer)}[/] on {escape(options.images)}, the model's own answers")
    out.print(escape(sentence(found)))
    out.print("by chance: random orders of the regions; ceiling: a greedy order, seldom beaten", style="dim")
    return 0


def own_answers(model: Any, source: str) -> Any:
    """Return the task of some images, each with the class that the model itself gives it."""
    from patchclamp.core.task import Case, Task
    from patchclamp.subjects.images import gallery

    pictures = gallery(source)
    root, start = source, 0
    if not Path(source).exists() and (cut := re.fullmatch(r"(.+?):(\d+)(?::\d+)?", source)):
        root, start = cut[1], int(cut[2])
    alone = len(pictures) == 1
    names = [source if alone else f"{root}:{start + i}" for i in range(len(pictures))]
    classes = [int(model.run([picture]).logits[0].argmax()) for picture in pictures]
    cases = [Case(name, targets=(model.answer_name(best),)) for name, best in zip(names, classes, strict=True)]
    return Task(tuple(cases), "logit", source)
