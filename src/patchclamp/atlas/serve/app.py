"""Server: every page of an atlas as JSON, and the built pages themselves; reads only."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from patchclamp.atlas import pages
from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.job_queue import Busy
from patchclamp.atlas.lab.routes import add_lab
from patchclamp.atlas.read.atlas import Atlas
from patchclamp.atlas.read.reader import Absent
from patchclamp.atlas.read.search import Asked
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import Damaged, PatchclampError

STATIC = Path(__file__).resolve().parents[1] / "static"
MOST_ROWS, MOST_EXAMPLES, MOST_NODES = 200, 50, 1500
LONGEST, LONGEST_TEXT = 300, 2000
VERSION = "1"

Key = Annotated[str, Query(max_length=LONGEST)]
Words = Annotated[str, Query(max_length=LONGEST)]
Number = Annotated[float | None, Query(allow_inf_nan=False)]
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": pages.Refusal, "description": "The question cannot be understood."},
    404: {"model": pages.Refusal, "description": "There is no such thing in this atlas."},
    503: {
        "model": pages.Refusal,
        "description": "The atlas was damaged since the server opened it, or too many runs wait.",
    },
}


def make_app(atlas: Callable[[], Atlas], lab: Lab | None = None) -> FastAPI:
    """Return the application that answers for an atlas.

    Args:
        atlas: gives the atlas as it is now; it may be another one after a layer was added.
        lab: the model, where one is attached.

    Returns:
        FastAPI: ``/api/…`` answers in JSON, every other path gives the page that asks for it.

    Example:
        >>> app = make_app(lambda: None)
        >>> "/api/atlas" in app.openapi()["paths"]
        True
    """
    app = FastAPI(
        title="patchclamp atlas", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
        description="Every page of an atlas as JSON. Reads only.", responses=_REFUSALS,
        separate_input_output_schemas=False,
    )  # fmt: skip
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    _complaints(app)

    @app.get("/api/atlas", operation_id="readAtlas")
    def read_atlas() -> pages.AtlasPage:
        """Home: what is in this atlas?"""
        return atlas().page()

    @app.get("/api/units", operation_id="findUnits")
    def find_units(
        q: Words = "",
        fires_on: Words = "",
        site: Words = "",
        concept: Words = "",
        min_frequency: Number = None,
        max_frequency: Number = None,
        min_maximum: Number = None,
        max_maximum: Number = None,
        min_score: Number = None,
        max_score: Number = None,
        described: bool | None = None,
        sort: pages.Sort | None = None,
        descending: bool | None = None,
        cursor: Words = "",
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    ) -> pages.UnitList:
        """Find: which units match this?

        ``q`` searches descriptions, promoted tokens and tokens at top examples, or names a unit; ``fires_on`` wants a
        token, its space included or not. Without ``sort``, words sort by relevance and the rest by key.
        """
        asked = Asked(
            words=q, fires_on=fires_on, site=site, concept=concept, frequency=(min_frequency, max_frequency),
            maximum=(min_maximum, max_maximum), score=(min_score, max_score), described=described,
            sort=sort or ("relevance" if q.strip() else "key"), descending=descending,
        )  # fmt: skip
        return atlas().find(asked, cursor=cursor, limit=limit)

    @app.get("/api/units/{key:path}/examples", operation_id="readExamples")
    def read_examples(
        key: str,
        kind: pages.Kind = "top",
        low: Number = None,
        high: Number = None,
        limit: Annotated[int, Query(ge=1, le=MOST_EXAMPLES)] = 20,
    ) -> pages.Examples:
        """Read examples of one kind; ``low`` and ``high`` belong to ``kind=interval``, both ends included."""
        return atlas().examples(key, kind, low=low, high=high, limit=limit)

    @app.get("/api/units/{key:path}/trial", operation_id="tryText")
    def try_text(key: str, text: Annotated[str, Query(min_length=1, max_length=LONGEST_TEXT)]) -> pages.Trial:
        """Show the unit a text of one's own; only where the server has a model attached."""
        if lab is None:
            raise Absent(
                expected="a model beside the atlas",
                got="an atlas by itself",
                remedy="Serve it with --model MODEL to try texts.",
            )
        return lab.trial(atlas().reading, key, text)

    @app.get("/api/units/{key:path}", operation_id="readUnit")
    def read_unit(key: str) -> pages.UnitPage:
        """Unit: what does it do, and how sure are we?"""
        return atlas().unit(key)

    add_lab(app, atlas, lab)

    @app.get("/api/graphs", operation_id="listGraphs")
    def list_graphs() -> pages.GraphList:
        """List the explained answers."""
        return atlas().graphs()

    @app.get("/api/graphs/{id}", operation_id="readGraph")
    def read_graph(
        id: str,
        keep: Annotated[float, Query(ge=0, le=1)] = 1.0,
        max_nodes: Annotated[int, Query(ge=1, le=MOST_NODES)] = MOST_NODES,
    ) -> pages.GraphPage:
        """Read an explained answer, its largest nodes first: the fewest that carry ``keep`` of the sum of sizes."""
        return atlas().graph(id, keep=keep, max_nodes=max_nodes)

    @app.get("/api/runs", operation_id="listRuns")
    def list_runs() -> pages.RunList:
        """Runs: where did this come from?"""
        return atlas().runs()

    @app.get("/api/runs/{id}", operation_id="readRun")
    def read_run(id: str) -> pages.RunPage:
        """Read one run, with what is needed to do it again."""
        return atlas().run(id)

    @app.get("/api/{rest:path}", include_in_schema=False)
    def no_such_answer(rest: str) -> Response:
        raise Absent(
            expected="an address of the API", got=f"/api/{rest}"[:LONGEST], remedy="/api/openapi.json lists them."
        )

    @app.get("/{path:path}", include_in_schema=False)
    def read_page(path: str) -> Response:
        return _file(path)

    return app


