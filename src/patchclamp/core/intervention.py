"""A pure description of a change to a subject's activity; the engine carries it out."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.checks import one_of
from patchclamp.core.condition import When
from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import read_numbers, read_whole
from patchclamp.core.recording import as_numpy
from patchclamp.core.unit import UnitKey

Operation = Literal["set", "add", "scale", "ablate", "patch", "project", "rows", "keep", "call"]
Ablation = Literal["zero", "mean", "resample", "patch"]
OPERATIONS = ("set", "add", "scale", "ablate", "patch", "project", "rows", "keep")
# Eighteen digits fit 64 bits; more would break the arithmetic behind.
_SPAN = re.compile(r"(\+?)(-?[0-9]{1,18})?(?:(:)(\+?)(-?[0-9]{1,18})?)?")


@checked
@dataclass(frozen=True)
class Span:
    """A run of positions of the prompt, or of generation steps, from ``start`` to before ``stop``.

    Positions are logical: 0 is the first token that is not padding, −1 the prompt's last. Step 0 is the first
    generated token, which sits at the position after the prompt's last.

    Example:
        >>> [str(s) for s in (Span.parse("5"), Span.parse("5:9"), Span.parse("+0:+3"), Span.parse("-2:"))]
        ['5', '5:9', '+0:+3', '-2:']
    """

    start: int = 0
    stop: int | None = None
    steps: bool = False

    @classmethod
    def parse(cls, text: str) -> "Span":
        """Read ``5``, ``5:9``, ``-1``, ``:3``, ``+0``, ``+0:+3`` or ``+2:``.

        Raises:
            PatchclampError: anything else, or an empty run.
        """
        matched = _SPAN.fullmatch(text.strip())
        plus, first, colon, plus_stop, last = (part or "" for part in (matched.groups() if matched else ("",) * 5))
        steps = bool(plus)
        broken = not (first or colon) or (plus_stop and not steps) or (steps and ("-" in first + last or not first))
        start = int(first) if first else 0
        stop = int(last) if last else None
        if not colon:
            stop = None if start == -1 else start + 1
        # Where only the stop counts from the end, the prompt's length decides whether the run is empty.
        elif stop is not None:
            broken = broken or start < 0 <= stop or (start >= stop and (start < 0) == (stop < 0))
        if broken:
            raise PatchclampError(
                expected="positions like 5, 5:9 or -1, or generation steps like +0 or +0:+3",
                got=repr(text),
                remedy="Positions count from 0 at the first token; +0 is the first generated token.",
            )
        return cls(start, stop, steps)

    def __str__(self) -> str:
        sign = "+" if self.steps else ""
        if self.stop == self.start + 1 or (self.start == -1 and self.stop is None):
            return f"{sign}{self.start}"
        return f"{sign}{self.start}:" + ("" if self.stop is None else f"{sign}{self.stop}")


At = str | int | slice | Span | Iterable["str | int | slice | Span"] | None


def spans(at: At) -> tuple[Span, ...] | None:
    """Read where an intervention applies from whatever people write; None means everywhere.

    Example:
        >>> [str(s) for s in spans([3, slice(5, 9), "+0:"])]
        ['3', '5:9', '+0:']
    """
    if at is None:
        return None
    if isinstance(at, Span):
        return (at,)
    if isinstance(at, slice):
        if at.step not in (None, 1):
            raise PatchclampError(
                expected="a run without gaps",
                got=f"{at}",
                remedy="List the positions: at=[5, 7, 9] or range(5, 10, 2).",
            )
        return (Span.parse(f"{'' if at.start is None else at.start}:{'' if at.stop is None else at.stop}"),)
    if isinstance(at, int | np.integer):
        return (Span.parse(str(int(at))),)
    if isinstance(at, str):
        return tuple(Span.parse(part) for part in at.split(","))
    if not isinstance(at, Iterable):
        raise PatchclampError(
            expected="a position, a slice, text like '5:9' or '+0:+3', or a list of these",
            got=f"{at!r:.60}",
            remedy="None means everywhere.",
        )
    return tuple(span for part in at for span in spans(part) or ())


@runtime_checkable
class Values(Protocol):
    """Where recorded values come from: a Recording, or a survey where only means are asked."""

    @property
    def hash(self) -> str:
        """Content hash, kept in the intervention's JSON."""

    def mean(self, site: str) -> Any:
        """Return the ``(width,)`` mean over counted tokens, or ``(position, width)``."""

    def of(self, site: str, stimulus: int) -> Any:
        """Return the ``(position, width)`` values of one stimulus."""

    def donors(self, site: str, position: int, avoid: str) -> list[int]:
        """Return the stimuli that reach ``position`` and whose id is not ``avoid``.

        Returns:
            list[int]: numbers of stimuli, ascending.
        """


