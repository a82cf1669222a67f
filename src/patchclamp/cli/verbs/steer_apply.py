"""Apply a direction to a prompt."""

import argparse
from argparse import Namespace

from patchclamp.cli.loading import check_language, load_model, note_unknown
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_at, add_controls, add_model, number
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "Continue a prompt without and with a direction, beside random directions."
QUESTION = "change it"
EXAMPLE = "patchclamp steer apply organism:language-gpt2 'int x = 7;' --vector java"
FUNCTION = "continue_steered"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    parser.add_argument("prompt", metavar="PROMPT", help="the text to continue")
    parser.add_argument("--vector", required=True, metavar="DIR", help="what steer fit or decompose wrote")
    parser.add_argument("--unit", type=int, default=0, metavar="I", help="which direction of it (default: 0)")
    parser.add_argument(
        "--strength",
        type=_strength,
        metavar="S",
        default="auto",
        help="in the site's units of activation, below 0 the other way; or auto, by --nats (default: auto)",
    )
    parser.add_argument(
        "--nats",
        type=float,
        default=0.1,
        metavar="X",
        help="auto: how far next-token predictions are moved, mean KL divergence per token (default: 0.1)",
    )
    add_at(parser, "positions 5, 5:9, -1 or generated steps +0:+3")
    parser.add_argument(
        "--max-new-tokens", type=int, default=24, metavar="N", help="most tokens to write (default: 24)"
    )
    parser.add_argument("--n", type=int, default=20, metavar="N", help="continuations that are sampled (default: 20)")
    add_controls(parser, "random directions")


def _strength(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return number(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is neither auto nor a number") from problem


def run(options: Namespace) -> int:
    """Continue a prompt with a direction and with random ones, and show what it does."""
    from patchclamp.control import continue_steered
    from patchclamp.loaders import load_basis
    from patchclamp.report.terminal.steered import show_steered

    if options.unit < 0 or options.n < 2 or options.controls < 1 or options.max_new_tokens < 1:
        raise PatchclampError(
            expected="--unit from 0 on, --n from 2 on, --controls and --max-new-tokens from 1 on",
            got=f"{options.unit}, {options.n}, {options.controls}, {options.max_new_tokens}",
            remedy="Leave them out for the defaults.",
        )
    dictionary = load_basis(options.vector)
    model = load_model(options)
    check_language(model)
    model.add_dictionary(dictionary)
    for shown in model.stimuli(options.prompt, answered=True):
        note_unknown(model, shown)
    rows = (2 + options.controls) * options.n
    log(f"{rows:,} continuations of up to {options.max_new_tokens} tokens, {options.controls:,} directions at random")
    with Meter("steer apply", "continuations") as meter:
        found = continue_steered(
            model, dictionary.single(), options.prompt, options.strength, nats=options.nats,
            at=",".join(options.at) if options.at else None, unit=options.unit, n=options.n,
            n_random=options.controls, max_new_tokens=options.max_new_tokens, seed=options.seed, progress=meter,
        )  # fmt: skip
    if options.json:
        emit(found.to_json())
    else:
        show_steered(found, auto=options.strength is None, nats=options.nats)
    return 0
