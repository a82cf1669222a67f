"""Text token by token, with what each token is there for."""

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
from patchclamp.core.stimulus.kind import StimulusKind, offsets_of


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


def pack(stimuli: Sequence[Stimulus]) -> dict[str, np.ndarray]:
    """Return stimuli as the arrays that keep them on disk; their text is not kept."""
    none = np.zeros(0, dtype=np.int64)
    return {
        "ids": np.concatenate([none, *(s.ids for s in stimuli)]).astype(np.int32),
        "roles": np.concatenate([none, *(s.roles for s in stimuli)]).astype(np.uint8),
        "spans": np.concatenate([none.reshape(0, 2), *(s.spans for s in stimuli)]).astype(np.int64),
        "offsets": offsets_of(stimuli),
    }


def unpack(arrays: Mapping[str, np.ndarray]) -> tuple[Stimulus, ...]:
    """Return the stimuli that some arrays keep; of ids alone, all of them are text."""
    cuts = list(pairwise(arrays["offsets"].tolist()))
    ids = arrays["ids"].astype(np.int64)
    if "roles" not in arrays:
        return tuple(Stimulus.of(ids[a:b]) for a, b in cuts)
    roles, spans = (arrays[k].astype(np.int64) for k in ("roles", "spans"))
    return tuple(Stimulus(ids[a:b], roles[a:b], spans[a:b]) for a, b in cuts)


KIND = StimulusKind(
    names=("text",),
    shown=Stimulus,
    pack=pack,
    unpack=unpack,
    offsets="offsets",
    ragged=("ids", "roles", "spans"),
    optional=("roles", "spans"),
    identity="ids",
    examples=lambda: (Stimulus.of(np.array([5, 6, 7])), Stimulus.of(np.array([8])), Stimulus.of(np.array([5, 9]))),
    trailing={"spans": (2,)},
    label=lambda shown: (tuple(shown.ids.tolist()), ""),
)
