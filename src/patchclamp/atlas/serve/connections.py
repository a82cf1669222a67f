"""Connections that are bounded in number, and closed when a request takes too long to arrive."""

import asyncio
import math
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_S = 10.0
"""How long a whole request may take to arrive, from the connection or from its first byte on."""
MOST = 128
"""Connections at once: a browser opens six, and one for each stream."""
BACKLOG, LARGEST_HEAD = 32, 32768
"""Connections that are taken in one go, and bytes of an unfinished request line with its headers."""


class BoundedProtocol(H11Protocol):
    """Serve HTTP as uvicorn does, but hold no connection open that only begins a request.

    Whoever opens connections and sends half of a request would else keep descriptors until none is left. A request has
    ``PATIENCE_S`` to arrive; where there are too many connections, the one that has waited longest for its request is
    closed in favour of the new one, or the new one where all are being answered.
    """

    waiting_since: float = math.inf
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request; make room where there are too many connections."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > most_connections():
            waiting = [one for one in self.connections if isinstance(one, BoundedProtocol)]
            min(waiting, key=lambda one: one.waiting_since).close()

    def data_received(self, data: bytes) -> None:
        """Read on; wait no longer once the whole request is there, and anew where another one begins."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is None:
            self.waiting_since = self.loop.time()
            self._deadline = self.loop.call_later(PATIENCE_S, self.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline, self.waiting_since = None, math.inf

    def close(self) -> None:
        """Close the connection at once; it counts no longer, though the loop takes a turn to let go of it."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()


def most_connections() -> int:
    """Return how many connections may be open: a third of the descriptors that the process has, at most ``MOST``."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if allowed == resource.RLIM_INFINITY else max(min(MOST, allowed // 3), 8)
