"""Activation patching over pairs, as a folder and as maps in the terminal."""

import shlex
from argparse import Namespace
from pathlib import Path

from patchclamp.cli.loading import add_bases, load_model, load_pairs
from patchclamp.cli.output import Outputs, emit, log
from patchclamp.cli.patch_tables import show_patching
from patchclamp.cli.progress import Meter, human_bytes, human_s
from patchclamp.core.errors import PatchclampError
from patchclamp.core.scores import Scores


def patch(options: Namespace) -> int:
    """Patch every place of every pair, write the folder, and show maps and the strongest cells."""
    from patchclamp.attribute.patching import plan_patching
    from patchclamp.attribute.patching_folder import patch_to_folder, to_document
    from patchclamp.core.disk import refuse_occupied
    from patchclamp.report import draw

    if options.top < 0:
        raise PatchclampError(expected="at least 0 cells", got=str(options.top), remedy="Give another --top.")
    refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    add_bases(model, options)
    cases = load_pairs(model, options, kind=options.metric)
    job = plan_patching(
        model, cases, options.sites, positions=options.positions, direction="noise" if options.noise else "denoise",
        batch_size=options.batch_size,
    )  # fmt: skip
    log(
        f"{job.n_cells:,} cells at most: {human_bytes(job.n_bytes + job.held_bytes)} of memory "
        f"besides the model's, about {human_bytes(job.disk_bytes)} on disk, {human_s(job.seconds())} at most"
    )
    # The words that make the same folder again, however often it was gone on with.
    command = shlex.join(["patchclamp", *(word for word in options.words if word != "--resume")])
    outputs = Outputs()

    def page(scores: Scores) -> str | None:
        drawn: str | None = None
        with outputs.attempt("the page"):
            drawn = draw(scores, command=command)
        return drawn

    with Meter("patch", "cells") as meter:
        scores = patch_to_folder(job, options.out, resume=options.resume, progress=meter, page=page)
    if options.json:
        emit({"out": options.out, **to_document(scores)})
    else:
        show_patching(scores, options.top)
    return outputs.code
