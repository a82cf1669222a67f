"""Stimulus: what is shown to a subject, token by token."""

import enum
import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.core.errors import PatchclampError


class Role(enum.IntEnum):
    """What a token is there for; statistics and exemplars count only ``text``."""

    BOS = 0
    SPECIAL = 1
    TEMPLATE = 2
    TEXT = 3
    PAD = 4


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
        """Which tokens statistics and exemplars count: text and template, not bos, special or pad."""
        mask: Bool[np.ndarray, " position"] = (self.roles == Role.TEXT) | (self.roles == Role.TEMPLATE)
        return mask

    @classmethod
    def of(cls, ids: Int[np.ndarray, " position"]) -> "Stimulus":
        """Make a stimulus of bare ids, all of them text."""
        n = len(ids)
        return cls(ids, np.full(n, Role.TEXT, dtype=np.int64), np.full((n, 2), -1, dtype=np.int64))
