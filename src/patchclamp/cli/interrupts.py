"""Ctrl-C during a command."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, _number: int, _frame: object) -> None:
        if not self.ignored:
            self.seen = True
            raise KeyboardInterrupt


INTERRUPTS = Interrupts()
