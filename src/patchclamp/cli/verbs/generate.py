"""Continue a prompt with units clamped."""

from argparse import Namespace
from typing import Any

from patchclamp.cli.loading import add_bases, check_kind, load_model, load_prompt, note_unknown
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import CHAT, add_basis, add_clamps, add_model
from patchclamp.cli.output import emit
from patchclamp.cli.progress import Meter

SUMMARY = "Continue a prompt with units clamped, beside the continuation without."
QUESTION = "change it"
EXAMPLE = "patchclamp generate organism:cat 'the old cat' --clamp 'blocks.0.mlp.act/neurons/7=0'"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    parser.add_argument("prompt", metavar="PROMPT", help="the text to continue")
    parser.add_argument("--chat", action="store_true", help=CHAT)
    add_clamps(parser, where="positions 5, 5:9, -1 or generated steps +0:+3")
    parser.add_argument(
        "--max-new-tokens", type=int, default=40, metavar="N", help="most tokens to write (default: 40)"
    )
    add_basis(parser)
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0 takes the likeliest token (default: 0)"
    )


def run(options: Namespace) -> int:
    """Continue a prompt with units clamped."""
    from patchclamp.core.intervention import clamp
    from patchclamp.report.terminal.generation import show_generation

    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    model = load_model(options)
    check_kind(model, images=False)
    add_bases(model, options)
    how: dict[str, Any] = {
        "max_new_tokens": options.max_new_tokens, "temperature": options.temperature, "seed": options.seed
    }  # fmt: skip
    prompt = load_prompt(model, options.prompt, options.chat)
    for shown in model.stimuli(prompt, answered=True):
        note_unknown(model, shown)
    changed = None
    if clamps:
        # First, so that a clamp that cannot be is refused before anything is written.
        with Meter("clamped") as meter:
            [changed] = model.generate(prompt, interventions=clamps, progress=meter, **how)
    with Meter("without clamps") as meter:
        [bare] = model.generate(prompt, progress=meter, **how)
    if options.json:
        emit(
            {
                "prompt": options.prompt,
                "interventions": [c.to_json() for c in clamps],
                "unclamped": {"text": bare.text, "ids": bare.ids.tolist()},
                "clamped": None if changed is None else {"text": changed.text, "ids": changed.ids.tolist()},
            }
        )
    else:
        show_generation(options.prompt, bare.text, changed and changed.text, options.clamp, at)
    return 0
