"""How alike two recordings are, condition by condition or unit by unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.json_text import read_list, read_mapping, read_word
from patchclamp.core.noun_folder import InParts
from patchclamp.core.provenance import Provenance
from patchclamp.core.table import Table, Tabular, estimate_table


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Similarity(InParts, Tabular):
    """Hold how alike two recordings are: one estimate, and the two matrices that were compared where there are some.

    Args:
        names: of the two: site, subject or person.
        estimate: the similarity, with its interval, its null and where it can be known its ceiling.
        over: what the matrices' rows and columns are: ``conditions`` or ``units``.
        first: ``(row, row)`` of the first recording; None where the method makes none.
        second: likewise of the second.
        labels: ``(row,)`` of the rows, for pages and tables; empty where nobody named them.
        rivals: simpler measures of the same two, by name.
        provenance: what made it.

    Raises:
        PatchclampError: matrices of different or not square shapes.

    Example:
        >>> Similarity(("a", "b"), Estimate(1.0, None, 3, "Spearman r")).to_json()["names"]
        ['a', 'b']
    """

    FOLDER: ClassVar[str] = "similarity"

    names: tuple[str, str]
    estimate: Estimate
    over: str = "conditions"
    first: Float[np.ndarray, "row row"] | None = None
    second: Float[np.ndarray, "row row"] | None = None
    labels: tuple[str, ...] = ()
    rivals: Mapping[str, Estimate] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        shapes = [np.shape(one) for one in (self.first, self.second) if one is not None]
        if len(set(shapes)) > 1 or any(len(shape) != 2 or shape[0] != shape[1] for shape in shapes):
            raise PatchclampError(
                expected=f"two square matrices over the same {self.over}",
                got=f"shapes {' and '.join(map(str, shapes))}",
                remedy="Show both subjects the same stimuli, in the same order.",
            )

    def table(self, top: int | None = None) -> Table:
        """Return the similarity and its rivals as a table, with interval, p and ceiling."""
        named = {" and ".join(self.names): self.estimate, **self.rivals}
        return estimate_table(f"{' and '.join(self.names)}: {self.estimate}", named, "measure", top)

    @property
    def sentence(self) -> str:
        """The similarity in one sentence."""
        return f"{self.names[0]} and {self.names[1]}, over {self.over}: {self.estimate}."

    def to_json(self, limit: int = 20) -> dict[str, Any]:
        """Return the similarity as JSON-ready data; of the matrices the first ``limit`` rows and columns."""

        def cut(matrix: np.ndarray | None) -> list[list[float | None]] | None:
            return None if matrix is None else [[finite(float(x)) for x in row[:limit]] for row in matrix[:limit]]

        return {
            "names": list(self.names),
            "over": self.over,
            "estimate": self.estimate.to_json(),
            "rivals": {name: one.to_json() for name, one in self.rivals.items()},
            "first": cut(self.first),
            "second": cut(self.second),
            "labels": list(self.labels[:limit]),
            "provenance": self.provenance.to_json(),
        }

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return everything as JSON-ready data and the matrices, for a file."""
        head = {**self.to_json(0), "labels": list(self.labels)}
        kept = {"first": self.first, "second": self.second}
        return head, {name: np.ascontiguousarray(array) for name, array in kept.items() if array is not None}

    @classmethod
    def of_parts(cls, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Similarity":
        """Read what ``parts`` gave.

        Raises:
            PatchclampError, ValueError, TypeError, KeyError: it is something else.
        """
        one, other = map(read_word, read_list(head["names"]))
        return cls(
            (one, other),
            Estimate.from_json(head["estimate"]),
            read_word(head["over"]),
            arrays.get("first"),
            arrays.get("second"),
            tuple(map(read_word, read_list(head["labels"]))),
            {name: Estimate.from_json(rival) for name, rival in read_mapping(head["rivals"]).items()},
            Provenance.from_json(head["provenance"]),
        )
