"""Say what an atlas holds."""

from argparse import Namespace

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.output import print_atlas

SUMMARY = "What an atlas holds, and whether it is whole."
QUESTION = "look"
EXAMPLE = "patchclamp atlas info cat.atlas"
FUNCTION = "atlas.open"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    parser.add_argument("unit", nargs="?", metavar="KEY", help="a unit, such as blocks.0.mlp.act/neurons/7")


def run(options: Namespace) -> int:
    """Show what an atlas holds."""
    return print_atlas(options.atlas, options.json, options.unit)
