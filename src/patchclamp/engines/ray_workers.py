"""Pieces computed by processes of Ray, on this machine or on others; a process that dies is replaced.

Ray is imported only here. Whoever reaches a cluster's port can run code there, so that Ray is started on the loopback
address unless the user names a cluster of their own.
"""

import io
import logging
import os
import secrets
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from torch import get_num_threads, set_num_threads

from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import read_versions
from patchclamp.engines.engine import Tick, Work
from patchclamp.engines.plan import Piece

Result = TypeVar("Result")

AHEAD = 2
"""Pieces that a worker has at once: one is computed, the next lies ready."""
MOST_DEATHS = 3
"""Workers that may die over one piece."""
WAIT_S, CONNECT_S = 1.0, 5.0
LOG = logging.getLogger("patchclamp.engines")
VERSIONS = ("patchclamp", "torch", "transformers")


class RayEngine:
    """Compute pieces by workers of Ray, each of which loads the subject once.

    What a worker computes depends on its piece alone, and results are taken in the order of the pieces: a worker that
    dies loses nothing but time, and nothing is counted twice.

    Args:
        address: of a cluster that runs; None starts Ray on this machine, for this engine.
        workers: how many; by default as many as the processors, or GPUs, allow.

    Raises:
        PatchclampError: no cluster at the address.
    """

    name = "ray"

    def __init__(self, *, address: str | None = None, workers: int | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address is None and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
            # Of this process and its workers alone, read at import; else Ray writes a token into the user's home.
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        import ray

        self._ray: Any = ray
        self._threads = get_num_threads()
        self._loaders: dict[int, Callable[[], Any]] = {}
        self._held: list[Any] = []  # what was shared is kept, so that no other object gets its id
        self._shared: dict[int, Any] = {}
        self._pool: list[_Seat] = []
        self._works = 0
        self.deaths = 0
        self._started = not ray.is_initialized()
        if self._started:
            self._keep_off_stdout()
            self._start(address, workers)
        self._gpus = 0.0
        self._asked = workers
        self._workers = self._count_workers()

    def _keep_off_stdout(self) -> None:
        """Let Ray's words about dead workers go nowhere: it prints them among what a command gives as JSON."""
        # There is no switch for it; we report deaths ourselves.
        import ray._private.worker as private

        if hasattr(private, "print_to_stdstream"):
            private.print_to_stdstream = lambda *_args, **_how: None

    def _start(self, address: str | None, workers: int | None) -> None:
        if address is not None:
            _refuse_silent(address)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        try:
            if address is not None:
                host = address.rpartition(":")[0]
                near = {"_node_ip_address": host} if host.startswith("127.") else {}
                self._ray.init(address=address, **near, **quiet)
                return
            cpus = max((workers or 0) * self._threads, os.cpu_count() or 1)
            # Without "local" Ray would join a cluster of somebody else that was started on this machine.
            self._ray.init("local", num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as problem:
            raise PatchclampError(
                expected="a Ray cluster" + (f" at {address}" if address else " on this machine"),
                got=f"{type(problem).__name__}: {problem}"[:300],
                remedy="Check --address with `ray status`, or leave it out to start Ray on this machine.",
            ) from problem

    @property
    def workers(self) -> int:
        """How many workers there are, or will be."""
        return self._workers

    def _count_workers(self) -> int:
        """Return how many workers there is room for, at most as many as were asked for.

        Raises:
            PatchclampError: none.
        """
        has = self._ray.cluster_resources()
        room = int(has.get("CPU", 0) // self._threads)
        room = min(room, int(has.get("GPU", 0))) if self._gpus else room
        if not room:
            raise PatchclampError(
                expected=f"{self._threads} processors{' and a GPU' if self._gpus else ''} for a worker of Ray",
                got=f"{int(has.get('CPU', 0))} processors and {int(has.get('GPU', 0))} GPUs in all",
                remedy="Add machines, or set OMP_NUM_THREADS to fewer threads.",
            )
        return room if self._asked is None else min(self._asked, room)

    def share(self, subject: Any, load: Callable[[], Any] | None = None) -> None:
        """Say how workers get a subject: ``load`` makes it there, else it is sent to them.

        Args:
            subject: a model that what is computed refers to.
            load: a function that can be sent, such as a partial of ``patchclamp.load``.

        Raises:
            PatchclampError: it lies on a GPU, and the cluster has none.
        """
        device = str(getattr(subject, "device", "cpu"))
        if device.startswith("cuda"):
            self._gpus = 1.0
            self._workers = self._count_workers()
        if load is not None:
            self._loaders[id(subject)] = load
            self._held.append(subject)

    def map(self, work: Work[Result], pieces: Iterable[Piece], tick: Tick) -> Iterator[Result]:
        """Yield what ``work`` gives of every piece, in their order; see ``Engine.map``."""
        self._works += 1
        sent = self._ray.put(self._pack(work))
        missing: deque[tuple[int, Piece]] = deque()  # pieces whose worker died
        running: dict[Any, tuple[_Seat, int, Piece]] = {}
        finished: dict[int, tuple[Result, int]] = {}
        deaths: dict[int, int] = {}
        coming = enumerate(pieces)
        threads = get_num_threads()  # a run that is resumed has as many as it was begun with
        wanted, ended = 0, False
        while True:
            # Results that wait for an earlier one are bounded, and so is what is read ahead.
            while not (missing == deque() and ended):
                seat = self._free_seat([where for where, *_ in running.values()])
                if seat is None or (not missing and len(running) + len(finished) >= 2 * AHEAD * self.workers):
                    break
                chosen = missing.popleft() if missing else next(coming, None)
                if chosen is None:
                    ended = True
                    break
                number, piece = chosen
                ref = seat.actor.compute.remote(self._works, [sent, self._shared], piece, threads)
                running[ref] = (seat, number, piece)
            if ended and not (running or finished or missing):
                return
            # A worker that comes when nothing is left for it to do is not waited for: its answer would always be first.
            starting = [one.ready for one in self._pool if not one.is_ready] if missing or not ended else []
            done = self._ray.wait([*running, *starting], num_returns=1, timeout=WAIT_S)[0]
            for ref in done:
                if ref not in running:
                    continue  # a worker that is ready now, or the answer of one that died
                seat, number, piece = running.pop(ref)
                try:
                    finished[number] = self._ray.get(ref), piece.tokens
                except self._ray.exceptions.RayTaskError as problem:
                    raise _as_it_was(problem) from problem
                except self._ray.exceptions.RayError as problem:
                    deaths[number] = deaths.get(number, 0) + 1
                    if deaths[number] >= MOST_DEATHS:
                        self._pool.remove(seat)  # whatever is computed next begins with another
                        raise _refuse_deadly(piece, deaths[number], problem) from problem
                    lost = [(number, piece)]
                    for other in [one for one, (where, *_) in running.items() if where is seat]:
                        _, again, its_piece = running.pop(other)
                        lost.append((again, its_piece))
                    missing.extendleft(sorted(lost, reverse=True, key=lambda one: one[0]))
                    self._replace(seat, problem)
            while wanted in finished:
                result, tokens = finished.pop(wanted)
                wanted += 1
                tick(tokens)
                yield result

    def _free_seat(self, busy: "list[_Seat]") -> "_Seat | None":
        """Return the least busy worker that is ready; None where all have enough to do.

        Args:
            busy: the worker of each piece that is waited for. What a worker has left of work that was given up does not
                count: else it would never be free again.
        """
        while len(self._pool) < self.workers:
            self._pool.append(_Seat(self._start_worker()))
        for seat in self._pool:
            if not seat.is_ready and self._ray.wait([seat.ready], timeout=0)[0]:
                try:
                    self._ray.get(seat.ready)
                    seat.is_ready = True
                except self._ray.exceptions.RayTaskError as problem:
                    raise _as_it_was(problem) from problem
                except self._ray.exceptions.RayError as problem:
                    self._replace(seat, problem)
        ready = [one for one in self._pool if one.is_ready and busy.count(one) < AHEAD]
        return min(ready, key=busy.count, default=None)

    def _start_worker(self) -> Any:
        remote = self._ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_restarts=0)(_Worker)
        return remote.remote(read_versions(*VERSIONS))

    def _replace(self, seat: "_Seat", problem: BaseException) -> None:
        """Start another worker in the place of one that died."""
        self.deaths += 1
        LOG.warning("a worker died and is replaced; its pieces are computed again")
        seat.deaths = 0 if seat.is_ready else seat.deaths + 1
        if seat.deaths >= MOST_DEATHS:
            raise PatchclampError(
                expected="workers that start",
                got=f"{seat.deaths} that died at once: {problem}"[:400],
                remedy="Look at the memory of the machine and at Ray's logs in /tmp/ray/session_latest/logs.",
            ) from problem
        self._ray.kill(seat.actor)
        seat.begin(self._start_worker())

    def _pack(self, work: Any) -> bytes:
        """Return what is computed as bytes, its subjects by reference: each of them travels once."""
        from ray import cloudpickle

        engine, file = self, io.BytesIO()

        class Pickler(cloudpickle.Pickler):
            def persistent_id(self, obj: Any) -> Any:
                if id(obj) in engine._loaders or getattr(type(obj), "stimulus_kind", None) is not None:
                    engine._send(obj)
                    return id(obj)
                return None

        Pickler(file).dump(work)
        return file.getvalue()

    def _send(self, subject: Any) -> None:
        """Put a subject, or what loads it, where every worker can get it."""
        if id(subject) not in self._shared:
            self.share(subject)
            load = self._loaders.get(id(subject))
            self._held.append(subject)
            self._shared[id(subject)] = self._ray.put((load, str(subject.hash)) if load else (subject, ""))

    def close(self) -> None:
        """End the workers, and Ray where this engine started it."""
        for seat in self._pool:
            self._ray.kill(seat.actor)
        self._pool, self._shared = [], {}
        if self._started and self._ray.is_initialized():
            self._ray.shutdown()

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _refuse_silent(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for half a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # such as ``auto``, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as problem:
        raise PatchclampError(
            expected=f"a Ray cluster at {address}",
            got=f"nothing that answers there: {problem}",
            remedy="Check --address with `ray status`, or leave it out to start Ray on this machine.",
        ) from problem


class _Seat:
    """A worker's place: who dies there is replaced."""

    def __init__(self, actor: Any) -> None:
        self.deaths = 0
        self.begin(actor)

    def begin(self, actor: Any) -> None:
        """Take the place of who was there before."""
        self.actor = actor
        self.ready, self.is_ready = actor.start.remote(), False


class _Worker:
    """A process that computes pieces; it loads each subject once."""

    def __init__(self, versions: dict[str, str]) -> None:
        self.wanted = versions
        self.subjects: dict[int, Any] = {}
        self.work: tuple[int, Any] = (0, None)

    def start(self) -> None:
        """Answer once the process is there; its versions must be those of the one that began the run."""
        import ray

        own = read_versions(*VERSIONS)
        if other := "; ".join(f"{n} {own.get(n)} instead of {v}" for n, v in self.wanted.items() if own.get(n) != v):
            raise PatchclampError(
                expected="workers with the versions of the process that began the run",
                got=f"one on {ray.util.get_node_ip_address()} with {other}",
                remedy="Install the same versions on every machine: others round otherwise.",
            )

    def node(self) -> str:
        """Return the id of the node that it runs on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def compute(self, number: int, sent: list[Any], piece: Piece, threads: int) -> Any:
        """Return what a piece of work number ``number`` gives; ``sent`` names the work and its subjects."""
        import ray

        if get_num_threads() != threads:
            set_num_threads(threads)
        if self.work[0] != number:
            self.work = number, self._unpack(ray.get(sent[0]), sent[1])
        return self.work[1](piece, _ignore)

    def _unpack(self, data: bytes, shared: dict[int, Any]) -> Any:
        import pickle

        import ray

        worker = self

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, pid: Any) -> Any:
                if pid not in worker.subjects:
                    worker.subjects[pid] = _make_subject(*ray.get(shared[pid]))
                return worker.subjects[pid]

        return Unpickler(io.BytesIO(data)).load()


def _ignore(_n: int) -> None:
    """Tokens are counted where the result arrives."""


def _make_subject(subject: Any, wanted: str) -> Any:
    """Return a subject that was sent, or loaded here; what is loaded must have the same weights."""
    if not wanted:
        return subject
    loaded = subject()
    if loaded.hash != wanted:
        raise PatchclampError(
            expected=f"the model whose hash is {wanted[:16]} on every machine",
            got=f"{loaded.name} with {loaded.hash[:16]}",
            remedy="Put the same files in the same place on every machine.",
        )
    return loaded


def _as_it_was(problem: Any) -> BaseException:
    """Return the error that a worker raised, with its three parts where it has them."""
    cause = problem.cause
    return cause if isinstance(cause, PatchclampError) else problem


def _refuse_deadly(piece: Piece, deaths: int, problem: BaseException) -> PatchclampError:
    return PatchclampError(
        expected="workers that live through a piece",
        got=f"{deaths} that died over stimuli {piece.start.stimuli:,} to {piece.end.stimuli - 1:,} "
        f"({type(problem).__name__})",
        remedy="Look at their memory: a smaller --batch-size or fewer --workers need less. What was committed is kept: "
        "go on with --resume.",
    )
