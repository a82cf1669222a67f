"""Lab: how soon the first table comes, and what a drag, a step and a control cost, for a model of GPT-2 small's shape.

The whole application is asked, guard and stream included, without a socket between. The atlas beside the model is made
up; what is timed does not depend on what it says. A new prompt computes both sides; a dragged slider only the changed
one.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import atlas as made_up
import shape
import timing

UNITS, TOKENS = 400, 16
KEYS = [f"blocks.0.mlp.act/neurons/{i}" for i in (3, 5)] + ["blocks.6.attn.z/heads/2", "blocks.9.mlp.act/neurons/7"]


def main() -> None:
    options = timing.parser(__doc__).parse_args()
    rounds = 2 if options.quick else 20
    import torch

    torch.set_num_threads(options.threads)
    from patchclamp.atlas.atlas import open_atlas
    from patchclamp.atlas.lab import Lab
    from patchclamp.atlas.serve.app import make_app
    from patchclamp.atlas.serve.request_guard import LOOPBACK, Guard
    from patchclamp.subjects.language import LanguageModel

    model = LanguageModel(shape.gpt2(), shape.words(), name="gpt2-shape", hash="0" * 64)
    with tempfile.TemporaryDirectory() as name:
        atlas = open_atlas(made_up.large(Path(name) / "large.atlas", UNITS))
        lab = Lab(model, atlas.reading)
        lab.worker.longest_s = 3600.0  # a busy machine is slow, not wrong
        app = Guard(make_app(lambda: atlas.reading, lab), hosts=LOOPBACK, etag=lambda: atlas.hash)
        asyncio.run(measured(app, {"text": "w1 w2", "clamps": clamps(0.0), "new_tokens": 2}))
        found: dict[str, list[timing.Spent]] = {"new prompt": [], "dragged": [], "20 steps": [], "20 random sets": []}
        for i in range(rounds):
            text = " ".join(f"w{1 + (i * TOKENS + j) % 5000}" for j in range(TOKENS))
            for what, more in (("new prompt", {}), ("dragged", {}), ("20 steps", {"new_tokens": 20}),
                               ("20 random sets", {"controls": 20})):  # fmt: skip
                if what not in ("new prompt", "dragged") and i >= max(2, rounds // 4):
                    continue
                times = asyncio.run(measured(app, {"text": text, "clamps": clamps(1.0 + len(what)), **more}))
                found[what].append(times["table" if not more else "finished"])
    middle = {what: timing.median(spent) for what, spent in found.items()}
    timing.show(
        [f"{TOKENS} tokens, {len(KEYS)} clamps", "wall ms", "cpu ms"],
        [[what, f"{1e3 * s.wall_s:.0f}", f"{1e3 * s.cpu_s:.0f}"] for what, s in middle.items()],
    )
    bars = [
        timing.Bar("first table of a new prompt, ms", 1e3 * middle["new prompt"].wall_s, "<=", 300.0),
        timing.Bar("table after a drag, ms", 1e3 * middle["dragged"].wall_s, "<=", 150.0),
    ]
    timing.report(options, middle, bars)


def clamps(value: float) -> list[dict[str, Any]]:
    """Return the clamps at one value."""
    return [{"key": key, "mode": "add" if "heads" in key else "set", "value": value} for key in KEYS]


async def measured(app: Any, asked: dict[str, Any]) -> dict[str, timing.Spent]:
    """Ask for a run; return what had been spent when each kind of event last came."""
    body, found = json.dumps(asked).encode(), {}
    wall, cpu = time.perf_counter(), time.process_time()
    given = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if given.is_set():
            await asyncio.sleep(3600)
        given.set()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        for line in message.get("body", b"").decode().splitlines():
            if line.startswith("event: "):
                spent = timing.Spent(time.perf_counter() - wall, time.process_time() - cpu)
                found[line.removeprefix("event: ")] = spent

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"),
               (b"content-length", str(len(body)).encode())]  # fmt: skip
    await app(
        {"type": "http", "method": "POST", "path": "/api/lab/run", "raw_path": b"/api/lab/run", "query_string": b"",
         "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 1),
         "asgi": {"version": "3.0", "spec_version": "2.3"}},
        receive, send,
    )  # fmt: skip
    assert "finished" in found, found
    return found


if __name__ == "__main__":
    main()
