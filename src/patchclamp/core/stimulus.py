"""Stimulus: what is shown to a subject: text token by token, or a picture."""

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError


class Role(enum.IntEnum):
    """What a token is there for; statistics and exemplars count only ``text``."""

    BOS = 0
    SPECIAL = 1
    TEMPLATE = 2
    TEXT = 3
    PAD = 4
    SKIPPED = 5


@checked
@dataclass(frozen=True, eq=False)
class Stimulus:
    """Hold one sequence of tokens with the role and the characters of each.

    Args:
        ids: ``(position,)`` token ids, no padding.
        roles: ``(position,)`` values of ``Role``.
        spans: ``(position, 2)`` first and past-last character of each token; -1 where unknown.
        text: the characters the spans point into, or None.

    Raises:
        PatchclampError: the arrays' lengths differ.

    Example:
        >>> s = Stimulus(np.array([1, 5]), np.array([Role.BOS, Role.TEXT]), np.array([[-1, -1], [0, 3]]))
        >>> len(s), s.counted.tolist()
        (2, [False, True])
    """

    ids: Int[np.ndarray, " position"]
    roles: Int[np.ndarray, " position"]
    spans: Int[np.ndarray, "position 2"]
    text: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.roles) == len(self.spans):
            raise PatchclampError(
                expected="as many roles and spans as ids",
                got=f"{len(self.ids)} ids, {len(self.roles)} roles, {len(self.spans)} spans",
                remedy="Give one role and one span per token.",
            )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def id(self) -> str:
        """Content hash of the token ids: the same tokens have the same id everywhere."""
        return hashlib.sha256(np.ascontiguousarray(self.ids, dtype="<i8").tobytes()).hexdigest()[:32]

    @property
    def counted(self) -> Bool[np.ndarray, " position"]:
        """Which tokens statistics and exemplars count: text and template, not bos, special, pad or skipped."""
        mask: Bool[np.ndarray, " position"] = (self.roles == Role.TEXT) | (self.roles == Role.TEMPLATE)
        return mask

    def skipping(self, outside: slice = slice(None), ids: Sequence[int] = ()) -> "Stimulus":
        """Return the same tokens with some that no statistics count.

        Args:
            outside: positions that stay counted; those outside it do not.
            ids: tokens that are not counted, wherever they stand.

        Example:
            >>> Stimulus.of(np.array([5, 6, 7, 6])).skipping(slice(1, None), ids=[7]).counted.tolist()
            [False, True, False, True]
        """
        away = np.ones(len(self), dtype=bool)
        away[outside] = False
        away |= np.isin(self.ids, list(ids))
        return (
            self
            if not (away & self.counted).any()
            else replace(self, roles=np.where(away & self.counted, Role.SKIPPED, self.roles))
        )

    @classmethod
    def of(cls, ids: Int[np.ndarray, " position"]) -> "Stimulus":
        """Make a stimulus of bare ids, all of them text."""
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise PatchclampError(
                expected="whole numbers of tokens on one axis",
                got=f"an array of {ids.dtype} and shape {ids.shape}",
                remedy="For example np.array([1, 5, 7]).",
            )
        n = len(ids)
        return cls(ids, np.full(n, Role.TEXT, dtype=np.int64), np.full((n, 2), -1, dtype=np.int64))


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


Shown = Stimulus | Picture
KINDS: Mapping[str, tuple[str, ...]] = {
    "text": ("ids", "roles", "spans", "offsets"),
    "images": ("images", "names", "name_offsets"),
    "arrays": ("images", "names", "name_offsets"),
}
"""What stimuli are, and the arrays that keep them on disk; of arrays, a plain network's inputs, as of images."""


def packed(stimuli: Sequence[Shown]) -> dict[str, np.ndarray]:
    """Return stimuli as the arrays that keep them on disk; of pictures the id and the name."""
    if stimuli and isinstance(stimuli[0], Picture):
        names = [s.name.encode() for s in stimuli if isinstance(s, Picture)]
        return {
            "images": np.array([list(bytes.fromhex(s.id)) for s in stimuli], dtype=np.uint8),
            "names": np.frombuffer(b"".join(names), dtype=np.uint8),
            "name_offsets": _offsets(names),
        }
    words = [s for s in stimuli if isinstance(s, Stimulus)]
    return {
        "ids": np.concatenate([s.ids for s in words]).astype(np.int32),
        "roles": np.concatenate([s.roles for s in words]).astype(np.uint8),
        "spans": np.concatenate([s.spans for s in words]).astype(np.int64),
        "offsets": _offsets(words),
    }


def unpacked(arrays: Mapping[str, np.ndarray]) -> tuple[Shown, ...]:
    """Return the stimuli that some arrays keep; the inverse of ``packed``, but for the pictures' pixels."""
    if "images" in arrays:
        names = arrays["names"].tobytes()
        cuts = pairwise(arrays["name_offsets"].tolist())
        pairs = zip(arrays["images"], cuts, strict=True)
        return tuple(Picture(row.tobytes().hex(), names[a:b].decode(errors="replace")) for row, (a, b) in pairs)
    ids, roles, spans = (arrays[k].astype(np.int64) for k in ("ids", "roles", "spans"))
    return tuple(Stimulus(ids[a:b], roles[a:b], spans[a:b]) for a, b in pairwise(arrays["offsets"].tolist()))


def _offsets(parts: Sequence[Sequence[int] | Shown]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
