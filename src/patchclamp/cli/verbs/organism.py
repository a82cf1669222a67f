"""Networks whose answer is known."""

import argparse
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_seed
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "Networks whose answer is known, which ship with the package."
QUESTION = "what is here"
EXAMPLE = "patchclamp organism card cat"
FUNCTION = "load"

MOST_ITEMS = 1_000_000
"""They are held in memory."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Networks whose answer is known, which ship with the package.\n\n"
        "  list            all of them\n"
        "  card NAME       what is planted in one, or what one has learnt\n"
        "  train NAME      make a language or digits organism anew by its recipe, into --out\n"
        "  evaluate NAME   measure one: the tasks, the loss, of language the best neuron for each concept\n"
        "  text NAME       held-out text of the microworld, with --labels the concepts true of every token"
    )
    parser.add_argument("what", choices=("list", "card", "train", "evaluate", "text"), help="see above")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which; evaluate also takes a trained folder")
    parser.add_argument("--out", metavar="DIR", help="train: a new or empty folder")
    parser.add_argument("--steps", type=int, metavar="N", help="train: optimizer steps (default: as the shipped one)")
    parser.add_argument("--device", default="cpu", help="train, evaluate: cpu, cuda, cuda:1 or mps (default: cpu)")
    add_seed(parser, "train, text: the same seed, the same result")
    parser.add_argument("--n", type=int, metavar="N", help="text: documents (default: 1000); evaluate: items (500)")
    parser.add_argument(
        "--labels", action="store_true", help="text: a JSON line per document, tokens with their concepts"
    )


def run(options: Namespace) -> int:
    """List the organisms, show one's card, or train, evaluate and read a language organism."""
    from patchclamp import organisms
    from patchclamp.report.terminal.organism import show_card, show_organisms

    if (options.what == "list") != (options.name is None):
        raise PatchclampError(
            expected="`organism list`, or `organism card|train|evaluate|text NAME`",
            got=f"`organism {options.what}`{'' if options.name is None else ' with a name'}",
            remedy=f"Names: {', '.join(organisms.names())}.",
        )
    if options.n is not None and not 1 <= options.n <= MOST_ITEMS:
        raise PatchclampError(
            expected=f"1 to {MOST_ITEMS:,} documents or items", got=f"{options.n:,}", remedy="Give another --n."
        )
    name = "" if options.name is None else options.name.removeprefix("organism:")
    if options.what == "list":
        cards = [organisms.card(name) for name in organisms.names()]
        emit(cards) if options.json else show_organisms(cards)
    elif options.what == "card":
        card = organisms.card(name)
        emit(card) if options.json else show_card(card)
    elif options.what == "train":
        _train(options, name)
    elif options.what == "evaluate":
        _evaluate(options, name)
    else:
        _text(options, name)
    return 0


def _train(options: Namespace, name: str) -> None:
    from patchclamp.organisms import digits, language
    from patchclamp.organisms.language.train import STEPS
    from patchclamp.report.terminal.organism import show_card

    seen = name in digits.names()
    if not seen:
        language.folder(name)  # an unknown name is refused first
    own = digits.STEPS[name] if seen else STEPS[name]
    steps = own if options.steps is None else options.steps
    folder = Path(options.out or "")
    if not options.out or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))) or steps < 1:
        raise PatchclampError(
            expected="--out with a new or empty folder, and at least 1 step",
            got=f"--out {options.out!r}, {steps} steps",
            remedy="Give another folder.",
        )
    if seen:
        log(f"{steps:,} steps: a minute or two of one core")
        with Meter(f"train {name}", "steps") as meter:
            digits.train(digits.Recipe(name, seed=options.seed, steps=steps), folder, progress=meter)
        card = digits.write_card(folder, name)
    else:
        card = _train_language(options, name, folder, steps)
    emit(card) if options.json else show_card(card)


def _train_language(options: Namespace, name: str, folder: Path, steps: int) -> Any:
    from patchclamp.organisms.language.cards import write_card
    from patchclamp.organisms.language.train import Recipe, train

    minutes = f"some {steps / 800:.0f} minutes of one core, after two that write the text"
    log(f"{steps:,} steps: {minutes}; about 1 GB of memory")
    with Meter("write the text", "documents") as writing, Meter(f"train {name}", "steps") as meter:
        recipe = Recipe(name, steps, seed=options.seed)
        train(recipe, folder, device=options.device, progress=lambda p: meter(p.step, p.steps), writing=writing)
    return write_card(folder, name, n=options.n or 500)


def _evaluate(options: Namespace, name: str) -> None:
    from patchclamp.loaders import load
    from patchclamp.organisms import digits, language
    from patchclamp.report.terminal.organism import show_measured

    model: Any
    if name in digits.names():
        model = digits.build(name, device=options.device)
    elif name not in language.names() and Path(name).is_dir():
        model = load(name, device=options.device, dtype="float32")
    else:
        model = language.build(name, device=options.device)
    found = digits.evaluate(model) if model.stimulus_kind == "images" else language.evaluate(model, n=options.n or 500)
    emit(found) if options.json else show_measured(found)


def _text(options: Namespace, name: str) -> None:
    from patchclamp.organisms import language

    if options.n is not None and options.n < 1:
        raise PatchclampError(expected="at least 1 document", got=str(options.n), remedy="Give another --n.")
    documents = language.text(options.n or 1000, seed=options.seed, name=name)
    if options.json or options.labels:
        token = language.build(name).tokenizer.token
        found = [one.to_json(token) for one in documents]
        if options.json:
            emit(found)
        else:
            for line in found:
                print(json.dumps(line, ensure_ascii=False))
    else:
        for one in documents:
            print(one.stimulus.text)
