"""Bases at work: read the units of any Basis from a site's values and write changed units back, differentiably."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site


@dataclass(frozen=True, eq=False)
class Units:
    """Some units of a basis at a site, ready to be read and written.

    Args:
        basis: the basis.
        site: the site.
        indices: which units; None for all.

    Raises:
        PatchclampError: the basis does not fit the site, or an index is out of range.
    """

    basis: Basis
    site: Site
    indices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        n = count_units(self.basis, self.site)
        strangers = [i for i in self.indices or () if not 0 <= i < n]
        if strangers:
            raise PatchclampError(
                expected=f"units from 0 to {n - 1} of {self.basis.name} at {self.site.path}",
                got=", ".join(map(str, strangers[:5])),
                remedy="`patchclamp sites MODEL` prints every site's width.",
            )

    def chosen(self) -> list[int]:
        """Return the indices, all of them where none were named."""
        return list(range(count_units(self.basis, self.site))) if self.indices is None else list(self.indices)

    def columns(self, width: int) -> Int[Tensor, " k"] | None:
        """Return the columns of x that the units are; None where units mix columns."""
        if self.basis.kind == "directions":
            return None
        block = width // count_units(self.basis, self.site)
        first = torch.tensor(self.chosen()) * block
        return (first[:, None] + torch.arange(block)).flatten()

    def directions(self, like: Tensor) -> Float[Tensor, "k width"]:
        """Return D's rows for the units, on the dtype and device of ``like``."""
        return _tensor(self.basis.decoder, like)[self.chosen()]

    def encode(self, x: Float[Tensor, "n width"]) -> Float[Tensor, "n k"]:
        """Return f for the units of a ``directions`` basis: f = (x − b_dec) Eᵀ + b_enc."""
        if self.basis.decoder_bias is not None:
            x = x - _tensor(self.basis.decoder_bias, x)
        f = x @ _tensor(self.basis.encoder, x)[self.chosen()].T
        return f if self.basis.encoder_bias is None else f + _tensor(self.basis.encoder_bias, x)[self.chosen()]


def count_units(basis: Basis, site: Site) -> int:
    """Return how many units a basis has at a site.

    Raises:
        PatchclampError: the site has no heads, its width depends on the input, or the decoder's width is another.
    """
    if basis.kind == "directions":
        assert basis.decoder is not None
        if basis.decoder.shape[1] != site.width:
            raise PatchclampError(
                expected=f"directions of width {site.width} for {site.path}",
                got=f"{basis.decoder.shape[1]}",
                remedy="Use the basis at the site it was made for.",
            )
        return basis.n_units
    if basis.kind == "heads" and not site.n_heads:
        raise PatchclampError(
            expected="a site with heads, such as blocks.0.attn.z",
            got=site.path,
            remedy="Use the basis 'neurons' there.",
        )
    if basis.kind == "neurons" and not site.width:
        raise PatchclampError(
            expected="a site of fixed width",
            got=f"{site.path}, whose width depends on the input",
            remedy="Use the basis 'heads' there.",
        )
    return site.n_heads if basis.kind == "heads" else site.width


def _tensor(array: object, like: Tensor) -> Tensor:
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)
