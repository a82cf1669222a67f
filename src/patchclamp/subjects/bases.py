"""Read the units of any Basis from a site's values and write changed units back, differentiably."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.basis import KEEP_K, Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.subjects.nnls import nonnegative_least_squares

Values = TypeVar("Values", Tensor, np.ndarray)


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
                remedy="`patchclamp info MODEL` prints every site's width.",
            )

    def chosen_units(self) -> list[int]:
        """Return the indices, all of them where none were named."""
        return list(range(count_units(self.basis, self.site))) if self.indices is None else list(self.indices)

    def columns(self, width: int) -> Int[Tensor, " k"] | None:
        """Return the columns of x that the units are; None where units mix columns."""
        if self.basis.kind == "directions":
            return None
        block = width // count_units(self.basis, self.site)
        first = torch.tensor(self.chosen_units()) * block
        return (first[:, None] + torch.arange(block)).flatten()

    def directions(self, like: Tensor) -> Float[Tensor, "k width"]:
        """Return D's rows for the units, on the dtype and device of ``like``."""
        return _tensor(self.basis.decoder, like)[self.chosen_units()]

    def encode(self, x: Float[Tensor, "n read"]) -> Float[Tensor, "n k"]:
        """Return f for the units of a ``directions`` basis; x is what the basis reads. See ``Basis``."""
        if self.indices is None or self.basis.activation in (*KEEP_K, "nonnegative"):
            f = encode(self.basis, x)
            return f if self.indices is None else f[:, self.chosen_units()]
        return encode(self.basis, x, torch.tensor(self.chosen_units(), device=x.device))


def encode(basis: Basis, x: Float[Tensor, "n read"], units: Int[Tensor, " k"] | None = None) -> Float[Tensor, "n k"]:
    """Return the units of a ``directions`` basis: f = φ((x − b_dec) Eᵀ + b_enc). Gradients flow through what is active.

    Args:
        basis: the basis.
        x: values of the site that it reads.
        units: only these; not where φ compares units with one another.

    Returns:
        Float[Tensor, "n k"]: f of the chosen units, in the dtype of x.

    Cost: one product of x with the encoder; ``nonnegative`` solves a least-squares problem per row.

    Example:
        >>> import numpy as np
        >>> basis = Basis("pair", "directions", decoder=np.eye(2, dtype=np.float32), activation="relu")
        >>> encode(basis, torch.tensor([[1.0, -2.0]])).tolist()
        [[1.0, 0.0]]
    """
    if basis.activation == "nonnegative":
        centred = x if basis.decoder_bias is None else x - _tensor(basis.decoder_bias, x)
        return nonnegative_least_squares(torch.as_tensor(basis.decoder, device=x.device), centred)

    def part(array: object) -> Tensor:
        whole = _tensor(array, x)
        return whole if units is None else whole[units]

    if basis.decoder_bias is not None:
        x = x - _tensor(basis.decoder_bias, x)
    a = x @ part(basis.encoder).T
    if basis.encoder_bias is not None:
        a = a + part(basis.encoder_bias)
    match basis.activation:
        case "relu":
            return a.relu()
        case "jumprelu":
            return a * (a > part(basis.threshold))
        case "topk":
            best = a.relu().topk(int(basis.k or 1), dim=-1)
            return torch.zeros_like(a).scatter(-1, best.indices, best.values)
        case "signed_topk":
            kept = a.abs().topk(int(basis.k or 1), dim=-1).indices
            return torch.zeros_like(a).scatter(-1, kept, a.gather(-1, kept))
    return a


def decode(
    basis: Basis, f: Float[Tensor, "n unit"], x: Float[Tensor, "n read"] | None = None
) -> Float[Tensor, "n width"]:
    """Return what units of a ``directions`` basis write: x̂ = f D + b_out, and x Sᵀ where the basis has a skip.

    Args:
        basis: the basis.
        f: its units.
        x: values of the site that it reads; only for a skip.

    Returns:
        Float[Tensor, "n width"]: x̂, of the width of the written site.

    Example:
        >>> import numpy as np
        >>> basis = Basis("pair", "directions", decoder=np.eye(2, dtype=np.float32), activation="relu")
        >>> decode(basis, torch.tensor([[1.0, 0.0]])).tolist()
        [[1.0, 0.0]]
    """
    out = f @ _tensor(basis.decoder, f)
    bias = basis.decoder_bias if basis.output_bias is None and basis.reads is None else basis.output_bias
    if bias is not None:
        out = out + _tensor(bias, f)
    if basis.skip is not None:
        assert x is not None
        out = out + x @ _tensor(basis.skip, f).T
    return out


def reconstruct(
    bases: Mapping[str, Basis], site: str, values: Mapping[str, Float[Tensor, "n read"]]
) -> Float[Tensor, "n width"]:
    """Return what bases write at a site together: the one that is made for it, and units that write there further.

    x̂ = f D + b_out (+ x Sᵀ) + Σ_b f_b D_{b, site} over the bases b whose ``further`` names the site.

    Args:
        bases: site that is written to its basis.
        site: one of them.
        values: site that a basis reads to its rows.

    Returns:
        Float[Tensor, "n width"]: x̂ of the site.

    Source: the cross-layer transcoder of Ameisen et al. 2025 (transformer-circuits.pub), section 2.

    Cost: the bases that write there are encoded once each.
    """
    own = bases[site]
    x = values[own.reads or site]
    out = decode(own, encode(own, x), x)
    for path, basis in bases.items():
        if site in basis.further:
            f = encode(basis, values[basis.reads or path])
            out = out + f @ _tensor(basis.further[site], f)
    return out


def reads_of(bases: Mapping[str, Basis], site: str) -> list[str]:
    """Return the sites whose rows ``reconstruct`` needs for a site."""
    writing = [p for p, basis in bases.items() if p == site or site in basis.further]
    return list(dict.fromkeys(bases[p].reads or p for p in writing))


def unit_activations(blocks: Values) -> Values:
    """Return the one number by which a unit is shown: of a head or another block of several values their norm.

    Args:
        blocks: ``(…, unit, block)`` values; blocks of one for neurons and features, whose sign is kept.

    Returns:
        ``(…, unit)``.

    Example:
        >>> unit_activations(torch.tensor([[[3.0, 4.0]]])).tolist(), unit_activations(torch.tensor([[[-2.0]]])).tolist()
        ([[5.0]], [[-2.0]])
    """
    if blocks.shape[-1] == 1:
        return blocks[..., 0]
    return torch.linalg.vector_norm(blocks, dim=-1) if isinstance(blocks, Tensor) else np.linalg.norm(blocks, axis=-1)


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
    if basis.kind in ("neurons", "whole") and not site.width:
        raise PatchclampError(
            expected="a site of fixed width",
            got=f"{site.path}, whose width depends on the input",
            remedy="Use the basis 'heads' there.",
        )
    return {"heads": site.n_heads, "whole": 1}.get(basis.kind, site.width)


def _tensor(array: object, like: Tensor) -> Tensor:
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)
