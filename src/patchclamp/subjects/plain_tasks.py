"""Read a task with a plain network: each case's ids or array is one row, its answers are classes of the output."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric
from patchclamp.core.pairs import Pair
from patchclamp.core.task import Case, Shown, Task
from patchclamp.subjects.inputs import described
from patchclamp.subjects.pairs import PairSet, keep_apart, measure_ends
from patchclamp.subjects.plain import PlainModel, PlainNetwork, Row

POSITION = "position"
"""Name of a case's parts that say at which of the output's positions m is read; without them at the last."""
_CASES = "Case(ids or array, counterpart, answers=('2',), wrongs=('0',))"


@dataclass(frozen=True)
class InputPair(Pair):
    """Name a case of a network's own inputs where pairs of prompts are listed.

    Args:
        case: content hash of the case.
    """

    case: str = ""

    def __post_init__(self) -> None:
        # A logit has no wrong answers; a Case has checked the rest.
        pass

    @property
    def id(self) -> str:
        """Content hash of the case."""
        return self.case


def read_inputs(net: PlainNetwork, task: Task) -> PairSet:
    """Return a task of a network's own inputs as pairs: a row and its counterpart, a metric, and m at both ends.

    Args:
        net: the wrapped network, of one input.
        task: cases that show token ids or one row of the input, without the batch, each with a counterpart of the same
            shape; answers and wrongs are class numbers as text. Parts named ``position`` say where m is read.

    Returns:
        PairSet: rows in the task's order; cases whose two ends hardly differ are set aside.

    Raises:
        PatchclampError: several inputs, a case without counterpart or answer, a class or position that the output does
            not have, rows of several shapes, or nothing left.

    Cost: two forward passes per 64 cases.

    Example:
        >>> from torch import nn
        >>> net = PlainNetwork(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5)), torch.zeros(1, 3, dtype=torch.int64))
        >>> pairs = read_inputs(net, Task((Case((1, 2, 3), (1, 2, 4), ("2",), ("0",)),)))
        >>> len(pairs), pairs.metrics[0].target, len(pairs.clean[0])
        (1, (2,), 3)
    """
    lacking = [case for case in task.cases if case.counterpart is None or not case.answers]
    if lacking:
        raise PatchclampError(
            expected="cases with a counterpart and an answer",
            got=f"{len(lacking)} without, the first {name_of(lacking[0].shown)}",
            remedy=f"{_CASES}.",
        )
    clean = [tensor_of(net, case.shown) for case in task.cases]
    corrupted = [tensor_of(net, case.counterpart) for case in task.cases if case.counterpart is not None]
    shapes = {tuple(x.shape) for x in (*clean, *corrupted)}
    if len(shapes) > 1:
        raise PatchclampError(
            expected="cases and counterparts of one shape, so that every place has its counterpart",
            got=" and ".join(map(str, sorted(shape[1:] for shape in shapes))),
            remedy="Make a task of the cases of each shape.",
        )
    model = PlainModel(net, clean[0])
    rows, others = (tuple(model.stimuli(torch.cat(some))) for some in (clean, corrupted))
    metrics = tuple(metric_of(model, rows[0], task, case) for case in task.cases)
    names = tuple(_pair_of(case) for case in task.cases)
    whole = PairSet(names, rows, others, metrics, *np.zeros((2, len(rows))))
    measure_ends(model, whole)
    return keep_apart(whole, net.name, "Give counterparts under which the answer is lost.")


def read_row(net: PlainNetwork, task: Task) -> tuple[Tensor, Metric]:
    """Return the one row that a task without counterparts shows, and what is read of it.

    Raises:
        PatchclampError: no answer, or what ``read_inputs`` refuses.
    """
    [case] = task.cases
    if not case.answers:
        raise PatchclampError(expected="a case with an answer", got=name_of(case.shown), remedy=f"{_CASES}.")
    x = tensor_of(net, case.shown)
    model = PlainModel(net, x)
    return x, metric_of(model, model.stimuli(x)[0], task, case)


def tensor_of(net: PlainNetwork, shown: Shown) -> Tensor:
    """Return what a case shows as a batch of one row, in the example's type and on its device.

    Raises:
        PatchclampError: a network of several inputs, another number of axes, fractions where ids belong, or text
            without a tokenizer.
    """
    example = net.example_inputs[0]
    if len(net.example_inputs) != 1 or not isinstance(example, Tensor):
        raise PatchclampError(
            expected="a network of one input tensor, for a task",
            got=described(net.example_inputs),
            remedy="Wrap a module that takes one tensor and makes the others; attribute_nodes takes tuples of tensors.",
        )
    if isinstance(shown, str):
        return net.inputs(shown)[0]
    x = np.asarray(shown)
    whole = not example.is_floating_point()
    if x.ndim != example.ndim - 1 or (whole and x.dtype.kind not in "biu"):
        raise PatchclampError(
            expected=f"one row of {described(example)}, without its first axis",
            got=f"{x.dtype} {x.shape}",
            remedy="Show every row as a case of its own: token ids as a tuple, vectors and images as arrays.",
        )
    return torch.as_tensor(x.copy(), dtype=example.dtype, device=example.device)[None]


def metric_of(model: PlainModel, row: Row, task: Task, case: Case) -> Metric:
    """Return what is read of a case: its measure, of its classes, at its positions.

    Raises:
        PatchclampError: answers that are no class numbers, a class or position that the output does not have, or
            answers that do not fit the measure.
    """
    target, contrast = (tuple(map(_class_of, side)) for side in (case.answers, case.wrongs))
    strange = [i for i in (*target, *contrast) if i >= model.n_answers]
    if strange:
        raise PatchclampError(
            expected=f"classes from 0 to {model.n_answers - 1}, as the output has",
            got=str(strange[0]),
            remedy="Where another axis holds the classes, name the axes: pc.wrap(…, output=…).",
        )
    spans = [part for part in case.parts if part.name == POSITION]
    positions = tuple(i for part in spans for i in range(part.start, max(part.stop, part.start + 1))) or (-1,)
    outside = [i for i in positions if not -len(row) <= i < len(row)]
    if outside:
        raise PatchclampError(
            expected=f"positions from −{len(row)} to {len(row) - 1}, as the output has",
            got=str(outside[0]),
            remedy="Count from 0, or leave the part out for the last.",
        )
    return Metric(task.measure, target, contrast, positions)


def _class_of(answer: str) -> int:
    if not (answer.strip().isascii() and answer.strip().isdigit()):
        raise PatchclampError(
            expected="answers that are class numbers, as text",
            got=repr(answer)[:60],
            remedy=f"{_CASES}: '2' is the output's column 2.",
        )
    return int(answer)


def name_of(shown: Shown | None) -> str:
    """Return what an input is called in tables: its ids or text, of an array the shape."""
    if isinstance(shown, np.ndarray):
        return f"array {' x '.join(map(str, shown.shape))}"
    return str(shown)[:60]


def _pair_of(case: Case) -> InputPair:
    return InputPair(name_of(case.shown), name_of(case.counterpart), case.answers, case.wrongs, case.group, case.id)
