"""Share an atlas as files."""

from argparse import Namespace
from dataclasses import asdict

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.output import emit
from patchclamp.cli.progress import Meter
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Share an atlas: one unit's page as a file, or everything in a format that others read."
QUESTION = "look"
EXAMPLE = "patchclamp atlas export cat.atlas --format html --unit blocks.0.mlp.act/neurons/7 --out cat.html"
FUNCTION = "atlas.export_atlas"

MOST_LISTED = 20


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("atlas", metavar="ATLAS", help="what atlas bake wrote")
    parser.add_argument(
        "--format",
        required=True,
        choices=("html", "parquet", "neuronpedia", "notes", "circuit-tracer"),
        help="html: one unit's page as one file; parquet: tables of everything; neuronpedia: the layout it imports; "
        "notes: what people wrote, as atlas add --notes takes it; with --graph, circuit-tracer and neuronpedia: the "
        "graph for their viewers",
    )
    parser.add_argument("--unit", metavar="KEY", help="html: the unit, site/basis/index")
    parser.add_argument("--graph", metavar="ID", help="circuit-tracer, neuronpedia: the explained answer, graph-…")
    parser.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a file (html, notes, a graph), or a folder that is not there yet",
    )


def run(options: Namespace) -> int:
    """Write an atlas, or one unit's page, for others."""
    from patchclamp.atlas.export import export_atlas

    with Meter("export", "units") as meter:
        found = export_atlas(
            options.atlas,
            options.out,
            format=options.format,
            unit=options.unit,
            graph=options.graph,
            progress=meter,
        )
    if options.json:
        emit({**asdict(found), "bytes": found.bytes})
        return 0
    kind = "node" if options.graph else "unit"
    units = f"{found.units:,} {kind}{'s' if found.units != 1 else ''}"
    print(f"{found.out}: {units}, {human_bytes(found.bytes)}")
    if 1 < len(found.files) <= MOST_LISTED:
        for name, size in found.files.items():
            print(f"  {name}  {human_bytes(size)}")
    return 0
