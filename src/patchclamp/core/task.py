"""Task: the cases that are asked about, as text or arrays, before any model has read them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from patchclamp.core.arguments import checked
from patchclamp.core.disk import write_file
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.metric import MetricKind
from patchclamp.core.noun_folder import check_format, read_object
from patchclamp.core.pairs import Pair

FORMAT, VERSION = "patchclamp-task", 1
LARGEST_ARRAY = 2**20
"""Numbers of one shown array that a task's JSON may hold; more belongs into a Corpus or a Recording."""
Shown = str | tuple[int, ...] | np.ndarray
"""A text (of images a path or ``digits:17``), token ids, or the input of a network of your own."""


@checked
@dataclass(frozen=True)
class Part:
    """Name a part of a case: a span of its text, a region of its picture, or a step of its reasoning.

    Args:
        name: what it is called.
        start: first character, or the label of the region in the case's label map.
        stop: past its last character; equal to ``start`` for a region.
    """

    name: str
    start: int
    stop: int


@checked
@dataclass(frozen=True, eq=False)
class Case:
    """Hold one thing that is asked.

    Args:
        shown: what the subject is shown.
        counterpart: what it is shown in its place, under which the answer should be lost; None where there is none.
        answers: what may follow, each with its leading space; of an image the classes.
        wrongs: what may not.
        label: what the case is an example of (a language, a class, a concept); empty where it is of none.
        group: which template or family of cases it is of: cases of one group are never split.
        parts: named spans, regions or steps.

    Raises:
        PatchclampError: nothing shown, an answer that is wrong too, or a counterpart of another kind.

    Example:
        >>> Case("the old cat", "the old dog", (" sat",), (" ran",)).id
        'e659549b'
    """

    shown: Shown
    counterpart: Shown | None = None
    answers: tuple[str, ...] = ()
    wrongs: tuple[str, ...] = ()
    label: str = ""
    group: str = ""
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        both = sorted(set(self.answers) & set(self.wrongs))
        empty = not np.size(self.shown) or (isinstance(self.shown, str) and not self.shown)
        other = self.counterpart is not None and type(self.counterpart) is not type(self.shown)
        if both or empty or other or not all((*self.answers, *self.wrongs)):
            what = f"{both[0]!r} as both" if both else "another kind of counterpart" if other else "an empty part"
            raise PatchclampError(
                expected="something shown, a counterpart of the same kind, and answers other than the wrong ones",
                got=what,
                remedy="A case needs no counterpart and no answers, but those it has must differ.",
            )

    @cached_property
    def id(self) -> str:
        """Content hash, by which a case that something was found on is known again."""
        shown = [_to_json(self.shown), _to_json(self.counterpart)]
        content = [*shown, list(self.answers), list(self.wrongs)]
        # Labels and groups say what a case stands for, and change nothing of what is asked.
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]

    def to_json(self) -> dict[str, Any]:
        """Return the case as JSON-ready data; what is empty is left out."""
        data: dict[str, Any] = {"shown": _to_json(self.shown), "counterpart": _to_json(self.counterpart)}
        data |= {"answers": list(self.answers), "wrongs": list(self.wrongs), "label": self.label, "group": self.group}
        data["parts"] = [[part.name, part.start, part.stop] for part in self.parts]
        return {name: value for name, value in data.items() if value not in (None, "", [])}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Case":
        """Read a case; the inverse of ``to_json``."""
        answers, wrongs = (tuple(map(_word, data.get(name, ()))) for name in ("answers", "wrongs"))
        label, group = (_word(data.get(name, "")) for name in ("label", "group"))
        shown, counterpart = _from_json(data["shown"]), data.get("counterpart")
        other = None if counterpart is None else _from_json(counterpart)
        parts = tuple(Part(_word(name), start, stop) for name, start, stop in data.get("parts", ()))
        return cls(shown, other, answers, wrongs, label, group, parts)


