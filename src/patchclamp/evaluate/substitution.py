"""Replace a site's activations with a dictionary's reconstruction."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.intervention import Intervention, Span
from patchclamp.subjects.bases import reads_of, reconstruct


@checked
def substitute_reconstruction(
    site: str, basis: Basis | Mapping[str, Basis], *, error: bool = False, at: Sequence[Span] | None = None
) -> list[Intervention]:
    """Return the interventions that replace a site's activations with their reconstruction x̂ = decode(encode(x)).

    A transcoder's x is what it reads, taken in the same forward pass: for one of the MLP the output becomes ŷ(x). The
    interventions store what was read last, so one list serves one forward pass at a time.

    Args:
        site: the site that the basis writes.
        basis: a basis of directions; of a cross-layer transcoder all of its bases by the sites that they write.
        error: add the reconstruction error, x̂ + (x − x̂): the network must then answer as without.
        at: positions; the default is every one.

    Returns:
        list: a reading ``call`` for each other site that is read, and a writing one.

    Source: 2309.08600 and 2406.11944 substitute reconstructions this way.

    Example:
        >>> import numpy as np
        >>> basis = Basis("b", "directions", decoder=np.eye(2))
        >>> [i.operation for i in substitute_reconstruction("blocks.0.resid_out", basis)]
        ['call']
    """
    where: Any = None if at is None else tuple(at)
    bases = {site: basis} if isinstance(basis, Basis) else basis
    rows: dict[str, Tensor] = {}

    def see(path: str, x: Tensor) -> Tensor:
        rows[path] = x.float()
        return x

    def put(y: Tensor) -> Tensor:
        guess = reconstruct(bases, site, {**rows, site: y.float()})
        return (guess + (y.float() - guess) if error else guess).to(y.dtype)

    before = [path for path in reads_of(bases, site) if path != site]
    first = [Intervention(path, "call", at=where, fn=partial(see, path)) for path in before]
    return [*first, Intervention(site, "call", at=where, fn=put)]


def clamp_site(site: str, value: Tensor | float, at: Sequence[Span] | None = None) -> list[Intervention]:
    """Return the intervention that clamps a site to one vector, or to zero.

    Args:
        site: its path.
        value: ``(width,)``, or a number.
        at: positions; the default is every one.

    Returns:
        list: one ``set``.

    Source: mean and zero ablation, the baselines of loss recovered in 2404.16014.

    Example:
        >>> clamp_site("blocks.0.resid_out", 0.0)[0].operation
        'set'
    """
    return [Intervention(site, "set", at=None if at is None else tuple(at), value=value)]
