"""Squares of a grid, what fills them, and images with some regions filled."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.core.arguments import Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Picture

Fill = Literal["zero", "mean"]
SITE = "input"


@checked
def grid_regions(picture: Picture, size: Positive) -> Int[np.ndarray, "y x"]:
    """Return the region that each pixel is of: squares of a grid, counted row by row; those at the edge may be smaller.

    Args:
        picture: an image with its pixels.
        size: side of a square, in pixels.

    Raises:
        PatchclampError: an image without pixels, or a grid of one square.
    """
    height, width = _plane(picture)
    rows, columns = np.arange(height) // size, np.arange(width) // size
    regions: np.ndarray = rows[:, None] * (columns[-1] + 1) + columns[None]
    if regions[-1, -1] == 0:
        raise PatchclampError(
            expected="squares smaller than the image", got=f"{size} pixels of {height} by {width}", remedy="Take fewer."
        )
    return regions


def basis_name(size: int) -> str:
    """Return what the regions of a grid are called in keys: ``input/grid-2/5``."""
    return f"grid-{size}"


def fill_regions(
    picture: Picture, regions: Int[np.ndarray, "y x"], removed: Bool[np.ndarray, "image region"], fill: Fill
) -> list[Picture]:
    """Return copies of an image in which some regions are filled: by zero, or by the mean of each channel.

    Args:
        picture: the image.
        regions: the region of each pixel.
        removed: which regions each copy lacks.
        fill: what stands in their place.

    Returns:
        list[Picture]: one per row of the mask; the image itself is not changed.
    """
    assert picture.pixels is not None
    pixels = picture.pixels
    first = pixels.dtype.kind == "f"  # fractions have their channels first
    spatial = (1, 2) if first else (0, 1)
    value = np.zeros(1) if fill == "zero" else pixels.mean(spatial, keepdims=True)
    copies = []
    for row in removed:
        gone = row[regions]
        mask = gone[None] if first else gone[..., None] if pixels.ndim == 3 else gone
        filled = np.where(mask, value, pixels)
        # Fractions that are not filled stay to the bit.
        copies.append(Picture.of((filled if first else filled.round()).astype(pixels.dtype)))
    return copies


def _plane(picture: Picture) -> tuple[int, int]:
    if picture.pixels is None:
        raise PatchclampError(
            expected="an image with its pixels", got=picture.name or picture.id, remedy="Show the image itself."
        )
    shape = picture.pixels.shape
    plane = shape[1:] if picture.pixels.dtype.kind == "f" else shape[:2]
    return int(plane[0]), int(plane[1])


def order_curve(n: int, order: Sequence[int], *, insert: bool) -> Bool[np.ndarray, "step region"]:
    """Return which regions are removed at each step: at first none, or all to insert, then one more or fewer.

    Returns:
        Bool[np.ndarray, "step region"]: row 0 with nothing removed (all, to insert), then one region more (fewer) per
            step.

    Source: the insertion and deletion games of 1806.07421 (RISE).

    Example:
        >>> order_curve(3, [2, 0, 1], insert=False).astype(int).tolist()
        [[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]]
    """
    removed = np.zeros((n + 1, n), dtype=bool)
    for step, region in enumerate(order, start=1):
        removed[step:, region] = True
    return ~removed if insert else removed
