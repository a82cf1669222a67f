"""A PNG file as an answer."""

from fastapi.responses import Response


class PngResponse(Response):
    """A PNG file."""

    media_type = "image/png"