@checked
@dataclass(frozen=True, eq=False)
class Source:
    """Say where an intervention's values come from.

    Args:
        values: the recording or survey itself; its hash stands for it in JSON.
        stimulus: which stimulus of a recording.
        positions: from position in the run to position in the recording (default: the same position).
        seed: which draw, for ``resample``.
    """

    values: Values
    stimulus: Natural = 0
    positions: Mapping[int, int] | None = None
    seed: Natural = 0

    def __post_init__(self) -> None:
        places = self.positions
        if places is not None and not (isinstance(places, Mapping) and all(map(_counts, [*places, *places.values()]))):
            raise PatchclampError(
                expected="positions as a mapping, from position in the run to position in the recording, both from 0",
                got=f"{self.positions!r:.60}",
                remedy="For example positions={10: 3, 11: 4}.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the reference as JSON-ready data: the hash, never the numbers."""
        positions = None if self.positions is None else {str(k): v for k, v in self.positions.items()}
        return {"values": self.values.hash, "stimulus": self.stimulus, "positions": positions, "seed": self.seed}


@checked
@dataclass(frozen=True, eq=False)
class Intervention:
    """Describe one change: at a site, to some units of a basis, at some positions or steps.

    With f a unit's value before the change and v the value given:
    set f′ = v · add f′ = f + v · scale f′ = v f · ablate f′ = 0, the mean, or another stimulus' value at the same
    position · patch f′ = the recorded value · project x′ = x − P x, P onto the span of the units' directions ·
    rows f′ = v at this row of the batch and this position, where the mask says so · keep f′ = f of these units, and all
    others are ablated or patched · call x′ = fn(x), in process only.

    Args:
        site: canonical site path.
        operation: one of those above.
        units: indices in the basis; None for all.
        basis: name of the basis.
        at: where; None for every position and step.
        value: a number, one per unit, or ``(unit, block)`` for heads; for ``rows`` ``(…, position, unit)``, with heads'
            blocks side by side. The leading axes are the rows of the batch (views that are expanded cost nothing);
            without any, or with one row, all rows take the same. Positions beyond the last are left alone.
        mask: for ``rows``, which are set: ``(…, position, unit)``, a head being one unit (default: all).
        when: a condition that is evaluated in the run: it acts only where that holds, and only at ``at``.
        mode: what an ablation puts in place; ``patch`` for ``keep`` alone.
        source: where mean, resample and patch take their values.
        fn: what ``call`` calls with ``(n, width)`` values; returns the same shape.
        subject: slug of the subject that it is meant for, where a key said so; others then refuse it. Its JSON does not
            hold it.

    Raises:
        PatchclampError: the parts do not fit the operation.

    Example:
        >>> Intervention("blocks.3.mlp.act", "set", (12,), value=8.0, at=spans("5:9")).to_json()["at"]
        '5:9'
    """

    site: str
    operation: Operation
    units: tuple[int, ...] | None = None
    basis: str = "neurons"
    at: tuple[Span, ...] | None = None
    value: Any = None
    mode: Ablation = "zero"
    source: Source | None = None
    fn: Callable[[Any], Any] | None = field(default=None, repr=False)
    subject: str | None = None
    mask: Any = None
    when: When | None = None

    def __post_init__(self) -> None:
        one_of("operation", self.operation, (*OPERATIONS, "call"))
        if self.units is not None and not all(map(_counts, self.units)):
            raise PatchclampError(
                expected="whole numbers of units, from 0",
                got=f"{self.units!r:.60}",
                remedy="None means all of them.",
            )
        wants_value = self.operation in ("set", "add", "scale", "rows")
        wants_source = self.operation == "patch" or (self.operation in ("ablate", "keep") and self.mode != "zero")
        whole = (
            wants_value == (self.value is not None)
            and wants_source == (self.source is not None)
            and (self.operation == "call") == (self.fn is not None)
            and (self.mask is None or self.operation == "rows")
            and (self.mode != "patch" or self.operation == "keep")
        )
        if not whole:
            raise PatchclampError(
                expected=f"for {self.operation}{' ' + self.mode if self.operation in ('ablate', 'keep') else ''}: "
                f"{'a value' if wants_value else 'no value'}, {'a source' if wants_source else 'no source'}"
                f"{'' if self.operation == 'rows' else ', no mask'}",
                got=f"value {self.value!r:.60}, source {'given' if self.source else 'none'}, "
                f"mask {'none' if self.mask is None else 'given'}",
                remedy="See the table in Intervention's documentation; mode='patch' is keep's.",
            )
        if self.operation == "keep" and self.units is None:
            raise PatchclampError(
                expected="the units that are kept", got="all of them", remedy="Name some; with all nothing changes."
            )
        if self.operation == "rows":
            for name in ("value", "mask"):
                if isinstance(getattr(self, name), list | tuple):
                    object.__setattr__(self, name, _array(getattr(self, name)))
            _check_rows(self.value, self.mask)
        elif wants_value:
            value = _array(self.value)
            # Kind V is ml_dtypes' bfloat16.
            if value.dtype.kind not in "iufV" or not np.isfinite(value).all():
                raise PatchclampError(
                    expected="a finite number, or numbers in one shape",
                    got=f"{self.value!r}",
                    remedy="Give numbers that are neither NaN nor infinite.",
                )

    def to_json(self) -> dict[str, Any]:
        """Return the intervention as JSON-ready data; the values and mask of ``rows`` by hash, see ``arrays``.

        Raises:
            PatchclampError: a ``call`` holds Python and cannot leave the process.
        """
        if self.fn is not None:
            raise PatchclampError(
                expected="an intervention that is data",
                got="call(fn), which holds Python",
                remedy=f"Use {', '.join(OPERATIONS)} where it must be stored or sent.",
            )
        data: dict[str, Any] = {"site": self.site, "operation": self.operation, "basis": self.basis}
        if self.units is not None:
            data["units"] = list(self.units)
        if self.at is not None:
            data["at"] = ",".join(str(span) for span in self.at)
        if self.operation == "rows":
            named = {"value": self.value, "mask": self.mask}
            data |= {name: {"array": hash_array(x)} for name, x in named.items() if x is not None}
        elif self.value is not None:
            data["value"] = _array(self.value).astype(np.float64).tolist()
        if self.operation in ("ablate", "keep"):
            data["mode"] = self.mode
        if self.source is not None:
            data["source"] = self.source.to_json()
        if self.when is not None:
            data["when"] = self.when.to_json()
        return data

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that the JSON names by hash: what ``from_json`` needs beside it."""
        held = [] if self.operation != "rows" else [_array(x) for x in (self.value, self.mask) if x is not None]
        return {hash_array(x): x for x in held}

    @property
    def sites(self) -> tuple[str, ...]:
        """Where it reads and writes."""
        return tuple(dict.fromkeys([self.site, *([self.when.site] if self.when and self.when.site else [])]))

    @classmethod
    def from_json(
        cls,
        data: Mapping[str, Any],
        sources: Mapping[str, Values] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> "Intervention":
        """Read an intervention from data.

        Args:
            data: what ``to_json`` returned.
            sources: recordings and surveys by hash, for the interventions that refer to them.
            arrays: those of ``rows`` by hash, as ``arrays`` returned them.

        Returns:
            Intervention: the one that ``to_json`` and ``arrays`` describe.

        Raises:
            PatchclampError: unknown fields, or a source or an array that is not at hand.
        """
        known = {"site", "operation", "basis", "units", "at", "value", "mask", "mode", "source", "when"}
        operation = data.get("operation")
        named = isinstance(operation, str) and operation in OPERATIONS
        if not named or not {"site", "operation"} <= set(data) <= known:
            raise PatchclampError(
                expected=f"site, operation ({', '.join(OPERATIONS)}) and fields among {', '.join(sorted(known))}",
                got=f"{dict(data)}"[:200],
                remedy="`call` cannot be sent as data.",
            )
        units, at, mode = data.get("units"), data.get("at"), data.get("mode", "zero")
        plain = (
            isinstance(data["site"], str)
            and isinstance(data.get("basis", "neurons"), str)
            and (units is None or isinstance(units, list))
            and (at is None or isinstance(at, str))
            and mode in ("zero", "mean", "resample", "patch")
        )
        if not plain:
            raise _unlike(data)
        value = data.get("value")
        try:
            value = (
                _array_named(value, arrays or {})
                if operation == "rows"
                else None
                if value is None
                else read_numbers(value)
            )
        except (TypeError, ValueError, RecursionError) as problem:
            raise _unlike(data) from problem
        return cls(
            site=data["site"],
            operation=data["operation"],
            units=None if units is None else tuple(units),
            basis=data.get("basis", "neurons"),
            at=spans(at),
            value=value,
            mask=_array_named(data.get("mask"), arrays or {}),
            mode=mode,
            source=_source(data, sources or {}),
            when=None if data.get("when") is None else When.from_json(data["when"]),
        )


def _counts(number: Any) -> bool:
    """Return whether something counts from 0: a whole number, which True is not meant as."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool) and bool(number >= 0)


def _array(value: Any) -> np.ndarray:
    """Return a value as numbers, whatever framework they come from; of kind object where they are none."""
    try:
        return np.asarray(as_numpy(value) if hasattr(value, "detach") else value)
    except ValueError:  # a ragged list
        return np.zeros(0, dtype=object)


def _check_rows(value: Any, mask: Any) -> None:
    """Refuse values that are not laid out by row, position and unit, or not finite."""
    shapes = [tuple(np.shape(x)) for x in (value, mask) if x is not None]
    kinds = [str(getattr(x, "dtype", None) or _array(x).dtype).removeprefix("torch.") for x in (value, mask)]
    numbers = kinds[0].startswith(("float", "bfloat", "int", "uint"))
    if any(len(shape) < 2 for shape in shapes) or not numbers or (mask is not None and kinds[1] != "bool"):
        raise PatchclampError(
            expected="numbers (…, position, unit), and a mask of True and False (…, position, unit) or none",
            got=" and ".join(f"{kind} of shape {shape}" for kind, shape in zip(kinds, shapes, strict=False)),
            remedy="Leave the leading axes out where all rows take the same.",
        )
    numbers_of = sys.modules[type(value).__module__.partition(".")[0]]
    steps = value.stride() if hasattr(value, "stride") else value.strides
    # A view that is expanded repeats its numbers at step 0: each is looked at once.
    once = value[tuple(slice(1) if step == 0 else slice(None) for step in steps)]
    if not bool(numbers_of.isfinite(once).all()):
        raise PatchclampError(
            expected="finite numbers",
            got="NaN or infinite ones among the rows that are set",
            remedy="Take them from a run that does not overflow, or set other rows.",
        )


def hash_array(array: Any) -> str:
    """Return the hash that stands for an array in an intervention's JSON: of its type, shape and numbers."""
    held = np.ascontiguousarray(_array(array))
    return hashlib.sha256(f"{held.dtype}/{held.shape}/".encode() + held.tobytes()).hexdigest()


def _array_named(named: Any, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the array that a hash names."""
    if named is None:
        return None
    name = named.get("array") if isinstance(named, Mapping) else None
    array = arrays.get(name) if isinstance(name, str) else None
    if array is None or hash_array(array) != name:
        raise PatchclampError(
            expected="the array that the intervention names by its hash",
            got=f"none for {named!r:.60}",
            remedy="Pass what `arrays()` returned, keyed by hash.",
        )
    return array


def _unlike(data: Mapping[str, Any]) -> PatchclampError:
    return PatchclampError(
        expected="an intervention as `to_json` writes it",
        got=f"{dict(data)}"[:200],
        remedy="Send what `to_json` returned.",
    )


def _source(data: Mapping[str, Any], sources: Mapping[str, Values]) -> Source | None:
    """Read an intervention's reference to a recording or survey."""
    source = data.get("source")
    if source is None:
        return None
    if not isinstance(source, Mapping) or not isinstance(source.get("values"), str):
        raise _unlike(data)
    if source["values"] not in sources:
        raise PatchclampError(
            expected=f"the recording or survey {source['values'][:12]}…",
            got="none with that hash",
            remedy="Pass it in `sources`, keyed by its hash.",
        )
    positions, numbers = source.get("positions"), (source.get("stimulus", 0), source.get("seed", 0))
    try:
        stimulus, seed = map(read_whole, numbers)
        moved = None if positions is None else {int(k): read_whole(v) for k, v in positions.items()}
    except (TypeError, ValueError, OverflowError, AttributeError):
        raise _unlike(data) from None
    return Source(sources[source["values"]], stimulus=stimulus, positions=moved, seed=seed)


@checked
def clamp(text: str, at: str | None = None) -> Intervention:
    """Read a clamp as the command line writes it: ``KEY=VALUE``, ``KEY+=VALUE``, ``KEY*=VALUE``, ``KEY=ablate``.

    Its own places may follow: ``KEY=VALUE @ 5:9,+0:``.

    Args:
        text: the clamp.
        at: where it applies, unless it says so itself.

    Raises:
        PatchclampError: anything else, or places both in the key and after the value.

    Example:
        >>> c = clamp("blocks.3.mlp.act/neurons/12=8.0 @ 5:9", at="+0:+3")
        >>> c.operation, c.units, c.value, c.to_json()["at"]
        ('set', (12,), 8.0, '5:9')
    """
    key, sign, rest = text.rpartition("=")
    number, own, place = (part.strip() for part in rest.partition("@"))
    operations: dict[str, Operation] = {"+": "add", "*": "scale"}
    operation = operations.get(key[-1:], "set")
    try:
        value = None if operation == "set" and number == "ablate" else float(number)
    except ValueError:
        value = float("nan")
    if not sign or (value is not None and not np.isfinite(value)) or bool(own) != bool(place):
        raise PatchclampError(
            expected="a clamp like blocks.3.mlp.act/neurons/12=8.0 (or += to add, *= to scale, =ablate), "
            "with places after @ or without",
            got=repr(text),
            remedy="Give a unit's key, =, and a finite number.",
        )
    unit = UnitKey.parse((key if operation == "set" else key[:-1]).strip())
    named = unit.position is not None or unit.step is not None
    if named and own:
        raise PatchclampError(
            expected="places in the key or after the value", got=repr(text), remedy="Leave one of them out."
        )
    if named:
        place = str(unit.position) if unit.position is not None else f"+{unit.step}"
    where = spans(place or at)
    return Intervention(
        unit.site,
        "ablate" if value is None else operation,
        (unit.index,),
        unit.basis,
        where,
        value,
        subject=unit.subject,
    )


def _read_key(key: str | UnitKey, units: Any, basis: str, at: At) -> tuple[UnitKey, At]:
    """Return the unit and the place that a key names; refuse what is said twice."""
    unit = UnitKey.parse(key) if isinstance(key, str) else key
    placed = unit.position is not None or unit.step is not None
    twice = {"units": units is not None, "basis": basis != "neurons", "at": at is not None and placed}
    if any(twice.values()):
        raise PatchclampError(
            expected="a key alone, or a site with units, a basis and a place",
            got=f"{unit} and {', '.join(name for name, said in twice.items() if said)}",
            remedy="A key names site, basis, unit and, after @, the place.",
        )
    place = unit.position if unit.step is None else f"+{unit.step}:+{unit.step + 1}"
    return unit, place if placed else at


@checked
def change(
    operation: Operation,
    site: str | UnitKey,
    units: Natural | Sequence[Natural] | None = None,
    *,
    value: Any = None,
    at: At = None,
    basis: str = "neurons",
    mode: Ablation = "zero",
    source: Source | Values | None = None,
    mask: Any = None,
    when: When | None = None,
    fn: Callable[[Any], Any] | None = None,
) -> Intervention:
    """Build an intervention from the forms that people write.

    Args:
        operation: ``set add scale ablate patch project rows keep call``.
        site: site path; or the key of a unit, whose basis, unit and position then hold.
        units: one index, several, or None for all; None beside a key.
        value: number or array for set, add and scale; ``(…, position, unit)`` for rows.
        at: ``5``, ``slice(5, 9)``, ``"5:9"``, ``"+0:+3"``, a list of these, or None for everywhere.
        basis: name of the basis.
        mode: ``zero``, ``mean`` or ``resample``, for ablate and keep; ``patch`` for keep.
        source: a recording, a survey, or a ``Source``.
        mask: for rows.
        when: a condition, evaluated in the run.
        fn: for ``call``.

    Returns:
        Intervention: with every form brought to one: indices as tuples, places as spans, values as float64.

    Raises:
        PatchclampError: the parts do not fit the operation; no unit or place, or a unit twice; a key beside units, a
            basis or a place of their own.

    Example:
        >>> change("scale", "blocks.0.mlp.act", 7, value=0.5, at=[3, 4]).units
        (7,)
        >>> one = change("set", "blocks.0.mlp.act/neurons/7@3", value=0)
        >>> one.site, one.units, one.at == change("set", "blocks.0.mlp.act", 7, value=0, at=3).at
        ('blocks.0.mlp.act', (7,), True)
    """
    subject = None
    if isinstance(site, UnitKey) or "/" in site:
        key, at = _read_key(site, units, basis, at)
        site, units, basis, subject = key.site, key.index, key.basis, key.subject
    chosen = None if units is None else ((int(units),) if isinstance(units, int | np.integer) else tuple(units))
    where = spans(at)
    if where == () or (mode != "zero" and operation not in ("ablate", "keep")):
        raise PatchclampError(
            expected="at least one place in `at`, and a mode with ablate and keep only",
            got=f"at {at!r}, mode {mode!r} with {operation}",
            remedy="None means every place; patch takes recorded values, ablate puts zero, mean or resample.",
        )
    if chosen is not None and not len(chosen) == len(set(chosen)) > 0:
        raise PatchclampError(
            expected="at least one unit, and each once", got=f"{chosen!r:.60}", remedy="None means all of them."
        )
    if source is not None and not isinstance(source, Source):
        source = Source(source)
    return Intervention(
        site, operation, chosen, basis, where, value, mode, source, fn, mask=mask, when=when, subject=subject
    )
