"""Read a metric from whatever a plain network returns."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import EachMetric, Metric

AXES = ("stimulus", "position", "class")
_NAME_THE_AXES = (
    "Say which axis is which: pc.wrap(module, example, output=('stimulus', 'class', 'position')), or a function that "
    "picks (batch, read position, class), such as lambda y: metric(y.transpose(1, 2)[:, [-1]])."
)


def check_axes(axes: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the axes of an output, once they are in order.

    Raises:
        PatchclampError: other axes than stimulus and class, with or without position, each once.
    """
    if axes is not None and (isinstance(axes, str) or sorted(axes) not in (sorted(AXES), ["class", "stimulus"])):
        raise PatchclampError(
            expected=f"output= axes {', '.join(AXES)} in the output's order, or stimulus and class",
            got=f"{axes!r:.80}",
            remedy="Leave it out for (stimulus, position, class) and (stimulus, class).",
        )
    return None if axes is None else tuple(axes)


def arrange(output: Any, axes: Sequence[str] | None) -> Any:
    """Return an output with its axes in the order stimulus, position, class; as it is where no axes are named.

    Raises:
        PatchclampError: not a tensor of as many axes.
    """
    if axes is None:
        return output
    if not isinstance(output, Tensor) or output.ndim != len(axes):
        shape = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise PatchclampError(
            expected=f"an output with the axes {', '.join(axes)}, as pc.wrap was given",
            got=shape,
            remedy="Name the axes of the tensor that the module returns.",
        )
    return output.permute([axes.index(axis) for axis in AXES if axis in axes])


def measure_output(
    output: Any, metric: Any, n_rows: int, n_positions: int | None, axes: Sequence[str] | None = None
) -> Tensor:
    """Return a metric of a network's output, ``(batch,)``.

    A ``Metric`` reads ``(batch, position, class)`` at its positions, and ``(batch, class)`` as one position. A function
    takes the output as it came.

    Args:
        output: what the network returned.
        metric: a Metric, or a function.
        n_rows: rows of the batch.
        n_positions: positions of the input, where it has any.
        axes: of the output, where they are named; a ``Metric`` is then read along them.

    Returns:
        Tensor: one number per row.

    Raises:
        PatchclampError: a shape in which the axes are not these, a position or a class that is not there, or a function
            that does not give one number per row.
    """
    if isinstance(metric, Metric | EachMetric):
        value = metric(read_positions(output, metric.positions, n_rows, n_positions, axes))
    else:
        value = metric(output) if callable(metric) else metric
    if not isinstance(value, Tensor) or value.shape != (n_rows,) or not value.is_floating_point():
        shape = (
            f"a tensor of {value.dtype} and shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        )
        raise PatchclampError(
            expected=f"a metric that gives one number per row, a tensor of shape ({n_rows},)",
            got=f"{shape:.100}",
            remedy="For example lambda y: y[:, 2] - y[:, 0]; rows must not be summed.",
        )
    return value


def read_positions(
    output: Any,
    positions: Sequence[int] | None,
    n_rows: int,
    n_positions: int | None,
    axes: Sequence[str] | None = None,
) -> Tensor:
    """Return an output at the read positions, ``(batch, read position, class)``; at all where none are named.

    Returns:
        Tensor: a view of the output.

    Raises:
        PatchclampError: a shape in which the axes are not these, or a position that is not there.

    Example:
        >>> import torch
        >>> read_positions(torch.zeros(2, 5, 7), (-1,), 2, 5).shape
        torch.Size([2, 1, 7])
    """
    output = arrange(output, axes)
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    turned = axes is None and len(shape) == 3 and n_positions is not None and shape[1] != n_positions == shape[2]
    if len(shape) not in (2, 3) or shape[0] != n_rows or turned:
        what = f"shape {shape}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        inputs = "" if n_positions is None else f" and {n_positions} positions"
        raise PatchclampError(
            expected="an output (batch, position, class) or (batch, class), for a Metric",
            got=f"{what} for {n_rows} rows{inputs}",
            remedy=_NAME_THE_AXES,
        )
    n = shape[1] if len(shape) == 3 else 1
    read = list(range(n)) if positions is None else list(positions)
    outside = [p for p in read if not -n <= p < n]
    if outside:
        raise PatchclampError(
            expected=f"positions from −{n} to {n - 1}, as the output {shape} has",
            got=f"position {outside[0]}",
            remedy="An output (batch, class) has one position: leave positions out. " + _NAME_THE_AXES,
        )
    return output[:, read] if len(shape) == 3 else output[:, None].expand(-1, len(read), -1)
