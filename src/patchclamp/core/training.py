"""How weights came to be, step by step, and which step's were kept."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import PatchclampError, report_damage
from patchclamp.core.estimate import Estimate
from patchclamp.core.json_text import read_list, read_mapping, read_number, read_whole
from patchclamp.core.noun_folder import load_noun, read_object
from patchclamp.core.provenance import Provenance
from patchclamp.core.stats import mean_interval
from patchclamp.core.table import Table, Tabular

KIND, STREAM = "training", "learning"
"""Kinds of the bundles in which a training's states lie: of one set of batches, and of a stream of tasks."""
SUMMARY = "training.json"
"""The file of a stream's bundle that holds what came of it."""
Curve = tuple[tuple[int, float], ...]
"""Points ``(step, value)``, a step being how many had been taken."""


@checked
@dataclass(frozen=True, repr=False)
class Training(Tabular):
    """Hold what is known of a training beside the weights.

    Args:
        planned: steps that the plan has.
        steps: steps that were taken; fewer where it stopped early.
        kept: step after which the weights were as they are now: the last, or the best by a held-out measure.
        curves: points by measure, after the objective's name and a slash where there are several. A value is the mean
            since the point before; of ``held_out`` it is what was measured at that step.
        provenance: plan, seed, versions and seconds.
        accuracy: ``[after][on]`` share of right answers on each task of a stream after each was learnt; row 0 is before
            any. Empty where there was no stream.

    Raises:
        PatchclampError: steps that do not fit together, or an accuracy that is no such table.

    Example:
        >>> made = Training(4, 2, 1, {"loss": ((1, 0.5), (2, 0.25))})
        >>> made.stopped_early, Training.from_json(made.to_json()) == made
        (True, True)
    """

    planned: Natural
    steps: Natural
    kept: Natural
    curves: Mapping[str, Curve]
    provenance: Provenance = field(default_factory=Provenance)
    accuracy: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.accuracy) - 1
        if self.accuracy and (n < 2 or {len(row) for row in self.accuracy} != {n}):
            raise PatchclampError(
                expected="a row of accuracy before any task and one after each, with a column per task, of two or more",
                got=f"{n + 1} rows of {', '.join(str(len(row)) for row in self.accuracy)}",
                remedy="Leave accuracy out where no stream of tasks was learnt.",
            )
        if not all(0 <= share <= 1 for row in self.accuracy for share in row):
            raise PatchclampError(
                expected="accuracy as shares from 0 to 1",
                got=f"{self.accuracy!r:.80}",
                remedy="Divide by the number asked.",
            )
        if not self.kept <= self.steps <= self.planned:
            raise PatchclampError(
                expected="a kept step among those taken, and no more of these than planned",
                got=f"{self.kept}, {self.steps} and {self.planned}",
                remedy="Give kept ≤ steps ≤ planned.",
            )

    @property
    def stopped_early(self) -> bool:
        """Whether fewer steps were taken than planned."""
        return self.steps < self.planned

    @property
    def acc(self) -> Estimate | None:
        """ACC: mean accuracy on all tasks after the last; its interval is over tasks. None without a stream."""
        return self._mean("accuracy", lambda a, n: [a[n][j] for j in range(n)])

    @property
    def bwt(self) -> Estimate | None:
        """BWT, backward transfer: what accuracy on each task but the last changed since it was learnt."""
        return self._mean("change of accuracy", lambda a, n: [a[n][j] - a[j + 1][j] for j in range(n - 1)])

    @property
    def fwt(self) -> Estimate | None:
        """FWT, forward transfer: accuracy on each task but the first just before it, less that before any task."""
        return self._mean("change of accuracy", lambda a, n: [a[j][j] - a[0][j] for j in range(1, n)])

    @property
    def learning(self) -> Estimate | None:
        """Mean accuracy on each task just after it was learnt."""
        return self._mean("accuracy", lambda a, n: [a[j + 1][j] for j in range(n)])

    def _mean(self, unit: str, read: Callable[[Any, int], list[float]]) -> Estimate | None:
        if not self.accuracy:
            return None
        values = np.array(read(self.accuracy, len(self.accuracy) - 1))
        interval = mean_interval(values) if len(values) > 1 else None
        return Estimate(float(values.mean()), interval, len(values), unit)

    def table(self, top: int | None = None) -> Table:
        """Return the last value of each curve as a table; of a stream of tasks ACC, BWT and FWT first."""
        title = f"{self.steps:,} of {self.planned:,} steps, the state of step {self.kept:,} kept"
        measures = {"ACC": self.acc, "BWT": self.bwt, "FWT": self.fwt}
        rows = [(name, one.value, self.kept) for name, one in measures.items() if one is not None]
        rows += [(name, points[-1][1], points[-1][0]) for name, points in self.curves.items() if points]
        return Table(title, ("measure", "value", "step"), tuple(rows[:top]), len(rows), ("measure", "value"))

    def to_json(self, limit: int | None = None) -> dict[str, Any]:
        """Return the training as JSON-ready data; of every curve the last ``limit`` points."""
        first = 0 if limit is None else -limit
        return {
            "planned": self.planned,
            "steps": self.steps,
            "kept": self.kept,
            "curves": {
                name: [[step, value if math.isfinite(value) else None] for step, value in points[first:]]
                for name, points in self.curves.items()
            },
            "provenance": self.provenance.to_json(),
        } | ({} if not self.accuracy else self._stream_to_json())

    def _stream_to_json(self) -> dict[str, Any]:
        measures = {"acc": self.acc, "bwt": self.bwt, "fwt": self.fwt, "learning": self.learning}
        return {
            "accuracy": [list(row) for row in self.accuracy],
            **{name: None if one is None else one.to_json() for name, one in measures.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Training":
        """Read a training; the inverse of ``to_json``, but that a value which was infinite is NaN.

        Raises:
            Damaged: no such data.
        """
        with report_damage("a training", "Train again."):
            curves = {
                name: tuple(
                    (read_whole(step), math.nan if value is None else read_number(value)) for step, value in points
                )
                for name, points in read_mapping(data["curves"]).items()
            }
            accuracy = tuple(tuple(map(read_number, read_list(row))) for row in read_list(data.get("accuracy", [])))
            provenance = Provenance.from_json(data["provenance"])
            return cls(data["planned"], data["steps"], data["kept"], curves, provenance, accuracy)

    @classmethod
    def load(cls, folder: str | Path) -> "Training":
        """Read what a training left in its folder, ended or under way, and check that it is what was written.

        Raises:
            PatchclampError: no training there.
            Damaged: a part is missing or changed.
        """
        if Bundle.open(folder).manifest["kind"] == STREAM:
            return load_noun(folder, STREAM, cls._of_stream)
        bundle = Bundle.open(folder, kind=KIND)
        entries = bundle.pieces[-1:]
        with report_damage(folder, "Restore it from a copy, or begin again in another folder."):
            plan, versions = bundle.manifest["plan"], bundle.manifest["versions"]
            training = plan["training"]
            state: dict[str, Any] = {"step": 0, "curves": {}, "best": None}
            for entry in entries:
                bundle.check(entry["piece"])
                state = entry["state"]
            steps, best = int(state["step"]), state["best"]
            kept = int(best["step"]) if bundle.whole and best is not None else steps
            curves = {
                str(name): tuple((int(step), _number(value)) for step, value in read_list(points))
                for name, points in state["curves"].items()
            }
            options = {name: value for name, value in training.items() if name != "objectives"}
            about = {name: value for name, value in plan.items() if name != "training"}
            provenance = Provenance(
                method="train", options=options, seed=training["seed"], versions=dict(versions), extra=about
            )
            return cls(training["steps"], steps, kept, curves, provenance)

    @classmethod
    def _of_stream(cls, bundle: Bundle) -> "Training":
        return cls.from_json(read_object(bundle.path / SUMMARY, "training"))


def _number(value: Any) -> float:
    """Return a number of a state, in which those that are not finite are spelt out."""
    return float(value["is"] if isinstance(value, Mapping) else value)
