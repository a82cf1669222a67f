"""Prove equality with the bare network."""

import argparse
from argparse import Namespace
from dataclasses import asdict

from patchclamp.cli.loading import load_model
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_model
from patchclamp.cli.output import emit
from patchclamp.cli.progress import Meter

SUMMARY = "Prove that what the rig shows is the model: equality with the bare network."
QUESTION = "what is here"
EXAMPLE = "patchclamp verify family:gpt2"

FAMILY = "family:"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Prove that what the rig shows is the model: equality with the bare network on padded batches.\n"
        "family:NAME runs the contract on the family's tiny model, and on each part's wrong mapping."
    )
    add_model(parser, text=False)


def run(options: Namespace) -> int:
    """Prove equality with the bare network."""
    from patchclamp.report.terminal.contract import show_verdicts
    from patchclamp.subjects.contract.verify import verify, verify_family
    from patchclamp.subjects.vision_sites import vision_family_names

    if options.model.startswith(FAMILY):
        name = options.model.removeprefix(FAMILY)
        about = f"the tiny model of family {name}, float32"
        with Meter("verify", "checks") as meter:
            verdicts = verify_family(name, progress=meter)
    else:
        model = load_model(options)
        with Meter("verify", "checks") as meter:
            verdicts = verify(model, progress=meter)
        about = f"{model.name} ({type(model.module).__name__}, {str(model.dtype).removeprefix('torch.')})"
    passed = all(v.passed for v in verdicts)
    seen = name in vision_family_names() if options.model.startswith(FAMILY) else not hasattr(model, "tokenize")
    if options.json:
        emit({"subject": about, "passed": passed, "verdicts": [{**asdict(v), "passed": v.passed} for v in verdicts]})
    else:
        show_verdicts(verdicts, about, passed, images=seen)
    return 0 if passed else 1
