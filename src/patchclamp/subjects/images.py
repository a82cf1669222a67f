"""From files, arrays and data sets to pictures, and from pictures to what a network is shown."""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Picture
from patchclamp.core.task import Case, Task
from patchclamp.subjects.unpacked_sizes import refuse_large_arrays

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
ARRAYS = ("x_test", "images", "x", "x_train")
"""Names under which an npz file holds its images, the first one found."""
DIGITS = "digits"
MOST_PIXELS = 10**8
"""A file may say that it holds more pixels than memory has room for."""


# -- pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Gallery:
    """Hold many pictures, each read when it is asked for.

    Args:
        names: ``(picture,)`` what each is called.
        read: returns one picture by its place.
        labels: ``(picture,)`` classes, where the data set has them.
    """

    names: Sequence[str]
    read: Callable[[int], Picture]
    labels: Sequence[int] = ()

    @classmethod
    def of(cls, pictures: Sequence[Picture]) -> "Gallery":
        """Hang pictures that are in memory."""
        return cls([p.name for p in pictures], pictures.__getitem__)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Picture]:
        return (self.read(i) for i in range(len(self)))


def gallery(source: str | Path) -> Gallery:
    """Open images by where they lie.

    Args:
        source: an image file; a folder, searched through its subfolders, in the order of their paths; an ``npz`` or
            ``npy`` file of whole numbers, ``(image, y, x)`` or ``(image, y, x, channel)``; ``digits``, scikit-learn's
            1,797 handwritten digits. ``SOURCE:17`` is one of several, ``SOURCE:100:200`` a run of them.

    Returns:
        Gallery: the pictures, named by where each comes from.

    Raises:
        PatchclampError: nothing there, no image, no such place, or scikit-learn missing.

    Cost: a folder is listed; of an npz or npy file one array is read.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "two.npy"
        >>> np.save(file, np.zeros((2, 4, 4), dtype=np.uint8))
        >>> [picture.name for picture in gallery(f"{file}:1")]
        ['two.npy:1']
    """
    text = str(source)
    if Path(text).exists():
        return _whole(text)
    base = text
    numbers: list[int] = []
    while len(numbers) < 2 and (cut := base.rpartition(":"))[1] and cut[2].isdecimal():
        base, numbers = cut[0], [int(cut[2]), *numbers]
    base_gallery = _whole(base)
    if not numbers:
        return base_gallery
    start, stop = (numbers[0], numbers[0] + 1) if len(numbers) == 1 else numbers
    if not start < stop <= len(base_gallery):
        raise PatchclampError(
            expected=f"images among the {len(base_gallery):,} of {base}, counted from 0",
            got=text,
            remedy="Give SOURCE:17 for one, SOURCE:100:200 for a run.",
        )
    return Gallery(
        base_gallery.names[start:stop], lambda i: base_gallery.read(start + i), base_gallery.labels[start:stop]
    )


def names_images(source: str | Path) -> bool:
    """Return whether a path names images by how it looks: a folder, an image file, an array, digits, or some of these.

    Args:
        source: as for ``gallery``; nothing is read.

    Example:
        >>> names_images("digits:17"), names_images("cat.png"), names_images("story.txt")
        (True, True, False)
    """
    base = str(source)
    if not Path(base).exists():
        base = re.sub(r"(:\d+){1,2}$", "", base)
    return base == DIGITS or Path(base).is_dir() or Path(base).suffix.lower() in (*SUFFIXES, ".npy", ".npz")


@checked
def own_answers(subject: Any, source: str | Path) -> Task:
    """Return the task of some images, each with the class that a model itself gives it.

    Args:
        subject: a model of images.
        source: as for ``gallery``.

    Raises:
        PatchclampError: no images there.

    Cost: a forward pass of each image.

    Example:
        >>> from patchclamp.loaders import load
        >>> [case.targets for case in own_answers(load("organism:digits-cnn"), "digits:17").cases]
        [('7',)]
    """
    pictures, text = gallery(source), str(source)
    root, start = text, 0
    if not Path(text).exists() and (cut := re.fullmatch(r"(.+?):(\d+)(?::\d+)?", text)):
        root, start = cut[1], int(cut[2])
    names = [text] if len(pictures) == 1 else [f"{root}:{start + i}" for i in range(len(pictures))]
    classes = [int(subject.run([picture]).logits[0].argmax()) for picture in pictures]
    cases = [Case(name, targets=(subject.answer_name(best),)) for name, best in zip(names, classes, strict=True)]
    return Task(tuple(cases), "logit", text)


