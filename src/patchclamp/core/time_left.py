"""How long work will go on, by how fast it went."""

import time


class TimeLeft:
    """Estimate the time left of work that is done in stages, each counted from 0.

    Args:
        now: when it began; the present by default.
    """

    def __init__(self, now: float | None = None) -> None:
        self.began = self.since = time.monotonic() if now is None else now
        self.first: int | None = None
        self.done = 0

    def note(self, done: int, total: int, now: float) -> float | None:
        """Return the seconds left once ``done`` of ``total`` are through, at the pace of the stage so far.

        Args:
            done: how many are through; fewer than before where another stage began.
            total: how many there are.
            now: the time, as ``time.monotonic`` gives it.

        Returns:
            float | None: None where nothing is known yet, and where nothing is left.

        Example:
            >>> clock = TimeLeft(0.0)
            >>> clock.note(10, 40, 5.0), clock.note(20, 40, 7.0), clock.note(40, 40, 9.0)
            (None, 4.0, None)
        """
        if self.first is None or done < self.done:
            # Time left is counted from here on: what went before (loading, another stage) was other work.
            self.first, self.since = done, now
        self.done = done
        rate = (done - self.first) / (now - self.since) if now > self.since else 0.0
        return (total - done) / rate if rate and done < total else None
