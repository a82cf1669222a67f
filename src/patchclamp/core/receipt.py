"""A claim about some units, what their replacement did, what it stands beside, and the verdict."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from patchclamp.core.arguments import checked
from patchclamp.core.controls import RandomControls
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.plain_numbers import format_fixed, format_signed
from patchclamp.core.table import Table, Tabular

Verdict = Literal["holds", "weak", "no evidence"]
ENOUGH_SETS = 99
"""Different random sets with which p can fall to .01."""
STRONG, SOME = 0.01, 0.05
SLIGHT = 0.05
"""Share of what there is to explain below which units that carry it carry next to nothing."""
RULE = (
    "A claim holds where the measured effect has the predicted sign, its interval excludes 0, it exceeds that of as "
    f"many other units of largest activation and {SLIGHT:.0%} of what there is to explain, and p ≤ {STRONG:g} beside "
    f"at least {ENOUGH_SETS} different random sets; it is weak where the sign is right and p ≤ {SOME:g}, or where it "
    "exceeds all of fewer sets; else there is no evidence. What holds is that these units carry m more than like ones "
    "do; not that they carry nothing else, nor that no others carry it."
)
"""The rule of the verdict in words, for pages that show one."""
LARGEST_ACTIVATIONS = "largest activations"
"""The rival that a claim must beat: as many other units, chosen by the size of their activation alone."""
REPLACED: Mapping[str, str] = {
    "zero": "set to zero",
    "mean": "set to their means",
    "corrupted": "given their values on the other prompt",
}
"""Kind of a baseline → what becomes of the units that it replaces."""


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Receipt(Tabular):
    """Hold what was claimed of some keys, and what was measured.

    Args:
        claim: in words: ``these 4 units carry m``.
        keys: which units or edges.
        predicted: the effect that their scores add up to; nan where nothing was predicted.
        measured: the effect of replacing all of them, with its interval over cases (None with one case).
        controls: random sets like them, measured.
        rivals: name → effect of as many units that were chosen in a simpler way; none of them among the
            keys: what shares units with a claim confirms it.
        finding: what was measured, as a clause with its numbers (see ``describe_effect``); the claim and the measured
            effect by default.
        least: effect below which the units carry next to nothing, whatever chance does; 0 where no such size is known.

    Raises:
        PatchclampError: no key, or controls that were not measured.

    Example:
        >>> from patchclamp.core.controls import RandomControls
        >>> sets = RandomControls(tuple((i,) for i in range(99)), "size", 0.0, 0.0, 99, 1, 0, (0.0,) * 99)
        >>> Receipt("it carries m", ("embed/neurons/0",), 2.0, Estimate(1.5, None, 1, "m"), sets).verdict
        'holds'
        >>> Receipt("it carries m", ("embed/neurons/0",), 2.0, Estimate(1.5, None, 1, "m"), sets).sentence
        'Holds: it carries m, measured +1.50 m; none of 99 random sets does as much (p = 0.01).'
    """

    claim: str
    keys: tuple[str, ...]
    predicted: float
    measured: Estimate
    controls: RandomControls
    rivals: Mapping[str, float] = field(default_factory=dict)
    finding: str = ""
    least: float = 0.0

    def __post_init__(self) -> None:
        if not self.keys or len(self.controls.measured) != len(self.controls.sets):
            raise PatchclampError(
                expected="at least one key, and controls that were measured",
                got=f"{len(self.keys)} keys, {len(self.controls.measured)} effects of {len(self.controls.sets)} sets",
                remedy="Measure the controls: controls.measure(effects).",
            )

    @property
    def p(self) -> float:
        """Share of random sets at least as strong, with +1 correction; nan where sets have fewer keys.

        Fewer keys than were chosen do less by their number alone.
        """
        return self.controls.p(self.measured.value) if self.controls.size == len(self.keys) else math.nan

    @property
    def verdict(self) -> Verdict:
        """What the measurement says of the claim.

        *holds*: the measured effect has the predicted sign, its interval excludes 0 (where there are several cases), it
        exceeds that of the other units of largest activation and ``least``, and p ≤ .01 against at least 99 different
        random sets.
        *weak*: the sign is right and p ≤ .05, or it exceeds all random sets and fewer than 99 different ones exist.
        Else *no evidence*.
        """
        sign = math.copysign(1.0, self.predicted) if math.isfinite(self.predicted) and self.predicted else 1.0
        if not sign * self.measured.value > 0:
            return "no evidence"
        interval = self.measured.interval
        apart = interval is None or not math.isfinite(interval.low) or interval.low > 0 or interval.high < 0
        rival = self.rivals.get(LARGEST_ACTIVATIONS, 0.0)
        beats = abs(self.measured.value) > abs(rival)
        many = self.controls.n_different >= ENOUGH_SETS
        if apart and beats and many and self.p <= STRONG and not self._slight:
            return "holds"
        if self.p <= SOME or (not many and self.p <= self.controls.floor):
            return "weak"
        return "no evidence"

    @property
    def _slight(self) -> bool:
        return abs(self.measured.value) < self.least

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is not *holds*, in words; empty where it is."""
        if math.isnan(self.measured.value):
            return ("the measured effect is undefined",)
        doubts = []
        sign = math.copysign(1.0, self.predicted) if math.isfinite(self.predicted) and self.predicted else 1.0
        if not sign * self.measured.value > 0:
            doubts.append("the measured effect has not the predicted sign")
        interval = self.measured.interval
        if interval is not None and interval.low <= 0 <= interval.high:
            doubts.append("its interval includes 0")
        if not abs(self.measured.value) > abs(self.rivals.get(LARGEST_ACTIVATIONS, 0.0)):
            doubts.append("other units, of largest activation, do as much")
        if self._slight:
            doubts.append(f"that is less than {SLIGHT:.0%} of what there is to explain")
        if self.controls.n_different < ENOUGH_SETS:
            doubts.append(f"only {self.controls.count}")
        if self.controls.size != len(self.keys):
            doubts.append(f"random sets have {self.controls.size} keys, not {len(self.keys)}")
        elif not self.p <= STRONG:
            doubts.append(say_p(self.p))
        return tuple(doubts)

    @property
    def sentence(self) -> str:
        """The verdict in one plain sentence: its grade, what was measured, and how chance compares."""
        measured = self.finding or (
            f"{self.claim}, measured {format_signed(self.measured.value, 2)} {self.measured.unit}".rstrip()
        )
        doubts = []
        if math.isfinite(self.measured.value):
            sign = math.copysign(1.0, self.predicted) if math.isfinite(self.predicted) and self.predicted else 1.0
            interval = self.measured.interval
            if not sign * self.measured.value > 0:
                doubts.append("that is not the predicted direction")
            elif self.p > SOME:
                pass  # that chance does as well is ground enough
            elif interval is not None and interval.low <= 0 <= interval.high:
                doubts.append("its 95 % interval includes 0")
            elif not abs(self.measured.value) > abs(self.rivals.get(LARGEST_ACTIVATIONS, 0.0)):
                doubts.append("as many other units, of largest activation, do as much")
            elif self._slight:
                doubts.append(f"that is less than {SLIGHT:.0%} of what there is to explain")
        return f"{self.verdict.capitalize()}: {'; '.join([measured, *doubts, self._chance()])}."

    def _chance(self) -> str:
        """Return how random sets compare, as a clause."""
        n, controls = self.controls.n_different, self.controls
        sets = f"{n} {controls.stated}" if controls.stated else f"{n} random set{'s' * (n != 1)}"
        if not n:
            return "no random sets were compared"
        if controls.size != len(self.keys):
            return f"random sets have {controls.size} units, not {len(self.keys)}, so they give no p"
        if math.isnan(self.p):
            return "random sets give no p"
        equals = round(self.p * (n + 1)) - 1
        told = f"({say_p(self.p)})"
        if equals:
            does = f"{equals} of {sets} do{'es' * (equals == 1)} as much, either way {told}"
            return f"chance does as well: {does}" if self.p > SOME else does
        if n >= ENOUGH_SETS:
            return f"none of {sets} does as much {told}"
        if controls.stated or n == controls.asked:
            return f"only {sets} {'were' if n > 1 else 'was'} drawn, and none does as much {told}"
        exist = f"only {n} different random set{'s' * (n != 1)} exist{'s' * (n == 1)}"
        return f"{exist}, and {'none does' if n > 1 else 'it does not do'} as much {told}"

    def table(self, top: int | None = None) -> Table:
        """Return the measured effect as a table, beside random sets and rivals."""
        effects = [("these units", self.measured.value), ("random sets, mean", self.controls.mean)]
        rows = tuple([*effects, *self.rivals.items()][:top])
        return Table(
            self.sentence, ("replaced", "effect"), rows, len(effects) + len(self.rivals), ("replaced", "effect")
        )

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON-ready data."""
        return {
            "claim": self.claim,
            "keys": list(self.keys),
            "predicted": finite(self.predicted),
            "measured": self.measured.to_json(),
            "controls": self.controls.to_json(),
            "rivals": {name: finite(effect) for name, effect in self.rivals.items()},
            "p": finite(self.p),
            "p_floor": self.controls.floor,
            "least": finite(self.least),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "sentence": self.sentence,
        }


def describe_effect(done: str, quantity: str, before: float | int, effect: float | int, unit: str) -> str:
    """Return what a replacement did to a quantity, as a clause with both of its values.

    Args:
        done: to which units it was done, in words.
        quantity: what was measured, in words.
        before: its value without the replacement.
        effect: how much of it the replacement took.
        unit: of the quantity; may be empty.

    Returns:
        str: the clause.

    Example:
        >>> describe_effect("with this unit set to zero", "the lead of ' Mary' over ' John'", 8.08, 8.08, "logits")
        "with this unit set to zero, the lead of ' Mary' over ' John' falls from 8.08 to 0.00 logits"
    """
    old, new = format_fixed(before), format_fixed(before - effect)
    said = f"{done}, {quantity} "
    if not math.isfinite(effect):
        return f"{said}is undefined"
    if old == new:
        return f"{said}stays at {old} {unit}".rstrip()
    return f"{said}{'falls' if effect > 0 else 'rises'} from {old} to {new} {unit}".rstrip()


def name_units(n: int, noun: str = "unit") -> str:
    """Return some chosen units in words: ``these 4 units``."""
    return f"these {n:,} {noun}s" if n != 1 else f"this {noun}"


def say_p(p: float) -> str:
    """Return p with two digits, halves rounded up as pages do."""
    return f"p = {p * (1 + 1e-12):.2g}"
