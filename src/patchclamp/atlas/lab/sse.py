"""A job's events sent to a browser as they come; a closed connection ends the job."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from fastapi.responses import StreamingResponse

from patchclamp.atlas.lab.job_queue import Job, Worker

QUIET_S = 5.0
"""After so long without an event a comment is sent: a connection that is gone shows itself."""


class EventStream(StreamingResponse):
    """Answer with server-sent events: ``event: NAME`` and ``data: JSON`` for each of a job's.

    Args:
        worker: who computes.
        work: what.

    Raises:
        QueueFull: the queue is full.
    """

    def __init__(self, worker: Worker, work: Callable[[Job], None]) -> None:
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._worker = worker

        def hear(event: Any) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        self._job = worker.submit(work, hear)
        super().__init__(_event_bytes(events), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the events; whatever ends this ends the job."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._worker.drop(self._job)


async def _event_bytes(events: "asyncio.Queue[Any]") -> AsyncIterator[bytes]:
    while True:
        try:
            event = await asyncio.wait_for(events.get(), QUIET_S)
        except TimeoutError:
            yield b": still here\n\n"
            continue
        if event is None:
            return
        # JSON's own escapes keep line ends and everything that is not ASCII out of the stream's grammar.
        data = json.dumps(asdict(event), allow_nan=False)
        yield f"event: {type(event).__name__.lower()}\ndata: {data}\n\n".encode()
