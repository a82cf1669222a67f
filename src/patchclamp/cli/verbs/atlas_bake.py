"""Bake every unit of a model into a folder."""

import shlex
from argparse import Namespace

from patchclamp.cli.loading import corpus_of, load_model
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
    parser.add_argument("--inputs", required=True, metavar="FILE", help="a UTF-8 text file")
    parser.add_argument(
        "--sites",
        metavar="PATTERN",
        help="site paths or patterns, joined by commas; /heads behind one counts its heads as units "
        "(default: blocks.*.mlp.act,blocks.*.attn.z/heads)",
    )
    add_cutting(parser)


def run(options: Namespace) -> int:
    """Bake an atlas, and show what it holds."""
    from patchclamp.atlas.bake.base import bake_atlas, choose_sites, cost, refuse_baked, refuse_images
    from patchclamp.subjects.text import passages

    refuse_baked(options.out, resume=options.resume)
    model = load_model(options)
    refuse_images(model)
    chosen = choose_sites(model, options.sites)
    next(passages(options.inputs), None)  # refuses what is no text before the cost is stated
    memory, disk = map(human_bytes, cost(chosen))
    n_units = sum(site.width for site in chosen)
    log(
        f"{n_units:,} units of {len(chosen)} sites: two passes over the text, about {memory} of memory, {disk} on disk",
    )
    with Meter("bake") as meter:
        bake_atlas(
            model, corpus_of(options), options.out, sites=options.sites, resume=options.resume, name=options.model,
            command=shlex.join(["patchclamp", *options.words]), progress=meter,
            batch_size=options.batch_size, seed=options.seed,
        )  # fmt: skip
    return print_atlas(options.out, options.json)
