"""List a model's sites."""

from argparse import Namespace
from dataclasses import asdict

from patchclamp.cli.loading import load_model
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_model
from patchclamp.cli.output import emit

SUMMARY = "List the sites of a model and what can be done there."
QUESTION = "what is here"
EXAMPLE = "patchclamp sites organism:cat"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser, text=False)
    parser.add_argument("--modules", action="store_true", help="list every module's input and output too")


def run(options: Namespace) -> int:
    """List sites."""
    from patchclamp.report.terminal.model import show_sites

    model = load_model(options)
    found = model.sites(modules=options.modules)
    capabilities = asdict(model.capabilities)
    if options.json:
        emit(
            {
                "subject": {"slug": model.name, "hash": model.hash},
                "capabilities": capabilities,
                "sites": [site.to_json() for site in found],
            }
        )
    else:
        show_sites(model, found)
    return 0
