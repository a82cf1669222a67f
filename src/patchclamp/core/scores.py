"""One number per unit or edge, whose keys cost nothing until they are read."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.checks import one_of, within
from patchclamp.core.disk import hold_folder
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.json_text import read_number, read_word
from patchclamp.core.keys import EdgeIndex, EdgeKey, Index, Key, Part, UnitIndex, read_index
from patchclamp.core.noun_folder import load_noun
from patchclamp.core.plain_names import name_unit
from patchclamp.core.provenance import Provenance
from patchclamp.core.score_chunks import append_cases, append_once, read_cases, read_column
from patchclamp.core.span_key import SpanKey
from patchclamp.core.stats_columns import estimate_means, least_p, mean_columns
from patchclamp.core.table import Table, Tabular

FOLDER = "scores"
KINDS = {"neurons": "neuron", "heads": "head", "channels": "channel", "whole": "site"}
"""Basis of a key → what a graph calls it; units of every other basis are features."""
CHUNK = 2**20
"""Values that are looked at, or written, at once."""


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Scores(Tabular):
    """Hold a score for every key of an index, and what the scores are of.

    Args:
        index: the keys.
        values: ``(key,)`` scores, in the unit of measure.
        unit: unit of measure: ``m`` where scores predict changes of a metric.
        baseline: what a value is compared with and replaced by: ``zero``, ``mean``, ``corrupted``, …; empty for none.
        metric_clean: m on what was shown, its mean over cases; nan without a metric.
        metric_baseline: m on the counterparts; nan without any.
        per_case: ``(case, key)`` scores of every case, whose mean ``values`` are; nan where a case has not the key, as
            a short prompt has no tenth position; None where they were not kept.
        ranking: ``(rank,)`` places of keys from the first down, where the order is not by value; None where it is.
        measures: ``(key,)`` other numbers of every key, by name: size of its change, activation.
        task: hash of the task; empty without one.
        provenance: what made them.

    Raises:
        PatchclampError: not one value per key, or a value that is not finite.

    Example:
        >>> from patchclamp.core.keys import Block
        >>> scores = Scores(UnitIndex([Block("embed", "neurons", 3)]), np.array([0.0, 2.0, -3.0]))
        >>> [str(key) for key in scores.top(1)], [str(key) for key in scores.top(1, signed=False)]
        (['embed/neurons/1'], ['embed/neurons/2'])
    """

    index: Index
    values: Float[np.ndarray, " key"]
    unit: str = "m"
    baseline: str = ""
    metric_clean: float = float("nan")
    metric_baseline: float = float("nan")
    per_case: Float[np.ndarray, "case key"] | None = None
    ranking: Int[np.ndarray, " rank"] | None = None
    measures: Mapping[str, Float[np.ndarray, " key"]] = field(default_factory=dict)
    task: str = ""
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        n = len(self.index)
        columns = {"values": self.values, **self.measures}
        wrong = [f"{name} of shape {column.shape}" for name, column in columns.items() if column.shape != (n,)]
        if self.per_case is not None and self.per_case.shape[1:] != (n,):
            wrong.append(f"per_case of shape {self.per_case.shape}")
        if not wrong and not all(np.isfinite(self.values[k : k + CHUNK]).all() for k in range(0, n, CHUNK)):
            wrong.append("values that are not finite")
        if self.ranking is not None and (
            len(set(self.ranking.tolist())) != len(self.ranking) or not set(self.ranking.tolist()) <= set(range(n))
        ):
            wrong.append("a ranking with places twice or out of range")
        if wrong:
            raise PatchclampError(
                expected=f"one finite score for each of {n:,} keys",
                got="; ".join(wrong),
                remedy="Give columns of the index' length.",
            )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def parts(self) -> Sequence[Part]:
        """The keys without their subject, edges as pairs of keys."""
        return self.index.parts

    @property
    def units(self) -> UnitIndex:
        """The index of scores of units, site by site.

        Raises:
            PatchclampError: scores of edges, or of single units of sites.
        """
        if not isinstance(self.index, UnitIndex):
            raise PatchclampError(
                expected="scores of the units of whole sites",
                got="scores of edges" if self.of_edges else "scores of single units",
                remedy="Read values and measures key by key.",
            )
        return self.index

    @property
    def of_edges(self) -> bool:
        """Whether they are scores of edges."""
        return isinstance(self.index, EdgeIndex)

    @property
    def method(self) -> str:
        """Name of the method that made them, without its room."""
        return self.provenance.method.rpartition("/")[2]

    @property
    def level(self) -> str:
        """What is scored: ``edge``, or the level of units that the method was given; ``unit`` where it was not."""
        return "edge" if self.of_edges else str(self.provenance.options.get("level", "unit"))

    def names(self) -> tuple[str, ...]:
        """Return the keys as people write them: without their subject, edges as ``source → target``."""
        return tuple(part if isinstance(part, str) else " → ".join(part) for part in self.parts)

    @property
    def total(self) -> float:
        """Σ of all scores."""
        return float(self.values.sum(dtype=np.float64))

    def key(self, place: Natural) -> Key:
        """Return the key at a place of ``values``.

        Raises:
            PatchclampError: no such place.
        """
        within("a place", place, 0, len(self) - 1)
        return self.index.key(int(place))

    def score(self, key: str | Key) -> float:
        """Return one key's score.

        Raises:
            PatchclampError: a key that has none.
        """
        return float(self.values[self.index.place(key)])  # type: ignore[arg-type]

    def places(self, k: Natural, *, signed: bool = True) -> Int[np.ndarray, " k"]:
        """Return the places of the ``k`` highest scores, the first of equal ones first; by magnitude where not signed.

        Where scores have a ranking of their own, its first ``k``.

        Cost: two passes over the values, a chunk at a time; no memory that grows with them.
        """
        if self.ranking is not None:
            return self.ranking[:k]
        n = len(self)
        if k == 0 or n == 0:
            return np.zeros(0, dtype=np.int64)
        if k >= n:
            return self.order(signed=signed)
        highest = np.zeros(0, dtype=self.values.dtype)
        for start in range(0, n, CHUNK):
            part = np.concatenate([highest, self._heights(start, signed)])
            highest = part if len(part) <= k else np.partition(part, len(part) - k)[len(part) - k :]
        least = highest.min()
        above, equal = [], []
        for start in range(0, n, CHUNK):
            heights = self._heights(start, signed)
            above.append(start + np.flatnonzero(heights > least))
            equal.append(start + np.flatnonzero(heights == least)[:k])
        strictly = np.concatenate(above)
        chosen = np.concatenate([strictly, np.concatenate(equal)[: k - len(strictly)]])
        heights = self.values[chosen] if signed else np.abs(self.values[chosen])
        ordered: np.ndarray = chosen[np.lexsort((chosen, -heights))]
        return ordered

    def _heights(self, start: int, signed: bool) -> np.ndarray:
        part = self.values[start : start + CHUNK]
        return part if signed else np.abs(part)

    @property
    def cases(self) -> Float[np.ndarray, "case key"]:
        """The scores of single cases.

        Raises:
            PatchclampError: they were not kept.
        """
        if self.per_case is None:
            raise PatchclampError(
                expected="scores of single cases",
                got="their means alone",
                remedy="Score the task by a method that keeps each case's scores.",
            )
        return self.per_case

    def counts(self, places: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"]:
        """Return how many cases have each of some keys.

        Raises:
            PatchclampError: scores of single cases were not kept.
        """
        n_cases: np.ndarray = (~np.isnan(self.cases[:, places])).sum(0)
        return n_cases

    def estimates(self, places: Int[np.ndarray, " some"]) -> list[Estimate]:
        """Return the mean over cases of each of some keys, with its interval, its null and p.

        Args:
            places: of keys, as ``places`` and ``order`` give them.

        Raises:
            PatchclampError: scores of single cases were not kept.

        Cost: 2,000 resamples and sign flips of the cases, for all of them in a few matrix products.
        """
        return estimate_means(self.cases[:, places], self.unit)

    def some(self, cases: Sequence[int] | Int[np.ndarray, " some"]) -> "Scores":
        """Return the scores of some cases alone, such as those of one group.

        Spans that none of them has are left out, and so are m and ``measures``, which are of all cases.

        Args:
            cases: rows of ``per_case``.

        Raises:
            PatchclampError: scores of single cases were not kept, or no case.
        """
        rows = self.cases[np.asarray(cases, dtype=np.int64)]
        known = ~np.isnan(rows).all(0)
        index = self.index
        if isinstance(index, UnitIndex) and index.spans and known.any() and not known.all():
            first = next(block for block in index.blocks if block.n_places is not None)
            index = index.at_spans(np.flatnonzero(known[index.grid(first.site, first.basis)[:, 0]]))
        rows = rows[:, known]
        return replace(
            self,
            index=index,
            values=mean_columns(rows)[0],
            per_case=rows,
            metric_clean=math.nan,
            metric_baseline=math.nan,
            ranking=None,
            measures={},
        )

    def order(self, *, signed: bool = True) -> Int[np.ndarray, " key"]:
        """Return all places from the first down: the ranking, else by value, or by magnitude where not ``signed``.

        Cost: eight bytes a key; ``places`` and ``top`` need none.
        """
        if self.ranking is not None:
            return self.ranking
        return np.argsort(-self.values if signed else -np.abs(self.values), kind="stable")

    def top(self, k: Natural, *, signed: bool = True) -> list[Key]:
        """Return the keys of the ``k`` highest scores."""
        return [self.key(int(i)) for i in self.places(k, signed=signed)]

    def first(self, k: Natural, *, signed: bool = True) -> Bool[np.ndarray, " key"]:
        """Return which keys the ``k`` highest are."""
        chosen = np.zeros(len(self), dtype=bool)
        chosen[self.places(k, signed=signed)] = True
        return chosen

    def matrix(self, site: str, basis: str, measure: str = "") -> Float[np.ndarray, "position unit"]:
        """Return the scores of one site, or a measure of its units, by position and unit.

        Args:
            site: path of the site.
            basis: of its units.
            measure: name of one of ``measures`` (default: the scores).

        Returns:
            Array ``(position, unit)``, a view; one row where units stand for all positions.

        Raises:
            PatchclampError: scores of edges, a site without scores, or a measure that is not there.
        """
        span = self.units.span(site, basis)
        if measure:
            one_of("measure", measure, self.measures, remedy="Leave it out for the scores.")
        column = self.measures[measure] if measure else self.values
        [n_units] = [one.n_units for one in self.units.blocks if (one.site, one.basis) == (site, basis)]
        return column[span].reshape(-1, n_units)

    def by_place(self) -> Float[np.ndarray, " position"]:
        """Return Σ of scores at every position; one sum where sites have not the same positions.

        Raises:
            PatchclampError: scores of edges.
        """
        firsts = self.units.firsts
        sums = [
            self.values[firsts[i] : firsts[i + 1]].reshape(block.n_places or 1, block.n_units).sum(1)
            for i, block in enumerate(self.units.blocks)
        ]
        whole = len({len(one) for one in sums}) == 1
        totals: np.ndarray = np.sum(sums if whole else [one.sum(keepdims=True) for one in sums], axis=0)
        return totals

    def graph(self, most: Natural = 200, *, about: Mapping[str, Any] | None = None) -> Graph:
        """Return the keys of largest magnitude as a graph: units lead to the output, edges run between units.

        Args:
            most: keys at most.
            about: what is stated beside it, such as prompt, target and tokens.
        """
        nodes: dict[str, Node] = {}
        edges: list[Edge] = []
        for i in self.places(most, signed=False):
            key, value = self.key(int(i)), float(self.values[i])
            if isinstance(key, EdgeKey):
                for end in (key.source, key.target):
                    nodes.setdefault(str(end), Node(str(end), KINDS.get(end.basis, "feature"), 0.0))
                edges.append(Edge(str(key.source), str(key.target), value))
            else:
                more = {name: float(column[i]) for name, column in self.measures.items()}
                basis = key.unit.basis if isinstance(key, SpanKey) else key.basis
                nodes[str(key)] = Node(str(key), KINDS.get(basis, "feature"), value, more)
                edges.append(Edge(str(key), "output", value))
        output = Node("output", "output", finite(self.metric_clean) or 0.0)
        subject = {"slug": self.provenance.subject, "hash": self.provenance.subject_hash}
        ends = {"metric_clean": self.metric_clean, "metric_baseline": self.metric_baseline, "total": self.total}
        measures = {name: value for name, value in ends.items() if math.isfinite(value)}
        own = {"method": self.provenance.label, "baseline": self.baseline, **(about or {})}
        return Graph(subject, {"kind": self.unit}, (*nodes.values(), output), tuple(edges), measures, own)

    def table(self, top: int | None = None) -> Table:
        """Return the scores as a table, the highest first: name in words, key, score and other numbers."""
        what = "edges" if self.of_edges else "units"
        title = f"{len(self):,} {what} scored in {self.unit}{f' by {self.method}' if self.method else ''}"
        places = self.places(len(self) if top is None else min(top, len(self)))
        rows = (
            (
                _name(self.key(int(i))),
                str(self.key(int(i))),
                float(self.values[i]),
                *(float(column[i]) for column in self.measures.values()),
            )
            for i in places
        )
        columns = ("unit", "key", "score", *self.measures)
        return Table(title, columns, tuple(rows), len(self), ("unit", "score"))

    def to_json(self, limit: Natural = 20) -> dict[str, Any]:
        """Return the ``limit`` keys of largest magnitude and what the scores are of, as JSON-ready data.

        Where scores of single cases were kept, each key has how many cases have it, its 95 % interval and p.
        """
        places = self.places(limit, signed=False)
        estimates: list[Estimate | None] = [None] * len(places)
        estimates = estimates if self.per_case is None else [*self.estimates(places)]
        return {
            "n": len(self),
            "unit": self.unit,
            "baseline": self.baseline,
            "task": self.task,
            "total": self.total,
            "metric_clean": finite(self.metric_clean),
            "metric_baseline": finite(self.metric_baseline),
            **(
                {}
                if self.per_case is None
                else {
                    "n_cases": len(self.per_case),
                    "least_p": least_p(max(len(self.per_case), 1)),
                }
            ),
            "scores": [
                {
                    "key": str(self.key(int(i))),
                    "score": float(self.values[i]),
                    **{name: finite(float(column[i])) for name, column in self.measures.items()},
                    **(
                        {}
                        if one is None
                        else {
                            "n": one.n,
                            "low": finite(one.low),
                            "high": finite(one.high),
                            "p": one.p,
                        }
                    ),
                }
                for i, one in zip(places, estimates, strict=True)
            ],
            "provenance": self.provenance.to_json(),
        }

    def save(self, folder: str | Path, *, files: Mapping[str, bytes] | None = None) -> None:
        """Write the scores to a new or empty folder, whole or not at all.

        Args:
            folder: where.
            files: what people look at, such as ``circuit.html``, kept beside the scores and checked as they are.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.

        Cost: the values' size on disk; in memory one chunk of them.
        """
        with hold_folder(folder):
            bundle = Bundle.create(folder, kind=FOLDER, manifest=self.manifest())
            for number, members in enumerate(self._rows()):
                append_cases(bundle, number, members, self.cases[members])
            self.append(bundle)
            for name, data in (files or {}).items():
                bundle.attach(name, data)
            bundle.finish()

    def manifest(self) -> dict[str, Any]:
        """Return what a folder says of the scores before it has any."""
        return {
            "index": self.index.to_json(),
            "n": len(self),
            "unit": self.unit,
            "baseline": self.baseline,
            "metric_clean": finite(self.metric_clean),
            "metric_baseline": finite(self.metric_baseline),
            "measures": list(self.measures),
            "task": self.task,
            "provenance": self.provenance.to_json(),
            "dtypes": {name: str(column.dtype) for name, column in self._columns().items()},
            "n_cases": None if self.per_case is None else len(self.per_case),
        }

    def append(self, bundle: Bundle) -> None:
        """Write the values to a folder that has the manifest and the scores of single cases.

        What an interrupted writing left there stays as it is.
        """
        for name, column in self._columns().items():
            for number, start in enumerate(range(0, len(self), CHUNK)):
                append_once(bundle, f"{name}-{number:05d}", {"part": column[start : start + CHUNK]})
        whole = {"ends": self.index.ends} if isinstance(self.index, EdgeIndex) else {}
        whole |= {} if self.ranking is None else {"ranking": self.ranking}
        if whole:
            append_once(bundle, "whole", whole)

    def _columns(self) -> dict[str, np.ndarray]:
        return {"values": self.values, **{f"measure-{i}": x for i, x in enumerate(self.measures.values())}}

    def _rows(self) -> Iterator[np.ndarray]:
        """Yield the cases that are written together."""
        n, step = 0 if self.per_case is None else len(self.per_case), max(1, CHUNK // max(len(self), 1))
        yield from (np.arange(start, min(start + step, n)) for start in range(0, n, step))

    @classmethod
    def load(cls, folder: str | Path) -> "Scores":
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no scores there.
            Damaged: a part is missing or changed.

        Cost: the values in memory, and one more chunk of them.
        """
        return load_noun(folder, FOLDER, cls._of)

    @classmethod
    def _of(cls, bundle: Bundle) -> "Scores":
        manifest = bundle.manifest
        pieces = {entry["piece"] for entry in bundle.pieces}
        whole = bundle.read("whole") if "whole" in pieces else {}
        n_cases = manifest["n_cases"]
        index = read_index(manifest["index"], whole.get("ends"))
        if len(index) != manifest["n"]:
            raise ValueError(f"{len(index)} keys instead of {manifest['n']}")
        columns = {name: read_column(bundle, name, manifest["n"], dtype) for name, dtype in manifest["dtypes"].items()}
        names = [read_word(name) for name in manifest["measures"]]
        ends = [
            float("nan") if manifest[m] is None else read_number(manifest[m])
            for m in ("metric_clean", "metric_baseline")
        ]
        return cls(
            index,
            columns["values"],
            read_word(manifest["unit"]),
            read_word(manifest["baseline"]),
            ends[0],
            ends[1],
            None if n_cases is None else read_cases(bundle, n_cases, len(index)),
            whole.get("ranking"),
            {name: columns[f"measure-{i}"] for i, name in enumerate(names)},
            read_word(manifest["task"]),
            Provenance.from_json(manifest["provenance"]),
        )


def _name(key: Key) -> str:
    """Return a unit in words with its position; other keys as they are."""
    text = str(key)
    place = text.partition("@")[2]
    return name_unit(text) + (f" @ {place}" if place and "→" not in text else "")
