"""One thread that computes the jobs in turn, and stops those whose connection was closed."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from patchclamp.atlas.lab import messages
from patchclamp.atlas.read.responses import Problem
from patchclamp.core.errors import PatchclampError

MOST_WAITING = 16
LONGEST_S = 120.0


class QueueFull(PatchclampError):
    """The queue is full."""


class _Left(Exception):
    """Nobody waits for the answer any more."""


class FairLock:
    """A lock that is given in the order in which it was asked for, so that a long run keeps nobody out."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._held = False

    def __enter__(self) -> None:
        """Wait for the turn."""
        with self._guard:
            if not self._held:
                self._held = True
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def __exit__(self, *_: object) -> None:
        """Give the turn to whoever waits longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False

    @contextmanager
    def at_once(self, most: int = MOST_WAITING) -> Iterator[None]:
        """Have a turn for a question that is answered at once, unless too many wait already.

        Raises:
            QueueFull: they do; whoever waits holds a thread that other pages need.
        """
        if len(self._waiting) >= most:
            raise QueueFull(
                expected=f"at most {most} questions that wait for the model",
                got="one more",
                remedy="Wait a moment, then ask again.",
            )
        with self:
            yield


class Job:
    """One question to the worker, and the way back to whoever asked.

    Args:
        work: computes the answer; takes the job, and the model between ``with job.turn()`` only.
        hear: takes every event, and None at the end; called from the worker's thread.
        turns: who may use the model.
        longest_s: seconds that it may compute.
    """

    def __init__(
        self, work: Callable[["Job"], None], hear: Callable[[Any], None], turns: FairLock, longest_s: float
    ) -> None:
        self._work, self._hear, self._turns, self._longest_s = work, hear, turns, longest_s
        self._left = threading.Event()
        self._began = time.monotonic()
        self.ahead: int | None = None

    def leave(self) -> None:
        """Stop before the next forward pass: nobody waits any more."""
        self._left.set()

    @property
    def seconds(self) -> float:
        """How long it has computed."""
        return round(time.monotonic() - self._began, 4)

    def tell(self, event: Any) -> None:
        """Send an event to whoever asked."""
        try:
            self._hear(event)
        except RuntimeError:  # the loop that listened is closed
            self.leave()

    def place(self, ahead: int) -> None:
        """Say how many are done before, where that has changed."""
        if ahead != self.ahead:
            self.ahead = ahead
            self.tell(messages.Queued(ahead))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have the model to oneself for one forward pass, or a few.

        Raises:
            PatchclampError: the time is over.
        """
        self._go_on()
        with self._turns:
            self._go_on()
            yield

    @contextmanager
    def long_turn(self, *locks: AbstractContextManager[Any]) -> Iterator[Callable[[], None]]:
        """Have the model for a long computation, which calls what this gives between two passes: others go first then.

        Args:
            locks: what is held beside the model, and let go with it.

        Raises:
            PatchclampError: the time is over.
        """
        with ExitStack() as held:

            def take() -> None:
                self._go_on()
                for lock in (self._turns, *locks):
                    held.enter_context(lock)
                self._go_on()

            def give_way() -> None:
                held.close()
                take()

            take()
            yield give_way

    def _go_on(self) -> None:
        if self._left.is_set():
            raise _Left
        if time.monotonic() - self._began > self._longest_s:
            raise PatchclampError(
                expected=f"an answer within {self._longest_s:g} s",
                got="one that takes longer",
                remedy="Ask for fewer random sets or new tokens, or shorten the text.",
            )

    def run(self) -> None:
        """Compute, and tell whatever goes wrong."""
        self._began = time.monotonic()
        try:
            self._work(self)
        except _Left:
            pass
        except PatchclampError as problem:
            self.tell(messages.Refused(Problem(**problem.to_json())))
        except Exception as problem:
            # Out of memory, or a value that the model's numbers cannot hold: the next run must find the worker alive.
            self.tell(
                messages.Refused(
                    Problem(
                        expected="an answer",
                        got=f"{type(problem).__name__}: {problem}"[:300],
                        remedy="Ask for less, or for other values; the server goes on.",
                    )
                )
            )
        finally:
            self.tell(None)


class Worker:
    """Run jobs one after the other; its thread ends when there are none.

    Args:
        turns: who may use the model.
        most: how many may wait.
        longest_s: seconds that one may compute.
    """

    def __init__(self, turns: FairLock, *, most: int = MOST_WAITING, longest_s: float = LONGEST_S) -> None:
        self.turns, self.most, self.longest_s = turns, most, longest_s
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[Job], None], hear: Callable[[Any], None]) -> Job:
        """Put a question in the queue.

        Raises:
            QueueFull: the queue is full.
        """
        job = Job(work, hear, self.turns, self.longest_s)
        with self._lock:
            if len(self._waiting) >= self.most:
                raise QueueFull(
                    expected=f"at most {self.most} runs that wait",
                    got="one more",
                    remedy="Wait until some are done, or close pages that ask.",
                )
            self._waiting.append(job)
            self._tell_places()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lab", daemon=True)
                self._thread.start()
        return job

    def drop(self, job: Job) -> None:
        """Forget a question: it never runs, or stops before its next forward pass."""
        job.leave()
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                self._tell_places()

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits."""
        with self._lock:
            return self._thread is not None

    def _tell_places(self) -> None:
        for ahead, job in enumerate(self._waiting, start=int(self._running is not None)):
            job.place(ahead)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._running = None
                if not self._waiting:
                    self._thread = None
                    return
                job = self._waiting.pop(0)
                job.place(0)
                self._running = job
                self._tell_places()
            job.run()
