"""Words about every unit of some sites, in columns: one text a unit, its author, and how well the words hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.json_text import read_number, read_word
from patchclamp.core.keys import UnitIndex, UnitList, read_index
from patchclamp.core.noun_folder import load_noun
from patchclamp.core.plain_names import name_unit
from patchclamp.core.provenance import Provenance
from patchclamp.core.stats import Interval
from patchclamp.core.table import Table, Tabular
from patchclamp.core.unit import UnitKey

FOLDER = "descriptions"
LEVEL = 0.95
INTERVAL = "percentile bootstrap over windows"


@checked
@dataclass(frozen=True, eq=False)
class ScoreColumns:
    """Hold what one scorer says of the description of every unit of an index.

    Args:
        value: ``(unit,)`` the scores; nan where a unit has none.
        low: ``(unit,)`` lower ends of their intervals.
        high: ``(unit,)`` upper ends.
        n: ``(unit,)`` windows that were answered.
        missing: ``(unit,)`` windows whose answer could not be read. They count neither for nor against.
        unit: of measure, in words: ``balanced accuracy``.
        judge: who answered.
        chance: the score of a description that knows nothing.
        deciles: ``(unit, 10)`` the score within tenths of the windows in which the unit fires, from the weakest on;
            None of a scorer without such.

    Raises:
        PatchclampError: columns of different lengths.

    Example:
        >>> one, n = np.array([0.75]), np.array([40])
        >>> ScoreColumns(one, one - 0.1, one + 0.1, n, 0 * n, "balanced accuracy").estimate(0).value
        0.75
    """

    value: Float[np.ndarray, " unit"]
    low: Float[np.ndarray, " unit"]
    high: Float[np.ndarray, " unit"]
    n: Int[np.ndarray, " unit"]
    missing: Int[np.ndarray, " unit"]
    unit: str = ""
    judge: str = ""
    chance: float = 0.5
    deciles: Float[np.ndarray, "unit decile"] | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.arrays().items()}
        if len(set(lengths.values())) > 1:
            raise PatchclampError(
                expected="columns of one length",
                got=", ".join(f"{n:,} of {name}" for name, n in lengths.items()),
                remedy="Give one number per unit.",
            )

    def __len__(self) -> int:
        return len(self.value)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the columns by name."""
        names = ("value", "low", "high", "n", "missing", "deciles")
        return {name: column for name in names if (column := getattr(self, name)) is not None}

    def take(self, places: Int[np.ndarray, " some"]) -> "ScoreColumns":
        """Return some units' scores."""
        some: dict[str, Any] = {name: column[places] for name, column in self.arrays().items()}
        return replace(self, **some)

    def fill(self, other: "ScoreColumns") -> "ScoreColumns":
        """Return these scores; of units that have none those of another column, where the same judge gave them."""
        if (other.unit, other.judge, other.chance) != (self.unit, self.judge, self.chance):
            return self
        asked, others = self.n + self.missing > 0, other.arrays()
        some: dict[str, Any] = {
            name: np.where(asked.reshape(-1, *[1] * (column.ndim - 1)), column, others[name])
            for name, column in self.arrays().items()
            if name in others
        }
        return replace(self, **some)

    def estimate(self, place: Natural) -> Estimate:
        """Return one unit's score with its interval."""
        low, high = float(self.low[place]), float(self.high[place])
        interval = None if np.isnan(low) else Interval(low, high, LEVEL, INTERVAL)
        return Estimate(float(self.value[place]), interval, int(self.n[place]), self.unit)

    def at(self, place: Natural) -> dict[str, Any]:
        """Return one unit's score as JSON-ready data."""
        deciles = None if self.deciles is None else [finite(float(x)) for x in self.deciles[place]]
        return {
            **{name: finite(float(getattr(self, name)[place])) for name in ("value", "low", "high")},
            "n": int(self.n[place]),
            "missing": int(self.missing[place]),
            "unit": self.unit,
            "judge": self.judge,
            "chance": self.chance,
            "deciles": deciles,
        }

    @staticmethod
    def concatenate(parts: "Sequence[ScoreColumns]") -> "ScoreColumns":
        """Return the scores of several parts, one after another.

        Raises:
            PatchclampError: parts in different units of measure, or of different judges.
        """
        same = {(one.unit, one.judge, one.deciles is None) for one in parts}
        if len(same) != 1:
            raise PatchclampError(
                expected="scores in one unit of measure, by one judge",
                got="; ".join(sorted(f"{unit} by {judge or 'nobody named'}" for unit, judge, _ in same)) or "none",
                remedy="Score all parts with the same scorer and judge.",
            )
        names = parts[0].arrays()
        joined: dict[str, Any] = {name: np.concatenate([one.arrays()[name] for one in parts]) for name in names}
        return replace(parts[0], **joined)


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
        scores: how well the words hold, by name of the scorer.
        evidence: what the author was shown, of all units alike: ``exemplars 1f3a…``, ``top 8, quantile 32``.
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

    index: UnitIndex | UnitList
    terms: Int[np.ndarray, "unit rank"]
    weights: Float[np.ndarray, "unit rank"]
    vocabulary: Sequence[str]
    author: str = ""
    unit_of_measure: str = ""
    measures: Mapping[str, Float[np.ndarray, " unit"]] = field(default_factory=dict)
    scores: Mapping[str, ScoreColumns] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        n = len(self.index)
        wrong = [f"{name} of shape {x.shape}" for name, x in self.measures.items() if x.shape != (n,)]
        wrong += [f"{len(x):,} scores of {name}" for name, x in self.scores.items() if len(x) != n]
        wrong += [f"{name}, a measure and a score" for name in self.scores if name in self.measures]
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
        scores = tuple(column.estimate(place) for column in self.scores.values())
        return Description(self.index.unit(place), self.text(place), self.author, self.evidence, scores)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Measures, then values of scores, by name."""
        return {**self.measures, **{name: column.value for name, column in self.scores.items()}}

    def order(self, measure: str) -> Int[np.ndarray, " unit"]:
        """Return all places from the highest value of a measure or score down; units without a value come last.

        Raises:
            PatchclampError: no such measure or score.
        """
        columns = self.columns
        one_of("measure or score", measure, columns)
        values = columns[measure]
        return np.argsort(np.where(np.isnan(values), np.inf, -values), kind="stable")

    def take(self, places: Int[np.ndarray, " some"] | Sequence[int]) -> "Descriptions":
        """Return the descriptions of some units, in the order given.

        Args:
            places: of the units in the index.
        """
        chosen = np.asarray(places, dtype=np.int64)
        parts = self.index.parts
        return replace(
            self,
            index=UnitList([str(parts[int(i)]) for i in chosen], self.index.subject),
            terms=self.terms[chosen],
            weights=self.weights[chosen],
            measures={name: column[chosen] for name, column in self.measures.items()},
            scores={name: column.take(chosen) for name, column in self.scores.items()},
        )

    @classmethod
    def concatenate(cls, parts: "Iterable[Descriptions]") -> "Descriptions":
        """Return the descriptions of several groups of units, one after another.

        Args:
            parts: by one author of one subject, with the same measures and scores; no unit twice.

        Returns:
            Descriptions: of all units; the provenance is the first part's.

        Raises:
            PatchclampError: no parts, parts by different authors, or a unit in several.
        """
        some = list(parts)
        said = {(one.author, one.unit_of_measure, one.index.subject, *one.measures, *one.scores) for one in some}
        if len(said) != 1:
            raise PatchclampError(
                expected="descriptions by one author, with the same measures and scores",
                got="; ".join(sorted(", ".join(one) for one in said)) or "none",
                remedy="Describe and score all parts with the same options.",
            )
        words: dict[str, int] = {}
        rank = max(one.terms.shape[1] for one in some)
        numbers = []
        for one in some:
            new = np.array([*(words.setdefault(word, len(words)) for word in one.vocabulary), -1], dtype=np.int32)
            wide = np.full((len(one), rank), -1, dtype=np.int32)
            wide[:, : one.terms.shape[1]] = new[one.terms]  # -1 is the last place, whose number is -1
            numbers.append(wide)
        weights = [np.pad(one.weights, ((0, 0), (0, rank - one.weights.shape[1]))) for one in some]
        first = some[0]
        return replace(
            first,
            index=_join([one.index for one in some]),
            terms=np.concatenate(numbers),
            weights=np.concatenate(weights),
            vocabulary=tuple(words),
            measures={name: np.concatenate([one.measures[name] for one in some]) for name in first.measures},
            scores={name: ScoreColumns.concatenate([one.scores[name] for one in some]) for name in first.scores},
            evidence=tuple(dict.fromkeys(said for one in some for said in one.evidence)),
        )

    def _sorted_by(self) -> str:
        """Return the measure or score that the units are listed by; empty where there is none."""
        return next(iter(self.columns), "")

    def _places(self) -> Int[np.ndarray, " unit"]:
        return self.order(name) if (name := self._sorted_by()) else np.arange(len(self))

    def table(self, top: int | None = None) -> Table:
        """Return the descriptions as a table, sorted by the first measure or score."""
        places, shown = self._places(), self.columns
        keys = [str(self.index.unit(int(i))) for i in places[:top]]
        rows = (
            (name_unit(key), key, self.text(int(i)), *(float(column[i]) for column in shown.values()))
            for key, i in zip(keys, places, strict=False)
        )
        columns = ("unit", "key", "description", *shown)
        drawn = ("unit", self._sorted_by()) if shown else ()
        title = f"{len(self):,} units described by {self.author or 'nobody named'}"
        return Table(title, columns, tuple(rows), len(self), drawn)

    def to_json(self, limit: Natural = 20) -> dict[str, Any]:
        """Return the first ``limit`` units by the first measure or score, as JSON-ready data."""
        return {
            "n": len(self),
            "author": self.author,
            "evidence": list(self.evidence),
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
                    "scores": {name: column.at(int(i)) for name, column in self.scores.items()},
                }
                for i in self._places()[:limit]
            ],
            "provenance": self.provenance.to_json(),
        }

    def save(self, folder: str | Path) -> None:
        """Write the descriptions to a new or empty folder, whole or not at all.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.

        Cost: the columns' size on disk.
        """
        columns = {"terms": self.terms, "weights": self.weights}
        columns |= {f"measure-{i}": column for i, column in enumerate(self.measures.values())}
        for i, score in enumerate(self.scores.values()):
            columns |= {f"score-{i}-{name}": column for name, column in score.arrays().items()}
        manifest = {
            "index": self.index.to_json(),
            "author": self.author,
            "unit_of_measure": self.unit_of_measure,
            "measures": list(self.measures),
            "scores": [[name, score.unit, score.judge, score.chance] for name, score in self.scores.items()],
            "evidence": list(self.evidence),
            "vocabulary": list(self.vocabulary),
            "provenance": self.provenance.to_json(),
        }
        with hold_folder(folder):
            bundle = Bundle.create(folder, kind=FOLDER, manifest=manifest)
            bundle.append("columns", columns)
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
        if not isinstance(index, UnitIndex | UnitList):
            raise ValueError("an index of edges")
        measures = {read_word(name): columns[f"measure-{i}"] for i, name in enumerate(data["measures"])}
        words = [read_word(word) for word in data["vocabulary"]]
        scores: dict[str, ScoreColumns] = {}
        for i, (name, unit, judge, chance) in enumerate(data["scores"]):
            head = f"score-{i}-"
            own: dict[str, Any] = {
                key.removeprefix(head): column for key, column in columns.items() if key.startswith(head)
            }
            said: dict[str, Any] = {"unit": read_word(unit), "judge": read_word(judge), "chance": read_number(chance)}
            scores[read_word(name)] = ScoreColumns(**own, **said)
        return cls(
            index,
            columns["terms"],
            columns["weights"],
            words,
            read_word(data["author"]),
            read_word(data["unit_of_measure"]),
            measures,
            scores,
            tuple(read_word(said) for said in data["evidence"]),
            Provenance.from_json(data["provenance"]),
        )


def _join(indices: Sequence[UnitIndex | UnitList]) -> UnitIndex | UnitList:
    """Return the keys of several indices as one: by blocks where all have such, else one by one.

    Raises:
        PatchclampError: a unit in several.
    """
    blocks = [block for one in indices if isinstance(one, UnitIndex) for block in one.blocks]
    whole = all(isinstance(one, UnitIndex) and not one.spans for one in indices)
    names = [(block.site, block.basis) for block in blocks] if whole else [str(key) for i in indices for key in i.parts]
    if len(set(names)) < len(names):
        raise PatchclampError(
            expected="every unit in one part", got="some in several", remedy="Join parts of different units."
        )
    return UnitIndex(blocks, indices[0].subject) if whole else UnitList([str(n) for n in names], indices[0].subject)