@checked
@dataclass(frozen=True, eq=False)
class Task:
    """Hold cases that are asked together, and the number m that is read from each answer.

    A task is portable: texts, not ids. ``subject.read(task)`` turns it into what one subject is shown.

    Args:
        cases: at least one; one prompt is a task of one case.
        measure: m, one of the kinds of ``Metric``.
        name: what to call it.
        skipped: cases that were left out, each with its reason.

    Raises:
        PatchclampError: no case, or an unknown measure.

    Example:
        >>> task = Task.of("the old cat", " sat", contrast=" ran")
        >>> len(task), Task.from_json(task.to_json()).cases[0].answers
        (1, (' sat',))
    """

    cases: tuple[Case, ...]
    measure: MetricKind = "logit_difference"
    name: str = ""
    skipped: tuple[tuple[Case, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.cases or self.measure not in get_args(MetricKind):
            raise PatchclampError(
                expected=f"at least one case, and a measure among {', '.join(get_args(MetricKind))}",
                got=f"{len(self.cases)} cases, {self.measure!r}",
                remedy="`Task.of(prompt, target)` makes a task of one prompt.",
            )

    @classmethod
    def of(cls, shown: Shown, target: str, *, contrast: str | None = None, counterpart: Shown | None = None) -> "Task":
        """Return the task of one prompt or image.

        Args:
            shown: the prompt, or the image.
            target: the answer, with its leading space.
            contrast: what it is compared with; without one m is the answer's logit.
            counterpart: a prompt of as many tokens under which the answer should be lost.
        """
        case = Case(shown, counterpart, (target,), () if contrast is None else (contrast,))
        return cls((case,), "logit" if contrast is None else "logit_difference")

    @classmethod
    def of_pairs(cls, pairs: Sequence[Pair], *, measure: MetricKind = "logit_difference", name: str = "") -> "Task":
        """Return the task of clean and corrupted prompts."""
        cases = [Case(one.clean, one.corrupted, one.answers, one.wrongs, group=one.group) for one in pairs]
        return cls(tuple(cases), measure, name)

    @classmethod
    def of_labels(cls, examples: Mapping[str, Sequence[Shown]], *, name: str = "") -> "Task":
        """Return the task of labelled examples: label → what is shown."""
        cases = [Case(shown, label=label) for label, some in examples.items() for shown in some]
        return cls(tuple(cases), name=name)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur, in the order of their first case."""
        return tuple(dict.fromkeys(case.label for case in self.cases if case.label))

    def keep(self, fits: Callable[[Case], bool], reason: str) -> "Task":
        """Return the cases that fit; the others are kept on record with the reason.

        Raises:
            PatchclampError: none fits.
        """
        out = tuple((case, reason) for case in self.cases if not fits(case))
        return replace(self, cases=tuple(filter(fits, self.cases)), skipped=(*self.skipped, *out))

    @property
    def hash(self) -> str:
        """SHA-256 over the cases' ids and the measure."""
        return hashlib.sha256(" ".join([self.measure, *(case.id for case in self.cases)]).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON-ready data."""
        return {
            "format": FORMAT, "version": VERSION, "name": self.name, "measure": self.measure,
            "cases": [case.to_json() for case in self.cases],
            "skipped": [[case.to_json(), reason] for case, reason in self.skipped],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Task":
        """Read a task; the inverse of ``to_json``.

        Raises:
            PatchclampError: no task, or one of a newer version.
            Damaged: a part is missing or of another type.
        """
        check_format(data, FORMAT, VERSION, "Task.save")
        try:
            cases = tuple(map(Case.from_json, data["cases"]))
            skipped = tuple((Case.from_json(case), _word(reason)) for case, reason in data["skipped"])
            return cls(cases, data["measure"], _word(data["name"]), skipped)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise Damaged(
                expected="a whole task", got=f"one with {problem!r:.120}", remedy="Write the task again."
            ) from problem

    def save(self, path: str | Path) -> None:
        """Write the task as JSON, whole or not at all."""
        write_file(Path(path), json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False).encode())

    @classmethod
    def load(cls, path: str | Path) -> "Task":
        """Read a task that ``save`` wrote.

        Raises:
            Damaged: not a whole task.
        """
        return cls.from_json(read_object(path, "task"))


def _to_json(shown: Shown | None) -> Any:
    if shown is None or isinstance(shown, str):
        return shown
    if isinstance(shown, tuple):
        return {"ids": [int(i) for i in shown]}
    if shown.size > LARGEST_ARRAY or shown.dtype.kind not in "biuf" or not np.isfinite(shown).all():
        raise PatchclampError(
            expected=f"an array of at most {LARGEST_ARRAY:,} finite numbers",
            got=f"{shown.size:,} of {shown.dtype}",
            remedy="Keep large inputs in files, and show their paths.",
        )
    return {"array": shown.tolist(), "dtype": str(shown.dtype)}


def _from_json(data: Any) -> Shown:
    if isinstance(data, str):
        return data
    if "ids" in data:
        return tuple(int(i) for i in data["ids"])
    return np.array(data["array"], dtype=np.dtype(_word(data["dtype"])))


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where text belongs")
    return value
