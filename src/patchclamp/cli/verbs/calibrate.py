"""Score attribution methods on organisms whose circuit is known."""

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_seed
from patchclamp.cli.output import emit
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

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
    from patchclamp import organisms
    from patchclamp.calibrate import (
        MAIN_TASKS,
        PAIRS,
        ablate_pair,
        calibrate_circuits,
        calibrate_edges,
        calibrate_tasks,
        summarise,
    )
    from patchclamp.calibrate.trained import check_tasks
    from patchclamp.organisms import language
    from patchclamp.report.terminal.calibration import show_calibration, show_edges, show_holdings, show_joint

    names = [name.removeprefix("organism:") for name in options.names]
    trained = [name for name in names if name in language.names()]
    planted = [name for name in names if name not in trained]
    if not trained and (options.tasks is not None or options.pairs is not None):
        raise PatchclampError(
            expected=f"--tasks and --pairs with {' or '.join(language.names())}",
            got=", ".join(names) or "no organism",
            remedy="Name a language organism, or leave them out.",
        )
    tasks = MAIN_TASKS if options.tasks is None else [task.strip() for task in options.tasks.split(",")]
    pairs = PAIRS if options.pairs is None else options.pairs
    check_tasks(tasks, pairs)
    strange = [name for name in planted if name not in organisms.planted.names()]
    if strange:
        raise PatchclampError(
            expected="organisms with a planted circuit, or language organisms",
            got=", ".join(strange),
            remedy=f"Choose among {', '.join([*organisms.planted.names(), *language.names()])}.",
        )
    document: dict[str, Any] = {}
    if planted or not trained:
        with Meter("calibrate", "organisms") as meter:
            found = calibrate_circuits(planted or None, progress=meter)
        with Meter("calibrate edges", "organisms") as meter:
            edges = calibrate_edges(planted or None, progress=meter)
        pairs_of_two = [told for told in map(ablate_pair, dict.fromkeys(f.organism for f in found)) if told]
        overall, of_edges = summarise(found), summarise(edges)
        document |= {
            "findings": [asdict(f) for f in found], "summary": _summary_data(overall),
            "edges": [asdict(f) for f in edges], "edges_summary": _summary_data(of_edges), "joint": pairs_of_two,
        }  # fmt: skip
        if not options.json:
            show_calibration(found, overall)
            show_edges(edges, of_edges)
            show_joint(pairs_of_two)
    if trained:
        with Meter("calibrate", "pairs") as meter:
            held = calibrate_tasks(trained, tasks=tasks, pairs=pairs, seed=options.seed, progress=meter)
        document["tasks"] = [asdict(h) for h in held]
        if not options.json:
            show_holdings(held)
    if options.json:
        emit(document)
    return 0


def _summary_data(overall: Any) -> dict[str, Any]:
    return {method: {"mean": mean, "interval": asdict(interval)} for method, (mean, interval) in overall.items()}
