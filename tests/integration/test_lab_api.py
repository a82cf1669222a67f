"""Whatever is asked of the lab, it refuses in three parts or streams to an end; never a 5xx, never a hang."""

import asyncio
import json
import threading

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchclamp.atlas.serve.server import guard_atlas

PATIENCE_S = 30
UNITS = st.builds("blocks.{}.mlp.act/neurons/{}".format, st.integers(0, 2), st.integers(0, 17))
HEADS = st.builds("cat/blocks.{}.attn.z/heads/{}".format, st.integers(0, 1), st.integers(0, 2))
OTHERS = st.sampled_from(["final/neurons/0", "embed/neurons/1", "blocks.0.attn.pattern/heads/0", "module.x.out/a/0"])
KEYS = UNITS | HEADS | OTHERS | st.text(max_size=20)
PLACES = st.sampled_from(["", "", "0", "3", "1:3", "-1", ":2", "+0", "+0:", "2,+1:", "-2:", "9:4", "99", "5:"])
VALUES = st.none() | st.floats(-20, 20) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5)
CLAMPS = st.fixed_dictionaries(
    {"key": KEYS},
    optional={
        "mode": st.sampled_from(["set", "add", "scale", "ablate", "patch"]),
        "value": VALUES,
        "at": PLACES | st.text(),
    },
)
SOME = ["the", "old", "cat", "sat", "dog", "ran", "on", "<bos>", "mat", "é", "<img/>"]
WORDS = st.lists(st.sampled_from(SOME), min_size=1).map(" ".join)
RUNS = st.fixed_dictionaries(
    {"text": WORDS | st.text(min_size=1, max_size=30)},
    optional={
        "clamps": st.lists(CLAMPS, max_size=4),
        "top": st.integers(1, 50),
        "new_tokens": st.integers(0, 6),
        "controls": st.integers(0, 30),
        "target": st.none() | st.integers(0, 80),
        "seed": st.integers(0, 2**32 - 1),
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["text", "clamps", "top", "new_tokens", "controls", "target", "seed", "graph", "nodes", "prompt", "pairs", "more"]
)


@pytest.fixture(scope="module")
def ask(seeded_atlas):
    """Post to the application from a loop of its own."""
    app = guard_atlas(seeded_atlas, model="organism:cat")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def post(path, body):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as one:
            how = {"content": body, "headers": {"content-type": "application/json"}}
            return await asyncio.wait_for(one.post(path, **how), PATIENCE_S)

    try:
        yield lambda path, body: asyncio.run_coroutine_threadsafe(post(path, body), loop).result(PATIENCE_S + 10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def check(answer):
    """Return the stream's events; none where the question was refused."""
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"expected", "got", "remedy"}
        return []
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block.startswith("event: ")]
    events = [(name.removeprefix("event: "), strict(data.removeprefix("data: "))) for name, data in blocks]
    assert events[0][0] == "queued"
    assert sum(name in ("finished", "refused") for name, _ in events) == 1
    assert events[-1][0] in ("finished", "refused")
    return events


def strict(text):
    def no_number(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=no_number)


@settings(suppress_health_check=list(HealthCheck), max_examples=60)
@given(asked=RUNS)
def test_every_run_ends_and_unclamped_runs_change_nothing(ask, asked):
    events = check(ask("/api/lab/run", json.dumps(asked).encode("utf-8", "surrogatepass")))
    table = next((data for name, data in events if name == "table"), None)
    if table is None:
        return
    assert len(table["rows"]) >= min(asked.get("top", 10), 40)
    if table["neutral"]:
        assert all(row["changed"] == row["unclamped"] for row in table["rows"])
    acting = [c for c in asked.get("clamps", []) if c.get("mode") == "ablate" or c.get("value") is not None]
    assert len(table["clamps"]) <= len(acting)
    if events[-1][0] == "finished":
        compile(events[-1][1]["python"], "export", "exec")
        assert len([name for name, _ in events if name == "step"]) <= asked.get("new_tokens", 0)


@settings(suppress_health_check=list(HealthCheck), max_examples=60)
@given(
    path=st.sampled_from(["run", "verify", "explain", "circuit"]), body=st.dictionaries(FIELDS, JSON, max_size=5) | JSON
)
def test_bodies_of_any_shape_are_refused_or_answered(ask, path, body):
    check(ask(f"/api/lab/{path}", json.dumps(body).encode("utf-8", "surrogatepass")))


@settings(suppress_health_check=list(HealthCheck), max_examples=30)
@given(
    path=st.sampled_from(["run", "verify", "explain", "circuit"]),
    raw=st.binary(max_size=60) | st.integers(1, 30_000).map(b"[{".__mul__),
)
def test_bytes_of_any_kind_are_refused(ask, path, raw):
    assert check(ask(f"/api/lab/{path}", raw)) == []
