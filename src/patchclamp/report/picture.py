"""An image inside a page: its pixels as a PNG file that is written into the page itself."""

import base64
import struct
import zlib
from typing import Any

import numpy as np

from patchclamp.core.arguments import checked

MOST = 4_000_000
"""Pixels beyond which an image is left out: the page would hold megabytes of it."""


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
