"""Its identity, its length, and how it lies on disk."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import kinds as folder


@runtime_checkable
class Shown(Protocol):
    """One stimulus of any kind."""

    @property
    def id(self) -> str:
        """Content hash: the same stimulus has the same id everywhere."""

    @property
    def counted(self) -> Bool[np.ndarray, " position"]:
        """Which of its positions statistics and exemplars count."""

    def __len__(self) -> int:
        """Return how many positions it has."""


@dataclass(frozen=True)
class StimulusKind:
    """Say what one kind of stimulus is and which arrays keep many of it.

    Args:
        names: as manifests name it.
        shown: class of one stimulus; it has ``id``, ``counted`` and a length.
        pack: stimuli to the arrays that keep them on disk, none of them to empty arrays.
        unpack: the inverse of ``pack``; where arrays that may be absent are absent, with default values.
        offsets: name of the array that says where each stimulus begins and the last ends.
        ragged: arrays that are cut by the offsets.
        rows: arrays with one row per stimulus.
        optional: those of the ragged arrays that may be absent.
        identity: the array whose content says which stimulus it is.
        examples: makes three different stimuli, on which the suite tries the kind.
        trailing: axes of an array after the first, where it has more than one.
        dtypes: NumPy's letters for the kinds of numbers that the arrays hold; offsets are whole.
        positions: rows of a recording are positions; False where each site makes its own places of a stimulus.
        strip: what is kept of a stimulus until it is packed.
        label: token ids and a name, as a table shows one stimulus.
    """

    names: tuple[str, ...]
    shown: type
    pack: Callable[[Sequence[Any]], dict[str, np.ndarray]]
    unpack: Callable[[Mapping[str, np.ndarray]], tuple[Any, ...]]
    offsets: str
    ragged: tuple[str, ...]
    identity: str
    examples: Callable[[], tuple[Any, Any, Any]]
    rows: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    trailing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: str = "iu"
    positions: bool = True
    strip: Callable[[Any], Any] = lambda shown: shown
    label: Callable[[Any], tuple[tuple[int, ...], str]] = lambda shown: ((), shown.id)

    @property
    def required(self) -> tuple[str, ...]:
        """The arrays that are always there, the offsets last."""
        return (*self.rows, *(name for name in self.ragged if name not in self.optional), self.offsets)

    @property
    def arrays(self) -> tuple[str, ...]:
        """All arrays."""
        return (*self.rows, *self.ragged, self.offsets)

    def shapes(self, n: int, positions: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays of n stimuli, ragged ones by the positions of all."""
        first = {**dict.fromkeys(self.rows, n), **dict.fromkeys(self.ragged, positions), self.offsets: n + 1}
        return {name: (length, *self.trailing.get(name, ())) for name, length in first.items()}

    def bare(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays that are always there."""
        return {name: array for name, array in arrays.items() if name not in self.optional}

    def contents(self, arrays: Mapping[str, np.ndarray]) -> list[bytes]:
        """Return for each stimulus the bytes that identify it; of whole numbers those of 64 bits."""
        own = arrays[self.identity]
        if self.identity in self.rows:
            return [row.tobytes() for row in own]
        wide = np.ascontiguousarray(own, dtype="<i8" if own.dtype.kind in "iu" else own.dtype)
        return [wide[a:b].tobytes() for a, b in pairwise(arrays[self.offsets].tolist())]

    def lengths(self, arrays: Mapping[str, np.ndarray], places: Int[np.ndarray, " place"]) -> np.ndarray:
        """Return how many positions some stimuli have; 1 where rows of a recording are no positions."""
        if not self.positions:
            return np.ones(len(places), dtype=np.int64)
        offsets = arrays[self.offsets]
        lengths: np.ndarray = offsets[1:][places] - offsets[:-1][places]
        return lengths


@cache
def all_kinds() -> tuple[StimulusKind, ...]:
    """Return every kind: the files of their folder."""
    names = sorted(m.name for m in pkgutil.iter_modules(folder.__path__))
    return tuple(importlib.import_module(f"{folder.__name__}.{name}").KIND for name in names)


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds, as manifests name them."""
    return tuple(name for kind in all_kinds() for name in kind.names)


def find_kind(name: str) -> StimulusKind:
    """Return a kind by a name that a manifest gives it.

    Raises:
        PatchclampError: no such kind.
    """
    for kind in all_kinds():
        if name in kind.names:
            return kind
    raise PatchclampError(
        expected=f"a kind of stimulus among {', '.join(kind_names())}", got=repr(name), remedy="Choose one of these."
    )


def kind_of(shown: Any) -> StimulusKind:
    """Return the kind of one stimulus.

    Raises:
        PatchclampError: it is of none.
    """
    for kind in all_kinds():
        if isinstance(shown, kind.shown):
            return kind
    raise PatchclampError(
        expected=f"a stimulus that is one of {', '.join(kind.shown.__name__ for kind in all_kinds())}",
        got=type(shown).__name__,
        remedy="model.run and the other calls make stimuli of what they are given.",
    )


def offsets_of(parts: Sequence[Any]) -> Int[np.ndarray, " cut"]:
    """Return where each of several runs begins when they are joined, and where the last ends."""
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
