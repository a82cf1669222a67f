"""Stimulus: what is shown to a subject: text token by token, or a picture."""

import enum
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

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


@checked
@dataclass(frozen=True, eq=False)
class PackedStimuli:
    """Hold many stimuli as the arrays that keep them on disk, so that a million of them are a few arrays.

    Args:
        arrays: as ``packed`` gives them; of text ``ids`` and ``offsets`` are enough.
        numbers: ``(stimulus,)`` the number of each in its corpus; -1 where it is of none.

    Raises:
        PatchclampError: neither text nor pictures, or offsets that do not part them.

    Example:
        >>> some = PackedStimuli.of([Stimulus.of(np.array([5, 6])), Stimulus.of(np.array([7]))])
        >>> len(some), some[1].ids.tolist(), some.lengths_of(np.array([0, 1])).tolist()
        (2, [7], [2, 1])
    """

    arrays: Mapping[str, np.ndarray]
    numbers: Int[np.ndarray, " stimulus"]

    def __post_init__(self) -> None:
        names = ("images", "names", "name_offsets") if self.pictures else ("ids", "offsets")
        missing = [name for name in names if name not in self.arrays]
        if missing or not self._fit(*(self.arrays[name] for name in names)):
            raise PatchclampError(
                expected=f"arrays {', '.join(names)} of {len(self.numbers):,} stimuli",
                got=", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in self.arrays.items()),
                remedy="PackedStimuli.of makes them.",
            )

    def _fit(self, first: np.ndarray, *rest: np.ndarray) -> bool:
        flat, offsets = (first, *rest)[-2:]
        whole = all(array.dtype.kind in "iu" for array in (first, *rest)) and flat.ndim == offsets.ndim == 1
        ordered = whole and len(offsets) == len(self.numbers) + 1 and offsets[0] == 0 and offsets[-1] == len(flat)
        hashes = not self.pictures or (first.ndim == 2 and len(first) == len(self.numbers))
        along = [self.arrays[name] for name in ("roles", "spans") if name in self.arrays]
        return ordered and hashes and bool((np.diff(offsets) >= 0).all()) and all(len(x) == len(flat) for x in along)

    @classmethod
    def of(cls, shown: Sequence[Shown], numbers: Sequence[int] | None = None) -> "PackedStimuli":
        """Pack stimuli of one kind; without numbers they are of no corpus."""
        own = np.full(len(shown), -1, dtype=np.int64) if numbers is None else np.asarray(numbers, dtype=np.int64)
        if len({type(one) for one in shown}) > 1:
            raise PatchclampError(
                expected="stimuli of one kind", got="text and pictures", remedy="Keep them in two Exemplars."
            )
        empty: dict[str, np.ndarray] = {"ids": np.zeros(0, dtype=np.int32), "offsets": np.zeros(1, dtype=np.int64)}
        return cls(packed(shown) if shown else empty, own)

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray]) -> "PackedStimuli":
        """Return what a piece holds, whose ``stimulus`` are the numbers."""
        return cls({name: array for name, array in arrays.items() if name != "stimulus"}, arrays["stimulus"])

    @property
    def pictures(self) -> bool:
        """Whether they are pictures; of these the id and the name are kept."""
        return "images" in self.arrays

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Shown:
        at = range(len(self))[place]
        one = self.take(np.array([at]))
        if self.pictures or "roles" in self.arrays:
            return unpacked(one.arrays)[0]
        return Stimulus.of(one.arrays["ids"].astype(np.int64))

    def lengths_of(self, places: Int[np.ndarray, " place"]) -> Int[np.ndarray, " place"]:
        """Return how many tokens some of them have; of a picture 1."""
        if self.pictures:
            return np.ones(len(places), dtype=np.int64)
        offsets = self.arrays["offsets"]
        lengths: Int[np.ndarray, " place"] = offsets[1:][places] - offsets[:-1][places]
        return lengths

    def take(self, places: Int[np.ndarray, " place"]) -> "PackedStimuli":
        """Return some of them, in the order given."""
        offsets = self.arrays["name_offsets" if self.pictures else "offsets"]
        chosen, cuts = runs(offsets, places)
        taken = {
            name: cuts if name.endswith("offsets") else array[places] if name == "images" else array[chosen]
            for name, array in self.arrays.items()
        }
        return PackedStimuli(taken, self.numbers[places])

    def draw(self, seed: int) -> Float[np.ndarray, " stimulus"]:
        """Return for each a number from 0 to below 1 that follows from its content and the seed alone.

        Cost: one hash per stimulus.
        """
        key = hashlib.sha256(f"stimuli/{seed}".encode()).digest()
        if self.pictures:
            contents: Iterator[bytes] = (row.tobytes() for row in self.arrays["images"])
        else:
            ids = np.ascontiguousarray(self.arrays["ids"], dtype="<i8")
            contents = (ids[a:b].tobytes() for a, b in pairwise(self.arrays["offsets"].tolist()))
        digests = (hashlib.blake2b(one, digest_size=8, key=key).digest() for one in contents)
        return np.fromiter((int.from_bytes(d[:6], "little") / 2**48 for d in digests), np.float64, len(self))


def runs(
    offsets: Int[np.ndarray, " cut"], places: Int[np.ndarray, " place"]
) -> tuple[Int[np.ndarray, " element"], Int[np.ndarray, " taken"]]:
    """Return which elements the chosen runs of a ragged array hold, and the offsets of what is taken.

    Args:
        offsets: where each run begins, and past the last one's end.
        places: which runs, in the order wanted.

    Example:
        >>> [array.tolist() for array in runs(np.array([0, 2, 5]), np.array([1, 0]))]
        [[2, 3, 4, 0, 1], [0, 3, 5]]
    """
    counts = np.diff(offsets)[places]
    cuts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.repeat(offsets[:-1][places] - cuts[:-1], counts) + np.arange(cuts[-1]), cuts
