"""Say in words what a model's units stand for."""

from argparse import Namespace
from typing import Any

from patchclamp.cli.loading import load_model
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import MODEL, add_loading, add_out, add_report, add_seed
from patchclamp.cli.output import finish, log, refuse_out
from patchclamp.cli.progress import Meter

SUMMARY = "Say in words what every unit of a model stands for."
QUESTION = "what does it stand for"
EXAMPLE = "patchclamp describe organism:language-llama --side write --out words"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--inputs", metavar="FILE", help="prompts, one a line, for a method that runs the model")
    add_loading(parser)
    parser.add_argument("--top", type=int, default=20, metavar="K", help="how many units to list (default: 20)")
    parser.use("describe", "describe")
    add_seed(parser)
    add_out(parser)
    add_report(parser)


def run(options: Namespace) -> int:
    """Describe the units of a model, and list the first."""
    from patchclamp.describe import describe as run

    refuse_out(options)
    task = None if options.inputs is None else _prompts(options.inputs)
    model = load_model(options)
    log(f"{options.method} over the neurons of {model.name}")
    with Meter("describe", "sites") as meter:
        found = run(
            model, **({} if task is None else {"task": task}), method=options.method, seed=options.seed,
            progress=meter, **given_options(options),
        )  # fmt: skip
    return finish(options, found)


def _prompts(path: str) -> Any:
    """Return the task of a file's lines, each a prompt without an answer."""
    from patchclamp.core.task import Task
    from patchclamp.subjects.text import passages

    return Task.of_labels({"text": [line for _, part in passages(path) for line in part.splitlines() if line.strip()]})
