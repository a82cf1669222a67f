"""Say what a model has, or what a folder or file holds: it reads what is named."""

import importlib
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import (
    BRAIN_OPTIONS,
    load_model,
    open_brain,
    open_features,
    print_assumed,
    state_loading,
)
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_brain, add_conditions, add_loading
from patchclamp.cli.output import emit, print_atlas, show_bundle
from patchclamp.core.errors import PatchclampError

SUMMARY = (
    "A model's sites and what can be done there; or what a folder or a recorded brain holds, and whether it is whole."
)
QUESTION = "what is here"
EXAMPLE = "patchclamp info organism:cat"
FUNCTION = "load"

TOP, LISTED = 10, 20_000
"""Rows of a table, and keys of scores as JSON, of a folder that is shown again."""
NOUNS = {
    "descriptions": ("patchclamp.core.descriptions", "Descriptions"),
    "edit": ("patchclamp.core.edit", "Edit"),
    "exemplars": ("patchclamp.core.exemplars", "Exemplars"),
    "readout": ("patchclamp.core.readout", "Readout"),
    "scores": ("patchclamp.core.scores", "Scores"),
    "learning": ("patchclamp.core.training", "Training"),
    "training": ("patchclamp.core.training", "Training"),
}
"""Kind of folder → where the noun that it holds is defined."""
OF_MODELS, OF_FEATURES = ("modules", "dtype", "base"), ("site", "reads", "center", "bos")
FLAGS = {"site": "--sites", "unit_of_measure": "--unit-of-measure"}


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "noun",
        nargs="?",
        metavar="NOUN",
        help="a model; a folder that patchclamp wrote; a graph's file; features, of other libraries too; or the file "
        "of a recorded brain",
    )
    parser.add_argument(
        "unit", nargs="?", metavar="KEY", help="of an atlas: a unit, such as blocks.0.mlp.act/neurons/7"
    )
    parser.add_argument(
        "--families", action="store_true", help="instead: which architectures have canonical sites, and are tested"
    )
    model = parser.add_argument_group("a model")
    model.add_argument("--modules", action="store_true", default=None, help="list every module's input and output too")
    add_loading(model, text=False)
    add_conditions(parser.add_argument_group("features"))
    add_brain(parser)


def run(options: Namespace) -> int:
    """Find out what is named, and show it."""
    if (options.noun is None) != options.families:
        raise PatchclampError(
            expected="a NOUN, or --families",
            got="both" if options.families else "neither",
            remedy="See `patchclamp info --help`.",
        )
    kind = "families" if options.families else _find_kind(options.noun)
    _refuse_others(options, kind)
    if options.unit is not None and kind != "an atlas":
        raise PatchclampError(
            expected="an atlas before the key of a unit",
            got=f"{options.noun!r}, which is {kind}",
            remedy="`patchclamp atlas bake` makes an atlas; without the key this is shown itself.",
        )
    shows = {
        "families": _show_families,
        "a recorded brain": _show_brain,
        "a file": _show_graph,
        "an atlas": lambda given: print_atlas(given.noun, given.json, given.unit),
        "a folder of patchclamp": _show_folder,
        "features": _show_features,
        "a model": _show_model,
    }
    return shows[kind](options)


def _find_kind(noun: str) -> str:
    """Return what a name stands for, in words, by what lies there; nothing is loaded."""
    from patchclamp.subjects.neural_layout import is_recording

    path = Path(noun)
    if is_recording(noun) and not path.is_dir():
        return "a recorded brain"
    if path.is_file():
        return "a file"
    if path.is_dir():
        if (path / "base" / "base.sqlite").is_file():
            return "an atlas"
        if (path / "basis.json").is_file():
            return "features"
        if (path / "manifest.json").is_file() or not any(path.iterdir()):
            return "a folder of patchclamp"
        if (path / "adapter_config.json").is_file():
            return "a model"
        return "features" if _is_foreign(path) or not (path / "config.json").is_file() else "a model"
    if noun.startswith((".", "/", "~")) or path.exists():
        what = "neither a folder nor a file" if path.exists() else "not there"
        raise PatchclampError(
            expected="a model, a folder or a file", got=f"{noun!r}, which is {what}", remedy="Check the path."
        )
    # OWNER/REPOSITORY/FOLDER is one of the hub.
    return "features" if noun.count("/") > 1 and ":" not in noun else "a model"


def _is_foreign(folder: Path) -> bool:
    """Return whether a folder has the weights of another library's dictionary; Gemma Scope's has a config.json too."""
    from patchclamp.decompose.formats import MARKS

    return any((folder / mark).is_file() for mark in MARKS)


