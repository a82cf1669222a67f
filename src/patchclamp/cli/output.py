"""What every verb writes: results as JSON, errors and notes as text, files beside the results."""

import argparse
import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from patchclamp.cli.interrupts import INTERRUPTS
from patchclamp.cli.method_options import find_card
from patchclamp.cli.options import Parser
from patchclamp.core.errors import PatchclampError, lacks_memory

TRACE = "PATCHCLAMP_TRACEBACK"
SMALLER = {
    "--batch-size": "a smaller --batch-size",
    "--window": "a smaller --window",
    "prompt": "a shorter prompt",
    "--level": "fewer units (--level)",
    "--sites": "fewer --sites",
    "--n": "a smaller --n",
    "--n-features": "fewer features",
    "--buffer": "a smaller --buffer",
    "--dtype": "--dtype bfloat16",
}
"""What takes less memory, by the option or argument that a command must have for it."""


def memory_remedy(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Return what would take less memory, among what the command that was typed has."""
    for word in words:
        verbs = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        if verbs is None:
            break
        parser = verbs.choices.get(word, parser)
    has = {name for action in parser._actions for name in (*action.option_strings, action.dest)}
    remedies = [remedy for name, remedy in SMALLER.items() if name in has]
    return " or ".join(filter(None, (", ".join(remedies), "a smaller model")))


def can_resume(words: Sequence[str], parser: Parser) -> bool:
    """Return whether a command can be resumed after an interruption."""
    try:
        options = parser.parse_args(words)
    except (PatchclampError, SystemExit):
        return False
    by_card = options.verb == "decompose"
    return hasattr(options, "resume") and (not by_card or find_card(options.method, "decompose").data["resumable"])


def as_error(problem: BaseException, words: Sequence[str], build_parser: Callable[[], Parser]) -> PatchclampError:
    """Return any trouble as one with three parts.

    Args:
        problem: what was raised.
        words: what was typed.
        build_parser: makes the parser of all verbs, which says what the command has.
    """
    if isinstance(problem, PatchclampError):
        return problem
    if INTERRUPTS.seen or isinstance(problem, KeyboardInterrupt):
        return PatchclampError(
            expected="to finish",
            got="Ctrl-C",
            remedy="What was committed, if anything was, is kept: go on with --resume."
            if can_resume(words, build_parser())
            else "Run it again: nothing was left half written.",
        )
    if lacks_memory(problem):
        return PatchclampError(
            expected="memory enough",
            got=f"{problem}"[:200] or "none left",
            remedy=f"Use {memory_remedy(words, build_parser())}.",
        )
    # In Python 3.11 a path that leads round in a circle is no OSError.
    if isinstance(problem, OSError) or str(problem).startswith("Symlink loop"):
        return PatchclampError(
            expected="to read and write what was named",
            got=f"{problem}"[:300],
            remedy="Check the path, its permissions, and the space left.",
        )
    return PatchclampError(
        expected="this not to fail",
        got=f"{type(problem).__name__}: {problem}"[:300],
        remedy=f"This is a defect of patchclamp: report it with {TRACE}=1 set.",
    )


class Outputs:
    """Attempt what is made beside the results, and go on where it fails: what was computed is still to be shown."""

    def __init__(self) -> None:
        self.code = 0

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Say on standard error that an output could not be made, and why; the exit code becomes 2."""
        try:
            yield
        except Exception as problem:
            if INTERRUPTS.seen:
                raise
            if os.environ.get(TRACE) and not isinstance(problem, PatchclampError):
                raise
            self.code = 2
            print(f"patchclamp: {what} could not be made; what was computed follows", file=sys.stderr)
            print_error(as_error(problem, (), Parser))


def log(text: str) -> None:
    """Print a line on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def emit(data: Any) -> None:
    """Print one JSON document; NaN becomes null, for JSON has none."""
    print(json.dumps(finite(data), indent=1))


def finite(data: Any) -> Any:
    """Return data whose numbers JSON has: what is not finite becomes None."""
    if isinstance(data, dict):
        return {str(k): finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [finite(v) for v in data]
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return None
    return data


def report_error(problem: PatchclampError, as_json: bool) -> int:
    """Print an error, as JSON on standard output or as three lines on standard error, and return exit code 2."""
    try:
        if as_json:
            emit({"error": problem.to_json()})
        else:
            print_error(problem)
        sys.stdout.flush()
    except OSError:
        # Standard output can be written no more; standard error may, and the exit code still tells.
        silence(sys.stdout)
        print_error(problem)
    return 2


def print_error(problem: PatchclampError) -> None:
    """Print an error as three lines on standard error."""
    print(f"patchclamp: expected {problem.expected}", file=sys.stderr)
    print(f"            got      {problem.got}", file=sys.stderr)
    print(f"            to do    {problem.remedy}", file=sys.stderr)


def is_unread(stream: Any) -> bool:
    """Say whether a stream is a pipe that nobody reads any more; another pipe may have broken."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except OSError:
        return False
    return bool(poll.poll(0))


def silence(stream: Any) -> None:
    """Let what is left in a stream's buffer go nowhere, so that leaving Python does not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
