"""Main: parse, run one command, and turn every trouble into three lines and exit code 2."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from patchclamp.cli.parser import build_parser
from patchclamp.core.errors import PatchclampError

TRACE = "PATCHCLAMP_TRACEBACK"


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
    with _interrupts() as interrupted:
        try:
            code = _run(words)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # The reader (head, less) has seen enough; closing standard output again must not complain either.
            _silence(sys.stdout)
            return 0
        except BaseException as problem:
            if isinstance(problem, SystemExit):
                raise
            if os.environ.get(TRACE) and not isinstance(problem, PatchclampError | KeyboardInterrupt):
                raise
            return _complain(_told(problem, bool(interrupted), words), as_json)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Give a list that fills on Ctrl-C: a library may turn a KeyboardInterrupt into an error of its own."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, _frame: object) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _goes_on(words: Sequence[str]) -> bool:
    """Say whether a command can go on after an interruption."""
    from patchclamp.cli.decompose import CODERS

    try:
        options = build_parser().parse_args(words)
    except (PatchclampError, SystemExit):
        return False
    return hasattr(options, "resume") and (options.verb != "decompose" or options.method in CODERS)


def _told(problem: BaseException, interrupted: bool, words: Sequence[str]) -> PatchclampError:
    """Return any trouble as one with three parts."""
    if isinstance(problem, PatchclampError):
        return problem
    if interrupted or isinstance(problem, KeyboardInterrupt):
        return PatchclampError(
            expected="to finish",
            got="Ctrl-C",
            remedy="What was committed is kept: go on with --resume."
            if _goes_on(words)
            else "Run it again: nothing was left half written.",
        )
    if isinstance(problem, MemoryError) or "not enough memory" in str(problem) or "out of memory" in str(problem):
        return PatchclampError(
            expected="memory enough",
            got=f"{problem}"[:200] or "none left",
            remedy="Use a smaller --batch-size or --window, --dtype bfloat16, or a smaller model.",
        )
    if isinstance(problem, OSError):
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
    options = build_parser().parse_args(words)
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


def emit(data: Any) -> None:
    """Print one JSON document; NaN becomes null, for JSON has none."""
    print(json.dumps(_finite(data), indent=1))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(k): _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return None
    return data


def _complain(problem: PatchclampError, as_json: bool) -> int:
    try:
        if as_json:
            emit({"error": problem.to_json()})
        else:
            print(f"patchclamp: expected {problem.expected}", file=sys.stderr)
            print(f"            got      {problem.got}", file=sys.stderr)
            print(f"            to do    {problem.remedy}", file=sys.stderr)
        sys.stdout.flush()
    except OSError:
        # Neither the answer nor the complaint can be written; the exit code still tells.
        _silence(sys.stdout)
    return 2


def _silence(stream: Any) -> None:
    """Let what is left in a stream's buffer go nowhere, so that leaving Python does not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
