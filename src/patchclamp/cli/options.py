"""Options that several commands share, and the parser class that raises their errors."""

import argparse
import math
import sys
from typing import Any, NoReturn

from patchclamp.core.errors import PatchclampError

SHOWN = 40
"""Characters of a value that an error repeats."""
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

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse drops the error of a help that cannot be written.
        print(message, end="", file=file or sys.stderr, flush=True)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving."""
        raise PatchclampError(
            expected=f"`{self.prog}` with the arguments that its help shows",
            got=message,
            remedy=f"See `{self.prog} --help`.",
        )


def add_prepend_bos(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that shows text to a model."""
    parser.add_argument(
        "--prepend-bos",
        action="store_true",
        help="begin every text with the tokenizer's BOS token, where the tokenizer does not by itself",
    )


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
