"""Tasks in the order in which a network meets them, each with examples to learn from and to be tested on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError


@checked
@dataclass(frozen=True, eq=False)
class Stage:
    """Hold one task of a stream: labelled examples.

    Args:
        name: what it is called.
        inputs: ``(example, …)`` that are learnt from.
        labels: ``(example,)`` their classes, from 0.
        test_inputs: ``(example, …)`` that are only ever tested on.
        test_labels: ``(example,)`` their classes.

    Raises:
        PatchclampError: no example, parts that do not fit together, or values that are not finite.
    """

    name: str
    inputs: Float[np.ndarray, "example ..."]
    labels: Int[np.ndarray, " example"]
    test_inputs: Float[np.ndarray, "test ..."]
    test_labels: Int[np.ndarray, " test"]

    def __post_init__(self) -> None:
        sides = (self.inputs, self.labels), (self.test_inputs, self.test_labels)
        fits = all(x.ndim and len(x) == len(y) > 0 and y.min() >= 0 and np.isfinite(x).all() for x, y in sides)
        if not fits or self.inputs.shape[1:] != self.test_inputs.shape[1:]:
            raise PatchclampError(
                expected="finite examples of one shape, to learn from and to test on, each with a class from 0",
                got=f"{self.name!r} with {self.inputs.shape}, {self.labels.shape}, {self.test_inputs.shape} and "
                f"{self.test_labels.shape}",
                remedy="Give inputs, labels, test_inputs and test_labels, a row per example.",
            )


@checked
@dataclass(frozen=True, eq=False)
class Stream:
    """Hold tasks in the order in which they are learnt.

    Args:
        stages: the tasks, at least two, all of inputs of one shape.
        name: what to call it.

    Raises:
        PatchclampError: fewer than two tasks, or inputs of several shapes.

    Example:
        >>> x, y = np.eye(2), np.arange(2)
        >>> stream = Stream((Stage("one", x, y, x, y), Stage("other", x, 1 - y, x, 1 - y)))
        >>> len(stream), [stage.name for stage in stream], stream.n_classes
        (2, ['one', 'other'], 2)
    """

    stages: tuple[Stage, ...]
    name: str = ""

    def __post_init__(self) -> None:
        shapes = {stage.inputs.shape[1:] for stage in self.stages}
        if len(self.stages) < 2 or len(shapes) > 1:
            raise PatchclampError(
                expected="at least two tasks with inputs of one shape",
                got=f"{len(self.stages)} with inputs of {', '.join(map(str, sorted(shapes))) or 'none'}",
                remedy="One network meets all of them: bring their inputs to one shape.",
            )

    def __len__(self) -> int:
        return len(self.stages)

    def __iter__(self) -> Iterator[Stage]:
        """Yield the tasks in order."""
        return iter(self.stages)

    @property
    def n_classes(self) -> int:
        """The number of classes of all tasks together."""
        return 1 + max(int(max(stage.labels.max(), stage.test_labels.max())) for stage in self.stages)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the examples in order."""
        digest = hashlib.sha256()
        for stage in self.stages:
            for part in (stage.inputs, stage.labels, stage.test_inputs, stage.test_labels):
                digest.update(f"{part.shape} {part.dtype}\n".encode() + np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def to_json(self, limit: int = 20) -> dict[str, Any]:
        """Return the sizes of the first ``limit`` tasks as JSON-ready data; examples stay in arrays."""
        return {
            "name": self.name,
            "hash": self.hash,
            "n": len(self),
            "classes": self.n_classes,
            "stages": [
                {"name": one.name, "examples": len(one.labels), "test": len(one.test_labels)}
                for one in self.stages[:limit]
            ],
        }
