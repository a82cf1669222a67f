"""Say what a dictionary of features holds."""

from argparse import Namespace
from typing import Any

from patchclamp.cli.loading import open_features, print_assumed
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_conditions, add_dictionary
from patchclamp.cli.output import emit

SUMMARY = "What a dictionary holds, and whether it is whole."
QUESTION = "what is here"
EXAMPLE = "patchclamp basis info features"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_dictionary(parser, "folder")
    add_conditions(parser)


def run(options: Namespace) -> int:
    """Show what a dictionary holds."""
    from patchclamp.report.terminal.dictionary import show_dictionary

    found = open_features(options, options.folder)
    print_assumed(found)
    facts = {
        "name": found.name, "method": found.method, "subject": dict(found.subject), "about": dict(found.about),
        "curves": dict(found.curves), "bases": [_facts(site, each) for site, each in found.bases.items()],
    }  # fmt: skip
    emit(facts) if options.json else show_dictionary(options.folder, facts)
    return 0


def _facts(site: str, each: Any) -> dict[str, Any]:
    import numpy as np

    sizes = np.linalg.norm(each.decoder.astype(np.float64), axis=1)
    return {
        "site": site, "reads": each.reads, "units": each.n_units, "width": int(each.decoder.shape[1]),
        "activation": each.activation, "k": each.k, "skip": each.skip is not None, "hash": each.hash,
        "norm": [float(sizes.min(initial=np.inf)), float(sizes.mean()), float(sizes.max(initial=0))],
        "empty": int((sizes == 0).sum()),
    }  # fmt: skip
