"""Compare two dictionaries of features."""

from argparse import Namespace
from dataclasses import asdict

from patchclamp.cli.loading import open_features
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_dictionary, add_seed
from patchclamp.cli.output import emit
from patchclamp.core.errors import PatchclampError

SUMMARY = "How alike two dictionaries are, matched one to one, beside the second turned at random."
QUESTION = "alike"
EXAMPLE = "patchclamp basis compare seed0 seed1"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_dictionary(parser, "folder", "other")
    add_seed(parser, "of the random turns")


def run(options: Namespace) -> int:
    """Match two dictionaries site by site, and show how alike they are."""
    from patchclamp.evaluate import compare_bases
    from patchclamp.report.terminal.dictionary_report import show_comparison

    one, other = open_features(options, options.folder), open_features(options, options.other)
    both = [site for site in one.bases if site in other.bases]
    if not both:
        raise PatchclampError(
            expected="two dictionaries of one site",
            got=f"{', '.join(one.bases)} and {', '.join(other.bases)}",
            remedy="Name two that write the same site.",
        )
    hashes = {str(each.subject.get("hash", "")) for each in (one, other)} - {""}
    notes = ["they were made on models of other weights"] if len(hashes) > 1 else []
    found = {site: compare_bases(one.bases[site], other.bases[site], seed=options.seed) for site in both}
    if options.json:
        emit({"sites": {site: asdict(each) for site, each in found.items()}, "notes": notes})
    else:
        show_comparison(found, notes)
    return 0
