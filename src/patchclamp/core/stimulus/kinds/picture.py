"""A picture, or one input of a plain network."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus.kind import StimulusKind, offsets_of


@checked
@dataclass(frozen=True, eq=False)
class Picture:
    """Hold one image with its identity.

    Args:
        id: content hash: the same picture has the same id everywhere.
        name: where it comes from, such as ``cat.png`` or ``digits:17``; it is no part of the identity.
        pixels: whole numbers from 0 to 255, ``(y, x)`` or ``(y, x, channel)``, or fractions ``(channel, y, x)`` that a
            network is shown as they are; of a plain network one row of its input; None where a recording kept only the
            name.

    Example:
        >>> p = Picture.of(np.zeros((8, 8), dtype=np.uint8), name="black")
        >>> len(p), p.id == Picture.of(np.zeros((8, 8), dtype=np.uint8)).id
        (1, True)
    """

    id: str
    name: str = ""
    pixels: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Return 1: a picture is one thing; how many places a site makes of it is the site's own."""
        return 1

    @property
    def counted(self) -> Bool[np.ndarray, " one"]:
        """Which of it statistics count: all."""
        return np.ones(1, dtype=bool)

    @classmethod
    def of(cls, pixels: np.ndarray, name: str = "") -> "Picture":
        """Make a picture of an array.

        Raises:
            PatchclampError: not two or three axes, or whole numbers outside 0 to 255.
        """
        x = np.ascontiguousarray(pixels)
        whole = x.dtype.kind in "iu" and x.size > 0 and x.min() >= 0 and x.max() <= 255 and x.ndim in (2, 3)
        if not whole and not (x.dtype.kind == "f" and x.ndim == 3):
            raise PatchclampError(
                expected="whole numbers from 0 to 255, (y, x) or (y, x, channel), or fractions (channel, y, x)",
                got=f"an array of {x.dtype} and shape {x.shape}",
                remedy="Fractions are shown as they are; pictures are prepared as the model says.",
            )
        x = x.astype(np.uint8 if whole else np.float32)
        about = f"{x.dtype}{x.shape}".encode()
        return cls(hashlib.sha256(about + x.tobytes()).hexdigest()[:32], name, x)


def pack(pictures: Sequence[Picture]) -> dict[str, np.ndarray]:
    """Return pictures as the arrays that keep them on disk: the id and the name of each."""
    names = [picture.name.encode() for picture in pictures]
    ids = [list(bytes.fromhex(picture.id)) for picture in pictures]
    return {
        "images": np.array(ids, dtype=np.uint8).reshape(len(ids), -1 if ids else 16),
        "names": np.frombuffer(b"".join(names), dtype=np.uint8),
        "name_offsets": offsets_of(names),
    }


def unpack(arrays: Mapping[str, np.ndarray]) -> tuple[Picture, ...]:
    """Return the pictures that some arrays keep, without their pixels."""
    names, cuts = arrays["names"].tobytes(), pairwise(arrays["name_offsets"].tolist())
    pairs = zip(arrays["images"], cuts, strict=True)
    return tuple(Picture(row.tobytes().hex(), names[a:b].decode(errors="replace")) for row, (a, b) in pairs)


KIND = StimulusKind(
    names=("images", "arrays"),
    shown=Picture,
    pack=pack,
    unpack=unpack,
    offsets="name_offsets",
    ragged=("names",),
    rows=("images",),
    identity="images",
    examples=lambda: (Picture("00" * 15 + "ff", "é"), Picture("01" * 16, "ab"), Picture("02" * 16)),
    trailing={"images": (16,)},
    positions=False,
    # A recording or survey with the pixels would be as large as the images.
    strip=lambda picture: replace(picture, pixels=None),
    label=lambda picture: ((), picture.name or picture.id),
)
