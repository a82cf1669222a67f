"""The model beside its atlas; its addresses are the only ones that take a body, and the only ones that compute."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from patchclamp.atlas.lab import Lab, messages, without_model
from patchclamp.atlas.lab import describe_messages as describing
from patchclamp.atlas.lab import explain_messages as explaining
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.lab.messages import LONGEST_KEY, LONGEST_TEXT
from patchclamp.atlas.lab.pictures import picture_lab
from patchclamp.atlas.lab.sse import EventStream
from patchclamp.atlas.read.attention import AttentionPage
from patchclamp.atlas.read.reader import Reading
from patchclamp.atlas.serve.served import Served
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import report_damage

MOST_RANKED = 100
_EVENTS = (
    messages.Queued
    | messages.Progressed
    | messages.Table
    | messages.Step
    | messages.Control
    | messages.Verified
    | messages.EdgesVerified
    | explaining.Explained
    | describing.Described
    | messages.Finished
    | messages.Refused
)
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": _EVENTS,
        "description": "Events, each one of these; server-sent.",
        "content": {"text/event-stream": {}},
    }
}

Text = Annotated[str, Query(min_length=1, max_length=LONGEST_TEXT)]
Token = Annotated[int | None, Query(ge=0, lt=2**31)]


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the lab's addresses; without a model all but ``/api/lab`` itself refuse."""

    def require_lab(atlas: Reading) -> Lab:
        lab = served.model()
        with report_damage(atlas.folder, DAMAGED):
            lab.check(atlas)
        return lab

    @app.get("/api/lab", operation_id="readLab")
    def read_lab() -> messages.LabPage:
        """Say whether a model is attached, and what it takes."""
        atlas = served.atlas()
        with report_damage(atlas.folder, DAMAGED):
            return without_model(atlas) if served.lab is None else require_lab(atlas).page(atlas)

    @app.get("/api/lab/tokens", operation_id="cutText")
    def cut_text(text: Text) -> messages.Tokens:
        """Cut a text into the model's tokens."""
        return require_lab(served.atlas()).tokens(text)

    @app.get("/api/lab/rank", operation_id="rankUnits")
    def rank_units(
        text: Text,
        position: Annotated[int, Query(ge=0, lt=2**31)],
        by: messages.RankedBy = "activation",
        target: Token = None,
        contrast: Token = None,
        site: Annotated[str, Query(max_length=LONGEST_KEY)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_RANKED)] = 20,
    ) -> messages.Ranking:
        """Rank the atlas's units at one token of a text, by activation or by effect (RelP) on the next token."""
        atlas = served.atlas()
        return require_lab(atlas).rank(
            atlas, text, position, by=by, target=target, contrast=contrast, site=site, limit=limit
        )

    @app.get("/api/lab/attention", operation_id="readAttention")
    def read_attention(
        text: Text,
        layer: Annotated[int, Query(ge=0, lt=2**31)],
        head: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    ) -> AttentionPage:
        """Give the attention patterns of one block along a text, of all its heads or of one."""
        atlas = served.atlas()
        return require_lab(atlas).attention(atlas, text, layer, head)

    async def stream_events(
        work: Callable[[Reading, Lab], Callable[[Job], None]], *, slow: bool = False
    ) -> EventStream:
        """Check a question apart from the loop that serves everybody, then put it in the queue."""

        def prepare_work() -> tuple[Lab, Callable[[Job], None]]:
            now = served.atlas()
            own = require_lab(now)
            return own, work(now, own)

        own, answer = await run_in_threadpool(prepare_work)
        return EventStream(own.explainer if slow else own.worker, answer)

    @app.post("/api/lab/run", operation_id="runClamps", responses=_STREAMED, response_class=StreamingResponse)
    async def run_clamps(asked: messages.RunAsked) -> StreamingResponse:
        """Show a prompt with and without clamps: ``queued``, ``table``, ``step`` …, ``control``, ``finished``."""
        return await stream_events(lambda now, own: own.run(now, asked))

    @app.post("/api/lab/verify", operation_id="verifyNodes", responses=_STREAMED, response_class=StreamingResponse)
    async def verify_nodes(asked: messages.VerifyAsked) -> StreamingResponse:
        """Replace nodes of an answer, or edges: ``queued`` …, ``verified`` or ``edgesverified``, ``finished``."""
        return await stream_events(lambda now, own: own.verify(now, asked))

    @app.post("/api/lab/sets", operation_id="countSets")
    def count_sets(asked: messages.SetsAsked) -> messages.Sets:
        """Count the random sets that clamps, or nodes of an answer, can be compared with, before any is measured."""
        atlas = served.atlas()
        return require_lab(atlas).sets(atlas, asked)

    @app.get("/api/lab/unit", operation_id="checkUnit")
    def check_unit(key: Annotated[str, Query(min_length=1, max_length=LONGEST_KEY)]) -> messages.ClampableUnit:
        """Say whether a unit can be clamped, and what it is called."""
        atlas = served.atlas()
        return require_lab(atlas).clampable(atlas, key)

    @app.get("/api/lab/next", operation_id="readNext")
    def read_next(text: Text) -> explaining.NextTokens:
        """Give the likeliest next tokens of a prompt, and what explaining one of them takes."""
        return require_lab(served.atlas()).next_tokens(text)

    @app.post("/api/lab/explain", operation_id="explainAnswer", responses=_STREAMED, response_class=StreamingResponse)
    async def explain_answer(asked: explaining.ExplainAsked) -> StreamingResponse:
        """Explain an answer: ``queued``, ``progressed`` …, ``explained``, ``finished``."""
        return await stream_events(lambda now, own: own.explain(now, asked), slow=True)

    @app.post(
        "/api/lab/explain-picture",
        operation_id="explainPicture",
        responses=_STREAMED,
        response_class=StreamingResponse,
    )
    async def explain_picture(asked: explaining.ExplainPictureAsked) -> StreamingResponse:
        """Explain a class of a picture: ``queued``, ``progressed`` …, ``explained``, ``finished``."""
        return await stream_events(lambda now, own: picture_lab(own).explain_picture(now, asked), slow=True)

    @app.post("/api/lab/pairs", operation_id="readPairs")
    def read_pairs(asked: explaining.CircuitAsked) -> explaining.PairsRead:
        """Read pasted pairs, and say what finding a circuit over them takes."""
        return require_lab(served.atlas()).pairs_cost(asked)

    @app.post("/api/lab/circuit", operation_id="findCircuit", responses=_STREAMED, response_class=StreamingResponse)
    async def find_circuit(asked: explaining.CircuitAsked) -> StreamingResponse:
        """Find a circuit over pasted pairs: ``queued``, ``progressed`` …, ``explained``, ``finished``."""
        return await stream_events(lambda now, own: own.find_circuit(now, asked), slow=True)

    @app.get("/api/lab/describe", operation_id="readDescribeCost")
    def read_describe_cost(
        unit: Annotated[str, Query(min_length=1, max_length=LONGEST_KEY)],
    ) -> describing.DescribeCost:
        """Say what describing a unit takes."""
        atlas = served.atlas()
        return require_lab(atlas).description_cost(atlas, unit)

    @app.post("/api/lab/describe", operation_id="describeUnit", responses=_STREAMED, response_class=StreamingResponse)
    async def describe_unit(asked: describing.DescribeAsked) -> StreamingResponse:
        """Describe a unit and score the words: ``queued``, ``progressed`` …, ``described``, ``finished``."""
        return await stream_events(lambda now, own: own.describe(now, asked), slow=True)

    @app.get("/api/lab/runs/{id}", operation_id="readLabRun")
    def read_lab_run(id: str) -> messages.LabRun:
        """Give a run of this server again."""
        return require_lab(served.atlas()).find_run(id)
