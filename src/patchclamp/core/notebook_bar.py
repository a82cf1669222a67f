"""A progress bar in a notebook for every public function that can say how far it is."""

import importlib
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from patchclamp.core.plain_numbers import human_s
from patchclamp.core.time_left import TimeLeft

QUIET_S, EVERY_S = 0.5, 0.2
"""Seconds before a bar appears, and between two updates of it."""
KERNEL = "ZMQInteractiveShell"
"""The shell of a notebook; others have no bar that can be updated."""


class Shown:
    """Whether bars are shown, and whether one is."""

    on = True
    busy = False


def run_with_bar(fn: Callable[..., Any], label: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a function that was given no ``progress``; in a notebook with a bar, unless it is part of one that has one.

    Args:
        fn: the function, which takes ``progress``.
        label: what it is called.
        args: its arguments.
        kwargs: those with names.

    Returns:
        Any: what it returns.
    """
    if not Shown.on or Shown.busy or not _is_notebook() or threading.current_thread() is not threading.main_thread():
        return fn(*args, **kwargs)
    bar = NotebookBar(label)
    Shown.busy = True
    try:
        made = fn(*args, **{**kwargs, "progress": bar})
    except BaseException:
        bar.end("stopped")
        raise
    finally:
        Shown.busy = False
    bar.end("done")
    return made


def _is_notebook() -> bool:
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return any(kind.__name__ == KERNEL for kind in type(shell).__mro__)


class NotebookBar:
    """Draw how far work is, with the time left, once it has taken half a second.

    Args:
        label: the work.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.clock = TimeLeft()
        self.last = self.clock.began + QUIET_S - EVERY_S
        self.share = 0.0
        self.handle: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` are through."""
        now = time.monotonic()
        left = self.clock.note(done, total, now)
        self.share = min(done / total, 1.0) if total > 0 else 0.0
        if now - self.last < EVERY_S:
            return
        self.last = now
        self._draw(f"{self.share:.0%}" + (f", {human_s(left)} left" if left is not None else ""))

    def end(self, how: str) -> None:
        """Say how it ended, where a bar was drawn."""
        if self.handle is not None:
            self.share = 1.0 if how == "done" else self.share
            self._draw(f"{how} after {human_s(time.monotonic() - self.clock.began)}")

    def _draw(self, words: str) -> None:
        display: Any = importlib.import_module("IPython.display").display
        said = f"{self.label}: {words}"
        bar = f'<progress value="{self.share:.3f}" max="1" style="width: 20em"></progress>'
        data = {"text/html": f"{bar} <small>{escape(said)}</small>", "text/plain": said}
        if self.handle is None:
            self.handle = display(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)
