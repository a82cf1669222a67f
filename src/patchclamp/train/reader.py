"""Batches in the order in which they come, pass after pass, from any place on."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.train.state import Generators, Stateful


class Reader:
    """Read batches and know the place among them.

    A source with ``state_dict`` and ``load_state_dict``, such as torchdata's loaders, is put back by these. Any other
    is put back as a plain ``DataLoader`` can be: torch's generator as it was when the pass began, and the batches that
    went before read and left.

    Args:
        batches: gives the batches of a pass whenever it is iterated over.
        generators: torch's.
    """

    def __init__(self, batches: Iterable[Any], generators: Generators) -> None:
        self.batches, self.generators = batches, generators
        self.own = batches if isinstance(batches, Stateful) else None
        self.taken = 0
        self.begun: Mapping[str, Any] | None = None
        self.pass_: Iterator[Any] | None = None

    def take(self) -> Any:
        """Return the next batch.

        Raises:
            PatchclampError: a pass without batches.
        """
        while True:
            if self.pass_ is None:
                self.taken, self.begun = 0, self.generators.state_dict()
                self.pass_ = iter(self.batches)
            for batch in self.pass_:
                self.taken += 1
                return batch
            if not self.taken:
                raise PatchclampError(
                    expected="batches that can be gone through again until all steps are taken",
                    got=f"a {type(self.batches).__name__} with no more of them",
                    remedy="Give a list or a DataLoader, or fewer steps.",
                )
            self.pass_ = None

    def state_dict(self) -> dict[str, Any]:
        """Return the place."""
        if self.own is not None:
            return {"taken": self.taken, "own": dict(self.own.state_dict())}
        return {"taken": self.taken, "begun": self.begun if self.taken else None}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to a place; torch's generators are to be put back after it, for reading draws from them.

        Raises:
            PatchclampError: there are fewer batches than there were.
        """
        self.taken, self.pass_ = state_dict["taken"], None
        if self.own is not None:
            self.own.load_state_dict(state_dict["own"])
            if self.taken:
                self.pass_ = iter(self.batches)
        elif self.taken:
            self.begun = state_dict["begun"]
            self.generators.load_state_dict(state_dict["begun"])
            self.pass_ = iter(self.batches)
            if sum(1 for _ in zip(range(self.taken), self.pass_, strict=False)) < self.taken:
                raise PatchclampError(
                    expected=f"the {self.taken:,} batches that this pass had before",
                    got="fewer",
                    remedy="Give the same batches, or begin again in another folder.",
                )
