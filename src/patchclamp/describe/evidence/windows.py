"""The windows of a text: on which side each lies, which are shown twice, and which resemble one another.

An image is a window too.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import PackedStimuli, Shown, kind_of, pack_stimuli, runs

THUMB = 8
"""Rows and columns of the grey picture by which images are compared."""


def window_arrays(shown: Sequence[Shown], seed: int) -> dict[str, np.ndarray]:
    """Return what is kept of windows: their contents' hashes, the draws of their sides, and what they resemble by.

    Args:
        shown: the windows.
        seed: of the sides.
    """
    packed = PackedStimuli(kind_of(shown[0]).bare(pack_stimuli(shown)), np.arange(len(shown)))
    kind, counted = packed.kind, [np.asarray(one.counted) for one in shown]
    digests = [np.frombuffer(_digest(one), np.uint64) for one in kind.contents(packed.arrays)]
    kept = {
        "digest": np.stack(digests),
        "draw": packed.draw(seed),
        "counted": np.array([own.sum() for own in counted], dtype=np.int32),
    }
    if kind.positions:
        ids = [np.asarray(one.ids)[own] for one, own in zip(shown, counted, strict=True)]  # type: ignore[attr-defined]
        return {**kept, "ids": np.concatenate(ids).astype(np.int32)}
    return {**kept, "thumbs": np.stack([_thumb(one) for one in shown])}


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _thumb(picture: Any) -> Float[np.ndarray, " cell"]:
    """Return a picture in grey, as the means of equal cells, less their mean."""
    pixels = np.asarray(picture.pixels, dtype=np.float64)
    if pixels.ndim == 3:
        pixels = pixels.mean(0 if picture.pixels.dtype.kind == "f" else 2)
    pixels = np.atleast_2d(pixels)
    for axis in (0, 1):
        cuts = np.linspace(0, pixels.shape[axis], THUMB + 1).astype(int)
        parts = [np.arange(a, max(b, a + 1)).clip(max=pixels.shape[axis] - 1) for a, b in pairwise(cuts.tolist())]
        pixels = np.stack([pixels.take(part, axis).mean(axis) for part in parts], axis)
    return (pixels - pixels.mean()).ravel().astype(np.float32)


@dataclass(frozen=True, eq=False)
class Windows:
    """Hold what is known of all windows before units are looked at; its numbers are those of the corpus.

    A window that repeats an earlier one's content is left out, so that nothing is drawn twice. Sides follow from
    content alone, as in ``Exemplars.split``.

    Args:
        arrays: of every window, as ``window_arrays`` gives them.
        test: share of the windows that are for testing.

    Raises:
        PatchclampError: training and test share content, which nothing should cause.
    """

    arrays: dict[str, np.ndarray] = field(repr=False)
    test: float

    def __post_init__(self) -> None:
        digest = self.arrays["digest"]
        shared = np.intersect1d(_as_items(digest[self.training]), _as_items(digest[self.testing]))
        if len(shared):
            raise PatchclampError(
                expected="windows for training and for testing that share no content",
                got=f"{len(shared)} contents on both sides",
                remedy="Report it: the draw of a side follows from content alone.",
            )

    def __len__(self) -> int:
        return len(self.arrays["draw"])

    @cached_property
    def usable(self) -> Bool[np.ndarray, " window"]:
        """Which windows may be drawn: the first of each content, where anything in it is counted."""
        first = np.zeros(len(self), dtype=bool)
        first[np.unique(_as_items(self.arrays["digest"]), return_index=True)[1]] = True
        return first & (self.arrays["counted"] > 0)

    @cached_property
    def training(self) -> Int[np.ndarray, " window"]:
        """Numbers of the windows for training, in order."""
        return np.flatnonzero(self.usable & ~(self.arrays["draw"] < self.test))

    @cached_property
    def testing(self) -> Int[np.ndarray, " window"]:
        """Numbers of the windows for testing, in order."""
        return np.flatnonzero(self.usable & (self.arrays["draw"] < self.test))


class Resemblance:
    """Say how alike some windows are by what is in them, without any model.

    Text is compared by cosine of tf–idf vectors over token ids, images by that of small grey pictures. A model's own
    activations would be another embedding. But windows that are alike to a model are windows in which its units do
    alike, so that few of the nearest would be silent; and evidence would depend on the model twice.

    Args:
        arrays: of these windows, as ``window_arrays`` gives them.

    Source: Salton and Buckley (1988), *Term-weighting approaches in automatic text retrieval*.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.n = len(arrays["counted"])
        weight: np.ndarray
        if "thumbs" in arrays:
            cells = arrays["thumbs"].shape[1]
            window, term = np.divmod(np.arange(self.n * cells), cells)
            weight = arrays["thumbs"].astype(np.float64).ravel()
        else:
            n_terms = int(arrays["ids"].max(initial=0)) + 1
            at = np.repeat(np.arange(self.n), arrays["counted"])
            found, times = np.unique(at * n_terms + arrays["ids"], return_counts=True)
            window, term = np.divmod(found, n_terms)
            weight = times * np.log((1 + self.n) / (1 + np.bincount(term, minlength=n_terms)))[term]
        norm = np.sqrt(np.bincount(window, weight**2, minlength=self.n))
        self.window, self.term, self.weight = window, term, weight / np.where(norm > 0, norm, 1)[window]
        self.cuts = np.searchsorted(window, np.arange(self.n + 1))

    def to(self, few: Int[np.ndarray, " few"]) -> Float[np.ndarray, " window"]:
        """Return each window's cosine with the mean of a few of them, given by place.

        Cost: one product per distinct token of every window.
        """
        at, _ = runs(self.cuts, few)
        query = np.bincount(self.term[at], self.weight[at], minlength=int(self.term.max(initial=0)) + 1)
        products = self.weight * query[self.term]
        alike: np.ndarray = np.bincount(self.window, products, minlength=self.n)
        return alike / max(float(np.linalg.norm(query)), 1e-12)


def _as_items(digests: np.ndarray) -> np.ndarray:
    """Return ``(row, 2)`` words as one comparable item per row."""
    return np.ascontiguousarray(digests).view([("a", np.uint64), ("b", np.uint64)]).ravel()
