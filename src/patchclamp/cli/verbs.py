"""Verbs: what the options of all commands have in common."""

import argparse
import math
import sys
from typing import Any, NoReturn

from patchclamp.core.errors import PatchclampError

SHOWN = 40
"""Characters of a value that an error repeats."""
BOTH = 3
"""Answers that are told of each side."""
MODEL = "a local folder, a Hugging Face name, or organism:NAME"
CHAT = "wrap the prompt in the chat template as a message of the user's, up to where the model answers"
BASIS = "features that `decompose` (or SAELens, sparsify) wrote, as units of their site; repeat for more"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints have three parts, and whose options are written out."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "allow_abbrev": False})
        self.register("type", int, integer)
        self.register("type", float, number)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # Python 3.11 takes the value of `--option=--` for the end of the options, and gives an empty list.
        if arg_strings == ["--"] and action.option_strings and action.nargs is None:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving."""
        raise PatchclampError(
            expected=f"`{self.prog}` with the arguments that its help shows",
            got=message,
            remedy=f"See `{self.prog} --help`.",
        )


def load_model(options: argparse.Namespace) -> Any:
    """Load the model that a command names, as its options say."""
    from patchclamp.opening import load

    return load(
        options.model, device=options.device, dtype=options.dtype, prepend_bos=bool(getattr(options, "prepend_bos", 0))
    )


def add_prepend_bos(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that shows text to a model."""
    parser.add_argument(
        "--prepend-bos",
        action="store_true",
        help="begin every text with the tokenizer's BOS token, where the tokenizer does not by itself",
    )


def tell_conditions(model: Any, dictionary: Any, folder: str) -> None:
    """Say on standard error what is assumed of a dictionary's input, and what the model's texts are not."""
    from patchclamp.subjects.foreign import unmet_conditions

    for line in unmet_conditions(model, dictionary):
        print(f"note: {folder}: {line}", file=sys.stderr, flush=True)
    if dictionary.about.get("assumed"):
        again = f"patchclamp basis convert {folder} --to patchclamp --out NEW"
        print(f"note: `{again}` with these options keeps what is known of it", file=sys.stderr, flush=True)


def add_bases(model: Any, options: argparse.Namespace) -> None:
    """Make the features of every --basis known to the model, and say what is assumed of them."""
    from patchclamp.opening import load_basis

    for folder in options.basis:
        dictionary = load_basis(folder)
        model.add_dictionary(dictionary)
        if not dictionary.subject.get("hash"):
            print(
                f"note: {folder} does not say which weights it was made on: only its widths were checked",
                file=sys.stderr,
                flush=True,
            )
        if hasattr(model, "tokenize"):
            tell_conditions(model, dictionary, folder)


def verb(verbs: Any, name: str, summary: str, example: str, *, model: bool = True, text: bool = True) -> Parser:
    """Return the parser of a command, with the options that all have, and those of all that load a model."""
    made: Parser = verbs.add_parser(name, help=summary, description=summary, epilog=f"Example: {example}")
    if model:
        made.add_argument("model", metavar="MODEL", help=MODEL)
        made.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, or auto (default: cpu)")
        made.add_argument("--dtype", help="float32, bfloat16 or float16 (default: the checkpoint's own)")
        made.add_argument("--seed", type=seed, default=0, help="of everything random (default: 0)")
        if text:
            add_prepend_bos(made)
    made.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    return made


def integer(text: str) -> int:
    """Read an integer that a computer counts with: 64 bits."""
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{_short(text)} is not from -2**63 to 2**63 - 1")
    return value


def number(text: str) -> float:
    """Read a number that is finite."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{_short(text)} is no finite number")
    return value


def seed(text: str) -> int:
    """Read a seed."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{_short(text)} is not from 0 to {2**32 - 1}")
    return value


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def tell_pairs(model: Any, pairs: Any) -> None:
    """Say on standard error what is asked: how many pairs, which tokens m reads, and where m says the opposite."""
    n, aside = len(pairs), ", ".join(f"{k} with {reason}" for reason, k in pairs.counted_aside().items())
    said = [f"{_pairs(n)} used, {len(pairs.aside)} set aside{': ' + aside if aside else ''}"]
    sides = [
        ", ".join(repr(model.tokenizer.token(t)) for t in tokens[:BOTH]) + (", …" if len(tokens) > BOTH else "")
        for tokens in (pairs.metrics[0].target, pairs.metrics[0].contrast)
    ]
    said.append(f"m reads the token {sides[0]} against {sides[1]} (first pair)")
    if pairs.turned:
        said.append(
            f"in {pairs.turned} of {_pairs(n)} m is lower on the clean prompt than on the corrupted one: the model "
            "does not do what they ask, or answer and wrong answer are the wrong way round"
        )
    print("\n".join(said), file=sys.stderr, flush=True)


def _pairs(n: int) -> str:
    return f"{n:,} pair{'s' * (n != 1)}"
