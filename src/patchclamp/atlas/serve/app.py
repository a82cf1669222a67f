"""Every screen of an atlas as JSON, and the built pages themselves."""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.job_queue import QueueFull
from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.atlas.read.responses import Refusal
from patchclamp.atlas.serve import screens
from patchclamp.atlas.serve.served import LONGEST, Served
from patchclamp.atlas.serve.writer import NotAllowed, Writer
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import Damaged, PatchclampError

STATIC = Path(__file__).resolve().parents[1] / "static"
VERSION = "1"

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The question cannot be understood."},
    403: {"model": Refusal, "description": "Writing, without permission or without the token."},
    404: {"model": Refusal, "description": "There is no such thing in this atlas."},
    503: {
        "model": Refusal,
        "description": "The atlas was damaged since the server opened it, or too many runs wait.",
    },
}


def make_app(atlas: Callable[[], Reading], lab: Lab | None = None, writer: Writer | None = None) -> FastAPI:
    """Return the application that answers for an atlas.

    Args:
        atlas: gives the atlas as it is now; it may be another one after a layer was added.
        lab: the model, where one is attached.
        writer: writes to the atlas, where that is allowed.

    Returns:
        FastAPI: ``/api/…`` answers in JSON, every other path gives the page that asks for it.

    Example:
        >>> app = make_app(lambda: None)
        >>> "/api/atlas" in app.openapi()["paths"]
        True
    """
    app = FastAPI(
        title="patchclamp atlas",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        description="Every page of an atlas as JSON. Only what is under /api/write/ writes, with permission.",
        responses=_REFUSALS,
        separate_input_output_schemas=False,
    )
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    _handle_errors(app)

    served = Served(atlas, lab, writer)
    for screen in sorted(one.name for one in pkgutil.iter_modules(screens.__path__)):
        importlib.import_module(f"{screens.__name__}.{screen}").add_routes(app, served)
    # The first route that matches answers: one that ends with a path takes every longer address too, so it comes last.
    app.router.routes.sort(key=lambda route: str(getattr(route, "path", "")).endswith(":path}"))

    @app.get("/api/{rest:path}", include_in_schema=False)
    def no_such_answer(rest: str) -> Response:
        raise NotFound(
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
        raise NotFound(expected="a page of the atlas", got=f"/{path}"[:LONGEST], remedy="Begin at /.")
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


def _handle_errors(app: FastAPI) -> None:
    """Answer every trouble with its three parts."""

    def respond(status: int, problem: PatchclampError) -> JSONResponse:
        return JSONResponse({"error": problem.to_json()}, status_code=status)

    @app.exception_handler(PatchclampError)
    def ours(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, PatchclampError)
        statuses: list[tuple[Any, int]] = [(NotFound, 404), (Damaged | QueueFull, 503), (NotAllowed, 403)]
        return respond(next((status for kind, status in statuses if isinstance(problem, kind)), 400), problem)

    @app.exception_handler(RequestValidationError)
    def unreadable(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, RequestValidationError)
        first = problem.errors()[0]
        where, got = ".".join(map(str, first["loc"])), repr(first.get("input"))[:LONGEST]
        return respond(
            400,
            PatchclampError(
                expected=f"{where}: {first['msg']}", got=got, remedy="/api/openapi.json says what may be asked."
            ),
        )

    # A page with a value of another type than its own, or with half a character.
    @app.exception_handler(ResponseValidationError)
    @app.exception_handler(PydanticSerializationError)
    def misfit(_: Request, problem: Exception) -> JSONResponse:
        got = str(problem.errors()[0]) if isinstance(problem, ResponseValidationError) else str(problem)
        return respond(503, Damaged(expected="values such as an atlas holds", got=ascii(got)[:LONGEST], remedy=DAMAGED))

    @app.exception_handler(HTTPException)
    def other(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, HTTPException)
        if problem.status_code == 400:
            return respond(
                400,
                PatchclampError(
                    expected="a body of JSON",
                    got=str(problem.detail),
                    remedy="/api/openapi.json says what may be asked.",
                ),
            )
        return respond(
            problem.status_code,
            PatchclampError(expected="GET of an address of the atlas", got=str(problem.detail), remedy="Begin at /."),
        )
