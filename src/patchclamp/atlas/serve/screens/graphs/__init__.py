"""The explained answers: as pages, and as files for other viewers."""

from fastapi import FastAPI

from patchclamp.atlas.serve.screens.graphs import file, page
from patchclamp.atlas.serve.served import Served


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of the explained answers."""
    page.add_routes(app, served)
    file.add_routes(app, served)
