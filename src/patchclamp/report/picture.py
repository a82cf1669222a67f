"""An image inside a page: its pixels as a PNG file that is written into the page itself."""

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from patchclamp.core.arguments import checked

MOST = 4_000_000
"""Pixels beyond which an image is left out: the page would hold megabytes of it."""
LEAST = 0.02
"""Share of the largest sum below which a cell stays bare."""
MARKED = 0.1
"""Share from which a cell below zero has a bar."""


@checked
def png_uri(pixels: np.ndarray | None) -> str:
    """Return an image as an address that holds all of it.

    Args:
        pixels: whole numbers from 0 to 255, ``(y, x)`` or ``(y, x, channel)``; fractions ``(channel, y, x)`` are
            stretched from their lowest to their highest.

    Returns:
        str: ``data:image/png;base64,…``; empty for what is no image, or too large for a page.

    Source: the PNG specification, second edition, 11.2.

    Example:
        >>> png_uri(np.zeros((2, 2), dtype=np.uint8))[:22], png_uri(np.zeros(4))
        ('data:image/png;base64,', '')
    """
    shown = None if pixels is None else _as_bytes(pixels)
    if shown is None:
        return ""
    height, width = shown.shape[:2]
    colour = 2 if shown.ndim == 3 else 0
    rows = b"".join(b"\0" + row.tobytes() for row in shown)  # 0: each row as it is
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


@checked
def heat_figure(pixels: np.ndarray, values: Sequence[Sequence[float]]) -> str:
    """Return an image with sums by place over it: blue above zero, orange with a bar below; the largest is darkest.

    Args:
        pixels: the image, as for ``png_uri``.
        values: rows of sums, from the top; they cover the whole image.

    Returns:
        str: an SVG element; empty for what is no image, or has no sum that is not 0.

    Example:
        >>> heat_figure(np.zeros((2, 2), dtype=np.uint8), [[1.0, -0.5]]).count("<rect")
        3
    """
    address = png_uri(pixels)
    shown = _as_bytes(pixels)
    largest = max((abs(value) for row in values for value in row), default=0.0)
    if not address or shown is None or not largest:
        return ""
    height, width = shown.shape[:2]
    high, wide = height / len(values), width / len(values[0])
    cells = []
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            share = abs(value) / largest
            if share >= LEAST:
                side = "carries" if value > 0 else "against"
                opacity = f'fill-opacity="{0.1 + 0.75 * share:.3f}"'
                box = _box(x * wide, y * high, wide, high)
                cells.append(f'<rect class="{side}" {box} {opacity}><title>{value:+.3f}</title></rect>')
                if value < 0 and share >= MARKED:
                    cells.append(
                        f'<rect class="bar" {_box((x + 0.25) * wide, (y + 0.45) * high, wide / 2, high / 10)}/>'
                    )
    return (
        f'<svg class="heat" viewBox="0 0 {width} {height}" role="img" aria-label="where on the image the scores lie">'
        f'<image href="{address}" width="{width}" height="{height}"/>{"".join(cells)}</svg>'
    )


def _box(x: float, y: float, width: float, height: float) -> str:
    return f'x="{x:.3f}" y="{y:.3f}" width="{width:.3f}" height="{height:.3f}"'


def _as_bytes(pixels: np.ndarray) -> Any:
    """Return pixels as ``uint8 (y, x)`` or ``(y, x, 3)``; None for what is no image."""
    x = pixels
    if x.dtype.kind == "f" and x.ndim == 3:
        x = np.moveaxis(np.nan_to_num(x.astype(np.float64)), 0, -1)
        low, high = x.min(initial=0.0), x.max(initial=0.0)
        x = np.round((x - low) * (255 / (high - low) if high > low else 0.0))
    elif x.dtype.kind not in "iu":
        return None
    if x.ndim == 3:
        x = x[..., :3] if x.shape[-1] >= 3 else x[..., 0]
    return x.astype(np.uint8) if x.ndim in (2, 3) and 0 < x.size <= MOST else None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
