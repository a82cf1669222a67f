"""Predict one recording from another."""

from argparse import Namespace

from patchclamp.cli.loading import load_recording, note_left_out, read_blocks
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import add_out, add_report, add_seed, add_split
from patchclamp.cli.output import finish, log, refuse_out
from patchclamp.cli.progress import Meter

SUMMARY = "Predict one recording from another, on stimuli that were not fitted on."
QUESTION = "brains"
EXAMPLE = "patchclamp encode layer-recording brain-recording --split blocks:5:2 --out readout"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("features", metavar="DIR", help="a recording of what predicts")
    parser.add_argument("targets", metavar="DIR", help="a recording of what is predicted, of the same stimuli")
    add_split(parser)
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many targets to list (default: 10)")
    parser.use("decode", "encode")
    add_seed(parser)
    add_out(parser)
    add_report(parser)


def run(options: Namespace) -> int:
    """Predict one recording from another."""
    from patchclamp.core.split import Split
    from patchclamp.decode import encode as run

    refuse_out(options)
    folds, gap = read_blocks(options.split)
    given = given_options(options)
    features = load_recording(options.features, given.get("feature_site", ""))
    targets = load_recording(options.targets, given.get("target_site", ""))
    note_left_out(given, **{options.features: features, options.targets: targets})
    split = Split.blocks(len(features.stimuli), folds=folds, gap=gap)
    log(f"{len(features.stimuli):,} stimuli, {split.rule}")
    with Meter("encode", "fits") as meter:
        found = run(features, targets, split, method=options.method, seed=options.seed, progress=meter, **given)
    return finish(options, found)