def picture(source: Any) -> Picture:
    """Return one picture from a picture, a path (as for ``gallery``) or an array.

    Raises:
        PatchclampError: several images where one is asked for, or none.
    """
    if isinstance(source, Picture):
        return source
    if not isinstance(source, str | Path):
        pixels = np.asarray(source)
        if pixels.ndim == 3 and pixels.dtype.kind != "f" and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        return Picture.of(pixels)
    pictures = gallery(source)
    if len(pictures) != 1:
        raise PatchclampError(
            expected="one image", got=f"{source}, which holds {len(pictures):,}", remedy=f"Name one: {source}:0."
        )
    return pictures.read(0)


def digits() -> tuple[Sequence[Picture], Sequence[int]]:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, and what each shows.

    Raises:
        PatchclampError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as problem:
        raise PatchclampError(
            expected="scikit-learn, which brings the digits",
            got=str(problem),
            remedy="pip install 'patchclamp[science]'; any image file of yours does without it.",
        ) from problem
    data = load_digits()
    # Its grey values are whole numbers from 0 to 16.
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)
    return [Picture.of(x, name=f"{DIGITS}:{i}") for i, x in enumerate(pixels)], data.target.tolist()


@cache
def _digits() -> Gallery:
    pictures, labels = digits()
    return Gallery([p.name for p in pictures], pictures.__getitem__, labels)


def _whole(source: str) -> Gallery:
    path = Path(source)
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        if not files:
            raise _report_missing(f"{source}, a folder without any", "Give a folder of png or jpg files.")
        return Gallery([f.relative_to(path).as_posix() for f in files], lambda i: _open_file(files[i], path))
    if path.is_file():
        if path.suffix in (".npz", ".npy"):
            return _from_arrays(path)
        return Gallery([path.name], lambda _i: _open_file(path, path.parent))
    if source == DIGITS:
        return _digits()
    raise _report_missing(
        f"{source!r}, which is not there", "Give an image file, a folder, an npz or npy file, or digits:17."
    )


def _report_missing(got: str, remedy: str) -> PatchclampError:
    return PatchclampError(expected="images", got=got, remedy=remedy)


def _open_file(file: Path, root: Path) -> Picture:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} pixels")
            # Grey stays grey; palettes, transparency and sixteen bits become three colours of eight bits.
            pixels = np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise PatchclampError(
            expected="an image that Pillow reads",
            got=f"{file}: {type(problem).__name__} {problem}"[:200],
            remedy="Check the file; png and jpg always work.",
        ) from problem
    return Picture.of(pixels, name=file.relative_to(root).as_posix())


def _from_arrays(path: Path) -> Gallery:
    labels: Sequence[int] = ()
    try:
        # Opened here, because NumPy leaves a file open whose end is missing.
        with path.open("rb") as file:
            if path.suffix == ".npy":
                refuse_large_arrays(path)
            held = np.load(file, allow_pickle=False)
            if path.suffix == ".npy":
                pixels = held
            else:
                name = next((n for n in ARRAYS if n in held.files), held.files[0] if len(held.files) == 1 else None)
                if name is None:
                    raise ValueError(f"arrays {', '.join(held.files[:6])}, none called {' or '.join(ARRAYS)}")
                labels_name = name.replace("x", "y") if name.startswith("x") else "labels"
                refuse_large_arrays(path, (name, labels_name))
                pixels = held[name]
                labels = held[labels_name].astype(int).tolist() if labels_name in held.files else ()
        if pixels.dtype.kind not in "iu" or pixels.ndim not in (3, 4) or not len(pixels):
            raise ValueError(f"an array of {pixels.dtype} and shape {pixels.shape}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        raise PatchclampError(
            expected="images as whole numbers from 0 to 255, (image, y, x) or (image, y, x, channel)",
            got=f"{path}: {problem}"[:200],
            remedy=f"Save them as uint8, in npz under one of the names {', '.join(ARRAYS)}.",
        ) from problem
    names = [f"{path.name}:{i}" for i in range(len(pixels))]
    return Gallery(names, lambda i: Picture.of(pixels[i].squeeze(), name=names[i]), labels)


