"""Train a network on tasks one after another."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import add_seed
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter

SUMMARY = (
    "Train a network on tasks one after another, and say what it keeps of the earlier ones, beside plain training."
)
QUESTION = "learn"
EXAMPLE = "patchclamp learn learner-subspaces --out learnt"

LEAST = 50
"""Examples of a task, at least."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "stream",
        nargs="?",
        default="learner-subspaces",
        metavar="STREAM",
        help="a planted stream of tasks (default: learner-subspaces; :full and :shared behind it are variants)",
    )
    parser.add_argument(
        "--n", type=int, metavar="N", help="examples of each task (default: 1000); half as many test it"
    )
    parser.add_argument("--out", metavar="DIR", help="a new or empty folder to keep the weights and the training in")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run in --out")
    add_seed(parser)
    parser.use("learn", "learn")


def run(options: Namespace) -> int:
    """Train on the stream's tasks in their order, and show the accuracy on every task after each."""
    import torch

    from patchclamp.core.disk import refuse_occupied
    from patchclamp.core.errors import PatchclampError
    from patchclamp.core.training import Training
    from patchclamp.learn import learn
    from patchclamp.loaders import wrap
    from patchclamp.organisms import learners
    from patchclamp.report.terminal import show
    from patchclamp.report.terminal.training import show_rival

    if options.out is None and options.resume:
        raise PatchclampError(expected="--resume with --out", got="no --out", remedy="Name the folder to go on in.")
    if options.n is not None and options.n < LEAST:
        raise PatchclampError(
            expected=f"--n of at least {LEAST}", got=str(options.n), remedy="So many examples are one step."
        )
    if options.out is not None:
        refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    name, _, variant = options.stream.partition(":")
    sizes = {} if options.n is None else {"n_train": options.n, "n_test": max(options.n // 2, 1)}
    made = learners.make(name, variant=variant, seed=options.seed, **sizes)
    stream = made.stream
    width, n_classes = int(stream.stages[0].inputs.shape[1]), stream.n_classes
    net = wrap(torch.nn.Linear(width, n_classes, bias=False), torch.zeros(1, width), name="softmax-layer")
    log(f"{len(stream):,} tasks of {stream.name}, {width} inputs, {n_classes} classes: {options.method}")
    with Meter("learn", "tasks") as meter:
        found = learn(
            net,
            stream,
            method=options.method,
            out=options.out,
            resume=options.resume,
            seed=options.seed,
            progress=meter,
            **given_options(options),
        )
    rival = Training(0, 0, 0, {}, accuracy=tuple(tuple(map(float, row)) for row in made.plain))
    if options.json:
        emit({"out": options.out, **found.to_json(), "plain": _figures(rival)})
        return 0
    show(found, 0)
    show_rival(rival)
    if options.out is not None:
        log(f"kept in {options.out}")
    return 0


def _figures(training: Any) -> dict[str, Any]:
    """Return the accuracy of a training with its summaries."""
    return {name: value for name, value in training.to_json().items() if name in ("accuracy", "acc", "bwt", "fwt")}
