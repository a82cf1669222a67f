"""Values that every row of a batch is given at every position."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.recording import as_numpy
from patchclamp.subjects.bases import Units, count_units


def check_layout(do: Intervention, units: Units) -> None:
    """Refuse values and marks that are not laid out for some units.

    Raises:
        PatchclampError: another number of columns, or leading axes or positions that do not go together.
    """
    value, mask, site = do.value, do.mask, units.site
    n_units, block = len(units.chosen_units()), 1
    if units.basis.kind != "directions" and site.width:
        block = site.width // count_units(units.basis, site)
    fits = value.shape[-1] == n_units * block or (not site.width and units.indices is None)
    if mask is not None:
        fits = fits and mask.shape[-1] == n_units and mask.shape[-2] in (1, value.shape[-2])
    try:
        _leading(do)
    except RuntimeError:
        fits = False
    if not fits:
        raise PatchclampError(
            expected=f"values (…, position, {n_units * block}) at {site.path}, and a mask (…, position, {n_units})",
            got=f"{tuple(value.shape)}" + ("" if mask is None else f" and {tuple(mask.shape)}"),
            remedy="Give a value for each column of the units that are named, and a mark for each unit.",
        )


def check_row_count(do: Intervention, n_rows: int) -> None:
    """Refuse values for another number of rows than there are.

    Raises:
        PatchclampError: neither as many as there are, nor one for all.
    """
    n = math.prod(_leading(do))
    if n not in (1, n_rows):
        raise PatchclampError(
            expected=f"values of {n_rows} rows at {do.site}, or of one for all",
            got=f"{n}",
            remedy="Give values to every row of the batch; in a row's own list, to that row alone.",
        )


def put_rows(
    y: Tensor,
    do: Intervention,
    units: Units,
    index: tuple[Int[Tensor, " n"], ...],
    logical: Int[Tensor, " n"],
    *,
    alone: bool,
) -> None:
    """Write the values of every row into y, in place, where the mask says so.

    Args:
        y: ``(row, …, width)`` values of the site.
        do: the intervention.
        units: those that it names.
        index: where in y the vectors lie that it applies to.
        logical: their positions.
        alone: it stands in one row's own list, and its values are that row's.

    Raises:
        PatchclampError: ``at`` names a position without values.
    """
    value, lead = as_numbers_like(do.value, y), _leading(do)
    n_places = value.shape[-2]
    covered = logical < n_places
    if do.at is not None and not bool(covered.all()):
        raise PatchclampError(
            expected=f"values for every position that `at` names at {do.site}",
            got=f"position {int(logical.max())}, and values of {n_places}",
            remedy="Name positions that have values, or leave `at` out.",
        )
    alone = alone or math.prod(lead) == 1

    def pick(x: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        return x[(*torch.unravel_index(torch.zeros_like(rows) if alone else rows, lead), places)] if lead else x[places]

    index, logical = tuple(i[covered] for i in index), logical[covered]
    mask = None
    if do.mask is not None:
        mask = torch.as_tensor(do.mask, device=y.device)
        marked = pick(mask.any(-1).expand(*lead, n_places), index[0], logical)
        index, logical = tuple(i[marked] for i in index), logical[marked]
        mask = mask.expand(*lead, n_places, mask.shape[-1])
    if not len(logical):
        return
    new = pick(value.expand(*lead, *value.shape[-2:]), index[0], logical)
    marks = None if mask is None else pick(mask, index[0], logical)
    columns = units.columns(y.shape[-1])
    if columns is None:
        x = y[index]
        change = new - units.encode(x)
        y[index] = x + (change if marks is None else change.masked_fill(~marks, 0)) @ units.directions(x)
        return
    # All columns need no list of them.
    spot = index if units.indices is None else (*(i[:, None] for i in index), columns.to(y.device)[None])
    if marks is not None:
        new = torch.where(marks.repeat_interleave(new.shape[-1] // marks.shape[-1], dim=-1), new, y[spot])
    y[spot] = new


def select_rows(do: Intervention, rows: Sequence[int]) -> Intervention:
    """Return an intervention with the values of some rows of its batch alone."""
    lead = _leading(do) if do.operation == "rows" else ()
    if math.prod(lead) == 1:
        return do

    def some(x: Any) -> Tensor:
        whole = torch.as_tensor(as_numpy(x) if hasattr(x, "detach") else np.asarray(x))
        return whole.expand(*lead, *whole.shape[-2:]).flatten(0, len(lead) - 1)[list(rows)]

    return replace(do, value=some(do.value), mask=None if do.mask is None else some(do.mask))


def as_numbers_like(value: Any, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the type and on the device of ``like``."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "V":  # ml_dtypes' bfloat16, which torch cannot read
        value = value.astype(np.float32)
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def _leading(do: Intervention) -> tuple[int, ...]:
    """Return the leading axes of values and mask by row: together the rows of the batch."""
    shapes = [tuple(x.shape[:-2]) for x in (do.value, do.mask) if x is not None]
    return tuple(torch.broadcast_shapes(*shapes))