def _file(path: str) -> Response:
    """Return a built file, contained in its folder, or the page for every other path."""
    asked = (STATIC / path).resolve() if "\0" not in path else STATIC
    try:
        built = bool(path) and asked.is_file() and asked.is_relative_to(STATIC.resolve())
    except OSError:  # a name that no file system takes
        built = False
    if built:
        # Hashed names never change their content.
        kept = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        return FileResponse(asked, headers={"Cache-Control": kept})
    if path == "api" or path.startswith("assets/") or not (STATIC / "index.html").is_file():
        raise Absent(expected="a page of the atlas", got=f"/{path}"[:LONGEST], remedy="Begin at /.")
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


def _complaints(app: FastAPI) -> None:
    """Answer every trouble with its three parts."""

    def told(status: int, problem: PatchclampError) -> JSONResponse:
        return JSONResponse({"error": problem.to_json()}, status_code=status)

    @app.exception_handler(PatchclampError)
    def ours(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, PatchclampError)
        status = 404 if isinstance(problem, Absent) else 503 if isinstance(problem, Damaged | Busy) else 400
        return told(status, problem)

    @app.exception_handler(RequestValidationError)
    def unreadable(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, RequestValidationError)
        first = problem.errors()[0]
        where, got = ".".join(map(str, first["loc"])), repr(first.get("input"))[:LONGEST]
        return told(400, PatchclampError(
            expected=f"{where}: {first['msg']}", got=got, remedy="/api/openapi.json says what may be asked."
        ))  # fmt: skip

    # A page with a value of another type than its own, or with half a character.
    @app.exception_handler(ResponseValidationError)
    @app.exception_handler(PydanticSerializationError)
    def misfit(_: Request, problem: Exception) -> JSONResponse:
        got = str(problem.errors()[0]) if isinstance(problem, ResponseValidationError) else str(problem)
        return told(503, Damaged(
            expected="values such as an atlas holds", got=ascii(got)[:LONGEST], remedy=DAMAGED
        ))  # fmt: skip

    @app.exception_handler(HTTPException)
    def other(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, HTTPException)
        if problem.status_code == 400:
            return told(400, PatchclampError(
                expected="a body of JSON", got=str(problem.detail), remedy="/api/openapi.json says what may be asked."
            ))  # fmt: skip
        return told(problem.status_code, PatchclampError(
            expected="GET of an address of the atlas", got=str(problem.detail), remedy="Begin at /."
        ))  # fmt: skip
