"""Routes: the addresses under ``/api/lab``: the only ones that take a body, and the only ones that compute."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from patchclamp.atlas import pages
from patchclamp.atlas.lab import Lab, without_model
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.lab.sse import EventStream
from patchclamp.atlas.pages.lab import LONGEST_KEY, LONGEST_TEXT
from patchclamp.atlas.read.atlas import Atlas
from patchclamp.atlas.read.reader import Absent, Reading
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import fitting

MOST_RANKED = 100
_EVENTS = (
    pages.Queued | pages.Progressed | pages.Table | pages.Step | pages.Control | pages.Verified | pages.Finished
    | pages.Refused
)  # fmt: skip
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": _EVENTS,
        "description": "Events, each one of these; server-sent.",
        "content": {"text/event-stream": {}},
    }
}

Text = Annotated[str, Query(min_length=1, max_length=LONGEST_TEXT)]
Token = Annotated[int | None, Query(ge=0, lt=2**31)]


def add_lab(app: FastAPI, atlas: Callable[[], Atlas], lab: Lab | None) -> None:
    """Add the lab's addresses to an application; without a model all but ``/api/lab`` itself refuse.

    Args:
        app: the application.
        atlas: gives the atlas as it is now.
        lab: the model, where one is attached.
    """

    def attached(reading: Reading) -> Lab:
        if lab is None:
            raise Absent(
                expected="a model beside the atlas",
                got="an atlas by itself",
                remedy="Serve it with --model MODEL to try texts.",
            )
        with fitting(reading.folder, DAMAGED):
            lab.check(reading)
        return lab

    @app.get("/api/lab", operation_id="readLab")
    def read_lab() -> pages.LabPage:
        """Say whether a model is attached, and what it takes."""
        reading = atlas().reading
        with fitting(reading.folder, DAMAGED):
            return without_model(reading) if lab is None else attached(reading).page(reading)

    @app.get("/api/lab/tokens", operation_id="cutText")
    def cut_text(text: Text) -> pages.Tokens:
        """Cut a text into the model's tokens."""
        return attached(atlas().reading).tokens(text)

    @app.get("/api/lab/rank", operation_id="rankUnits")
    def rank_units(
        text: Text,
        position: Annotated[int, Query(ge=0, lt=2**31)],
        by: pages.RankedBy = "activation",
        target: Token = None,
        contrast: Token = None,
        site: Annotated[str, Query(max_length=LONGEST_KEY)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_RANKED)] = 20,
    ) -> pages.Ranking:
        """Rank the atlas's units at one token of a text, by activation or by effect (RelP) on the next token."""
        reading = atlas().reading
        return attached(reading).rank(
            reading, text, position, by=by, target=target, contrast=contrast, site=site, limit=limit
        )

    async def streamed(work: Callable[[Atlas, Lab], Callable[[Job], None]]) -> EventStream:
        """Check a question apart from the loop that serves everybody, then put it in the queue."""

        def checked() -> tuple[Lab, Callable[[Job], None]]:
            now = atlas()
            own = attached(now.reading)
            return own, work(now, own)

        own, answer = await run_in_threadpool(checked)
        return EventStream(own.worker, answer)

    @app.post("/api/lab/run", operation_id="runClamps", responses=_STREAMED, response_class=StreamingResponse)
    async def run_clamps(asked: pages.RunAsked) -> StreamingResponse:
        """Show a prompt with and without clamps: ``queued``, ``table``, ``step`` …, ``control``, ``finished``."""
        return await streamed(lambda now, own: own.run(now.reading, asked))

    @app.post("/api/lab/verify", operation_id="verifyNodes", responses=_STREAMED, response_class=StreamingResponse)
    async def verify_nodes(asked: pages.VerifyAsked) -> StreamingResponse:
        """Replace nodes of an explained answer: ``queued``, ``progressed`` …, ``verified``, ``finished``."""
        return await streamed(lambda now, own: own.verify(now.reading, asked))

    @app.get("/api/lab/runs/{id}", operation_id="readLabRun")
    def read_lab_run(id: str) -> pages.LabRun:
        """Give a run of this server again."""
        return attached(atlas().reading).kept(id)
