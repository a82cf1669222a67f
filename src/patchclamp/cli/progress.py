"""Show progress and time left on standard error once work takes longer than two seconds."""

import sys
import time
from types import TracebackType
from typing import Any

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
        self.began = time.monotonic()
        self.last = self.since = self.began
        self.first: int | None = None
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` are through."""
        now = time.monotonic()
        if self.first is None:
            # Time left is told from here on: what went before (loading, writing text) was other work.
            self.first, self.since = done, now
        if now - self.began < QUIET_S:
            return
        if sys.stderr.isatty():
            self._draw(done, total)
        elif now - self.last >= LINE_S or done == total:
            rate = (done - self.first) / (now - self.since) if now > self.since else 0.0
            left = f", {human_s((total - done) / rate)} left" if rate and done < total else ""
            print(f"{self.what}: {done / total:.0%} of {total:,} {self.unit}{left}", file=sys.stderr, flush=True)
            self.last = now

    def _draw(self, done: int, total: int) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        from patchclamp.cli.console import terminal_of
        from patchclamp.cli.terminal import PlainConsole

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


def human_bytes(n: float | int) -> str:
    """Return bytes as people write them: ``1.3 GB``.

    Example:
        >>> human_bytes(1.3e9)
        '1.3 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit in ("B", "kB") or n >= 100 else f"{n:.1f} {unit}"


def human_s(seconds: float) -> str:
    """Return seconds as people say them: ``2 min 5 s``.

    Example:
        >>> human_s(125.0)
        '2 min 5 s'
    """
    if seconds < 1:
        return "under 1 s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, s = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {s} s" if minutes else f"{s} s"
