"""Classify an image with units clamped."""

from argparse import Namespace

from patchclamp.cli.loading import check_kind, load_model
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_clamps, add_model
from patchclamp.cli.output import emit
from patchclamp.core.errors import PatchclampError

SUMMARY = "The classes that an image is given with units clamped, beside those without."
QUESTION = "change it"
EXAMPLE = "patchclamp classify organism:digits-cnn four.png --clamp 'blocks.1.conv1.act/channels/8=0'"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser, text=False)
    parser.add_argument("image", metavar="IMAGE", help="an image file, FILE.npz:17, or digits:17")
    add_clamps(parser, where="places of the site: 5, 5:9 (on a map place y * X + x)")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to print (default: 5)")


def run(options: Namespace) -> int:
    """Classify an image with units clamped."""
    from patchclamp.core.intervention import clamp
    from patchclamp.report.terminal.classes import show_classes

    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    if options.top < 1:
        raise PatchclampError(expected="at least 1 class", got=str(options.top), remedy="Give another --top.")
    model = load_model(options)
    check_kind(model, images=True)
    shown = model.stimuli(options.image)
    if len(shown) != 1:
        raise PatchclampError(expected="one image", got=f"{len(shown):,}", remedy=f"Name one: {options.image}:0.")
    changed = model.run(shown, interventions=clamps).logits[0].double().softmax(-1) if clamps else None
    bare = model.run(shown).logits[0].double().softmax(-1)
    if not (bare if changed is None else bare + changed).isfinite().all():
        raise PatchclampError(
            expected="finite answers", got=f"NaN with {', '.join(options.clamp) or 'nothing clamped'}",
            remedy="Clamp to a value that the model's own numbers can hold.",
        )  # fmt: skip
    order = bare.argsort(descending=True, stable=True)[: options.top].tolist()
    if changed is not None:
        order = list(dict.fromkeys([*order, *changed.argsort(descending=True, stable=True)[: options.top].tolist()]))
    classes = [
        {"class": i, "name": model.answer_name(i), "probability": float(bare[i]),
         "clamped": None if changed is None else float(changed[i])}
        for i in order
    ]  # fmt: skip
    if options.json:
        found = {"image": shown[0].name, "id": shown[0].id, "interventions": [c.to_json() for c in clamps]}
        emit({**found, "classes": classes})
    else:
        show_classes(shown[0].name, classes, options.clamp, at)
    return 0
