"""Many stimuli as a few arrays, as they lie on disk."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus.kind import Shown, StimulusKind, all_kinds, find_kind, kind_of


def pack_stimuli(stimuli: Sequence[Shown]) -> dict[str, np.ndarray]:
    """Return stimuli of one kind as the arrays that keep them on disk; without any, as text."""
    return (kind_of(stimuli[0]) if stimuli else find_kind("text")).pack(stimuli)


def unpack_stimuli(arrays: Mapping[str, np.ndarray]) -> tuple[Shown, ...]:
    """Return the stimuli that some arrays keep; the inverse of ``pack_stimuli``, as far as their kind keeps them."""
    return _kind_of_arrays(arrays).unpack(arrays)


def _kind_of_arrays(arrays: Mapping[str, np.ndarray]) -> StimulusKind:
    """Return the kind that has the identifying array among these; text where none has."""
    return next((kind for kind in all_kinds() if kind.identity in arrays), find_kind("text"))


@checked
@dataclass(frozen=True, eq=False)
class PackedStimuli:
    """Hold many stimuli as the arrays that keep them on disk, so that a million of them are a few arrays.

    Args:
        arrays: as ``pack_stimuli`` gives them; those that their kind calls optional may be absent.
        numbers: ``(stimulus,)`` the number of each in its corpus; -1 where it is of none.

    Raises:
        PatchclampError: of no kind, or offsets that do not part them.

    Example:
        >>> from patchclamp.core.stimulus import Stimulus
        >>> some = PackedStimuli.of([Stimulus.of(np.array([5, 6])), Stimulus.of(np.array([7]))])
        >>> len(some), some[1].ids.tolist(), some.lengths_of(np.array([0, 1])).tolist()
        (2, [7], [2, 1])
    """

    arrays: Mapping[str, np.ndarray]
    numbers: Int[np.ndarray, " stimulus"]

    def __post_init__(self) -> None:
        names = self.kind.required
        missing = [name for name in names if name not in self.arrays]
        if missing or not self._fit():
            raise PatchclampError(
                expected=f"arrays {', '.join(names)} of {len(self.numbers):,} stimuli",
                got=", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in self.arrays.items()),
                remedy="PackedStimuli.of makes them.",
            )

    @cached_property
    def kind(self) -> StimulusKind:
        """The kind whose arrays these are: that of pictures where they have ids of pictures, and so on."""
        return _kind_of_arrays(self.arrays)

    def _fit(self) -> bool:
        kind, offsets = self.kind, self.arrays[self.kind.offsets]
        rows = [self.arrays[name] for name in kind.rows]
        ragged = [self.arrays[name] for name in kind.ragged if name in self.arrays]
        required = [self.arrays[name] for name in kind.required[:-1]]
        numbers = all(array.dtype.kind in kind.dtypes for array in required) and offsets.dtype.kind in "iu"
        axes = all(self.arrays[name].ndim == 1 + len(kind.trailing.get(name, ())) for name in kind.required)
        if not numbers or not axes or any(array.ndim == 0 for array in ragged):
            return False
        ordered = len(offsets) == len(self.numbers) + 1 and offsets[0] == 0 and offsets[-1] == len(ragged[0])
        if not ordered or (np.diff(offsets) < 0).any():
            return False
        return all(len(x) == len(self.numbers) for x in rows) and all(len(x) == len(ragged[0]) for x in ragged)

    @classmethod
    def of(cls, shown: Sequence[Shown], numbers: Sequence[int] | None = None) -> "PackedStimuli":
        """Pack stimuli of one kind; without numbers they are of no corpus."""
        own = np.full(len(shown), -1, dtype=np.int64) if numbers is None else np.asarray(numbers, dtype=np.int64)
        if len({type(one) for one in shown}) > 1:
            raise PatchclampError(
                expected="stimuli of one kind",
                got=" and ".join(sorted({kind_of(one).names[0] for one in shown})),
                remedy="Keep them in two Exemplars.",
            )
        return cls(pack_stimuli(shown) if shown else find_kind("text").bare(pack_stimuli(shown)), own)

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray]) -> "PackedStimuli":
        """Return what a piece holds, whose ``stimulus`` are the numbers."""
        return cls({name: array for name, array in arrays.items() if name != "stimulus"}, arrays["stimulus"])

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Shown:
        at = range(len(self))[place]
        shown: Shown = self.kind.unpack(self.take(np.array([at])).arrays)[0]
        return shown

    def lengths_of(self, places: Int[np.ndarray, " place"]) -> Int[np.ndarray, " place"]:
        """Return how many positions some of them have; of a picture 1."""
        return self.kind.lengths(self.arrays, places)

    def take(self, places: Int[np.ndarray, " place"]) -> "PackedStimuli":
        """Return some of them, in the order given."""
        kind = self.kind
        chosen, cuts = runs(self.arrays[kind.offsets], places)
        taken = {name: array[places if name in kind.rows else chosen] for name, array in self._without_offsets()}
        return PackedStimuli({**taken, kind.offsets: cuts}, self.numbers[places])

    def _without_offsets(self) -> list[tuple[str, np.ndarray]]:
        return [(name, array) for name, array in self.arrays.items() if name != self.kind.offsets]

    def draw(self, seed: int) -> Float[np.ndarray, " stimulus"]:
        """Return for each a number from 0 to below 1 that follows from its content and the seed alone.

        Cost: one hash per stimulus.
        """
        key = hashlib.sha256(f"stimuli/{seed}".encode()).digest()
        digests = (hashlib.blake2b(one, digest_size=8, key=key).digest() for one in self.kind.contents(self.arrays))
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
