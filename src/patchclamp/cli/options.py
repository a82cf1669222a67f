"""Options that several commands share, and the parser class that raises their errors."""

import argparse
import math
import re
import sys
from argparse import Namespace
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.nearest import find_nearest

SHOWN = 40
"""Characters of a value that an error repeats."""
MODEL = "a local folder, a Hugging Face name (NAME@REVISION for a branch, tag or commit), or organism:NAME"
CHAT = "wrap the prompt in the chat template as a message of the user's, up to where the model answers"
BASIS = "features that `decompose` (or SAELens, sparsify) wrote, as units of their site; repeat for more"

_CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)", re.DOTALL)
_QUOTED = re.compile(r"[\w-]+")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints have three parts, and whose options are written out."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "allow_abbrev": False})
        self.register("type", int, integer)
        self.register("type", float, number)
        self._typed: dict[str, str] = {}
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and keep in ``typed`` the options that were typed: what each fills, and its flag."""
        self._typed = {}
        words = list(args or ())
        self._words = words[: words.index("--")] if "--" in words else words
        found, rest = super().parse_known_args(args, namespace)
        found.typed = {**getattr(found, "typed", {}), **self._typed}
        return found, rest

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and name the verb whose arguments are not known."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self.prog = " ".join(filter(None, (self.prog, getattr(found, "verb", None))))
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings:
            if action.dest in self._typed and isinstance(action, argparse._StoreAction):
                raise PatchclampError(
                    expected=f"{self._typed[action.dest]} once", got="it twice", remedy="Leave one of them out."
                )
            self._typed[action.dest] = max(action.option_strings, key=len)
        elif arg_strings == [""]:
            raise PatchclampError(
                expected=f"{action.metavar or action.dest}",
                got="'', an empty argument",
                remedy="Give a name or a text.",
            )
        # Python 3.11 takes the value of `--option=--` for the end of the options, and gives an empty list.
        if arg_strings == ["--"] and action.option_strings and action.nargs is None:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def _match_arguments_partial(self, actions: Any, arg_strings_pattern: str) -> list[int]:
        # Python 3.11 takes an argument that may be left out for left out before the options; it may follow them.
        counts: list[int] = super()._match_arguments_partial(actions, arg_strings_pattern)
        while counts and counts[-1] == 0 and "A" in arg_strings_pattern[sum(counts) :]:
            counts.pop()
        return counts

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse drops the error of a help that cannot be written.
        print(message, end="", file=file or sys.stderr, flush=True)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving."""
        near = self._find_meant(message)
        raise PatchclampError(
            expected=f"`{self.prog}` with the arguments that its help shows",
            got=message,
            remedy=f"{near}See `{self.prog} --help`.",
        )

    def _find_meant(self, message: str) -> str:
        """Return a sentence that names what was probably meant: an option or a choice that there is; else nothing."""
        # What is unknown to the parser of all verbs is an option of the verb that it passed the words to.
        options = {flag for parser in self._own_parsers() for flag in parser._option_string_actions}
        strange = [w for word in self._words if (w := word.partition("=")[0]).startswith("--") and w not in options]
        choice = _CHOICE.search(message)
        names, typed = (_QUOTED.findall(choice[2]), choice[1]) if choice else (options, strange[0] if strange else "")
        near = find_nearest(typed, sorted(names), cutoff=0.7)
        return f"Did you mean {near[0]}? " if near else ""

    def _own_parsers(self) -> Iterator["Parser"]:
        """Yield this parser, and those of the verbs in the words that it parsed."""
        yield self
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word in self._words:
                    if word in action.choices:
                        yield from action.choices[word]._own_parsers()
                        break


def refuse_typed(options: Namespace, names: Collection[str], kind: str) -> None:
    """Refuse options that were typed and that a kind of noun does not take.

    Args:
        options: what was parsed.
        names: what the options fill that it does not take.
        kind: of noun, in words.

    Raises:
        PatchclampError: names the flags.
    """
    if flags := [flag for name, flag in options.typed.items() if name in names]:
        raise PatchclampError(
            expected=f"options of {kind}", got=", ".join(flags), remedy="Leave it out: it would change nothing."
        )


