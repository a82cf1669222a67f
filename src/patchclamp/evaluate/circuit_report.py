"""What an evaluation of a circuit found: faithfulness by size, minimality and recovery, in words and as data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import checked
from patchclamp.core.caution import caution
from patchclamp.core.estimate import finite
from patchclamp.core.keys import Part
from patchclamp.core.plain_numbers import format_percent
from patchclamp.core.receipt import ENOUGH_SETS, SOME, STRONG, Verdict, say_p
from patchclamp.evaluate.circuit_curve import Area, Estimate, Point
from patchclamp.evaluate.circuit_recovery import Recovery

ENOUGH = 0.8
"""Least faithfulness of a circuit that does the task; minimality is measured of the smallest such."""
SHOW_P, COARSE = 19, 0.1
"""Random circuits that can show p = 0.05; the smallest share of parts above which an area leaves most sizes out."""


@dataclass(frozen=True)
class Minimality:
    """Hold the effects of single parts on a circuit.

    Args:
        size: of the circuit C.
        parts: those that were measured.
        changes: ``(part,)`` [m(C) − m(C without the part)] / [m(M) − m(∅)]; each with its interval over pairs.
        random: [m(C with the part) − m(C)] / [m(M) − m(∅)] of random other parts.
        needed: share of ``parts`` whose change is larger, in magnitude, than that of every random one.
    """

    size: int
    parts: tuple[Part, ...]
    changes: tuple[Estimate, ...]
    random: tuple[float, ...]
    needed: float


@checked
@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Hold the evaluation of a circuit on pairs.

    Args:
        circuit: level, method, subject and number of parts.
        cases: ids of the pairs it was measured on.
        left_out: how many were not used, by reason.
        seen: pairs among ``cases`` that the circuit was found on: 0 by default.
        baseline: what replaces everything outside the circuit, in words.
        signed: whether parts were taken from the highest score down, else by magnitude.
        m_model: ``(pair,)`` m with all parts kept.
        m_empty: ``(pair,)`` m with none.
        m_kept: ``(size, pair)`` m of the circuit.
        m_rest: ``(size, pair)`` m of everything else.
        m_random: ``(circuit, size, pair)`` m of random circuits.
        points: by size.
        area: over sizes.
        minimality: of one size; None if not measured.
        about: seeds, counts of rows, how random circuits were drawn.
        found_on: how many pairs the circuit was found on.
        recovery: how its order agrees with exact patching of the same parts; None where that was not given.
    """

    circuit: Mapping[str, Any]
    cases: tuple[str, ...]
    left_out: Mapping[str, int]
    seen: int
    baseline: str
    signed: bool
    m_model: Float[np.ndarray, " pair"]
    m_empty: Float[np.ndarray, " pair"]
    m_kept: Float[np.ndarray, "size pair"]
    m_rest: Float[np.ndarray, "size pair"]
    m_random: Float[np.ndarray, "circuit size pair"]
    points: tuple[Point, ...]
    area: Area
    minimality: Minimality | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    found_on: int = 0
    recovery: Recovery | None = None

    @property
    def title(self) -> str:
        """Which circuit it is, in words."""
        circuit = self.circuit
        return (
            f"{circuit['method']} circuit of {circuit['parts']:,} {circuit['level']}s in {circuit['subject']['slug']}"
        )

    @property
    def summary(self) -> str:
        """What it was measured on, and m with all parts and with none, in words."""
        held = f", {self._seen.upper()}" if self.seen else ""
        return (
            f"{self._pairs}{held}; outside the circuit stands {self.baseline}; "
            f"m {self.m_model.mean():.3g}, with no part kept {self.m_empty.mean():.3g}"
        )

    @property
    def _pairs(self) -> str:
        """How many pairs of which kind."""
        n = len(self.cases)
        return f"{n:,} {'' if self.seen else 'held-out '}pair{'s' * (n != 1)}"

    @property
    def _seen(self) -> str:
        """Which of them it was found on, as a clause."""
        return "on which it was found" if self.seen == len(self.cases) else "on some of which it was found"

    @property
    def faithful(self) -> Point:
        """The smallest circuit with F ≥ 0.8; the most faithful one where none has."""
        enough = [point for point in self.points if point.kept.value >= ENOUGH]
        return enough[0] if enough else max(self.points, key=lambda point: point.kept.value)

    @property
    def verdict(self) -> Verdict:
        """What the evaluation says of the claim that these parts do the task.

        *holds*: some size has F ≥ 0.8, the area is ahead of random circuits with an interval above 0, and p ≤ .01 by
        its rank among at least 99 different ones. *weak*: ahead, and p ≤ .05, or ahead of all of fewer random circuits.
        Else *no evidence*.
        """
        area, n = self.area, self.about["random"]
        if not area.ahead.value > 0:
            return "no evidence"
        apart = area.ahead.interval is None or not area.ahead.low <= 0
        many = n >= ENOUGH_SETS
        if apart and many and area.p_random <= STRONG and self.faithful.kept.value >= ENOUGH:
            return "holds"
        if area.p_random <= SOME or (not many and area.p_random <= (1 + 1e-9) / (1 + n)):
            return "weak"
        return "no evidence"

    @property
    def sentence(self) -> str:
        """The verdict in one sentence: how many parts do how much of the task, and how chance compares."""
        point = self.faithful
        kept = point.kept.value
        share = f"{format_percent(kept)} of the effect" if 0.005 < kept < 0.995 else ""
        share = share or ("the whole effect" if kept > 0.5 else "nothing of the effect")
        parts = f"{point.size:,} of {self.circuit['parts']:,} parts keep{'s' * (point.size == 1)}"
        found = [f"{parts} {share}, on {self._pairs}{f', {self._seen}' * bool(self.seen)}"]
        if self.verdict != "no evidence":
            if kept < ENOUGH:
                found.append(f"no circuit of these sizes keeps {ENOUGH:.0%}")
            if self.area.ahead.low <= 0:
                found.append("the 95 % interval of its lead over random circuits includes 0")
        return f"{self.verdict.capitalize()}: {'; '.join([*found, self._chance()])}."

    def _chance(self) -> str:
        """Return how random circuits compare over all sizes, as a clause."""
        n, p = self.about["random"], self.area.p_random
        if not n or not math.isfinite(p):
            return "no random circuits were compared"
        equals = round(p * (n + 1)) - 1
        if not equals:
            return f"none of {'only ' * (n < ENOUGH_SETS)}{n} random circuits does as much over all sizes ({say_p(p)})"
        does = f"{equals} of {n} random circuits do{'es' * (equals == 1)} as much over all sizes ({say_p(p)})"
        return f"chance does as well: {does}" if p > SOME else does

    @property
    def notes(self) -> tuple[str, ...]:
        """What so few parts or pairs cannot show: an area over most shares, and chance at small sizes."""
        n_parts, n_random, notes = self.circuit["parts"], self.about["random"], []
        if self.area.low > COARSE:
            notes.append(
                f"{n_parts:,} parts are too few for an area from 1 to 50 %: it is over {self.area.low:.0%} to "
                f"{self.area.high:.0%}, and says little. Read single sizes; sizes adds larger ones, up to {n_parts:,}."
            )
        few = [point for point in self.points if point.n_random < min(n_random, SHOW_P)]
        if few:
            counts = ", ".join(f"{point.n_random} with {point.size:,} part{'s' * (point.size != 1)}" for point in few)
            notes.append(f"Few different random circuits of these sizes exist: {counts}.")
        if n_random < SHOW_P:
            notes.append(
                f"No more than {n_random} random circuits differ: {say_p(1 / (1 + n_random))} by rank at least."
            )
        if scarce := caution(len(self.cases), "pairs"):
            notes.append(scarce)
        return tuple(notes)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data; m of every pair stays with it."""
        area, names = self.area, ("kept", "rest", "random", "random_rest", "ahead")
        document: dict[str, Any] = {
            "title": self.title,
            "told": self.summary,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "circuit": dict(self.circuit),
            "found_on": self.found_on,
            "pairs": len(self.cases),
            "left_out": dict(self.left_out),
            "seen": self.seen,
            "baseline": self.baseline,
            "signed": self.signed,
            "m": {"model": float(self.m_model.mean()), "empty": float(self.m_empty.mean())},
            "points": [
                {
                    "size": p.size,
                    "share": p.share,
                    "n_random": p.n_random,
                    **{name: _estimate_data(getattr(p, name)) for name in names},
                }
                for p in self.points
            ],
            "area": {
                "low": area.low,
                "high": area.high,
                "distance": _estimate_data(area.distance),
                **{name: _estimate_data(getattr(area, name)) for name in names},
                "p_pairs": finite(area.p_pairs),
                "p_random": finite(area.p_random),
            },
            "about": dict(self.about),
            "notes": list(self.notes),
            "each": {
                "pairs": list(self.cases),
                "m_model": self.m_model.tolist(),
                "m_empty": self.m_empty.tolist(),
                "m_kept": self.m_kept.tolist(),
                "m_rest": self.m_rest.tolist(),
                "m_random_mean": self.m_random.mean(0).tolist(),
            },
        }
        if self.minimality is not None:
            least = self.minimality
            document["minimality"] = {
                "size": least.size,
                "needed": least.needed,
                "parts": [
                    {"part": part if isinstance(part, str) else " → ".join(part), **(_estimate_data(change) or {})}
                    for part, change in zip(least.parts, least.changes, strict=True)
                ],
                "random": list(least.random),
            }
        if self.recovery is not None:
            document["recovery"] = asdict(self.recovery)
        return document


@checked
@dataclass(frozen=True)
class EvaluationCost:
    """Say what evaluating a circuit will take, before it begins.

    Args:
        pairs: that are measured.
        subsets: sets of parts that are measured on each.
        memory_bytes: besides the model's.
    """

    pairs: int
    subsets: int
    memory_bytes: int


def _estimate_data(found: Estimate | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    return {"value": finite(found.value), "low": finite(found.low), "high": finite(found.high)}
