"""Bake every unit of a model, or of a recorded brain, into a folder."""

import shlex
from argparse import Namespace
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import (
    ENGINE_OPTIONS,
    corpus_of,
    load_model,
    open_brain,
    progress_unit,
    read_stimuli,
    refuse_brain_options,
    start_engine,
)
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_brain, add_cutting, add_model, refuse_typed
from patchclamp.cli.output import log, print_atlas
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Bake an atlas: examples, histogram, what every unit writes and reads, and its neighbours."
QUESTION = "look"
EXAMPLE = "patchclamp atlas bake organism:cat --inputs story.txt --out cat.atlas"
FUNCTION = "atlas.bake_atlas"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    # A recorded brain (a file in place of MODEL) needs no inputs; ``run`` refuses a model without them.
    parser.add_argument(
        "--inputs",
        metavar="PATH",
        help="a UTF-8 text file; of a model of images a folder of images, an npz or npy file, or digits; PATH:0:100 "
        "for some; of the file of a recorded brain none",
    )
    parser.add_argument("--max-images", type=int, metavar="N", help="stop after N images (default: all of them)")
    parser.add_argument(
        "--sites",
        metavar="PATTERN",
        help="site paths or patterns, joined by commas; /heads behind one counts its heads as units "
        "(default: blocks.*.mlp.act,blocks.*.attn.z/heads; of convolutions their channels)",
    )
    parser.add_argument(
        "--neighbours",
        choices=("exact", "approximate", "none"),
        help="how each unit's nearest others are found: among all pairs; among those that shorter vectors choose, the "
        "share found being measured; or left out (default: exact up to 65,536 units, else approximate)",
    )
    add_cutting(parser)
    add_brain(parser)


def run(options: Namespace) -> int:
    """Bake an atlas, and show what it holds."""
    from patchclamp.subjects.neural_layout import is_recording

    if is_recording(options.model) and not Path(options.model).is_dir():
        return _bake_brain(options)
    refuse_brain_options(options, options.model)
    if options.inputs is None:
        raise PatchclampError(
            expected="--inputs for a model, or the file of a recorded brain in its place",
            got=f"{options.model!r} without --inputs",
            remedy="Add --inputs PATH; files of recordings end in .csv, .mat, .nwb, .npy or .npz.",
        )
    from patchclamp.atlas.bake.base import bake_atlas, check_kind, refuse_baked, units_of
    from patchclamp.atlas.bake.cost import bake_cost
    from patchclamp.subjects.text import passages

    refuse_baked(options.out, resume=options.resume)
    model, corpus = load_model(options), corpus_of(options)
    check_kind(model, corpus)
    units, chosen, _ = units_of(model, options.sites)
    how: dict[str, Any] = {"neighbours": options.neighbours}
    # Before the cost is stated, what is no image or no text is refused.
    if corpus.kind == "images":
        n_pictures = read_stimuli(model, options).n_stimuli
        rows = options.batch_size * max(max(site.n_places, 1) for site in chosen)
        how |= {"rows": rows, "n_pictures": n_pictures, "shape": model.prepare.shape}
        passes = f"two passes over {n_pictures:,} images, and one over those that are shown"
    else:
        refuse_typed(options, ("max_images",), "a text")
        next(passages(options.inputs), None)
        how |= {"rows": options.batch_size * (options.window or 128), "n_tokens": options.max_tokens}
        passes = "two passes over the text"
    n_units = sum(site.width for site in chosen)
    cost = bake_cost(units, chosen, **how)
    log(
        f"{n_units:,} units of {len(chosen)} sites: {passes}, about {human_bytes(cost.memory)} of memory, "
        f"{human_bytes(cost.disk)} on disk, {human_bytes(cost.aside)} while it is baked"
    )
    with ExitStack() as meters:
        engine = meters.enter_context(start_engine(options, model))
        meter = meters.enter_context(Meter("bake", progress_unit(options)))
        # Its time is counted from when it begins.
        near = cache(lambda: meters.enter_context(Meter("neighbours", "units")))
        bake_atlas(
            model, corpus, options.out, sites=options.sites, resume=options.resume, name=options.model,
            command=shlex.join(["patchclamp", *options.words]), progress=meter,
            neighbours_progress=lambda done, total: near()(done, total),
            batch_size=options.batch_size, seed=options.seed, neighbours=options.neighbours, engine=engine,
        )  # fmt: skip
    return print_atlas(options.out, options.json)


OF_MODELS = ("inputs", "max_images", "sites", "neighbours", "window", "max_tokens", "bos")
"""Options that a recorded brain has no use for."""


def _bake_brain(options: Namespace) -> int:
    """Bake an atlas of a recorded brain, and show what it holds."""
    from patchclamp.atlas.bake.base import refuse_baked
    from patchclamp.atlas.bake.recorded_pairs import count_shifts
    from patchclamp.atlas.bake.recordings import bake_recording, recording_cost

    given = [f"--{name.replace('_', '-')}" for name in OF_MODELS if getattr(options, name, None) is not None]
    given += [f"--{name}" for name in ("chat", "skip-first") if getattr(options, name.replace("-", "_"))]
    if given:
        raise PatchclampError(
            expected="no options of a model with the file of a recorded brain",
            got=f"{options.model!r} with {', '.join(given)}".replace("--bos", "--no-bos"),
            remedy="Leave them out.",
        )
    refuse_typed(options, ENGINE_OPTIONS, "a recorded brain")
    refuse_baked(options.out, resume=options.resume)
    brain = open_brain(options, options.model)
    memory, disk = map(human_bytes, recording_cost(brain))
    n_samples = brain.n_trials * brain.n_samples
    shifts = count_shifts(brain.n_units, n_samples)
    log(
        f"{brain.n_units:,} units over {n_samples:,} samples: correlations under {shifts} circular shifts, about "
        f"{memory} of memory, {disk} on disk"
    )
    with Meter("bake", "steps") as meter:
        bake_recording(
            brain, options.out, resume=options.resume, name=options.model,
            command=shlex.join(["patchclamp", *options.words]), progress=meter, seed=options.seed,
        )  # fmt: skip
    return print_atlas(options.out, options.json)
