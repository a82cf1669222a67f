"""Compare two recordings."""

from argparse import Namespace

from patchclamp.cli.loading import load_recording
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import add_report, add_seed
from patchclamp.cli.output import finish, refuse_out
from patchclamp.cli.progress import Meter

SUMMARY = "Compare two recordings of the same stimuli: layers, models, brains."
QUESTION = "alike"
EXAMPLE = "patchclamp compare first-recording second-recording"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("first", metavar="DIR", help="a recording")
    parser.add_argument("second", metavar="DIR", help="another, of the same stimuli in the same order")
    parser.use("compare", "compare")
    add_seed(parser)
    add_report(parser)


def run(options: Namespace) -> int:
    """Compare two recordings."""
    from patchclamp.compare import compare as run

    refuse_out(options)
    given = given_options(options)
    first = load_recording(options.first, given.get("first_site", ""))
    second = load_recording(options.second, given.get("second_site", ""))
    with Meter("compare", "steps") as meter:
        found = run(first, second, method=options.method, seed=options.seed, progress=meter, **given)
    return finish(options, found)
