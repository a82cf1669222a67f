"""Show progress and time left on standard error once work takes longer than two seconds."""

import sys
import time
from types import TracebackType
from typing import Any

from patchclamp.core.plain_numbers import human_s
from patchclamp.core.time_left import TimeLeft

QUIET_S = 2.0
LINE_S = 10.0


class Meter:
    """Show progress with time left; a bar on a terminal, a line every ten seconds elsewhere.

    Args:
        what: the work, in a word or two.
        unit: what is counted.
    """

    def __init__(self, what: str, unit: str = "tokens") -> None:
        self.what = what
        self.unit = unit
        self.clock = TimeLeft()
        self.last = self.clock.began
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` are through."""
        now = time.monotonic()
        left_s = self.clock.note(done, total, now)
        if now - self.clock.began < QUIET_S:
            return
        if sys.stderr.isatty():
            self._draw(done, total)
        elif now - self.last >= LINE_S or done == total:
            left = f", {human_s(left_s)} left" if left_s is not None else ""
            print(f"{self.what}: {done / total:.0%} of {total:,} {self.unit}{left}", file=sys.stderr, flush=True)
            self.last = now

    def _draw(self, done: int, total: int) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        from patchclamp.core.plain_text import terminal_of
        from patchclamp.report.terminal.table import PlainConsole

        if self.bar is None:
            columns = (
                TextColumn(self.what),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("left"),
            )
            self.bar = Progress(*columns, console=PlainConsole(file=terminal_of(sys.stderr)), transient=True)
            self.task = self.bar.add_task(self.what, total=total)
            self.bar.start()
        self.bar.update(self.task, completed=done)
        if done == total:
            self._stop()  # another bar may follow

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
