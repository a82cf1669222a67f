"""List the families of architectures."""

from argparse import Namespace

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.output import emit

SUMMARY = "Which architectures have canonical sites, and which parts of the contract each keeps."
QUESTION = "what is here"
EXAMPLE = "patchclamp families"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    pass


def run(options: Namespace) -> int:
    """Show which families there are and which parts of the contract each keeps."""
    from patchclamp.report.terminal.contract import show_families
    from patchclamp.subjects.contract.results import IMAGES, stored_results

    text, images = stored_results(), stored_results(IMAGES)
    if options.json:
        emit({**text, "images": images})
    else:
        show_families(text)
        show_families(images)
    return 0
