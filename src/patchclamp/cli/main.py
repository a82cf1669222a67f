"""Main: parse, run one command, and turn every trouble into three lines and exit code 2."""

import json
import os
import sys
from collections.abc import Sequence
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
    as_json = "--json" in words
    try:
        return _run(words)
    except PatchclampError as problem:
        return _complain(problem, as_json)
    except KeyboardInterrupt:
        return _complain(
            PatchclampError(
                expected="to finish",
                got="Ctrl-C",
                remedy="Nothing committed was lost; record and survey go on with --resume.",
            ),
            as_json,
        )
    except BrokenPipeError:
        # The reader (head, less) has seen enough; closing standard output again must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as problem:
        if os.environ.get(TRACE):
            raise
        return _complain(
            PatchclampError(
                expected="this not to fail",
                got=f"{type(problem).__name__}: {problem}"[:300],
                remedy=f"This is a defect of patchclamp, or a limit of memory: report it with {TRACE}=1 set.",
            ),
            as_json,
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

    return int(getattr(commands, options.verb)(options))


def emit(data: Any) -> None:
    """Print one JSON document; NaN becomes null, for JSON has none."""
    print(json.dumps(_finite(data), ensure_ascii=False, indent=1))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(k): _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return None
    return data


def _complain(problem: PatchclampError, as_json: bool) -> int:
    if as_json:
        emit({"error": problem.to_json()})
    else:
        print(f"patchclamp: expected {problem.expected}", file=sys.stderr)
        print(f"            got      {problem.got}", file=sys.stderr)
        print(f"            to do    {problem.remedy}", file=sys.stderr)
    return 2