def add_model(parser: Parser, *, text: bool = True) -> None:
    """Add the model, and what says how it is loaded; ``text`` for what shows text to it."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    add_loading(parser, text=text)
    add_seed(parser)


def add_loading(parser: argparse._ActionsContainer, *, text: bool = True) -> None:
    """Add what says how a model is loaded."""
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu, cuda, cuda:1, mps, auto, or auto:cpu=8GiB,cuda:0=20GiB with bounds (default: cpu)",
    )
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: the checkpoint's own)")
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="of an adapter (LoRA and its like): the model that it is merged into (default: the one that it names)",
    )
    if text:
        add_bos(parser)


def add_bos(parser: argparse._ActionsContainer) -> None:
    """Add --bos, the option of every command that shows text to a model."""
    parser.add_argument(
        "--bos",
        action="store_true",
        default=None,
        help="begin every text with the tokenizer's BOS token, where the tokenizer does not by itself",
    )


def add_seed(parser: Parser, what: str = "of everything random") -> None:
    """Add --seed."""
    parser.add_argument("--seed", type=seed, default=0, help=f"{what} (default: 0)")


def add_out(parser: Parser) -> None:
    """Add the --out of verbs that keep one noun in a folder."""
    parser.add_argument("--out", metavar="DIR", help="a new or empty folder to keep the result in")


def add_report(parser: Parser) -> None:
    """Add --report."""
    parser.add_argument("--report", metavar="FILE", help="write a page to look at, as one HTML file")


def add_basis(parser: Parser) -> None:
    """Add --basis, which may be repeated."""
    parser.add_argument("--basis", action="append", default=[], metavar="DIR", help=BASIS)


def add_controls(parser: Parser, what: str, *, least: int = 1) -> None:
    """Add --controls, the number of random sets."""
    parser.add_argument("--controls", type=int, default=99, metavar="N", help=f"{what} (default: 99, least: {least})")


def add_shown(parser: Parser, *, required: bool = True) -> None:
    """Add text or images, where to record, and how text is cut."""
    parser.add_argument(
        "--inputs",
        required=required,
        metavar="PATH",
        help="a UTF-8 text file; of a model of images an image, a folder of images, an npz or npy file, or digits; "
        "PATH:0:100 for some",
    )
    parser.add_argument("--max-images", type=int, metavar="N", help="stop after N images (default: all of them)")
    parser.add_argument(
        "--sites", required=required, metavar="PATTERN", help="site paths or patterns, joined by commas"
    )
    add_cutting(parser)


def add_cutting(parser: Parser) -> None:
    """Add how text is cut into stimuli."""
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="tokens per stimulus (default: 128, or the model's context where that is shorter)",
    )
    parser.add_argument("--max-tokens", type=int, metavar="N", help="stop after N tokens (default: the whole text)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="B", help="stimuli per forward pass (default: 8)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run in --out")
    parser.add_argument(
        "--chat",
        action="store_true",
        help="put each line (words, or a JSON list of messages) through the chat template",
    )
    parser.add_argument(
        "--no-bos",
        dest="bos",
        action="store_false",
        default=None,
        help="do not begin and end windows as the tokenizer's texts do",
    )
    add_skip_first(parser)
    add_engine(parser)


def add_engine(parser: Parser) -> None:
    """Add where the model is shown the text or the images."""
    group = parser.add_argument_group("on many processes or machines, with the bytes of one; see how-to many-machines")
    group.add_argument(
        "--engine",
        default="serial",
        metavar="NAME",
        help="serial, this process, or ray, workers of Ray (default: serial)",
    )
    group.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a Ray cluster that runs, or auto (default: Ray on this machine alone)",
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that each hold the model (default: as many as there is room for)",
    )


def add_skip_first(parser: Parser) -> None:
    """Add --skip-first."""
    parser.add_argument(
        "--skip-first",
        type=int,
        default=0,
        metavar="N",
        help="count nothing of each window's first N tokens, the tokenizer's own beginning among them (default: 0)",
    )


def add_brain(parser: Parser) -> None:
    """Add what a recorded brain's file does not say."""
    group = parser.add_argument_group("a file of a recorded brain (.csv, .mat, .nwb, .npy, .npz)")
    group.add_argument("--variable", action="append", metavar="NAME", help="which variable or column; repeat for more")
    group.add_argument("--axes", metavar="AXES", help="names of its axes, such as trial,time or time,unit")
    group.add_argument("--rate", type=float, metavar="HZ", help="samples per second, where the file does not say")
    group.add_argument("--duration", type=float, metavar="S", help="seconds of a trial, instead of --rate")
    group.add_argument("--bin", type=float, metavar="S", help="seconds per bin, to count event times in")
    group.add_argument("--unit-of-measure", metavar="UNIT", help="unit of measure, where the file does not say (a.u.)")
    group.add_argument("--labels", action="append", metavar="NAME", help="a variable or column of labels; repeat")


def add_pairs(parser: Parser, among: argparse._ActionsContainer | None = None) -> None:
    """Add what says which pairs; ``among`` is the group of those options of which --pairs is one."""
    (among or parser).add_argument(
        "--pairs",
        required=among is None,
        metavar="PAIRS",
        help="a CSV or JSONL file, task:NAME or task:NAME/train of a language organism, or planted",
    )
    parser.add_argument("--layout", metavar="NAME", help="of the file: ioi, greater-than or agreement (default: found)")
    parser.add_argument(
        "--n",
        type=int,
        metavar="N",
        help="take N pairs, set aside ones among them (default: all of a file, 64 of a task)",
    )
    parser.add_argument("--chat", action="store_true", help=CHAT)


def add_clamps(parser: Parser, *, where: str) -> None:
    """Add --clamp and --at; ``where`` says what --at takes."""
    parser.add_argument(
        "--clamp",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a unit (KEY+=V adds, KEY*=V scales, KEY=ablate silences; ' @ 5:9,+0:' after it says where); repeat",
    )
    add_at(parser, where)


def add_at(parser: Parser, where: str) -> None:
    """Add --at."""
    parser.add_argument("--at", action="append", metavar="WHERE", help=f"{where}; repeat (default: everywhere)")


def add_split(parser: Parser) -> None:
    """Add --split."""
    parser.add_argument(
        "--split",
        default="blocks:5",
        metavar="RULE",
        help="blocks:FOLDS, or blocks:FOLDS:GAP with stimuli left out beside each block (default: blocks:5)",
    )


def add_dictionary(parser: Parser, *names: str) -> None:
    """Add folders of features, this or another library's."""
    for name in names:
        parser.add_argument(
            name,
            metavar="DIR",
            help="what decompose wrote, or a folder of SAELens, sparsify or Gemma Scope; also owner/repository/folder "
            "on the hub",
        )


def add_conditions(parser: argparse._ActionsContainer) -> None:
    """Add what a folder of features may not say of itself."""
    parser.add_argument(
        "--sites", dest="site", metavar="SITE", help="the site that it writes, where the folder does not tell"
    )
    parser.add_argument("--reads", metavar="SITE", help="the site that a transcoder reads, where it does not tell")
    for option, what_it_says in (
        ("--center", "the stream that it was trained on was centred (center_writing_weights): take the mean off"),
        ("--bos", "the texts that it was trained on began with a BOS token"),
    ):
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=f"{what_it_says}, or not")


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
