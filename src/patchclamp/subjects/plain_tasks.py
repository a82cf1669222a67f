"""Read a task with a plain network: each case's ids or array is one row, its answers are classes of the output."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric, MetricKind
from patchclamp.core.task import Case, Shown, Task
from patchclamp.subjects.cases import CannotRead, ReadCase, check_metric, settle_measure
from patchclamp.subjects.inputs import describe_inputs
from patchclamp.subjects.network import Network

POSITION = "position"
"""Name of a case's parts that say at which of the output's positions m is read; without them at the last."""
_CASES = "Case(ids or array, counterpart, targets=('2',), contrasts=('0',))"


def rows_of(net: Network, task: Task) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Return what every case shows and its counterpart as batches of one row, and where m is read.

    Raises:
        PatchclampError: rows of several shapes, or what ``tensor_of`` refuses.
    """
    shown: list[tuple[Any, Any, dict[str, Any]]] = []
    for case in task.cases:
        other = None if case.counterpart is None else tensor_of(net, case.counterpart)
        shown.append((tensor_of(net, case.shown), other, {"positions": _positions(case)}))
    shapes = {tuple(x.shape) for clean, other, _ in shown for x in (clean, other) if x is not None}
    if len(shapes) > 1:
        raise PatchclampError(
            expected="cases and counterparts of one shape, so that every place has its counterpart",
            got=" and ".join(map(str, sorted(shape[1:] for shape in shapes))),
            remedy="Make a task of the cases of each shape.",
        )
    return shown


def _positions(case: Case) -> tuple[int, ...]:
    spans = [part for part in case.parts if part.name == POSITION]
    return tuple(i for part in spans for i in range(part.start, max(part.stop, part.start + 1))) or (-1,)


@runtime_checkable
class ReadsRows(Protocol):
    """What reading needs of a plain network that is laid out."""

    name: str

    @property
    def n_answers(self) -> int:
        """Number of classes."""

    def stimuli(self, shown: Any) -> list[Any]:
        """Turn tensors into rows."""

    def answer_name(self, index: int) -> str:
        """Return a class's number."""


def read_row(
    model: ReadsRows,
    shown: Any,
    targets: Sequence[str | int],
    contrasts: Sequence[str | int],
    *,
    counterpart: Any = None,
    measure: MetricKind | None = None,
    metric: Metric | None = None,
    positions: tuple[int, ...] = (-1,),
) -> ReadCase:
    """Turn an input and class numbers into a row and a metric; see ``Model.read_case``.

    Args:
        model: the network, laid out for the input.
        shown: a tensor, or a tuple of tensors, with one row.
        targets: class numbers.
        contrasts: class numbers.
        counterpart: another row.
        measure: m.
        metric: another number, instead of targets and contrasts.
        positions: of the output, where m is read.

    Returns:
        ReadCase: row, counterpart and metric.

    Raises:
        CannotRead: no class, or a counterpart that is the same.
        PatchclampError: several rows, answers that are no class numbers, a class or position that the output does not
            have.
    """
    rows = [None if one is None else model.stimuli(one) for one in (shown, counterpart)]
    if any(row is not None and len(row) != 1 for row in rows):
        raise PatchclampError(expected="one input", got="several rows", remedy="Explain them one by one.")
    clean, other = (None if row is None else row[0] for row in rows)
    assert clean is not None
    if other is not None and other.id == clean.id:
        raise CannotRead.same("input", "numbers")
    target, contrast = "", None
    if metric is None:
        kind, against = settle_measure(measure, targets, contrasts)
        sides = [tuple(_class_of(model, answer) for answer in side) for side in (targets, against)]
        strange = [i for side in sides for i in side if i >= model.n_answers]
        if strange:
            raise PatchclampError(
                expected=f"classes from 0 to {model.n_answers - 1}, as the output has",
                got=str(strange[0]),
                remedy="Where another axis holds the classes, name the axes: pc.wrap(…, output=…).",
            )
        outside = [i for i in positions if not -len(clean) <= i < len(clean)]
        if outside:
            raise PatchclampError(
                expected=f"positions from −{len(clean)} to {len(clean) - 1}, as the output has",
                got=str(outside[0]),
                remedy="Count from 0, or leave the part out for the last.",
            )
        metric = Metric(kind, sides[0], sides[1], positions)
        target, contrast = (" | ".join(map(str, side)) for side in sides)
    check_metric(model, clean, metric)
    names = [tuple(map(model.answer_name, side)) for side in (metric.target, metric.contrast)]
    called = f"input {clean.id[:12]}", None if other is None else f"input {other.id[:12]}"
    return ReadCase(clean, other, metric, called[0], called[1], target, contrast or None, names[0], names[1])


def tensor_of(net: Network, shown: Shown) -> Tensor:
    """Return what a case shows as a batch of one row, in the example's type and on its device.

    Raises:
        PatchclampError: a network of several inputs, another number of axes, fractions where ids belong, or text
            without a tokenizer.
    """
    example = net.example_inputs[0]
    if len(net.example_inputs) != 1 or not isinstance(example, Tensor):
        raise PatchclampError(
            expected="a network of one input tensor, for a task",
            got=describe_inputs(net.example_inputs),
            remedy="Wrap a module that takes one tensor and makes the others; attribute_nodes takes tuples of tensors.",
        )
    if isinstance(shown, str):
        return net.inputs(shown)[0]
    x = np.asarray(shown)
    whole = not example.is_floating_point()
    if x.ndim != example.ndim - 1 or (whole and x.dtype.kind not in "biu"):
        raise PatchclampError(
            expected=f"one row of {describe_inputs(example)}, without its first axis",
            got=f"{x.dtype} {x.shape}",
            remedy="Show every row as a case of its own: token ids as a tuple, vectors and images as arrays.",
        )
    return torch.as_tensor(x.copy(), dtype=example.dtype, device=example.device)[None]


def _class_of(model: ReadsRows, answer: str | int) -> int:
    whole = isinstance(answer, int) and not isinstance(answer, bool)
    if not whole and not (isinstance(answer, str) and answer.strip().isascii() and answer.strip().isdigit()):
        raise PatchclampError(
            expected=f"answers that are class numbers of {model.name}",
            got=repr(answer)[:60],
            remedy=f"Give the output's columns, such as 2 and contrast=0; in a task as text, {_CASES}.",
        )
    return int(answer)
