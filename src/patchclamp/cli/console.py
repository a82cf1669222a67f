"""Standard output and error, on which nobody's text can command the terminal."""

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from patchclamp.core.errors import PatchclampWarning
from patchclamp.core.plain_text import plain

# What tqdm writes, of which transformers' and the hub's bars are: back to the line's beginning, or a line up.
_BAR = re.compile(r"(\r|(\n|\x1b\[A)*\Z)")


class PlainStream:
    """A text stream that writes out what could command a terminal.

    Args:
        bare: the stream behind it, for what may command the terminal.
        is_error: whether it is standard error. Progress bars of other libraries come by it too, and a reader that
            left, or a full disk, ends no work: what is said there is lost, and nothing else.
    """

    def __init__(self, bare: Any, *, is_error: bool = False) -> None:
        self.bare = bare
        self.is_error = is_error
        self.quiet = False

    def write(self, text: str) -> int:
        """Write a text, and return how long it was; nothing is written while ``quiet`` is set."""
        if self.quiet:
            return len(text)
        lead = _BAR.match(text) if self.is_error else None
        moves = lead[0] if lead else ""
        with self._losing():
            self.bare.write(moves + plain(text[len(moves) :]))
        return len(text)

    def write_always(self, text: str) -> None:
        """Write a text even while ``quiet`` is set, as of errors."""
        quiet, self.quiet = self.quiet, False
        self.write(text)
        self.quiet = quiet

    def isatty(self) -> bool:
        """Return whether somebody looks on: bars that move are only for them."""
        return not self.quiet and bool(self.bare.isatty())

    def flush(self) -> None:
        """Write what is kept back."""
        with self._losing():
            self.bare.flush()

    def _losing(self) -> AbstractContextManager[None]:
        return suppress(OSError) if self.is_error else nullcontext()

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Put plain streams in the place of standard output and error, and show our warnings there as notes."""
    before = sys.stdout, sys.stderr, warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, PatchclampWarning):
            print(f"note: {message}", file=sys.stderr)
        else:
            before[2](message, category, *place, **more)

    with open(os.devnull, "w") as nowhere:
        # A stream that was closed before the start (>&-) is None.
        out, err = (stream or nowhere for stream in before[:2])
        streams: Any = PlainStream(out), PlainStream(err, is_error=True)
        sys.stdout, sys.stderr = streams
        warnings.showwarning = show
        try:
            yield
        finally:
            sys.stdout, sys.stderr, warnings.showwarning = before
