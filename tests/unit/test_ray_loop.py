"""The loop that hands pieces to workers, with a stand-in for Ray whose workers answer when a test lets them."""

import socket

import pytest

from patchclamp.core.errors import PatchclampError
from patchclamp.engines import Piece, Start
from patchclamp.engines.ray_workers import RayEngine, _refuse_silent, _Seat

MOST_WAITS = 200


class Lost(Exception):
    """What Ray raises where a worker died."""


class Worker:
    """A worker that becomes ready after some questions, and dies over some pieces."""

    def __init__(self, ray, ready_after, deadly):
        self.ray, self.ready_after, self.deadly = ray, ready_after, deadly
        self.start = self.compute = self

    def remote(self, *given):
        if not given:
            return self.ray.add(None, self.ready_after)
        piece = given[2]
        dies = piece.start.stimuli in self.deadly
        self.deadly -= {piece.start.stimuli}
        return self.ray.add(Lost() if dies else piece.start.stimuli * 10, 3 + piece.start.stimuli % 3)


class StandIn:
    """Ray, as far as the loop uses it: answers come in an order of their own."""

    class exceptions:
        class RayTaskError(Exception):
            """An error of what was computed."""

        RayError = Lost

    def __init__(self):
        self.answers, self.waits = [], 0

    def add(self, value, after):
        self.answers.append([value, after])
        return len(self.answers) - 1

    def put(self, value):
        return value

    def kill(self, actor):
        """End nothing."""

    def wait(self, refs, num_returns=1, timeout=None):
        self.waits += 1
        assert self.waits < MOST_WAITS, "the loop asks again and again"
        for ref in refs:
            self.answers[ref][1] -= 1
        # The last first, which is the worst order for who waits for the first.
        done = [ref for ref in reversed(refs) if self.answers[ref][1] <= 0][:num_returns]
        return done, [ref for ref in refs if ref not in done]

    def get(self, ref):
        value = self.answers[ref][0]
        if isinstance(value, Exception):
            raise value
        return value


def engine_of(monkeypatch, late, deadly):
    """Return an engine with two workers, of which one comes late, and which die over some pieces."""
    engine = object.__new__(RayEngine)
    engine._ray, engine._works, engine._shared, engine._workers, engine.deaths = StandIn(), 0, {}, 2, 0
    engine._start_worker = lambda: Worker(engine._ray, 1, deadly)
    engine._pool = [_Seat(Worker(engine._ray, after, deadly)) for after in (1, late)]
    monkeypatch.setattr(RayEngine, "_pack", lambda self, work: b"")
    return engine


def pieces_of(n):
    return [Piece(Start(i, i), Start(i + 1, i + 1), ()) for i in range(n)]


@pytest.mark.parametrize("n", [0, 1, 2, 9, 30])
@pytest.mark.parametrize("late", [1, 3, 12])
@pytest.mark.parametrize("deadly", [set(), {0}, {3, 4, 8}])
def test_every_piece_comes_once_and_in_order(n, late, deadly, monkeypatch):
    engine = engine_of(monkeypatch, late, set(deadly))
    pieces = pieces_of(n)
    seen = []
    assert list(engine.map(None, iter(pieces), seen.append)) == [10 * i for i in range(n)]
    assert seen == [1] * n
    dead = len({i for i in deadly if i < n})  # two pieces of one worker die with it at once
    assert min(dead, 1) <= engine.deaths <= dead


def test_a_piece_that_kills_every_worker_is_refused_and_other_work_is_done(monkeypatch):
    class Always(set):
        def __isub__(self, other):
            return self

    deadly = Always(range(30))
    engine = engine_of(monkeypatch, 1, deadly)
    for _ in range(3):
        with pytest.raises(PatchclampError, match="3 that died over stimuli"):
            list(engine.map(None, pieces_of(30), lambda _: None))
    deadly.clear()
    assert list(engine.map(None, pieces_of(9), lambda _: None)) == [10 * i for i in range(9)]


def test_an_address_where_nothing_listens_is_refused_before_ray_tries():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listened on
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PatchclampError) as caught:
            _refuse_silent(address)
    assert caught.value.expected == f"a Ray cluster at {address}"
    assert "nothing that answers there" in caught.value.got
    _refuse_silent("auto")
