"""An application with a lab, asked without a port between, and what its streams say."""

import asyncio
import json

import httpx

import patchclamp as pc
from apart import run_apart
from patchclamp.atlas.lab import Lab
from patchclamp.atlas.serve.app import make_app
from patchclamp.atlas.serve.request_guard import LOOPBACK, Guard

TEXT = "the old cat"
PATIENCE_S = 60


class Bench:
    """An application with a lab, asked without a port between."""

    def __init__(self, folder, model):
        self.atlas, self.model = pc.atlas.open(folder), model
        self.lab = None if model is None else Lab(model, self.atlas.reading)
        self.app = Guard(make_app(lambda: self.atlas.reading, self.lab), hosts=LOOPBACK, etag=self.tag)

    def tag(self):
        return self.atlas.hash if self.lab is None else self.lab.asked.tag(self.atlas.hash)

    def request(self, *requests):
        async def ask():
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as one:
                asked = (one.request(method, path, **how) for method, path, how in requests)
                return await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S)

        return run_apart(ask())

    def get(self, path, **params):
        return self.request(("GET", path, {"params": params}))[0]

    def post(self, path, **body):
        return self.request(("POST", path, {"json": body}))[0]

    def run(self, text=TEXT, **asked):
        return heard(self.post("/api/lab/run", text=text, **asked))


def heard(answer):
    """Return a stream's events, each a name and its data."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in answer.text.split("\n\n") if block.startswith("event: ")]
    pairs = [block.split("\n") for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def only(events, name):
    [data] = [data for said, data in events if said == name]
    return data
