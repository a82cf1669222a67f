"""The verb describe: say in words what a model's units stand for."""

from argparse import Namespace
from typing import Any

from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.methods_parser import add_common, add_method_verb
from patchclamp.cli.options import MODEL, add_prepend_bos


def add_describe(verbs: Any) -> None:
    """Add ``describe``."""
    verb: MethodParser = add_method_verb(
        verbs, "describe", "Say in words what every unit of a model stands for.",
        "patchclamp describe organism:language-llama --side write --out words",
    )  # fmt: skip
    verb.add_argument("model", metavar="MODEL", help=MODEL)
    verb.add_argument("--text", metavar="FILE", help="prompts, one a line, for a method that runs the model")
    verb.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, or auto (default: cpu)")
    verb.add_argument("--dtype", help="float32, bfloat16 or float16 (default: the checkpoint's own)")
    add_prepend_bos(verb)
    verb.add_argument("--top", type=int, default=20, metavar="K", help="how many units to list (default: 20)")
    verb.use("describe", "describe")
    add_common(verb, report=True)


def describe(options: Namespace) -> int:
    """Describe the units of a model, and list the first."""
    from patchclamp.cli.loading import load_model
    from patchclamp.cli.methods import finish, refuse_out
    from patchclamp.cli.output import log
    from patchclamp.cli.progress import Meter
    from patchclamp.describe import describe as run

    refuse_out(options)
    task = None if options.text is None else _prompts(options.text)
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
