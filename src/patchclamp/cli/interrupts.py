"""Ctrl-C during a command."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOST_S = 0.05


class Interrupts:
    """Ctrl-C during a command: it raises KeyboardInterrupt, until the command's end is being reported."""

    def __init__(self) -> None:
        self.seen = False
        self.ignored = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Note Ctrl-C: a library may turn a KeyboardInterrupt into an error of its own."""
        self.seen = self.ignored = False
        # A job that a shell or nohup started in the background inherits that Ctrl-C, meant for another, is ignored.
        meant = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        if not meant or threading.current_thread() is not threading.main_thread():
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
