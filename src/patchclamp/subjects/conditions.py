"""At which vectors of a run an intervention's condition holds."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.condition import When
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.subjects.bases import Units
from patchclamp.subjects.batch_rows import as_numbers_like


def bind_condition(when: When, site: Site, find: Mapping[str, Site], bases: Mapping[str, Basis]) -> Units | None:
    """Return the unit that a condition reads; None where it reads a direction.

    Args:
        when: the condition.
        site: the site that is changed.
        find: site path to Site.
        bases: basis name, or site path and name, to Basis.

    Returns:
        Units | None: bound to the site that the condition reads.

    Raises:
        PatchclampError: a unit without one activation, such as a head, or a direction of another width.
    """
    read = site if when.site is None else find[when.site]
    if when.unit is None:
        if read.width and len(when.direction) != read.width:
            raise PatchclampError(
                expected=f"a direction of width {read.width}, as {read.path} has",
                got=f"{len(when.direction)}",
                remedy="Take a direction that was found at that site.",
            )
        return None
    known = bases.get(f"{read.path}/{when.basis}", bases.get(when.basis))
    if known is None or known.kind not in ("neurons", "directions") or known.reads is not None:
        raise PatchclampError(
            expected="a unit with one activation, for a condition: a neuron, or a feature of a basis that was added",
            got=f"{when.basis} at {read.path}",
            remedy="Take a direction: When(direction=vector, above=…).",
        )
    return Units(known, read, (when.unit,))


def holds_at(when: When, unit: Units | None, x: Float[Tensor, "*at width"]) -> Bool[Tensor, " n"]:
    """Return at which vectors a condition holds.

    Args:
        when: the condition.
        unit: what ``bind_condition`` returned.
        x: the values that it reads.

    Returns:
        Bool[Tensor, " n"]: one per vector.
    """
    flat = x.detach().flatten(0, -2)
    if unit is None:
        score = flat @ as_numbers_like(when.direction, flat)
    else:
        columns = unit.columns(flat.shape[-1])
        score = (unit.encode(flat) if columns is None else flat[:, columns.to(flat.device)])[:, 0]
    holds = torch.ones_like(score, dtype=torch.bool)
    holds = holds if when.above is None else holds & (score > when.above)
    return holds if when.below is None else holds & (score < when.below)
