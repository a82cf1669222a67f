"""Parse the words of a command line, run its verb, and return an exit code."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from patchclamp.cli.console import plain_streams
from patchclamp.cli.output import TRACE, as_error, report_error, silence
from patchclamp.cli.parser import build_parser
from patchclamp.core.errors import PatchclampError


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
    with plain_streams(), _interrupts() as interrupted:
        try:
            _check_words(words)
            code = _run(words)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # The reader (head, less) has seen enough; closing standard output again must not complain either.
            silence(sys.stdout)
            return 0
        except BaseException as problem:
            if isinstance(problem, SystemExit):
                raise
            if os.environ.get(TRACE) and not isinstance(problem, PatchclampError | KeyboardInterrupt):
                raise
            return report_error(as_error(problem, bool(interrupted), words), as_json)


def _check_words(words: Sequence[str]) -> None:
    """Refuse what no shell can pass and no file is called: a path with a NUL in it."""
    if any("\0" in word for word in words):
        raise PatchclampError(
            expected="arguments without NUL characters",
            got=repr(next(word for word in words if "\0" in word))[:200],
            remedy="Take it out.",
        )


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


def _run(words: list[str]) -> int:
    options = build_parser().parse_args(words)
    if options.version:
        from patchclamp import __version__

        print(__version__)
        return 0
    if options.verb is None:
        build_parser().print_help()
        return 0
    from patchclamp.cli import commands, loading

    options.words = words
    loading.check_files(options)
    loading.state_loading(options)
    return int(getattr(commands, options.verb)(options))
