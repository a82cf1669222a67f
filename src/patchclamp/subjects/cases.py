"""A task as one subject reads it: ids, a metric each, m at both ends, and what was skipped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import EachMetric, Metric, MetricKind, name_metric
from patchclamp.core.stimulus import Picture, Shown
from patchclamp.core.task import Case, Task

LEAST_DIFFERENCE = 0.1
"""|m(clean) − m(corrupted)| below which a case is skipped: effects divided by it are noise."""
ROWS = 64
"""Rows of one forward pass, where no other number is given."""
NO_COUNTERPART = "no counterpart, as others have one"


class CannotRead(PatchclampError):
    """One case cannot be read; in a task of several it is skipped.

    Args:
        reason: why, in words that many cases share, so that skipped cases can be counted.
    """

    def __init__(self, *, expected: str, got: str, remedy: str, reason: str) -> None:
        super().__init__(expected=expected, got=got, remedy=remedy)
        self.reason = reason

    @classmethod
    def of(cls, problem: PatchclampError, reason: str) -> "CannotRead":
        """Return what was refused as the fault of one case."""
        return cls(expected=problem.expected, got=problem.got, remedy=problem.remedy, reason=reason)

    @classmethod
    def same(cls, what: str, parts: str) -> "CannotRead":
        """Return the refusal of a counterpart that is what it stands for: the same tokens, the same pixels."""
        return cls(
            expected=f"a corrupted {what} that differs from the {what}",
            got=f"the same {parts}",
            remedy="Change what decides the answer.",
            reason="a counterpart that is the same",
        )


@dataclass(frozen=True, eq=False)
class ReadCase:
    """Hold one case as a subject reads it.

    Args:
        clean: what is shown: the prompt's tokens, and those of the answer that come before the one that decides; or an
            image, or a row of a plain network's input.
        counterpart: the same for its counterpart; None where it has none.
        metric: m.
        prompt: the prompt in words, or the image's name.
        corrupt: the counterpart in words; None where it has none.
        target: the answer as it was named; empty where a metric was given.
        contrast: the answer that it is compared with, or None.
        target_names: what m's targets are, as text: of a sequence the whole answer.
        contrast_names: what m's contrasts are.
        beginning: the answer's tokens before the one that decides, as text; they are shown after the prompt.
        masked: the answer stands at a mask; nothing is continued.
        text: the text whose tokens are ``clean``, prompt and beginning; None where no text has just these tokens (an
            image, a chat, half a character).
        answer_notes: a sentence for every answer of several tokens: which of them m reads.
    """

    clean: Shown
    counterpart: Shown | None
    metric: Metric
    prompt: str = ""
    corrupt: str | None = None
    target: str = ""
    contrast: str | None = None
    target_names: tuple[str, ...] = ()
    contrast_names: tuple[str, ...] = ()
    beginning: str = ""
    masked: bool = False
    text: str | None = None
    answer_notes: tuple[str, ...] = ()

    @property
    def given(self) -> str:
        """The beginning that target and contrast share, shown after the prompt."""
        return "" if self.contrast is None else self.beginning

    @property
    def quantity(self) -> str:
        """What m is, in words: ``the lead of ' Mary' over ' John'``."""
        whole = self.metric.kind == "sequence_log_probability" and self.target
        target = repr(self.target) if whole else _join(self.target_names)
        return name_metric(self.metric.kind, target, _join(self.contrast_names))

    @property
    def read_at(self) -> tuple[str, str]:
        """The tokens at which target and contrast are read; empty where an answer is read whole."""
        if not self.answer_notes or self.metric.kind == "sequence_log_probability":
            return "", ""
        sides = ((self.target, self.target_names), (self.contrast or "", self.contrast_names))
        target, contrast = ("" if len(names) != 1 or answer == names[0] else names[0] for answer, names in sides)
        return target, contrast

    @property
    def explained(self) -> str:
        """What m is, as a formula: ``logit(' Mary') − logit(' John')``."""
        kind, sides = self.metric.kind, [side for side in (self.target_names, self.contrast_names) if side]
        if kind == "sequence_log_probability":
            return f"log P({self.target_names[0]!r})"
        if kind in ("logit", "logit_difference") and self.target and all(len(side) == 1 for side in sides):
            return " − ".join(f"logit({name!r})" for [name] in sides)
        return f"{kind.replace('_', ' ')}({' − '.join('+'.join(map(repr, side)) for side in sides)})"


def _join(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))


@dataclass(frozen=True, eq=False)
class ReadTask:
    """Hold a task as one subject reads it: what is shown, a metric each, and its value at both ends.

    Args:
        task: the cases that are used, and those that were skipped, each with the reason.
        read: each of these cases as the subject reads it.
        m_clean: ``(case,)`` m of what is shown; nan where it was not measured.
        m_counterpart: ``(case,)`` m of its counterpart; nan where it has none, or it was not measured.
    """

    task: Task
    read: tuple[ReadCase, ...]
    m_clean: Float[np.ndarray, " case"]
    m_counterpart: Float[np.ndarray, " case"]

    def __len__(self) -> int:
        return len(self.read)

    @property
    def ids(self) -> list[str]:
        """Content hash of every case."""
        return [case.id for case in self.task.cases]

    @cached_property
    def clean(self) -> tuple[Any, ...]:
        """What every case shows: tokens, an image, or a row."""
        return tuple(one.clean for one in self.read)

    @cached_property
    def counterpart(self) -> tuple[Any, ...]:
        """What every case shows in its place.

        Raises:
            PatchclampError: a case has none.
        """
        there = tuple(one.counterpart for one in self.read if one.counterpart is not None)
        if len(there) < len(self):
            raise PatchclampError(
                expected="a counterpart of every case",
                got=f"{len(self) - len(there)} of {len(self)} without",
                remedy="Give each a counterpart of the same length: Case(shown, counterpart, targets, contrasts).",
            )
        return there

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """What every case shows, which is an image.

        Raises:
            PatchclampError: a case shows none.
        """
        shown_pictures = tuple(shown for shown in self.clean if isinstance(shown, Picture))
        if len(shown_pictures) < len(self):
            raise PatchclampError(
                expected="an image in every case",
                got=f"{len(self) - len(shown_pictures)} without",
                remedy="Take a model of images, and name one a case, as in digits:17.",
            )
        return shown_pictures

    @property
    def has_counterparts(self) -> bool:
        """Whether the cases have counterparts: all have, or none."""
        return self.read[0].counterpart is not None

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """What is read of every case."""
        return tuple(one.metric for one in self.read)

    def metric(self, places: Sequence[int] | Int[np.ndarray, " place"]) -> EachMetric:
        """Return the metrics of some cases as one, a row each."""
        return EachMetric(tuple(self.metrics[int(i)] for i in places))

    def batches_by_length(self, most: int = ROWS) -> Iterator[Int[np.ndarray, " place"]]:
        """Yield the places of cases that fit one pass; see the function of the same name."""
        return batches_by_length(self.clean, self.metrics, most)

    def subset(self, chosen: Bool[np.ndarray, " case"]) -> "ReadTask":
        """Return some of the cases, at least one; what was skipped stays on record."""
        at = np.flatnonzero(chosen)
        task = replace(self.task, cases=tuple(self.task.cases[i] for i in at))
        return ReadTask(task, tuple(self.read[i] for i in at), self.m_clean[at], self.m_counterpart[at])

    def exchange(self) -> "ReadTask":
        """Return the same cases with both ends exchanged; targets and metrics stay as they are."""
        ends = zip(self.read, self.clean, self.counterpart, strict=True)
        read = tuple(replace(one, clean=other, counterpart=clean) for one, clean, other in ends)
        return ReadTask(self.task, read, self.m_counterpart, self.m_clean)

    @property
    def quantity(self) -> str:
        """What m is, in words: of several cases its mean."""
        if len(self) == 1:
            return self.read[0].quantity
        named = name_metric(self.metrics[0].kind, "the target", "the contrast")
        return f"the mean {named.removeprefix('the ')}"

    @property
    def n_reversed(self) -> int:
        """How many cases have a lower m on what is shown than on its counterpart."""
        return int((self.m_clean < self.m_counterpart).sum())

    def count_skipped(self) -> dict[str, int]:
        """Return how many cases were skipped, by reason."""
        return count_reasons(self.task.skipped)

    def answer_notes(self) -> list[str]:
        """Return which tokens m reads of answers of several tokens: those of the first such case, and how many it is.

        Returns:
            list[str]: sentences; none where every answer is one token.
        """
        noted = [one.answer_notes for one in self.read if one.answer_notes]
        if not noted:
            return []
        several = [f"{len(noted):,} of {len(self):,} cases have answers of several tokens"] if len(self) > 1 else []
        return [*noted[0], *several]


def batches_by_length(
    shown: Sequence[Shown], metrics: Sequence[Metric], most: int = ROWS
) -> Iterator[Int[np.ndarray, " place"]]:
    """Yield the places of stimuli that fit one pass: of one length, read at the same positions, at most so many.

    Args:
        shown: the stimuli.
        metrics: m of each.
        most: stimuli in one pass.

    Yields:
        Int[np.ndarray, " place"]: places in the list, at most ``batch_size`` in each array.

    Example:
        >>> from patchclamp.core.stimulus import Stimulus
        >>> shown = [Stimulus.of(np.array(ids)) for ids in ([3, 4], [5], [6, 7], [8, 9])]
        >>> [places.tolist() for places in batches_by_length(shown, [Metric("logit", (0,))] * 4, 2)]
        [[1], [0, 2], [3]]
    """
    kinds = [(len(x), metric.positions) for x, metric in zip(shown, metrics, strict=True)]
    for kind in sorted(set(kinds)):
        members = np.array([i for i, own in enumerate(kinds) if own == kind])
        yield from (members[k : k + most] for k in range(0, len(members), most))


@runtime_checkable
class Answers(Protocol):
    """A model that answers with logits."""

    @property
    def n_answers(self) -> int:
        """Number of logits."""


@runtime_checkable
class Reader(Protocol):
    """A model that reads one case, and measures m."""

    name: str

    def read_case(self, *shown: Any, **how: Any) -> ReadCase:
        """Turn what is shown and its answers into ids and a metric."""

    def measure(self, *shown: Any, **how: Any) -> Any:
        """Return m of each stimulus."""


def read_cases(
    model: Reader, task: Task, shown: Sequence[tuple[Any, Any, dict[str, Any]]], least: float | None
) -> ReadTask:
    """Read a task case by case, measure both ends, and skip what cannot be compared.

    Args:
        model: the subject.
        task: the cases.
        shown: of every case what is shown and its counterpart, as the model takes them, and further options of
            ``read_case``.
        least: smallest |m(x) − m(x′)|; None measures nothing.

    Returns:
        ReadTask: the cases that could be read, m at both ends, and those skipped with their reasons.

    Raises:
        PatchclampError: the only case cannot be read, or nothing is left.
    """
    read: list[tuple[Case, ReadCase]] = []
    skipped: list[tuple[Case, str]] = []
    some_have = any(case.counterpart is not None for case in task.cases)
    for case, (clean, other, own) in zip(task.cases, shown, strict=True):
        if some_have and other is None:
            skipped.append((case, NO_COUNTERPART))
            continue
        try:
            read.append(
                (
                    case,
                    model.read_case(
                        clean, case.targets, case.contrasts, counterpart=other, measure=task.measure, **own
                    ),
                )
            )
        except CannotRead as problem:
            if len(task) == 1:
                raise
            skipped.append((case, problem.reason))
    ends = np.full((2, len(read)), np.nan)
    if read and least is not None:
        kept = ReadTask(replace(task, cases=tuple(case for case, _ in read)), tuple(one for _, one in read), *ends)
        measure_ends(model, kept)
        if some_have:
            apart = np.abs(kept.m_clean - kept.m_counterpart)
            far = np.isfinite(apart) & (apart >= least)
            close = f"|m(clean) − m(corrupted)| below {least:g}"
            whys = {i: close if np.isfinite(apart[i]) else "m that is not finite" for i in np.flatnonzero(~far)}
            skipped += [(read[i][0], why) for i, why in sorted(whys.items(), key=lambda one: one[1] == close)]
            read, ends = [read[i] for i in np.flatnonzero(far)], ends[:, far]
    if not read:
        reasons = "; ".join(f"{n} with {reason}" for reason, n in count_reasons(skipped).items())
        raise PatchclampError(
            expected=f"at least one case that {model.name} can read",
            got=reasons or "none",
            remedy="A counterpart needs as many tokens as what is shown; targets and contrasts differ, with their "
            "leading space.",
        )
    task = replace(task, cases=tuple(case for case, _ in read), skipped=(*task.skipped, *skipped))
    return ReadTask(task, tuple(one for _, one in read), ends[0], ends[1])


def measure_ends(model: Reader, cases: ReadTask) -> None:
    """Write m of both ends into cases; nan stays where there is no counterpart.

    Cost: two forward passes per 64 cases of one length.
    """
    sides = [(cases.m_clean, cases.clean)]
    sides += [(cases.m_counterpart, cases.counterpart)] if cases.has_counterparts else []
    for places in cases.batches_by_length():
        for values, shown in sides:
            measured = model.measure([shown[i] for i in places], cases.metric(places))
            values[places] = measured.cpu().double().numpy()


def settle_measure(
    measure: MetricKind | None, targets: Sequence[Any], contrasts: Sequence[Any]
) -> tuple[MetricKind, Sequence[Any]]:
    """Return the kind of m and the contrasts that it reads; where it is left out the logit, or the difference of two.

    Returns:
        tuple[MetricKind, Sequence[Any]]: kind of m, and contrasts; empty where m reads none.

    Raises:
        CannotRead: no target, or no contrast for a kind that needs one.

    Example:
        >>> settle_measure(None, [" Mary"], [" John"])
        ('logit_difference', [' John'])
    """
    differs = measure in ("logit_difference", "probability_difference") or (measure is None and bool(contrasts))
    if not targets or (differs and not contrasts):
        lacking = "target" if not targets else "contrast"
        raise CannotRead(
            expected="a target, and a contrast where m is a difference",
            got=f"no {lacking} for {measure or 'logit'}",
            remedy="Name it, or choose another measure: Task(cases, measure='logit').",
            reason=f"no {lacking}",
        )
    return measure or ("logit_difference" if differs else "logit"), contrasts if differs else ()


def check_metric(model: Answers, shown: Shown, metric: Metric) -> None:
    """Refuse a metric that reads where the prompt or the vocabulary has nothing.

    Args:
        model: who answers with tokens, or classes.
        shown: what is shown.
        metric: what is read.

    Raises:
        PatchclampError: a position or a token out of range.
    """
    n, n_answers = len(shown), model.n_answers
    outside = [p for p in metric.positions if not -n <= p < n]
    strange = [t for t in (*metric.target, *metric.contrast) if t >= n_answers]
    if outside or strange:
        raise PatchclampError(
            expected=f"a metric of positions −{n} to {n - 1} and tokens 0 to {n_answers - 1}",
            got=f"position {outside[0]}" if outside else f"token {strange[0]}",
            remedy="Count positions in the prompt's tokens, and tokens in the model's vocabulary.",
        )


def count_reasons(skipped: Sequence[tuple[Case, str]]) -> dict[str, int]:
    """Return how many cases were skipped, by reason."""
    reasons = [reason for _, reason in skipped]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
