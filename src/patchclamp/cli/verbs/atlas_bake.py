"""Bake every unit of a model into a folder."""

import shlex
from argparse import Namespace

from patchclamp.cli.loading import corpus_of, load_model, progress_unit, read_stimuli
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_cutting, add_model
from patchclamp.cli.output import log, print_atlas
from patchclamp.cli.progress import Meter
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Bake an atlas: examples, histogram, what every unit writes and reads, and its neighbours."
QUESTION = "look"
EXAMPLE = "patchclamp atlas bake organism:cat --inputs story.txt --out cat.atlas"
FUNCTION = "atlas.bake_atlas"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    parser.add_argument(
        "--inputs",
        required=True,
        metavar="PATH",
        help="a UTF-8 text file; of a model of images a folder of images, an npz or npy file, or digits; PATH:0:100 "
        "for some",
    )
    parser.add_argument("--max-images", type=int, metavar="N", help="stop after N images (default: all of them)")
    parser.add_argument(
        "--sites",
        metavar="PATTERN",
        help="site paths or patterns, joined by commas; /heads behind one counts its heads as units "
        "(default: blocks.*.mlp.act,blocks.*.attn.z/heads; of convolutions their channels)",
    )
    add_cutting(parser)


def run(options: Namespace) -> int:
    """Bake an atlas, and show what it holds."""
    from patchclamp.atlas.bake.base import bake_atlas, check_kind, cost, refuse_baked, units_of
    from patchclamp.subjects.text import passages

    refuse_baked(options.out, resume=options.resume)
    model, corpus = load_model(options), corpus_of(options)
    check_kind(model, corpus)
    _, chosen, _ = units_of(model, options.sites)
    # Before the cost is stated, what is no image or no text is refused.
    if corpus.kind == "images":
        n_pictures = read_stimuli(model, options).n_stimuli
        memory, disk = map(human_bytes, cost(chosen, n_pictures, model.prepare.shape))
        passes = f"three passes over {n_pictures:,} images"
    else:
        next(passages(options.inputs), None)
        memory, disk = map(human_bytes, cost(chosen))
        passes = "two passes over the text"
    n_units = sum(site.width for site in chosen)
    log(f"{n_units:,} units of {len(chosen)} sites: {passes}, about {memory} of memory, {disk} on disk")
    with Meter("bake", progress_unit(options)) as meter:
        bake_atlas(
            model, corpus, options.out, sites=options.sites, resume=options.resume, name=options.model,
            command=shlex.join(["patchclamp", *options.words]), progress=meter,
            batch_size=options.batch_size, seed=options.seed,
        )  # fmt: skip
    return print_atlas(options.out, options.json)
