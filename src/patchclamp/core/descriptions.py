"""Words about every unit of some sites, in columns: one text a unit, its author, and how much there is behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.checks import one_of
from patchclamp.core.description import Description
from patchclamp.core.disk import hold_folder
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import finite
from patchclamp.core.json_text import read_word
from patchclamp.core.keys import UnitIndex, read_index
from patchclamp.core.noun_folder import load_noun
from patchclamp.core.plain_names import name_unit
from patchclamp.core.provenance import Provenance
from patchclamp.core.table import Table, Tabular
from patchclamp.core.unit import UnitKey

FOLDER = "descriptions"


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Descriptions(Tabular):
    """Hold a description of every unit of an index: the terms that stand for it, the strongest first.

    Args:
        index: the units.
        terms: ``(unit, rank)`` numbers of terms in ``vocabulary``; −1 where a unit has fewer.
        weights: ``(unit, rank)`` how strongly each term stands for the unit, in ``unit_of_measure``.
        vocabulary: what the numbers stand for: tokens, or whole sentences.
        author: who wrote them, as ``method/version``.
        unit_of_measure: of the weights.
        measures: ``(unit,)`` numbers by which descriptions are ranked or judged, by name; nan where there is none.
        provenance: what made them.

    Raises:
        PatchclampError: columns that are not as long as the index, or terms that the vocabulary lacks.

    Example:
        >>> from patchclamp.core.keys import Block
        >>> index = UnitIndex([Block("blocks.0.mlp.act", "neurons", 2)])
        >>> two = Descriptions(index, np.array([[1, 0], [0, -1]]), np.array([[0.7, 0.2], [0.9, 0.0]]), ("a", "cat"))
        >>> two.text(0), two.text(1)
        ('cat, a', 'a')
    """

    index: UnitIndex
    terms: Int[np.ndarray, "unit rank"]
    weights: Float[np.ndarray, "unit rank"]
    vocabulary: Sequence[str]
    author: str = ""
    unit_of_measure: str = ""
    measures: Mapping[str, Float[np.ndarray, " unit"]] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        n = len(self.index)
        wrong = [f"{name} of shape {x.shape}" for name, x in self.measures.items() if x.shape != (n,)]
        if self.terms.shape != self.weights.shape or len(self.terms) != n:
            wrong.append(f"terms of shape {self.terms.shape}, weights of shape {self.weights.shape}")
        elif self.terms.size and not -1 <= self.terms.min() <= self.terms.max() < len(self.vocabulary):
            wrong.append(f"terms from {self.terms.min()} to {self.terms.max()} of {len(self.vocabulary):,}")
        if wrong:
            raise PatchclampError(
                expected=f"terms and weights for each of {n:,} units",
                got="; ".join(wrong),
                remedy="Give columns as long as the index, and numbers of terms in the vocabulary.",
            )

    def __len__(self) -> int:
        return len(self.index)

    def text(self, place: Natural, most: Natural | None = None) -> str:
        """Return the words about the unit at a place of the index: its terms, the strongest first.

        Args:
            place: of the unit.
            most: terms at most; all by default.
        """
        return ", ".join(self.vocabulary[int(term)] for term in self.terms[place][:most] if term >= 0)

    def description(self, key: str | UnitKey) -> Description:
        """Return the description of one unit.

        Raises:
            PatchclampError: a unit that is not described.
        """
        place = self.index.place(key)
        return Description(self.index.unit(place), self.text(place), self.author)

    def order(self, measure: str) -> Int[np.ndarray, " unit"]:
        """Return all places from the highest value of a measure down; units without a value come last.

        Raises:
            PatchclampError: no such measure.
        """
        one_of("measure", measure, self.measures)
        values = self.measures[measure]
        return np.argsort(np.where(np.isnan(values), np.inf, -values), kind="stable")

    def table(self, top: int | None = None) -> Table:
        """Return the descriptions as a table, sorted by the first measure."""
        places = self.order(next(iter(self.measures))) if self.measures else np.arange(len(self))
        keys = [str(self.index.unit(int(i))) for i in places[:top]]
        rows = (
            (name_unit(key), key, self.text(int(i)), *(float(column[i]) for column in self.measures.values()))
            for key, i in zip(keys, places, strict=False)
        )
        columns = ("unit", "key", "description", *self.measures)
        drawn = ("unit", next(iter(self.measures))) if self.measures else ()
        title = f"{len(self):,} units described by {self.author or 'nobody named'}"
        return Table(title, columns, tuple(rows), len(self), drawn)

    def to_json(self, limit: Natural = 20) -> dict[str, Any]:
        """Return the first ``limit`` units by the first measure, as JSON-ready data."""
        places = self.order(next(iter(self.measures))) if self.measures else np.arange(len(self))
        return {
            "n": len(self),
            "author": self.author,
            "unit_of_measure": self.unit_of_measure,
            "descriptions": [
                {
                    "key": str(self.index.unit(int(i))),
                    "text": self.text(int(i)),
                    "terms": [
                        {"term": self.vocabulary[int(term)], "weight": finite(float(weight))}
                        for term, weight in zip(self.terms[i], self.weights[i], strict=True)
                        if term >= 0
                    ],
                    **{name: finite(float(column[i])) for name, column in self.measures.items()},
                }
                for i in places[:limit]
            ],
            "provenance": self.provenance.to_json(),
        }

    def save(self, folder: str | Path) -> None:
        """Write the descriptions to a new or empty folder, whole or not at all.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.

        Cost: the columns' size on disk.
        """
        names = [f"measure-{i}" for i in range(len(self.measures))]
        manifest = {
            "index": self.index.to_json(),
            "author": self.author,
            "unit_of_measure": self.unit_of_measure,
            "measures": list(self.measures),
            "vocabulary": list(self.vocabulary),
            "provenance": self.provenance.to_json(),
        }
        columns = {"terms": self.terms, "weights": self.weights}
        with hold_folder(folder):
            bundle = Bundle.create(folder, kind=FOLDER, manifest=manifest)
            bundle.append("columns", columns | dict(zip(names, self.measures.values(), strict=True)))
            bundle.finish()

    @classmethod
    def load(cls, folder: str | Path) -> "Descriptions":
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no descriptions there.
            Damaged: a part is missing or changed.
        """
        return load_noun(folder, FOLDER, cls._of)

    @classmethod
    def _of(cls, bundle: Bundle) -> "Descriptions":
        data, columns = bundle.manifest, bundle.read("columns")
        index = read_index(data["index"], None)
        if not isinstance(index, UnitIndex):
            raise ValueError("an index of edges")
        measures = {read_word(name): columns[f"measure-{i}"] for i, name in enumerate(data["measures"])}
        words = [read_word(word) for word in data["vocabulary"]]
        return cls(
            index,
            columns["terms"],
            columns["weights"],
            words,
            read_word(data["author"]),
            read_word(data["unit_of_measure"]),
            measures,
            Provenance.from_json(data["provenance"]),
        )
