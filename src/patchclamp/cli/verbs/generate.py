"""Continue a prompt, or classify an image, with units clamped."""

from argparse import Namespace
from typing import Any

from patchclamp.cli.loading import add_bases, check_shown, load_model, load_prompt, note_unknown
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import CHAT, add_basis, add_clamps, add_model, refuse_typed
from patchclamp.cli.output import emit
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "Continue a prompt with units clamped, beside the continuation without; of a classifier its classes."
QUESTION = "change it"
EXAMPLE = "patchclamp generate organism:cat 'the old cat' --clamp 'blocks.0.mlp.act/neurons/7=0'"

OF_TEXT = {"max_new_tokens": 40, "temperature": 0.0}
OF_CLASSES = {"top": 5}
"""Options of one kind of model, with their defaults."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    parser.add_argument(
        "prompt", metavar="PROMPT", help="the text to continue; or an image: a file, FILE.npz:17, digits:17"
    )
    parser.add_argument("--chat", action="store_true", help=CHAT)
    add_clamps(
        parser, where="positions 5, 5:9, -1, generated steps +0:+3; of an image places (on a map place y * X + x)"
    )
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="text: most tokens to write (default: 40)")
    add_basis(parser)
    parser.add_argument("--temperature", type=float, metavar="T", help="text: 0 takes the likeliest token (default: 0)")
    parser.add_argument("--top", type=int, metavar="K", help="a classifier: how many classes to print (default: 5)")


def run(options: Namespace) -> int:
    """Continue a text, or classify an image, without clamps and with them."""
    from patchclamp.core.intervention import clamp
    from patchclamp.recipes import generate
    from patchclamp.report.terminal.classes import show_classes
    from patchclamp.report.terminal.generation import show_generation

    if not options.clamp:
        refuse_typed(options, ("at",), "a text or an image without --clamp")
    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    if options.top is not None and options.top < 1:
        raise PatchclampError(expected="at least 1 class", got=str(options.top), remedy="Give another --top.")
    model = load_model(options)
    check_shown(model)
    images = model.stimulus_kind == "images"
    classes = hasattr(model, "class_index")
    how = _typed(options, images=images, classes=classes)
    if images:
        prompt: Any = options.prompt
    else:
        add_bases(model, options)
        prompt = load_prompt(model, options.prompt, options.chat)
        for shown in model.stimuli(prompt, answered=True):
            note_unknown(model, shown)
    with Meter("generate") as meter:
        found: Any = generate(model, prompt, clamps, seed=options.seed, progress=meter, **how)
    if options.json:
        emit({**found.to_json(), **({} if classes else {"prompt": options.prompt})})
    elif classes:
        show_classes(found.image, found.to_json()["classes"], options.clamp, at)
    else:
        changed = None if found.clamped is None else found.clamped.text
        show_generation(options.prompt, found.bare.text, changed, options.clamp, at)
    return 0


def _typed(options: Namespace, *, images: bool, classes: bool) -> dict[str, Any]:
    """Return the options of this kind of model, and refuse those of the other.

    Raises:
        PatchclampError: names them.
    """
    others = OF_TEXT if classes else OF_CLASSES
    given = [name for name in others if getattr(options, name) is not None]
    given += [name for name in ("chat", "basis", "bos") if images and getattr(options, name)]
    if given:
        raise PatchclampError(
            expected=f"options of {'an image' if images else 'a classifier' if classes else 'text'}",
            got=", ".join(f"--{name.replace('_', '-')}" for name in given),
            remedy="Leave it out: the model "
            + ("reads images." if images else "answers with classes." if classes else "reads text."),
        )
    own = OF_CLASSES if classes else OF_TEXT
    return {name: usual if getattr(options, name) is None else getattr(options, name) for name, usual in own.items()}
