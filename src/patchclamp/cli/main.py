"""Main: parse, run one command, and turn every trouble into three lines and exit code 2."""

import argparse
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from patchclamp.cli.console import plain_streams
from patchclamp.cli.parser import CODERS, build_parser
from patchclamp.core.errors import PatchclampError, lacks_memory

TRACE = "PATCHCLAMP_TRACEBACK"
LOST_S = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``patchclamp``; those of the process where left out.

    Returns:
        0 when it worked, 1 when a check found something wrong, 2 on an error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words[: words.index("--")] if "--" in words else "--json" in words
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with plain_streams(), INTERRUPTS.heard():
        try:
            _check_words(words)
            code = _run(words)
            sys.stdout.flush()
            # As in the other branch: nothing may be called before Ctrl-C is ignored.
            INTERRUPTS.ignored = True
            return code
        except BaseException as problem:
            # A second Ctrl-C must neither cut the report short nor end it in a traceback.
            INTERRUPTS.ignored = True
            if isinstance(problem, BrokenPipeError) and _is_unread(sys.stdout):
                # The reader (head, less) has seen enough; closing standard output again must not complain either.
                _silence(sys.stdout)
                return 0
            if os.environ.get(TRACE) and not isinstance(problem, PatchclampError | KeyboardInterrupt):
                raise
            return _complain(_as_error(problem, words), as_json)


def _check_words(words: Sequence[str]) -> None:
    """Refuse what no shell can pass and no file is called: a path with a NUL in it."""
    if any("\0" in word for word in words):
        raise PatchclampError(
            expected="arguments without NUL characters",
            got=repr(next(word for word in words if "\0" in word))[:200],
            remedy="Take it out.",
        )


class Interrupts:
    """Ctrl-C during a command: it raises KeyboardInterrupt, until the command's end is being reported."""

    def __init__(self) -> None:
        self.seen = False
        self.ignored = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Note Ctrl-C: a library may turn a KeyboardInterrupt into an error of its own."""
        self.seen = self.ignored = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        unraisable = sys.unraisablehook

        def again(lost: Any) -> None:
            # Python drops what is raised in a __del__ or a callback, so Ctrl-C comes again once that has returned.
            if issubclass(lost.exc_type, KeyboardInterrupt):
                repeat = threading.Timer(LOST_S, signal.raise_signal, [signal.SIGINT])
                repeat.daemon = True
                repeat.start()
            else:
                unraisable(lost)

        before = signal.signal(signal.SIGINT, self._note)
        sys.unraisablehook = again
        try:
            yield
        finally:
            sys.unraisablehook = unraisable
            signal.signal(signal.SIGINT, before)

    def _note(self, _number: int, _frame: object) -> None:
        if not self.ignored:
            self.seen = True
            raise KeyboardInterrupt


INTERRUPTS = Interrupts()


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


def _takes_less(words: Sequence[str]) -> str:
    """Return what would take less memory, among what the command that was typed has."""
    parser: argparse.ArgumentParser = build_parser()
    for word in words:
        verbs = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        if verbs is None:
            break
        parser = verbs.choices.get(word, parser)
    has = {name for action in parser._actions for name in (*action.option_strings, action.dest)}
    remedies = [remedy for name, remedy in SMALLER.items() if name in has]
    return " or ".join(filter(None, (", ".join(remedies), "a smaller model")))


def _goes_on(words: Sequence[str]) -> bool:
    """Say whether a command can go on after an interruption."""
    try:
        options = build_parser().parse_args(words)
    except (PatchclampError, SystemExit):
        return False
    return hasattr(options, "resume") and (options.verb != "decompose" or options.method in CODERS)


def _as_error(problem: BaseException, words: Sequence[str]) -> PatchclampError:
    """Return any trouble as one with three parts."""
    if isinstance(problem, PatchclampError):
        return problem
    if INTERRUPTS.seen or isinstance(problem, KeyboardInterrupt):
        return PatchclampError(
            expected="to finish",
            got="Ctrl-C",
            remedy="What was committed, if anything was, is kept: go on with --resume."
            if _goes_on(words)
            else "Run it again: nothing was left half written.",
        )
    if lacks_memory(problem):
        return PatchclampError(
            expected="memory enough",
            got=f"{problem}"[:200] or "none left",
            remedy=f"Use {_takes_less(words)}.",
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


def _run(words: list[str]) -> int:
    try:
        options = build_parser().parse_args(words)
    except SystemExit:
        return 0  # help was printed
    if options.version:
        from patchclamp import __version__

        print(__version__)
        return 0
    if options.verb is None:
        build_parser().print_help()
        return 0
    from patchclamp.cli import commands

    options.words = words
    return int(getattr(commands, options.verb)(options))


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
            _print_problem(_as_error(problem, ()))


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


def _complain(problem: PatchclampError, as_json: bool) -> int:
    try:
        if as_json:
            emit({"error": problem.to_json()})
        else:
            _print_problem(problem)
        sys.stdout.flush()
    except OSError:
        # Standard output can be written no more; standard error may, and the exit code still tells.
        _silence(sys.stdout)
        _print_problem(problem)
    return 2


def _print_problem(problem: PatchclampError) -> None:
    print(f"patchclamp: expected {problem.expected}", file=sys.stderr)
    print(f"            got      {problem.got}", file=sys.stderr)
    print(f"            to do    {problem.remedy}", file=sys.stderr)


def _is_unread(stream: Any) -> bool:
    """Say whether a stream is a pipe that nobody reads any more; another pipe may have broken."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except OSError:
        return False
    return bool(poll.poll(0))


def _silence(stream: Any) -> None:
    """Let what is left in a stream's buffer go nowhere, so that leaving Python does not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
