"""Activation patching over pairs, as a folder and as maps in the terminal."""

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import add_bases, load_model, load_pairs
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_basis, add_model, add_pairs
from patchclamp.cli.output import Outputs, emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_numbers import human_bytes, human_s

SUMMARY = (
    "Put a clean run's activations into the corrupted run, place by place, and see how much of the answer comes with "
    "them; or the other way round."
)
QUESTION = "why"
EXAMPLE = "patchclamp patch organism:language-gpt2 --pairs task:ioi --sites resid,attn,mlp --out ioi-patched"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    add_pairs(parser)
    parser.add_argument(
        "--sites",
        default="resid,attn,mlp",
        metavar="SITES",
        help="resid, attn, mlp, head, neuron, feature, or patterns of site paths (PATTERN/heads for each head), joined "
        "by commas (default: resid,attn,mlp)",
    )
    parser.add_argument(
        "--positions",
        default="each",
        metavar="WHERE",
        help="each position by itself (default), all at once, or spans, each at once: --positions=-1,3:5",
    )
    parser.add_argument(
        "--direction",
        choices=("noise", "denoise"),
        default="denoise",
        help="denoise: clean values into the run of the counterpart (default); noise: the reverse",
    )
    parser.add_argument(
        "--measure",
        choices=("logit_difference", "probability_difference"),
        help="m (default: logit_difference; probability_difference where a side has several answers)",
    )
    add_basis(parser)
    parser.add_argument("--batch-size", type=int, default=64, metavar="B", help="cells per forward pass (default: 64)")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many cells to list (default: 10)")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run in --out")


def run(options: Namespace) -> int:
    """Patch every place of every pair, write the folder, and show maps and the strongest cells."""
    from patchclamp.attribute.patch import patch
    from patchclamp.attribute.patching_folder import to_document
    from patchclamp.report import draw
    from patchclamp.report.terminal import show

    if options.top < 0:
        raise PatchclampError(expected="at least 0 cells", got=str(options.top), remedy="Give another --top.")
    if options.batch_size < 1:
        raise PatchclampError(
            expected="at least 1 cell per forward pass",
            got=str(options.batch_size),
            remedy="Give another --batch-size.",
        )
    refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    add_bases(model, options)
    cases = load_pairs(model, options, kind=options.measure)
    # The words that make the same folder again, however often it was gone on with.
    command = shlex.join(["patchclamp", *(word for word in options.words if word != "--resume")])
    outputs = Outputs()

    def page(scores: Any) -> str | None:
        drawn: str | None = None
        with outputs.attempt("the page"):
            drawn = draw(scores, command=command)
        return drawn

    with Meter("patch", "cells") as meter:
        scores = patch(
            model,
            cases,
            options.sites,
            positions=options.positions,
            direction=options.direction,
            batch_size=options.batch_size,
            out=options.out,
            resume=options.resume,
            page=page,
            state=_state,
            progress=meter,
        )
    if options.json:
        emit({"out": options.out, **to_document(scores)})
    else:
        show(scores, options.top)
    return outputs.code


def _state(job: Any) -> None:
    """Print on standard error what patching takes."""
    log(
        f"{job.n_cells:,} cells at most: {human_bytes(job.n_bytes + job.held_bytes)} of memory "
        f"besides the model's, about {human_bytes(job.disk_bytes)} on disk, {human_s(job.seconds())} at most"
    )
