"""Compare two recordings, or two dictionaries of features."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import load_recording, note_left_out, open_features, print_assumed
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import add_conditions, add_report, add_seed, refuse_typed
from patchclamp.cli.output import emit, finish, refuse_out
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "How alike are two recordings of the same stimuli (layers, models, brains), or two dictionaries of features?"
QUESTION = "alike"
EXAMPLE = "patchclamp compare first-recording second-recording"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("first", metavar="DIR", help="a recording; or features that decompose or another library wrote")
    parser.add_argument("second", metavar="DIR", help="another, of the same stimuli in the same order; or features")
    parser.use("compare", "compare")
    add_seed(parser)
    add_report(parser)
    add_conditions(parser.add_argument_group("features"))


def run(options: Namespace) -> int:
    """Compare two recordings, or match two dictionaries site by site."""
    from patchclamp.compare import compare

    refuse_out(options)
    given = given_options(options)
    if not any(_is_bundle(folder) for folder in (options.first, options.second)):
        return _compare_features(options)
    refuse_typed(options, ("reads", "center", "bos"), "two recordings")
    if options.site is not None:
        given = {"first_site": options.site, "second_site": options.site, **given}
    first = load_recording(options.first, given.get("first_site", ""))
    second = load_recording(options.second, given.get("second_site", ""))
    note_left_out(given, **{options.first: first, options.second: second})
    with Meter("compare", "steps") as meter:
        found = compare(first, second, method=options.method, seed=options.seed, progress=meter, **given)
    return finish(options, found)


def _is_bundle(folder: str) -> bool:
    """Say whether a folder is none of features: it has a manifest, or there is none of that name."""
    return (Path(folder) / "manifest.json").is_file() or (
        not Path(folder).exists() and (folder.startswith((".", "/", "~")) or "/" not in folder)
    )


def _compare_features(options: Namespace) -> int:
    from patchclamp.compare import compare
    from patchclamp.report.terminal.dictionary_report import show_comparison

    if given_options(options) or options.report is not None:
        raise PatchclampError(
            expected="options of features",
            got="--report" if options.report is not None else f"--{next(iter(given_options(options)))}",
            remedy="Leave it out: directions are matched one to one.",
        )
    first, second = (open_features(options, folder) for folder in (options.first, options.second))
    for one in (first, second):
        print_assumed(one)
    found: Any = compare(first, second, seed=options.seed)
    emit(found.to_json()) if options.json else show_comparison(found.sites, found.notes)
    return 0
