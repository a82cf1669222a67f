"""Convert a dictionary of features."""

from argparse import Namespace
from pathlib import Path

from patchclamp.cli.loading import open_features, print_assumed
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_conditions, add_dictionary
from patchclamp.cli.output import emit, log

SUMMARY = "Write a dictionary for another library, or another library's as patchclamp keeps it."
QUESTION = "what does it stand for"
EXAMPLE = "patchclamp basis convert features --to saelens --out for-saelens"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_dictionary(parser, "folder")
    add_conditions(parser)
    parser.add_argument("--model", metavar="MODEL", help="the model that it is of, whose norms decide names of places")
    parser.add_argument("--name", metavar="NAME", help="what its units are called in keys")
    parser.add_argument("--to", required=True, choices=("saelens", "sparsify", "patchclamp"), help="the library")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")


def run(options: Namespace) -> int:
    """Write a dictionary in another layout, and print its folders."""
    from patchclamp.decompose.formats import write_dictionary
    from patchclamp.loaders import load

    found = open_features(options, options.folder, options.name)
    print_assumed(found)
    model = None if options.model is None else load(options.model)
    beside_norms = [s for s in found.bases if s.rpartition(".")[2] in ("write", "resid_mid")]
    if model is None and options.to != "patchclamp" and beside_norms:
        names = ", ".join(beside_norms[:4])
        log(
            f"note: what {options.to} calls {names} depends on the model's norms; "
            + (
                "they keep their own names"
                if options.to == "sparsify"
                else "named as if norms stood before attention and MLP"
            )
            + " (--model MODEL names them)",
        )
    folders = write_dictionary(found, options.out, options.to, model=model)
    if options.json:
        emit({"layout": options.to, "folders": [str(Path(folder)) for folder in folders]})
    else:
        for folder in folders:
            print(folder)
    return 0
