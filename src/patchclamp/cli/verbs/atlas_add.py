"""Add the features of a dictionary, or what people wrote, to an atlas."""

import shlex
from argparse import Namespace
from pathlib import Path

from patchclamp.cli.loading import print_conditions
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import MODEL, add_bos
from patchclamp.cli.output import log, print_atlas
from patchclamp.cli.progress import Meter
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Add to an atlas: the features of a dictionary, each with what a neuron has, or notes from another copy."
QUESTION = "look"
EXAMPLE = "patchclamp atlas add cat.atlas --basis DIR --inputs story.txt"
FUNCTION = "atlas.add_basis"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    added = parser.add_mutually_exclusive_group(required=True)
    added.add_argument("--basis", metavar="DIR", help="what decompose wrote")
    added.add_argument(
        "--notes", metavar="FILE", help="what atlas export --format notes wrote; the rest is for --basis"
    )
    parser.add_argument("--model", metavar="MODEL", help=f"the atlas's model: {MODEL} (default: what was baked)")
    parser.add_argument("--inputs", metavar="FILE", help="a text file (default: what was baked, where it still is)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="stop after N tokens (default: as baked)")
    parser.add_argument("--batch-size", type=int, metavar="B", help="stimuli per forward pass (default: as baked)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    add_bos(parser)


def run(options: Namespace) -> int:
    """Add a dictionary's features or somebody's notes to an atlas, and show what it holds."""
    if options.notes is not None:
        return _add_notes(options)
    from patchclamp.atlas.atlas import open_atlas
    from patchclamp.atlas.bake.features import add_basis, array_bytes, check_basis, estimate_bytes
    from patchclamp.atlas.lab import usual_model
    from patchclamp.core.dictionary import Dictionary
    from patchclamp.loaders import load
    from patchclamp.subjects.site_names import resolve_sites

    found = Dictionary.load(options.basis)
    name = options.model or usual_model(open_atlas(options.atlas).reading)
    if options.model is None:
        log(f"the model is {name!r}, as runs.sqlite says; --model names another")
    model = load(name, prepend_bos=bool(options.bos))
    found = resolve_sites(model, found)
    print_conditions(model, found, options.basis)
    check_basis(options.atlas, model, found, text=options.inputs)
    n_features = sum(basis.n_units for basis in found.bases.values())
    *sizes, kept = estimate_bytes(model, found)
    memory, disk = map(human_bytes, sizes)
    log(
        f"{n_features:,} features of {len(found.bases)} sites: two passes over the text, about {memory} of memory, "
        f"{disk} on disk; the dictionary ({human_bytes(array_bytes(found))}) is {'' if kept else 'not '}kept in it",
    )
    with Meter("add") as meter:
        add_basis(
            options.atlas, model, found, text=options.inputs, max_tokens=options.max_tokens,
            batch_size=options.batch_size, resume=options.resume, folder=str(Path(options.basis).resolve()),
            command=shlex.join(["patchclamp", *options.words]), progress=meter,
        )  # fmt: skip
    return print_atlas(options.atlas, options.json)


def _add_notes(options: Namespace) -> int:
    from patchclamp.atlas.written import write_notes

    added = len(write_notes(options.atlas, options.notes))
    log(f"{added:,} line{'' if added == 1 else 's'} added; what was there already is not added twice")
    return print_atlas(options.atlas, options.json)
