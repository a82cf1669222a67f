"""Open the page that a command wrote in a browser."""

import webbrowser
from argparse import Namespace
from pathlib import Path

from patchclamp.core.errors import PatchclampError


def check_open(options: Namespace) -> None:
    """Refuse --open where no page is written.

    Raises:
        PatchclampError: --open without --report.
    """
    if getattr(options, "open", False) and hasattr(options, "report") and options.report is None:
        raise PatchclampError(
            expected="--report FILE with --open", got="--open alone", remedy="Say which file the page is written to."
        )


def open_report(options: Namespace) -> None:
    """Open the page that --report wrote, where --open was typed."""
    if getattr(options, "open", False) and getattr(options, "report", None) and Path(options.report).is_file():
        webbrowser.open(Path(options.report).resolve().as_uri())