# -- what a network is shown ------------------------------------------------------------------------------------------


class Preparation:
    """Turn pictures into the numbers that a network is shown.

    Args:
        processor: a transformers image processor (the PIL ones need no torchvision), or a function from the picture's
            ``uint8`` array ``(y, x, channel)`` to ``(channel, y, x)``; None divides by 255 and leaves the size.
        shape: ``(channel, y, x)`` of what the network takes; grey and colour are turned into one another to fit.
    """

    def __init__(self, processor: Any = None, *, shape: tuple[int, int, int]) -> None:
        self.processor = processor
        self.shape = shape

    @property
    def hash(self) -> str:
        """SHA-256 over what is done; of a function of yours only its name is known."""
        p = self.processor
        described = (
            p.to_json_string() if hasattr(p, "to_json_string") else getattr(p, "__qualname__", repr(p)) if p else ""
        )
        return hashlib.sha256(f"{described}{self.shape}".encode()).hexdigest()

    def __call__(self, shown: Picture) -> Float[np.ndarray, "channel y x"]:
        """Prepare one picture; fractions are taken as they are.

        Raises:
            PatchclampError: what comes out is not of the network's shape.
        """
        pixels = shown.pixels
        if pixels is None:
            raise PatchclampError(
                expected="a picture with its pixels",
                got=f"{shown.name or shown.id}, of which a recording kept only the name",
                remedy="Open the image itself.",
            )
        if pixels.dtype.kind != "f":
            pixels = self.preprocess(_channels(pixels, self.shape[0]))
        if pixels.shape != self.shape or not np.isfinite(pixels).all():
            raise PatchclampError(
                expected=f"an image of {' x '.join(map(str, self.shape))} (channel, y, x), every number finite",
                got=f"{shown.name or 'an array'} of {' x '.join(map(str, pixels.shape))}",
                remedy="Resize it, or give a transformers image processor, which does.",
            )
        return np.ascontiguousarray(pixels, dtype=np.float32)

    def preprocess(self, pixels: np.ndarray) -> np.ndarray:
        """Return what the processor makes of ``(y, x, channel)`` whole numbers, of whatever shape that is."""
        if self.processor is None:
            return np.moveaxis(pixels, -1, 0).astype(np.float32) / 255
        if not hasattr(self.processor, "to_json_string"):
            return np.asarray(self.processor(pixels), dtype=np.float32)
        wanted = [n for n in dict(getattr(self.processor, "size", None) or {}).values() if isinstance(n, int)]
        try:
            if any(n > MOST_PIXELS**0.5 for n in wanted):
                raise ValueError(f"images of {max(wanted):,} pixels a side")
            # Channels first: a picture one pixel high would otherwise be taken for one with its channels there.
            given = self.processor(
                np.moveaxis(pixels, -1, 0),
                input_data_format="channels_first",
                do_convert_rgb=False,
                return_tensors="np",
            )
            return np.asarray(given["pixel_values"][0], dtype=np.float32)
        except Exception as problem:  # what a broken configuration breaks is reported in many ways
            raise PatchclampError(
                expected="an image processor that prepares an image",
                got=f"{type(self.processor).__name__}: {type(problem).__name__} {problem}"[:200],
                remedy="Check preprocessor_config.json, or give another with pc.wrap(module, example, prepare=…).",
            ) from problem


def _channels(pixels: np.ndarray, n: int) -> np.ndarray:
    """Return ``(y, x, channel)`` with as many channels as are asked for: grey repeated, colour as its luma."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[-1] == n:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, n, axis=-1)
    if n == 1 and pixels.shape[-1] == 3:
        luma = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        return np.round(luma).astype(np.uint8)[..., None]
    return pixels
