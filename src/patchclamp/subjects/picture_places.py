"""Where the places of a site lie on the picture that a network is shown, and that picture as an image file."""

import io

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.picture_places import PicturePlaces
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Picture
from patchclamp.subjects.images import Preparation
from patchclamp.subjects.vision import VisionModel

N_NOISE = 4
MOST_SIDE = 256
"""Pixels of a side of a kept picture; larger ones are made smaller."""


def places_of(model: VisionModel, site: Site) -> PicturePlaces:
    """Return where a site's places lie: cells of a map with the pixels that each reads, or a transformer's patches.

    What a place of a map reads is measured: the pixels at which the gradient of its units is not 0, on noise. Of a
    transformer, in which every patch reads every other, a place stands for its own patch.

    Args:
        model: the subject.
        site: one of its sites.

    Cost: a forward and two backward passes of four pictures for a map; nothing elsewhere.
    """
    size = (model.prepare.shape[1], model.prepare.shape[2])
    no_more = (0.0, 0.0)
    if len(site.places) == 2:
        grid = (site.places[0], site.places[1])
        return PicturePlaces(
            0, grid, *(_reach(model, site, grid, size) if grid != (1, 1) else (no_more, no_more)), size
        )
    before = model.family.tokens if model.family is not None and model.family.attends else 0
    n = site.n_places - before
    rows = round((n * size[0] / size[1]) ** 0.5) if n > 0 else 0
    known = rows > 0 and n % rows == 0 and (before > 0 or n == 1 or model.family is not None)
    return PicturePlaces(before, (rows, n // rows) if known else (0, 0), no_more, no_more, size)


def _reach(
    model: VisionModel, site: Site, grid: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return how far what a place of a map reads goes beyond its cell: first before it, then after it."""
    noise = torch.rand(N_NOISE, *model.prepare.shape, generator=torch.Generator().manual_seed(0))
    x = noise.to(model.device, model.dtype).requires_grad_()
    # The first place shows how far the others read after their cells, the last how far before.
    try:
        first, last = _read_boxes(model, site, x)
    except RuntimeError:  # a network without gradients: then the whole picture
        return (-float(size[0]), -float(size[1])), (float(size[0]), float(size[1]))
    low, high = [], []
    for axis in (0, 1):
        cell = size[axis] / grid[axis]
        high.append(max(first[axis][1] - cell, 0.0))
        low.append(min(last[axis][0] - (size[axis] - cell), 0.0))
    return (low[0], low[1]), (high[0], high[1])


def _read_boxes(model: VisionModel, site: Site, x: Tensor) -> list[list[tuple[float, float]]]:
    """Return, of the first and of the last place, the rows and the columns of pixels between which it reads."""
    boxes = []
    values = model.differentiable(x, site.path)
    for position in (0, site.n_places - 1):
        [gradient] = torch.autograd.grad(values[:, position].sum(), x, retain_graph=position == 0)
        read = gradient.abs().sum((0, 1)) > 0
        lines = [read.any(1 - axis).nonzero().flatten().tolist() or [0, read.shape[axis] - 1] for axis in (0, 1)]
        boxes.append([(float(line[0]), float(line[-1] + 1)) for line in lines])
    return boxes


def shown_pixels(prepare: Preparation, picture: Picture) -> np.ndarray:
    """Return what the network is shown of a picture as people see it: normalisation undone, grey or colour.

    Args:
        prepare: what the network's pictures pass.
        picture: with its pixels.

    Returns:
        np.ndarray: ``uint8 (y, x)`` or ``(y, x, 3)``. Fractions that no processor made are spread from their lowest to
            their highest.

    Raises:
        PatchclampError: the picture cannot be prepared.
    """
    x = prepare(picture)
    fractions = picture.pixels is not None and picture.pixels.dtype.kind == "f"
    processor = prepare.processor
    if not fractions and processor is None:
        x = x * 255
    elif not fractions and hasattr(processor, "to_json_string"):
        x = _undo(processor, x)
    else:
        low, high = float(x.min()), float(x.max())
        x = (x - low) * (255 / (high - low) if high > low else 0)
    pixels = np.moveaxis(np.clip(np.round(x), 0, 255).astype(np.uint8), 0, -1)
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]


def _undo(processor: object, x: Float[np.ndarray, "channel y x"]) -> np.ndarray:
    if getattr(processor, "do_normalize", False):
        mean, deviation = (
            np.broadcast_to(np.asarray(getattr(processor, name), dtype=np.float64), len(x))[:, None, None]
            for name in ("image_mean", "image_std")
        )
        x = x * deviation + mean
    return x / float(getattr(processor, "rescale_factor", 1)) if getattr(processor, "do_rescale", False) else x


def png_of(pixels: np.ndarray, most: int = MOST_SIDE) -> bytes:
    """Return pixels as a PNG file whose sides are no longer than ``most``; colour stays.

    Args:
        pixels: ``uint8 (y, x)`` or ``(y, x, 3)``.
        most: pixels of the longer side.

    Raises:
        PatchclampError: an array that is no picture.
    """
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        raise PatchclampError(
            expected="uint8 pixels (y, x) or (y, x, 3)", got=f"{pixels.dtype} {pixels.shape}", remedy="Convert them."
        )
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > most:
        image.thumbnail((most, most))
    held = io.BytesIO()
    image.save(held, format="PNG")
    return held.getvalue()
