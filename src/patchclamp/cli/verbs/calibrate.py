"""Score attribution methods on organisms whose circuit is known."""

from argparse import Namespace

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_seed
from patchclamp.cli.output import emit
from patchclamp.cli.progress import Meter

SUMMARY = "Which methods of attribution find the planted units; in language organisms, how well their predictions hold."
QUESTION = "is it true"
EXAMPLE = "patchclamp calibrate mover-gpt2 decoy-gpt2"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="organisms (default: every planted circuit)")
    parser.add_argument("--tasks", help="language organisms: some tasks, with commas (default: the seven main ones)")
    parser.add_argument("--pairs", type=int, help="language organisms: held-out pairs per task (default: 64)")
    add_seed(parser, "language organisms: of pairs and draws")


def run(options: Namespace) -> int:
    """Score planted circuits by every method, and hold predictions against replacements in language organisms."""
    from patchclamp.calibrate import calibrate
    from patchclamp.report.terminal.calibration import show_calibration, show_edges, show_holdings, show_joint

    tasks = None if options.tasks is None else [task.strip() for task in options.tasks.split(",")]
    with Meter("calibrate", "steps") as meter:
        found = calibrate(options.names or None, tasks=tasks, pairs=options.pairs, seed=options.seed, progress=meter)
    if options.json:
        emit(found.to_json())
        return 0
    if found.findings:
        show_calibration(found.findings, found.summary)
        show_edges(found.edges, found.edges_summary)
        show_joint(found.joint)
    if found.holdings:
        show_holdings(found.holdings)
    return 0
