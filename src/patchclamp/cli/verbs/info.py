"""Say what a folder or file holds."""

import importlib
from argparse import Namespace
from pathlib import Path

from patchclamp.cli.loading import open_brain, refuse_brain_options
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_brain
from patchclamp.cli.output import emit, show_bundle
from patchclamp.core.errors import PatchclampError

SUMMARY = "What a recording, survey, graph or recorded brain holds, and whether it is whole."
QUESTION = "what is here"
EXAMPLE = "patchclamp info recording"

TOP, LISTED = 10, 20_000
"""Rows of a table, and keys of scores as JSON, of a folder that is shown again."""

NOUNS = {
    "descriptions": ("patchclamp.core.descriptions", "Descriptions"),
    "edit": ("patchclamp.core.edit", "Edit"),
    "exemplars": ("patchclamp.core.exemplars", "Exemplars"),
    "readout": ("patchclamp.core.readout", "Readout"),
    "scores": ("patchclamp.core.scores", "Scores"),
    "training": ("patchclamp.core.training", "Training"),
}
"""Kind of folder → where the noun that it holds is defined."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("folder", metavar="DIR", help="what record or survey wrote, or the file of a recorded brain")
    add_brain(parser)


def run(options: Namespace) -> int:
    """Say what a folder (or a graph's file) holds and whether it is whole."""
    from patchclamp.core.bundle import Bundle
    from patchclamp.core.circuit import holds_circuit
    from patchclamp.report.terminal.graph import show_graph
    from patchclamp.subjects.neural_layout import is_recording

    if is_recording(options.folder) and not Path(options.folder).is_dir():
        return _show_brain(options)
    refuse_brain_options(options, options.folder)
    if Path(options.folder).is_file():
        from patchclamp.core.graph import Graph

        graph = Graph.load(options.folder)
        if options.json:
            emit(graph.to_json())
        else:
            show_graph(graph)
        return 0
    if (Path(options.folder) / "base" / "base.sqlite").is_file():
        raise PatchclampError(
            expected="a recording, a survey, a graph or a brain's file",
            got=f"{options.folder}, an atlas",
            remedy="Ask `patchclamp atlas info` about it.",
        )
    if (Path(options.folder) / "basis.json").is_file():
        raise PatchclampError(
            expected="a folder of anything but directions or features",
            got=f"{options.folder}, a basis",
            remedy=f"`patchclamp basis info {options.folder}` says what it holds.",
        )
    bundle = Bundle.open(options.folder)
    if holds_circuit(bundle):
        return _show_circuit(options)
    if bundle.manifest["kind"] in NOUNS:
        return _show_noun(options, bundle.manifest["kind"])
    return show_bundle(bundle, options)


def _show_brain(options: Namespace) -> int:
    """Say what a recorded brain's file holds."""
    from patchclamp.report.terminal.neural import describe_recording, show_recording

    brain = open_brain(options, options.folder)
    if options.json:
        emit(describe_recording(brain))
    else:
        show_recording(brain)
    return 0


def _show_circuit(options: Namespace) -> int:
    """Show a circuit's folder again: its first parts and the receipt that was made when it was found."""
    from patchclamp.core.circuit import load_circuit, to_document
    from patchclamp.report.terminal.circuit import show_circuit

    found = load_circuit(options.folder)
    document = to_document(found)
    if options.json:
        emit(document)
    else:
        show_circuit(found, document)
    return 0


def _show_noun(options: Namespace, kind: str) -> int:
    """Show a noun that was kept in a folder."""
    from patchclamp.report.terminal import show

    module, name = NOUNS[kind]
    noun = getattr(importlib.import_module(module), name).load(options.folder)
    if options.json:
        emit({"path": options.folder, "kind": kind, **(noun.to_json(LISTED) if kind == "scores" else noun.to_json())})
    else:
        show(noun, TOP)
    return 0
