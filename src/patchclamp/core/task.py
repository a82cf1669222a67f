"""The cases that are asked about, as text or arrays, before any model has read them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from patchclamp.core.arguments import checked
from patchclamp.core.disk import write_file
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import read_list, read_numbers, read_whole, read_word
from patchclamp.core.metric import MetricKind
from patchclamp.core.noun_folder import check_format, read_object
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.table import Table, Tabular

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
        targets: what may follow, each with its leading space; of an image, or of a network of your own, the classes.
        contrasts: what may not: m compares the targets with these.
        label: what the case is an example of (a language, a class, a concept); empty where it is of none.
        group: which template or family of cases it is of: cases of one group are never split.
        parts: named spans, regions or steps.

    Raises:
        PatchclampError: nothing shown, a target that is a contrast too or is there twice, contrasts without a target,
            or a counterpart of another kind.

    Example:
        >>> Case("the old cat", "the old dog", (" sat",), (" ran",)).id
        'e659549b'
    """

    shown: Shown
    counterpart: Shown | None = None
    targets: tuple[str, ...] = ()
    contrasts: tuple[str, ...] = ()
    label: str = ""
    group: str = ""
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        both = sorted(set(self.targets) & set(self.contrasts))
        twice = [word for side in (self.targets, self.contrasts) for word in side if side.count(word) > 1]
        empty = any(
            side is not None and (not np.size(side) or (isinstance(side, str) and not side))
            for side in (self.shown, self.counterpart)
        )
        other = self.counterpart is not None and type(self.counterpart) is not type(self.shown)
        unheld = bool(self.contrasts) and not self.targets
        if both or twice or empty or other or unheld or not all((*self.targets, *self.contrasts)):
            what = (
                "contrasts without a target"
                if unheld
                else f"{both[0]!r} as both"
                if both
                else f"{twice[0]!r} twice"
                if twice
                else "another kind of counterpart"
                if other
                else "an empty part"
            )
            raise PatchclampError(
                expected="something shown, a counterpart of its kind, and targets other than the contrasts, each once",
                got=f"{what} in {words_of(self.shown)!r:.60}",
                remedy="A case needs no counterpart and no targets, but those it has must differ.",
            )

    @cached_property
    def id(self) -> str:
        """Content hash, by which a case that something was found on is known again."""
        content = [_content(self.shown), _content(self.counterpart), list(self.targets), list(self.contrasts)]
        # Labels and groups say what a case stands for, and change nothing of what is asked.
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and self._known_by() == other._known_by()

    def __hash__(self) -> int:
        return hash(self._known_by())

    def _known_by(self) -> tuple[Any, ...]:
        return self.id, self.label, self.group, self.parts

    def in_words(self) -> "Case":
        """Return the case with every array named by its shape, for tables; it cannot be read again."""
        if not isinstance(self.shown, np.ndarray):
            return self
        other = None if self.counterpart is None else words_of(self.counterpart)
        return replace(self, shown=words_of(self.shown), counterpart=other)

    def to_json(self) -> dict[str, Any]:
        """Return the case as JSON-ready data; what is empty is left out."""
        data: dict[str, Any] = {"shown": _to_json(self.shown), "counterpart": _to_json(self.counterpart)}
        data |= {"targets": list(self.targets), "contrasts": list(self.contrasts)}
        data |= {"label": self.label, "group": self.group}
        data["parts"] = [[part.name, part.start, part.stop] for part in self.parts]
        return {name: value for name, value in data.items() if value not in (None, "", [])}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Case":
        """Read a case; the inverse of ``to_json``.

        Raises:
            ValueError: a field that no case has.
            KeyError, TypeError: a field that is missing, or of another type.
        """
        if strange := data.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"a field {sorted(strange)[0]!r}, which no case has")
        targets, contrasts = (tuple(map(read_word, read_list(data.get(name, [])))) for name in ("targets", "contrasts"))
        label, group = (read_word(data.get(name, "")) for name in ("label", "group"))
        shown, counterpart = _from_json(data["shown"]), data.get("counterpart")
        other = None if counterpart is None else _from_json(counterpart)
        parts = tuple(Part(read_word(name), start, stop) for name, start, stop in read_list(data.get("parts", [])))
        return cls(shown, other, targets, contrasts, label, group, parts)


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Task(Tabular):
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
        >>> len(task), Task.from_json(task.to_json()).cases[0].targets
        (1, (' sat',))
    """

    cases: tuple[Case, ...]
    measure: MetricKind = "logit_difference"
    name: str = ""
    skipped: tuple[tuple[Case, str], ...] = ()

    def table(self, top: int | None = None) -> Table:
        """Return the cases as a table: prompt, answers, contrasts and counterpart."""
        title = f"{self.name or 'a task'}: {len(self)} cases, {self.measure.replace('_', ' ')}"
        rows = (
            (words_of(case.shown), ", ".join(case.targets), ", ".join(case.contrasts), words_of(case.counterpart))
            for case in self.cases[:top]
        )
        return Table(title, ("prompt", "target", "contrast", "counterpart"), tuple(rows), len(self))

    def __post_init__(self) -> None:
        if not self.cases or self.measure not in get_args(MetricKind):
            raise PatchclampError(
                expected=f"at least one case, and a measure among {', '.join(get_args(MetricKind))}",
                got=f"{len(self.cases)} cases, {self.measure!r}",
                remedy="`Task.of(prompt, target)` makes a task of one prompt.",
            )

    @classmethod
    def of(
        cls,
        shown: Shown | Stimulus,
        target: str,
        *,
        contrast: str | None = None,
        counterpart: Shown | Stimulus | None = None,
    ) -> "Task":
        """Return the task of one prompt or image.

        Args:
            shown: the prompt, or the image; of a stimulus, such as ``model.tokenize(text, chat=True, answered=True)``
                gives, the ids are kept.
            target: the answer, with its leading space; of an image, or of a network of your own, the class.
            contrast: what it is compared with; without one m is the answer's logit.
            counterpart: a prompt of as many tokens under which the answer should be lost.

        Returns:
            Task: with one case.

        Example:
            >>> Task.of("the old cat", " sat").cases[0].targets
            (' sat',)
        """
        clean, other = (tuple(map(int, one.ids)) if isinstance(one, Stimulus) else one for one in (shown, counterpart))
        assert clean is not None
        case = Case(clean, other, (target,), () if contrast is None else (contrast,))
        return cls((case,), "logit" if contrast is None else "logit_difference")

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

    def portable(self, most: int) -> "Task | None":
        """Return the first cases, at most so many and no more than JSON may hold; None where the first is too large."""
        sizes = np.cumsum([_size(case.shown) + _size(case.counterpart) for case in self.cases[:most]])
        n = int((sizes <= LARGEST_ARRAY).sum())
        return replace(self, cases=self.cases[:n], skipped=()) if n else None

    @property
    def hash(self) -> str:
        """SHA-256 over the cases' ids and the measure."""
        return hashlib.sha256(" ".join([self.measure, *(case.id for case in self.cases)]).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON-ready data."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "measure": self.measure,
            "cases": [case.to_json() for case in self.cases],
            "skipped": [[case.to_json(), reason] for case, reason in self.skipped],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Task":
        """Read a task; the inverse of ``to_json``.

        Raises:
            PatchclampError: no task, or one of a newer version.
            Damaged: a part is missing or of another type.
        """
        check_format(data, FORMAT, VERSION, "Task.save")
        try:
            cases = tuple(map(Case.from_json, read_list(data["cases"])))
            skipped = tuple((Case.from_json(case), read_word(reason)) for case, reason in read_list(data["skipped"]))
            return cls(cases, data["measure"], read_word(data["name"]), skipped)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
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


def _content(shown: Shown | None) -> Any:
    """Return what a case's hash is taken over."""
    if isinstance(shown, np.ndarray):
        whole = hashlib.sha256(np.ascontiguousarray(shown).tobytes()).hexdigest()
        return {"array": whole, "shape": list(shown.shape), "dtype": str(shown.dtype)}
    return _to_json(shown)


def _size(shown: Shown | None) -> int:
    return shown.size if isinstance(shown, np.ndarray) else len(shown or ())


def words_of(shown: Shown | None) -> str:
    """Return what is shown as people read it: a text whole, the ids, of an array the shape; empty where there is none.

    Example:
        >>> words_of(np.zeros((3, 8))), words_of((1, 2))
        ('array 3 x 8', '(1, 2)')
    """
    if isinstance(shown, np.ndarray):
        return f"array {' x '.join(map(str, shown.shape))}"
    return "" if shown is None else str(shown)


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
        return tuple(map(read_whole, read_list(data["ids"])))
    kind, given = np.dtype(read_word(data["dtype"])), read_list(data["array"])
    numbers = np.array(given if kind.kind == "b" else read_numbers(given))
    with np.errstate(all="ignore"):
        shown = numbers.astype(kind)
    exact = numbers.dtype.kind in "biuf" and (shown.dtype.kind == "f" or np.array_equal(shown, numbers))
    if not exact or not np.isfinite(shown).all():
        raise ValueError(f"an array whose numbers {shown.dtype} cannot hold")
    return shown
