"""Parse the words of a command line, run its verb, and return an exit code."""

import os
import sys
from collections.abc import Sequence

from patchclamp.cli.completion import print_completion
from patchclamp.cli.console import PlainStream, plain_streams
from patchclamp.cli.interrupts import INTERRUPTS
from patchclamp.cli.opening import check_open, open_report
from patchclamp.cli.output import TRACE, as_error, is_unread, report_error, silence
from patchclamp.cli.verbs import build_parser, find_verb
from patchclamp.core.errors import PatchclampError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``patchclamp``; by default those of the process.

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
            if isinstance(problem, BrokenPipeError) and is_unread(sys.stdout):
                # The reader (head, less) has seen enough; closing standard output again must not complain either.
                silence(sys.stdout)
                return 0
            if os.environ.get(TRACE) and not isinstance(problem, PatchclampError | KeyboardInterrupt):
                raise
            return report_error(as_error(problem, words, build_parser), as_json)


def _check_words(words: Sequence[str]) -> None:
    """Refuse what no shell can pass and no file is called: a NUL, or half a character."""
    for word in words:
        if "\0" in word or not _can_encode(word):
            raise PatchclampError(
                expected="arguments of whole characters, without NUL", got=repr(word)[:200], remedy="Take it out."
            )


def _can_encode(word: str) -> bool:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return False
    return True


def _run(words: list[str]) -> int:
    try:
        options = build_parser().parse_args(words)
    except SystemExit:
        return 0  # help was printed
    if options.version:
        from patchclamp import __version__

        print(__version__)
        return 0
    if options.completion is not None:
        print_completion(options.completion)
        return 0
    if options.verb is None:
        build_parser().print_help()
        return 0
    from patchclamp.cli import loading

    options.words = words
    if options.quiet and isinstance(sys.stderr, PlainStream):
        sys.stderr.quiet = True
    check_open(options)
    loading.check_files(options)
    loading.state_loading(options)
    code = int(find_verb(options.verb).run(options))
    open_report(options)
    return code