def _refuse_others(options: Namespace, kind: str) -> None:
    """Refuse options of another kind of noun.

    Raises:
        PatchclampError: names them.
    """
    own: dict[str, Sequence[str]] = {"a model": OF_MODELS, "features": OF_FEATURES, "a recorded brain": BRAIN_OPTIONS}
    given = [
        FLAGS.get(name, f"--{name}")
        for of, names in own.items()
        for name in names
        if of != kind and getattr(options, name) is not None
    ]
    if given:
        raise PatchclampError(
            expected=f"options of {kind}",
            got=f"{'--families' if kind == 'families' else repr(options.noun)} with {', '.join(given)}",
            remedy="Leave it out; `patchclamp info --help` lists the options of a model, of features and of a recorded "
            "brain's file (.csv, .mat, .nwb, .npy, .npz).",
        )


def _show_families(options: Namespace) -> int:
    from patchclamp.report.terminal.contract import show_families
    from patchclamp.subjects.contract.results import IMAGES, stored_results

    text, images = stored_results(), stored_results(IMAGES)
    if options.json:
        emit({**text, "images": images})
    else:
        show_families(text)
        show_families(images)
    return 0


def _show_model(options: Namespace) -> int:
    """List the sites of a model."""
    from patchclamp.report.terminal.model import show_sites

    options.model = options.noun
    state_loading(options)
    model = load_model(options)
    found = model.sites(modules=bool(options.modules))
    if options.json:
        emit(
            {
                "subject": {"slug": model.name, "hash": model.hash, **model.origin},
                "capabilities": asdict(model.capabilities),
                "sites": [site.to_json() for site in found],
            }
        )
    else:
        show_sites(model, found)
    return 0


def _show_brain(options: Namespace) -> int:
    from patchclamp.report.terminal.neural import describe_recording, show_recording

    brain = open_brain(options, options.noun)
    if options.json:
        emit(describe_recording(brain))
    else:
        show_recording(brain)
    return 0


def _show_graph(options: Namespace) -> int:
    from patchclamp.core.graph import Graph
    from patchclamp.report.terminal.graph import show_graph

    graph = Graph.load(options.noun)
    if options.json:
        emit(graph.to_json())
    else:
        show_graph(graph)
    return 0


def _show_features(options: Namespace) -> int:
    """Show what a dictionary, or a direction, holds."""
    from patchclamp.report.terminal.dictionary import show_dictionary

    found = open_features(options, options.noun)
    print_assumed(found)
    facts = {
        "name": found.name,
        "method": found.method,
        "subject": dict(found.subject),
        "about": dict(found.about),
        "curves": dict(found.curves),
        "bases": [_facts(site, each) for site, each in found.bases.items()],
    }
    emit(facts) if options.json else show_dictionary(options.noun, facts)
    return 0


def _facts(site: str, each: Any) -> dict[str, Any]:
    import numpy as np

    sizes = np.linalg.norm(each.decoder.astype(np.float64), axis=1)
    return {
        "site": site,
        "reads": each.reads,
        "units": each.n_units,
        "width": int(each.decoder.shape[1]),
        "activation": each.activation,
        "k": each.k,
        "skip": each.skip is not None,
        "hash": each.hash,
        "norm": [float(sizes.min(initial=np.inf)), float(sizes.mean()), float(sizes.max(initial=0))],
        "empty": int((sizes == 0).sum()),
    }


def _show_folder(options: Namespace) -> int:
    """Show a circuit, another noun, or the pieces of a recording or survey."""
    from patchclamp.core.circuit import holds_circuit
    from patchclamp.core.object_store import open_bundle

    bundle = open_bundle(options.noun)
    if holds_circuit(bundle):
        return _show_circuit(options)
    if bundle.manifest["kind"] in NOUNS:
        return _show_noun(options, bundle.manifest["kind"])
    return show_bundle(bundle, options)


def _show_circuit(options: Namespace) -> int:
    """Show a circuit's folder again: its first parts and the receipt that was made when it was found."""
    from patchclamp.core.circuit import load_circuit, to_document
    from patchclamp.report.terminal.circuit import show_circuit

    found = load_circuit(options.noun)
    document = to_document(found)
    if options.json:
        emit(document)
    else:
        show_circuit(found, document)
    return 0


def _show_noun(options: Namespace, kind: str) -> int:
    from patchclamp.report.terminal import show

    module, name = NOUNS[kind]
    noun = getattr(importlib.import_module(module), name).load(options.noun)
    if options.json:
        emit({"path": options.noun, "kind": kind, **(noun.to_json(LISTED) if kind == "scores" else noun.to_json())})
    else:
        show(noun, TOP)
    return 0
