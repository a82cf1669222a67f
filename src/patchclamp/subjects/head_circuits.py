"""What an attention head reads and writes by its weights alone: the singular directions of its W_V W_O."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.engine import Restart

AT_ONCE = 512
"""Directions that a block reads in one pass."""
COLLINEAR = 1e-3
"""How far the values of a drawn vector may be from those of its parts, as a share of their size."""


@checked
@dataclass(frozen=True, eq=False)
class HeadCircuit:
    """Hold a head's W_V W_O as its singular directions, the strongest first: x → Σ size · (x · read) · write.

    Args:
        sizes: singular values, falling.
        reads: unit directions of the normed stream, the norm's gain and centring included.
        values: unit directions of the head's z; a value along one of them writes ``writes``.
        writes: unit directions of the stream.
    """

    sizes: Float[Tensor, " direction"]
    reads: Float[Tensor, "direction d_model"]
    values: Float[Tensor, "direction d_head"]
    writes: Float[Tensor, "direction d_model"]

    @property
    def shares(self) -> Float[Tensor, " direction"]:
        """The share of each direction in the sum of squared singular values; zeros of a head without weights."""
        squares = self.sizes.square()
        return squares / squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)


@checked
def factor_heads(model: Any, site: str) -> list[HeadCircuit]:
    """Return the circuit W_V W_O of every head of a block.

    The block itself is run on single tokens, the unit vectors of the stream, so that fused projections, keys and values
    that several heads share, and norms of any kind need no case of their own: at a sequence's only position z is the
    head's own value. Biases are taken off.

    Args:
        model: a language model whose family is known.
        site: ``blocks.N.attn.z``.

    Returns:
        list[HeadCircuit]: of each head; a direction's sign is free, read, value and write turn together.

    Raises:
        PatchclampError: no site of heads, or heads whose values are no linear map of the normed stream.

    Source: Elhage et al. (2021), A Mathematical Framework for Transformer Circuits; singular directions as in Millidge
    & Black (2022), The singular value decompositions of transformer weight matrices are highly interpretable.

    Cost: ``d_model`` tokens through one block, and two QR decompositions of ``(d_model, d_head)`` per head.

    Example:
        >>> from patchclamp.loaders import load
        >>> len(factor_heads(load("organism:cat"), "blocks.0.attn.z"))
        4
    """
    own = model.site(site)
    if own.kind != "attn.z" or not own.n_heads or own.layer is None:
        raise PatchclampError(
            expected="a site of attention heads, blocks.N.attn.z",
            got=site,
            remedy="`patchclamp info MODEL` lists a model's sites.",
        )
    reads = _reads(model, site)  # (d_model, heads · d_head)
    writes = model.write_directions(site, slice(None)).double()  # (heads · d_head, d_model)
    size = own.width // own.n_heads
    parts = [slice(start, start + size) for start in range(0, own.width, size)]
    return [_factor(reads[:, part], writes[part]) for part in parts]


def _reads(model: Any, site: str) -> Float[Tensor, "d_model width"]:
    """Return z of single tokens whose stream is a unit vector, biases off, up to one factor for all."""
    layer = model.site(site).layer or 0
    width = model.site(f"blocks.{layer}.resid_in").width
    drawn = torch.as_tensor(np.random.default_rng(0).standard_normal((1, width)), dtype=torch.float64)
    vectors = torch.cat([torch.zeros(1, width, dtype=torch.float64), drawn, torch.eye(width, dtype=torch.float64)])
    # Of mean square 1, beside which what a norm adds to its divisor is nothing.
    vectors[2:] *= width**0.5
    shown = Stimulus.of(np.zeros(1, dtype=np.int64))
    found = []
    for part in vectors.split(AT_ONCE):
        restart = Restart(layer, part[:, None].to(model.device, model.dtype))
        recording = model.run([shown] * len(part), record=[site], logits=False, restart=restart).recording
        found.append(upcast(recording[site]).double())
    z = torch.cat(found)
    z = z[1:] - z[:1]
    expected = drawn.to(z.device) @ z[1:]
    whole = torch.linalg.vector_norm(expected) * torch.linalg.vector_norm(z[0])
    apart = 1 - float((expected[0] @ z[0]) / whole) if whole > 0 else 0.0
    if not apart <= max(COLLINEAR, 20 * torch.finfo(model.dtype).eps):
        raise PatchclampError(
            expected="attention whose values are a linear map of the normed stream",
            got=f"{model.name}: at {site} the values of a vector are not the sum of those of its parts",
            remedy="A norm, a gate or a sink between stream and z leaves no W_V W_O: describe its neurons.",
        )
    return z[1:]


def _factor(reads: Float[Tensor, "d_model d_head"], writes: Float[Tensor, "d_head d_model"]) -> HeadCircuit:
    """Return the singular directions of reads · writes, which is never formed."""
    q_in, r_in = torch.linalg.qr(reads)
    q_out, r_out = torch.linalg.qr(writes.T)
    left, sizes, right = torch.linalg.svd(r_in @ r_out.T)
    read = (q_in @ left).T
    values = torch.nn.functional.normalize(read @ reads, dim=1)
    return HeadCircuit(sizes, read, values, right @ q_out.T)
