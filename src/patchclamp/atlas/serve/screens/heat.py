"""Layers: a text as heat maps of blocks against tokens."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from patchclamp.atlas.lab import Lab, messages
from patchclamp.atlas.lab.heat_messages import HeatAsked, HeatPage, LensAsked, LensPage
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.lab.sse import EventStream
from patchclamp.atlas.read.reader import Reading
from patchclamp.atlas.serve.served import Served
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import report_damage

_EVENTS = messages.Queued | messages.Progressed | HeatPage | messages.Finished | messages.Refused
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": _EVENTS,
        "description": "Events, each one of these; server-sent.",
        "content": {"text/event-stream": {}},
    }
}


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of the maps; without a model they refuse."""

    def require_lab() -> tuple[Lab, Reading]:
        lab, atlas = served.model(), served.atlas()
        with report_damage(atlas.folder, DAMAGED):
            lab.check(atlas)
        return lab, atlas

    @app.post("/api/lab/lens", operation_id="readLens")
    def read_lens(asked: LensAsked) -> LensPage:
        """Layers: what would the model answer after every block, without clamps and with them?"""
        from patchclamp.atlas.lab import heat

        return heat.read_lens(*require_lab(), asked)

    @app.post("/api/lab/heat", operation_id="readHeat")
    def read_heat(asked: HeatAsked) -> HeatPage:
        """Layers: what is active at every block and token, or which of them carry an answer?"""
        from patchclamp.atlas.lab import heat

        return heat.read_heat(*require_lab(), asked)

    @app.post("/api/lab/patching", operation_id="patchPlaces", responses=_STREAMED, response_class=StreamingResponse)
    async def patch_places(asked: HeatAsked) -> StreamingResponse:
        """Put another prompt's values in, place by place: ``queued``, ``progressed`` …, ``heatpage``, ``finished``."""

        def prepare() -> tuple[Lab, Callable[[Job], None]]:
            from patchclamp.atlas.lab.heat import prepare_patching

            lab, atlas = require_lab()
            return lab, prepare_patching(lab, atlas, asked)

        lab, work = await run_in_threadpool(prepare)
        return EventStream(lab.explainer, work)
